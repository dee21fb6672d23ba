//! What every module of these tests shares.

mod books;
mod claims;
mod commands;
mod disk;
mod market;
mod node;
mod power;

pub(crate) use books::Books;
pub(crate) use claims::{dispute_of, evidence_for, refund_of};
pub(crate) use commands::{
    amount, batch, batch_item, external, fund, fund_keyed, key, open_wallet, owner_key, page, pay, pay_keyed,
    runtime_key, usd,
};
pub(crate) use disk::{GatedStorage, Shut};
pub(crate) use market::{Market, pass, redeem, register, seen, terms};
pub(crate) use node::{Node, Party, Setup, denial, new_agent};
pub(crate) use power::for_each_power_cut;

use std::time::Duration;

/// How long a test waits for something that has to come. Generous: it is reached only when the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test watches that something does not come. A slow machine can hide an error here, never make one up.
pub(crate) const WATCH: Duration = Duration::from_millis(40);

/// Waits until `holds`, looking again and again.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
