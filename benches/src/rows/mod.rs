//! The measurements, one file per question.

mod batch;
mod calls;
mod ceilings;
mod contention;
mod latency;
mod log;
mod memory;
mod pairs;
mod scale;
mod singles;
mod sustained;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use loadtest::{
    Fetched, Next, Outcome, Payer, Payments, Population, PopulationSpec, Target, Workload, fetch,
};
use tempfile::TempDir;

use crate::report::Row;
use crate::server::Server;

/// Wallets of the payment rows: as many as the published peers were measured with.
const WALLETS: usize = 10_000;
const AGENTS: usize = 100;
/// Connections while populating.
const SETUP_CONNECTIONS: usize = 64;
/// More than any row pays from one wallet.
const FUNDS: &str = "1000000000";

/// How a run is carried out.
#[derive(Debug, Clone)]
pub struct Settings {
    pub node: PathBuf,
    /// Where the programs `floor`, `actor_ceiling`, `engine_pairs` and `engine_tokens` lie.
    pub programs: PathBuf,
    /// Data directories are made here; it must be on the file system to be measured.
    pub work_dir: PathBuf,
    pub rounds: usize,
    pub warm_up: Duration,
    pub window: Duration,
    pub memory_wallets: usize,
    pub replay_payments: u64,
    /// Payments of each shape of load on the engine alone.
    pub engine_payments: u64,
    /// Million payments of random pairs, one request at a time.
    pub sustained_millions: u64,
    pub seed: u64,
    /// Ten million wallets and a day of keys, where a row has a long form.
    pub long: bool,
}

/// A measurement that can be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum RowName {
    /// One durable payment per request, against the floor.
    Singles,
    /// Latency at half of the top rate, against one fdatasync.
    Latency,
    /// 1 000 payments per request.
    Batch,
    /// 8 189 random pairs per request, and ten million of them one request at a time.
    Pairs,
    /// A hot payer and a hot payee beside uniform load.
    Contention,
    /// The engine without HTTP, and actors alone.
    Engine,
    /// Memory per wallet at rest.
    Memory,
    /// Log bytes per payment and replay speed.
    Log,
    /// Live tokens of service calls: memory, deadlines, bursts, starts.
    Tokens,
    /// Whole service calls over HTTP, against the floor.
    Calls,
    /// Scale of state: many wallets, restarts, snapshots, many keys. Only when asked for.
    Scale,
}

impl RowName {
    /// What a run without `--only` takes.
    pub const ALL: [RowName; 10] = [
        RowName::Singles,
        RowName::Latency,
        RowName::Batch,
        RowName::Pairs,
        RowName::Contention,
        RowName::Engine,
        RowName::Memory,
        RowName::Log,
        RowName::Tokens,
        RowName::Calls,
    ];

    /// Takes the measurement. A name may give several lines.
    pub fn measure(self, settings: &Settings) -> Result<Vec<Row>> {
        match self {
            RowName::Singles => singles::measure(settings),
            RowName::Latency => latency::measure(settings),
            RowName::Batch => batch::measure(settings),
            RowName::Pairs => pairs::measure(settings),
            RowName::Contention => contention::measure(settings),
            RowName::Engine => ceilings::measure(settings),
            RowName::Memory => memory::measure(settings),
            RowName::Log => log::measure(settings),
            RowName::Tokens => tokens::measure(settings),
            RowName::Calls => calls::measure(settings),
            RowName::Scale => scale::measure(settings),
        }
    }
}

/// A node on a fresh data directory.
struct Bed {
    node: Server,
    /// Removed on drop, after the node, which is declared before it.
    dir: TempDir,
}

impl Bed {
    fn start(settings: &Settings) -> Result<Bed> {
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(&settings.work_dir)?;
        let node = Server::node(&settings.node, &data_dir(&dir))?;
        Ok(Bed { node, dir })
    }

    fn target(&self) -> &Target {
        &self.node.target
    }

    /// The usual agents and wallets, funded.
    fn population(&self) -> Result<Population> {
        let spec = PopulationSpec {
            agents: AGENTS,
            wallets_per_agent: WALLETS / AGENTS,
            fund: Some(FUNDS.to_owned()),
            connections: SETUP_CONNECTIONS,
        };
        Ok(Population::create(self.target(), &spec)?)
    }

    /// The same as payers of a load without a memory.
    fn populate(&self) -> Result<Vec<Payer>> {
        Ok(Payer::all(&self.population()?))
    }
}

fn data_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("data")
}

/// Refuses to report a run in which anything went wrong.
fn clean(what: &str, outcome: Outcome) -> Result<Outcome> {
    ensure!(outcome.is_clean(), "{what}: not every request succeeded\n{outcome}");
    ensure!(outcome.succeeded > 0, "{what}: nothing was answered within the window");
    Ok(outcome)
}

/// Makes one payment and returns the size of its answer's body.
fn answer_bytes(target: &Target, payers: &[Payer], seed: u64) -> Result<usize> {
    let mut request = Vec::new();
    let next = Payments::new(target, payers, seed).next(0, &mut request);
    ensure!(next == Next::Send, "the series of payments has no end");
    let Fetched { status, body } = fetch(target, request).context("one payment")?;
    if status != 201 {
        bail!("one payment: status {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body.len())
}

fn program(settings: &Settings, name: &str) -> Result<PathBuf> {
    let path = settings.programs.join(name);
    ensure!(exists(&path), "{} is missing; build it with `cargo build --release -p benches`", path.display());
    Ok(path)
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}
