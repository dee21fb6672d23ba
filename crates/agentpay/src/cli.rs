//! The command line. Parsing only: what a command does lives in `commands` and `serve`.

use crate::config::Flags;
use crate::exit;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// AgentPay: wallets and payments for AI agents, on one durable ledger.
///
/// Without a command the node is started, as `agentpay serve` does.
#[derive(Debug, Parser)]
#[command(name = "agentpay", version, after_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub listeners: Listeners,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Common {
    /// Configuration file [default: config/agentpay.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of log, snapshots, index and id key [default: ./data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
}

/// Options of `serve`, also accepted without naming the command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Listeners {
    /// Address of the API [default: 127.0.0.1:3100]; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address of the metrics listener [default: 127.0.0.1:3101]; empty turns it off
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the node
    Serve(Listeners),
    /// Look at the log without changing it
    #[command(subcommand)]
    Wal(Wal),
    /// Take, list or verify snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// The keys that sign payment tokens
    #[command(subcommand)]
    Keys(Keys),
    /// Replay the whole log and prove every balance and sum
    Check,
    /// Create demo agents, wallets, services and payments on a running node
    Seed(Seed),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List the routes of the API
    Routes,
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Wal {
    /// Segments, bytes and positions
    Stat,
    /// Read everything and verify checksums, chain and order
    Verify,
    /// Print records
    Dump(Dump),
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Position of the first record to print [default: the log's first]
    #[arg(long, value_name = "LSN")]
    pub from: Option<u64>,
    /// Print at most this many records
    #[arg(long, value_name = "COUNT", default_value_t = u64::MAX, hide_default_value = true)]
    pub limit: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Take a snapshot now: in the running node if there is one, else offline
    Now,
    /// List the snapshots, newest first
    List,
    /// Read every snapshot and verify its digest
    Verify,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Show ids and states; the public halves are at /.well-known/jwks.json
    List,
    /// Add a key that signs after a while: in the running node if there is one, else offline
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Seconds until the new key signs; whoever keeps the published keys for shorter never meets an unknown one
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub active_in: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Seed {
    /// Base address of the running node [default: the configured listen address]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// How many demo agents to create
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub agents: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every key with its effective value and where it came from; secrets are masked
    Print,
}

impl Cli {
    /// The flags that override configuration keys.
    ///
    /// # Errors
    /// Names the flag when a listener is given together with a command that has none.
    pub(crate) fn flags(&self) -> Result<Flags, String> {
        let of_command = match &self.command {
            Some(Command::Serve(listeners)) => listeners.clone(),
            _ => Listeners::default(),
        };
        if !matches!(self.command, None | Some(Command::Serve(_)))
            && (self.listeners.listen.is_some() || self.listeners.metrics_listen.is_some())
        {
            return Err("--listen and --metrics-listen belong to `agentpay serve` only".to_owned());
        }
        Ok(Flags {
            config: self.common.config.clone(),
            data_dir: self.common.data_dir.clone(),
            listen: of_command.listen.or_else(|| self.listeners.listen.clone()),
            metrics_listen: of_command.metrics_listen.or_else(|| self.listeners.metrics_listen.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_that_are_understood() {
        let cases = [
            ("agentpay", "None"),
            ("agentpay --listen 127.0.0.1:0", "None"),
            ("agentpay serve --listen 127.0.0.1:0 --data-dir d --metrics-listen 127.0.0.1:0", "Some(Serve"),
            ("agentpay wal stat --json --data-dir d", "Some(Wal(Stat"),
            ("agentpay --data-dir d wal verify", "Some(Wal(Verify"),
            ("agentpay wal dump --from 64 --limit 3", "Some(Wal(Dump(Dump { from: Some(64), limit: 3"),
            ("agentpay snapshot now", "Some(Snapshot(Now"),
            ("agentpay snapshot list --json", "Some(Snapshot(List"),
            ("agentpay snapshot verify", "Some(Snapshot(Verify"),
            ("agentpay keys list --json", "Some(Keys(List"),
            ("agentpay keys rotate", "Some(Keys(Rotate(Rotate { active_in: 300"),
            ("agentpay check --json --data-dir d", "Some(Check"),
            ("agentpay seed --url http://127.0.0.1:3100 --agents 5", "Some(Seed(Seed { url: Some("),
            ("agentpay config print", "Some(Config(Print"),
            ("agentpay routes --json", "Some(Routes"),
            ("agentpay version", "Some(Version"),
        ];
        for (line, expected) in cases {
            let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let shown = format!("{:?}", cli.command);
            assert!(shown.starts_with(expected), "{line}: {shown}");
        }
    }

    #[test]
    fn lines_that_are_not() {
        for line in [
            "agentpay srve",
            "agentpay wal",
            "agentpay seed --agents 1",
            "agentpay wal stat --listen x",
            "agentpay keys rotate --active-in 4",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let misplaced = parse("agentpay --listen 127.0.0.1:0 check").expect("clap accepts it");
        assert!(misplaced.flags().is_err());
    }

    #[test]
    fn flags_of_serve_come_from_both_places() {
        let bare = parse("agentpay --listen a:1 --data-dir d").expect("valid").flags().expect("valid");
        assert_eq!((bare.listen.as_deref(), bare.data_dir.as_deref()), (Some("a:1"), Some("d")));
        let named =
            parse("agentpay serve --listen b:2 --config c.toml").expect("valid").flags().expect("valid");
        assert_eq!(named.listen.as_deref(), Some("b:2"));
        assert_eq!(named.config, Some(PathBuf::from("c.toml")));
    }
}
