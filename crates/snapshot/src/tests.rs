//! Harness: rows from a seed, and one way to write and to read a generation.

mod crash;
mod damage;
mod generations;

use std::path::{Path, PathBuf};

use journal::{Row, Scratch, encode_row};
use ledger::{
    Account, Agent, AgentId, Amount, Currency, KeyHash, KeyPlace, Position, Posting, SystemAccount,
    Timestamp, Totals, Wallet, WalletId, WalletStatus,
};

use crate::{Error, FileStore, Generation, SnapshotStore, Tally};

const CREATED_AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Every kind of row, with and without the optional parts.
fn rows(seed: u64, wallets: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..wallets).map(|index| wallet(seed, index)).collect();
    rows.push(Row::Agent(agent(seed)));
    let mut totals = Totals::default();
    let delta = Amount::from_nanos(i128::from(seed) + 1);
    totals.post(&Posting::spendable(Account::System(SystemAccount::Fees), Currency::EUR, delta, 0));
    rows.push(Row::Totals(totals, Position::new(seed + 100)));
    rows
}

fn wallet(seed: u64, index: u64) -> Row {
    let mixed = u128::from((seed ^ index).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let currency = if index.is_multiple_of(3) { Currency::EUR } else { Currency::USD };
    let label = (index % 4 == 1).then(|| format!("purse {index}").into());
    let position = Position::new(10 + index);
    let mut wallet = Wallet::open(AgentId::new(0, mixed), currency, label, CREATED_AT, position);
    wallet.available = Amount::from_nanos(i128::from(index) * 1_000 - 17);
    wallet.held = Amount::from_nanos(i128::from(index));
    wallet.status = if index % 5 == 2 { WalletStatus::Frozen } else { WalletStatus::Active };
    for key in 0..index % 3 {
        let place = KeyPlace { lsn: index, item: 0 };
        wallet.keys.remember(KeyHash::from_raw(mixed + u128::from(key)), place, seed, CREATED_AT, 1_000);
    }
    Row::Wallet(WalletId::new(0, mixed), wallet)
}

fn agent(seed: u64) -> Agent {
    Agent {
        id: AgentId::new(0, seed.into()),
        name: "ResearchOpsAgent".into(),
        operator: "acme".into(),
        metadata: Some("{}".into()),
        public_key: [7; 32],
        created_at: CREATED_AT,
        keys: Vec::new(),
        wallets: vec![WalletId::new(0, 1)],
        idempotency: ledger::IdempotencyKeys::default(),
        decided: Position::new(9),
    }
}

/// Writes a generation of `partition` with replay starting at `start`.
fn write(store: &FileStore, partition: u16, start: u64, rows: &[Row]) -> Result<Generation, Error> {
    let mut writer = store.begin(partition, start)?;
    let mut tally = Tally::default();
    let mut scratch = Scratch::new();
    for row in rows {
        encode_row(row.as_ref(), &mut scratch);
        tally.row(row);
        writer.put(scratch.bytes())?;
    }
    writer.finish(tally.summary(start, start + 50), CREATED_AT)
}

/// Rows of a generation and what it says of itself.
fn read(store: &FileStore, id: u64) -> Result<(Vec<Row>, Generation), Error> {
    let mut rows = Vec::new();
    let generation = store.load(id, &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok((rows, generation))
}

/// Files of a store by name, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("it exists")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    files
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
