//! `loadtest`: populates a node through its public API and pays between the wallets.

#![expect(clippy::print_stdout, reason = "the report is the output of this program")]

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use loadtest::{Batches, Outcome, Payer, Payments, Plan, Population, PopulationSpec, Target, run};

/// Load generator for an AgentPay node.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Address of the node.
    #[arg(long, default_value = "http://127.0.0.1:3100")]
    url: String,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Length of the measured window in seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Load before the window, in seconds.
    #[arg(long, default_value_t = 2.0)]
    warm_up_seconds: f64,
    /// Agents to create.
    #[arg(long, default_value_t = 100)]
    agents: usize,
    /// Wallets of each agent.
    #[arg(long, default_value_t = 10)]
    wallets_per_agent: usize,
    /// Faucet amount for each wallet.
    #[arg(long, default_value = "1000")]
    fund: String,
    /// Seed of amounts, pairs and idempotency keys; random if not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// One payment per request between random wallets.
    Payments {
        /// Requests per second with intended start times (open loop); closed loop if not given.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Many payments per request, closed loop, each connection from a wallet of its own.
    Batches {
        /// Payments in each request.
        #[arg(long, default_value_t = 1_000)]
        items: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let target = Target::parse(&arguments.url)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let spec = PopulationSpec {
        agents: arguments.agents,
        wallets_per_agent: arguments.wallets_per_agent,
        fund: Some(arguments.fund.clone()),
        connections: arguments.connections,
    };
    let population = Population::create(&target, &spec)?;
    let payers = Payer::all(&population);
    ensure!(payers.len() >= 2, "a payment needs two wallets: raise --agents or --wallets-per-agent");
    let outcome = apply(&arguments, target, &payers, seed)?;
    if arguments.json {
        let mut report = outcome.to_json();
        report["seed"] = seed.into();
        println!("{report:#}");
    } else {
        println!("seed          {seed} (again: --seed {seed})\n{outcome}");
    }
    ensure!(outcome.is_clean(), "not every request was answered with success");
    Ok(())
}

fn apply(arguments: &Arguments, target: Target, payers: &[Payer], seed: u64) -> Result<Outcome> {
    let warm_up = Duration::try_from_secs_f64(arguments.warm_up_seconds)?;
    let window = Duration::try_from_secs_f64(arguments.seconds)?;
    let connections = arguments.connections;
    match arguments.load {
        Load::Payments { rate } => {
            let mut payments = Payments::new(&target, payers, seed);
            let plan = match rate {
                Some(rate) => Plan::open(target, connections, rate, warm_up, window),
                None => Plan::closed(target, connections, warm_up, window),
            };
            Ok(run(&plan, &mut payments)?)
        }
        Load::Batches { items } => {
            ensure!(payers.len() > connections, "batches need more wallets than connections");
            let (from, to) = payers.split_at(connections);
            let payees: Vec<String> = to.iter().map(|payer| payer.wallet.clone()).collect();
            let mut batches = Batches::new(&target, from, &payees, items, seed);
            let outcome = run(&Plan::closed(target, connections, warm_up, window), &mut batches)?;
            ensure!(batches.unpaid() == 0, "{} payments within batches were not paid", batches.unpaid());
            Ok(outcome)
        }
    }
}
