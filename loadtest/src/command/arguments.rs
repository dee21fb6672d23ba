//! The command line of `loadtest`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{Mix, Shape, Weights};

/// Loads an AgentPay node over HTTP, measures it, and verifies afterwards that it kept every promise.
///
/// Exit codes: 0 = all answers were as hoped and the verification holds, 1 = something was wrong, 2 = the command line
/// was not understood.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) load: Load,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Load {
    /// One payment per request.
    Payments {
        /// Who pays whom.
        #[arg(long, value_enum, default_value_t = ShapeName::Uniform)]
        shape: ShapeName,
        /// Skew of `--shape zipf`: rank k is drawn with weight 1/k^EXPONENT.
        #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
        zipf_exponent: f64,
        /// Share of payments to somebody outside of the ledger, from 0 to 1.
        #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
        external_share: f64,
        #[command(flatten)]
        run: RunArguments,
    },
    /// Many payments per request: wallets of one agent pay random wallets.
    Batch {
        /// Payments in each request.
        #[arg(long, default_value_t = 1_000)]
        items: usize,
        #[command(flatten)]
        run: RunArguments,
    },
    /// Balances, payments by id, statements and lists, over payments that are made first.
    Reads {
        /// Payments made first.
        #[arg(long, default_value_t = 10_000)]
        payments: u64,
        #[command(flatten)]
        run: RunArguments,
    },
    /// Payments, reads, and some batches, side by side.
    Mixed {
        /// Of 100 requests, how many read.
        #[arg(long, value_name = "PERCENT", default_value_t = 40)]
        reads: u32,
        /// Of 100 requests, how many are batches.
        #[arg(long, value_name = "PERCENT", default_value_t = 2)]
        batches: u32,
        /// Payments in each batch.
        #[arg(long, default_value_t = 100)]
        items: usize,
        /// Share of payments to somebody outside of the ledger, from 0 to 1.
        #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
        external_share: f64,
        #[command(flatten)]
        run: RunArguments,
    },
    /// Whole service calls: authorize, verify, call-started, call-accepted, call-completed.
    X402 {
        /// Agents that offer a service; the others call.
        #[arg(long, default_value_t = 10)]
        providers: usize,
        #[command(flatten)]
        run: RunArguments,
    },
    /// Payments per second and latency against connections, wallets and age of the log. Takes hours in full.
    Curves(CurveArguments),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeName {
    Uniform,
    Zipf,
    OneHotPayer,
    OneHotPayee,
}

impl ShapeName {
    fn shape(self, exponent: f64) -> Shape {
        match self {
            ShapeName::Uniform => Shape::Uniform,
            ShapeName::Zipf => Shape::Zipf { exponent },
            ShapeName::OneHotPayer => Shape::OneHotPayer,
            ShapeName::OneHotPayee => Shape::OneHotPayee,
        }
    }
}

