//! The `agentpay` program: configuration, wiring, command line, telemetry.
//!
//! It is the only part of the project that reads files outside the log, environment variables and the system clock;
//! everything below it gets them as arguments. Release builds end on a panic: replay is the only restart.

mod cli;
mod commands;
mod config;
mod control;
mod data_dir;
mod exit;
mod http_client;
mod id_key;
mod logging;
mod node;
mod output;
mod read_only;
mod serve;
mod system;
mod telemetry;
#[cfg(test)]
mod testing;
mod token_keys;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand, Keys, Snapshot, Wal};
use config::Loaded;
use exit::Failure;
use output::Output;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Ends the process with code 2 on a line it does not understand, 0 on --help and --version.
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(cli.common.json, &failure);
            failure.exit.into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<(), Failure> {
    let output = Output::new(cli.common.json);
    let flags = cli.flags().map_err(output::usage)?;
    // These need no configuration, so a broken one must not stand in their way.
    match &cli.command {
        Some(Command::Version) => return commands::version::print(output),
        Some(Command::Routes) => return commands::routes::print(output),
        _ => {}
    }
    let loaded = Loaded::load(&flags).map_err(node::refused)?;
    let config = &loaded.config;
    match &cli.command {
        None | Some(Command::Serve(_)) => serve::run(&loaded, output),
        Some(Command::Wal(Wal::Stat)) => commands::wal::stat(config, output),
        Some(Command::Wal(Wal::Verify)) => commands::wal::verify(config, output),
        Some(Command::Wal(Wal::Dump(dump))) => commands::wal::dump(config, dump, output),
        Some(Command::Snapshot(Snapshot::Now)) => commands::snapshot::now(config, output),
        Some(Command::Snapshot(Snapshot::List)) => commands::snapshot::list(config, output),
        Some(Command::Snapshot(Snapshot::Verify)) => commands::snapshot::verify(config, output),
        Some(Command::Keys(Keys::List)) => commands::keys::list(config, output),
        Some(Command::Keys(Keys::Rotate(rotate))) => commands::keys::rotate(config, rotate.active_in, output),
        Some(Command::Check) => commands::check::check(config, output),
        Some(Command::Seed(seed)) => commands::seed::seed(config, seed, output),
        Some(Command::Config(ConfigCommand::Print)) => commands::config::print(&loaded, output),
        Some(Command::Routes | Command::Version) => unreachable!("answered above"),
    }
}
