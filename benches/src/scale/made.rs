//! State that is made and not grown: a snapshot generation of many funded wallets beside an empty log. Which wallet
//! belongs to which agent follows from its number, so that nobody has to keep ten million ids.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use journal::{RowRef, Scratch, encode_row};
use ledger::{
    Agent, AgentCreated, AgentId, Amount, Currency, Position, SystemAccount, Timestamp, Totals, Wallet,
    WalletId,
};
use snapshot::{FileStore, SnapshotStore, Tally};

/// Wallets of one agent.
const PER_AGENT: u64 = 1_000;

/// Two rounds of the finalizer of splitmix64 give each number an id of its own that looks random.
fn id(number: u64, kind: u64) -> u128 {
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let low = mix(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(kind));
    (u128::from(mix(low ^ kind)) << 64) | u128::from(low)
}

/// Wallet number `number`.
pub fn wallet(number: u64) -> WalletId {
    WalletId::new(0, id(number, 1))
}

/// The agent of wallet number `number`.
pub fn agent_of(number: u64) -> AgentId {
    AgentId::new(0, id(number / PER_AGENT, 2))
}

/// Writes the state of `wallets` wallets into `dir`.
pub fn make(dir: &Path, wallets: u64) -> Result<()> {
    let log_dir = dir.join("log");
    std::fs::create_dir_all(&log_dir)?;
    let log = wal::Log::open(Arc::new(wal::FileStorage::open(&log_dir)?), wal::Options::default())?;
    let at = Timestamp::from_millis(1_700_000_000_000);
    let funds = Amount::from_nanos(1_000_000_000_000);
    let store = FileStore::open(&dir.join("snapshots"))?;
    let mut writer = store.begin(0, log.begin().get())?;
    let (mut tally, mut scratch) = (Tally::default(), Scratch::new());
    for number in 0..wallets {
        let mut wallet = Wallet::open(agent_of(number), Currency::USD, None, at, Position::ZERO);
        (wallet.available, wallet.faucet_drawn) = (funds, funds);
        encode_row(RowRef::Wallet(self::wallet(number), wallet.fields()), &mut scratch);
        tally.wallet(&wallet);
        writer.put(scratch.bytes())?;
    }
    for first in (0..wallets).step_by(usize::try_from(PER_AGENT)?) {
        let created = AgentCreated {
            agent: agent_of(first),
            name: "bench".into(),
            operator: "bench".into(),
            metadata: None,
            public_key: [0; 32],
            keys: Vec::new(),
            wallet: wallet(first),
            currency: Currency::USD,
            at,
        };
        let mut agent = Agent::created(&created, Position::ZERO);
        agent.wallets = (first..wallets.min(first + PER_AGENT)).map(wallet).collect();
        encode_row(RowRef::Agent(&agent), &mut scratch);
        tally.agent();
        writer.put(scratch.bytes())?;
    }
    let drawn = Amount::from_nanos(-funds.nanos() * i128::from(wallets));
    let totals = Totals::restore([(Currency::USD, SystemAccount::Faucet, drawn)]);
    encode_row(RowRef::Totals(&totals, Position::ZERO), &mut scratch);
    writer.put(scratch.bytes())?;
    writer.finish(tally.summary(log.begin().get(), log.begin().get()), at)?;
    Ok(())
}