/// What every load takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// Address of the node.
    #[arg(long, default_value = "http://127.0.0.1:3100", conflicts_with = "start_node")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Length of the measured window.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Load before the window.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up_seconds: f64,
    /// Agents to create.
    #[arg(long, default_value_t = 20)]
    pub(crate) agents: usize,
    /// Wallets of each agent.
    #[arg(long, default_value_t = 50)]
    pub(crate) wallets_per_agent: usize,
    /// Faucet amount for each wallet.
    #[arg(long, value_name = "AMOUNT", default_value = "100000")]
    pub(crate) fund: String,
    /// Smallest and largest amount of a payment, in whole cents of the currency.
    #[arg(long, value_name = "FROM..TO", default_value = "0.01..1.00", value_parser = parse_cents)]
    pub(crate) amount: RangeInclusive<u32>,
    /// Open loop: requests per second with intended start times, from which latency counts.
    #[arg(long, value_name = "PER_SECOND", conflicts_with_all = ["ramp", "search_p99_ms"])]
    pub(crate) rate: Option<f64>,
    /// Open loop whose rate changes evenly from the begin of the warm-up to the end.
    #[arg(long, value_name = "FROM..TO", value_parser = parse_ramp, conflicts_with = "search_p99_ms")]
    pub(crate) ramp: Option<(f64, f64)>,
    /// Search for the highest rate whose p99 stays within this many milliseconds.
    #[arg(long, value_name = "MS", conflicts_with = "kill_every")]
    pub(crate) search_p99_ms: Option<f64>,
    /// Length of one step of the search.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) search_step_seconds: f64,
    /// Seed of pairs, amounts, keys and kills; random if not given, and printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Kill the node with SIGKILL at random moments, this many seconds apart on average, and start it again.
    #[arg(long, value_name = "SECONDS", requires = "start_node")]
    pub(crate) kill_every: Option<f64>,
    /// Run the same load against this address in alternation, and print the ratio.
    #[arg(long, value_name = "URL", conflicts_with_all = ["kill_every", "search_p99_ms"])]
    pub(crate) compare: Option<String>,
    /// Rounds of a comparison.
    #[arg(long, default_value_t = 3, requires = "compare")]
    pub(crate) rounds: usize,
    /// What --compare names is no node but a server with a constant answer: it gets the requests of the first address
    /// and is not verified.
    #[arg(long, requires = "compare")]
    pub(crate) compare_is_floor: bool,
    /// Verify only this many payments, and of untouched wallets only this many; the report says so.
    #[arg(long, value_name = "COUNT")]
    pub(crate) verify_sample: Option<usize>,
    /// Read every wallet's list of payments in the verification too.
    #[arg(long)]
    pub(crate) verify_lists: bool,
    /// Token of the operator's routes, to compare the trial balance [default: $AGENTPAY_OPERATOR_TOKEN].
    #[arg(long, value_name = "TOKEN")]
    pub(crate) operator_token: Option<String>,
    /// Refusals with 429 and 503 are no failure, as under overload.
    #[arg(long)]
    pub(crate) allow_refusals: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// Where results go besides standard output.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArguments {
    /// Write all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write one page with plots to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// No live line.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// A node of our own.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArguments {
    /// Start this program as the node, on a new data directory and without rate limits.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) start_node: Option<PathBuf>,
    /// Where the started node keeps its data; removed afterwards [default: beside the program]
    #[arg(long, value_name = "DIR", requires = "start_node")]
    pub(crate) work_dir: Option<PathBuf>,
    /// A variable of the started node's environment; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "start_node", value_parser = parse_setting)]
    pub(crate) node_setting: Vec<(String, String)>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CurveArguments {
    /// The node's program.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) start_node: PathBuf,
    /// Where nodes keep their data; on the disk to measure [default: beside the program]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// A variable of the nodes' environment; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) node_setting: Vec<(String, String)>,
    /// Only this curve; may be repeated.
    #[arg(long, value_enum)]
    pub(crate) only: Vec<CurveName>,
    /// Most connections, from 1 in powers of two.
    #[arg(long, default_value_t = 1_024)]
    pub(crate) max_connections: usize,
    /// Most wallets, from 100 in powers of ten.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) max_wallets: usize,
    /// Oldest log in records, from 1 000 000 (or this, if it is less) in powers of ten.
    #[arg(long, default_value_t = 100_000_000)]
    pub(crate) max_records: u64,
    /// Connections of the curves over wallets and log age.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Length of each measured window.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Verify only this many payments of each node.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pub(crate) verify_sample: usize,
    /// Seed of pairs, amounts and keys; random if not given, and printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CurveName {
    Connections,
    Wallets,
    LogAge,
}

