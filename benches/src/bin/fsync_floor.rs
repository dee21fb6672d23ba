//! Prints the distribution of a 4 KiB write with `fdatasync` as one line of JSON.

#![expect(clippy::print_stdout, reason = "the figures are the output of this program")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Cost of one durable write.
#[derive(Parser)]
struct Arguments {
    /// Directory on the file system to measure.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How long to write.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let length = Duration::try_from_secs_f64(arguments.seconds)?;
    println!("{}", benches::fsync_floor::measure(&arguments.dir, length)?.to_json());
    Ok(())
}