impl Load {
    /// The mix of a load; curves have their own.
    pub(crate) fn mix(&self) -> Option<Mix> {
        let base = |shape, run: &RunArguments| Mix { cents: run.amount.clone(), ..Mix::payments(shape) };
        Some(match self {
            Load::Payments { shape, zipf_exponent, external_share, run } => {
                Mix { external_share: *external_share, ..base(shape.shape(*zipf_exponent), run) }
            }
            Load::Batch { items, run } => Mix {
                batch_items: *items,
                weights: Weights { batches: 1, ..Weights::default() },
                ..base(Shape::Uniform, run)
            },
            Load::Reads { run, .. } => {
                Mix { weights: Weights { reads: 1, ..Weights::default() }, ..base(Shape::Uniform, run) }
            }
            Load::Mixed { reads, batches, items, external_share, run } => Mix {
                batch_items: *items,
                external_share: *external_share,
                weights: Weights {
                    payments: 100_u32.saturating_sub(reads.saturating_add(*batches)),
                    batches: *batches,
                    reads: *reads,
                    calls: 0,
                },
                ..base(Shape::Uniform, run)
            },
            Load::X402 { run, .. } => {
                Mix { weights: Weights { calls: 1, ..Weights::default() }, ..base(Shape::Uniform, run) }
            }
            Load::Curves(_) => return None,
        })
    }

    pub(crate) fn run(&self) -> Option<&RunArguments> {
        match self {
            Load::Payments { run, .. }
            | Load::Batch { run, .. }
            | Load::Reads { run, .. }
            | Load::Mixed { run, .. }
            | Load::X402 { run, .. } => Some(run),
            Load::Curves(_) => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Load::Payments { .. } => "payments",
            Load::Batch { .. } => "batch",
            Load::Reads { .. } => "reads",
            Load::Mixed { .. } => "mixed",
            Load::X402 { .. } => "x402",
            Load::Curves(_) => "curves",
        }
    }
}

/// Seconds of a flag; refuses what is no time.
pub(crate) fn seconds(value: f64, flag: &str) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| anyhow::anyhow!("{flag} must be a number of seconds"))
}

fn two<'a>(text: &'a str, what: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once("..").ok_or_else(|| format!("{what} is written FROM..TO"))
}

fn parse_cents(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (from, to) = two(text, "an amount")?;
    let cents = |text: &str| {
        let nanos = crate::nanos(text.as_bytes()).ok_or_else(|| format!("{text:?} is not an amount"))?;
        match u32::try_from(nanos / crate::book::NANOS_PER_CENT) {
            Ok(cents) if cents > 0 && nanos % crate::book::NANOS_PER_CENT == 0 => Ok(cents),
            _ => Err(format!("{text:?} is not a number of whole cents between 0.01 and 42949672.95")),
        }
    };
    let (from, to) = (cents(from)?, cents(to)?);
    if from <= to { Ok(from..=to) } else { Err("the first amount must not be above the second".to_owned()) }
}

fn parse_ramp(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = two(text, "a ramp")?;
    let rate = |text: &str| text.parse::<f64>().map_err(|_| format!("{text:?} is not a rate"));
    Ok((rate(from)?, rate(to)?))
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let load = parse("loadtest payments --shape zipf --rate 500").expect("a good line").load;
        assert_eq!(load.mix().map(|mix| mix.shape), Some(Shape::Zipf { exponent: 1.0 }));
        for line in [
            "loadtest",
            "loadtest payments --rate 1 --ramp 1..2",
            "loadtest payments --kill-every 1",
            "loadtest payments --url http://a:1 --start-node x",
            "loadtest payments --amount 0.001..1",
            "loadtest payments --amount 2..1",
            "loadtest payments --ramp 5",
            "loadtest payments --rounds 3",
            "loadtest curves",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn mixes_follow_their_flags() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).expect(line).load;
        let mixed = parse("loadtest mixed --reads 30 --batches 10 --amount 0.05..0.10").mix().expect("a mix");
        assert_eq!(mixed.weights, Weights { payments: 60, batches: 10, reads: 30, calls: 0 });
        assert_eq!(mixed.cents, 5..=10);
        assert_eq!(parse("loadtest x402").mix().map(|mix| mix.unit()), Some("service calls"));
        assert_eq!(parse("loadtest batch --items 7").mix().map(|mix| mix.batch_items), Some(7));
        assert!(parse("loadtest curves --start-node x").mix().is_none());
    }
}
