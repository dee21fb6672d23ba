//! What an entry costs in processor time: adding it, writing it out, and merging runs of the database behind it.
//!
//! Payments between random wallets go through the index as the follower adds them, and parts are written out as they
//! fill up, all on one thread, so that its time can be told from that of the database's own. Arguments: the number of
//! wallets (10 000) and millions of payments (4). Linux alone counts a thread's time where this reads it.

#![expect(clippy::print_stdout, reason = "the figures are its output")]

mod shared;

use std::fs;
use std::sync::Arc;

use history::{History, Options};
use journal::{Encode, Scratch};
use ledger::WalletId;
use wal::testing::{MemoryStorage, Random};
use wal::{Log, Lsn};

/// Payments that are made up; they are added over and over, at new positions.
const PAYLOADS: u64 = 1 << 18;
const BATCH: u64 = 4_096;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let wallets = numbers.next().unwrap_or(10_000);
    let payments = numbers.next().unwrap_or(4) * 1_000_000;
    let payloads = payloads(wallets);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = Log::open(Arc::new(MemoryStorage::new()), wal::Options::default()).expect("it opens");
    let history = History::open(directory.path(), &log.reader(), Options::default()).expect("it opens");

    let (mut adding, mut sealing, before) = (0, 0, process_nanos());
    let (mut lsn, mut added) = (4_096, 0);
    let mut next = payloads.iter().cycle();
    while added < payments {
        let began = thread_nanos();
        let mut batch = history.batch();
        let records = next.by_ref().take(usize::try_from(BATCH).expect("it is small")).map(|payload| {
            let at = Lsn::new(lsn);
            lsn += payload.len() as u64 + 16;
            (at, payload.as_slice())
        });
        batch.records(records).expect("they are indexed");
        batch.commit(Lsn::new(lsn));
        let ended = thread_nanos();
        adding += ended - began;
        if history.is_full() {
            history.seal().expect("it is sealed");
            sealing += thread_nanos() - ended;
        }
        added += BATCH;
    }
    let others = process_nanos() - before - adding - sealing;
    let each = |nanos: u64| nanos / (2 * added);
    let (adding, sealing, others) = (each(adding), each(sealing), each(others));
    let stat = history.stat();
    println!(
        "{wallets} wallets, ns of processor per entry: {adding} adding, {sealing} writing out, {others} elsewhere; \
         {} bytes on disk per entry",
        stat.disk_bytes / stat.entries
    );
}

fn payloads(wallets: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(wallets);
    let mut raw = || u128::from(random.draw()) << 64 | u128::from(random.draw());
    let ids: Vec<WalletId> = (0..wallets).map(|_| WalletId::new(0, raw())).collect();
    let mut random = Random::new(1);
    let mut pick = || random.below(wallets);
    let wallet = |index: u64| ids[usize::try_from(index % wallets).expect("it is small")];
    let mut scratch = Scratch::new();
    (0..PAYLOADS)
        .map(|number| {
            let payer = pick();
            let payment = shared::payment(wallet(payer), wallet(payer + 1 + pick() % (wallets - 1)), number);
            payment.encode(&mut scratch);
            scratch.bytes().to_vec()
        })
        .collect()
}

fn thread_nanos() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("it begins with nanoseconds")
}

fn process_nanos() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("the kernel counts");
    let of = |path: std::path::PathBuf| fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    tasks.filter_map(|task| of(task.ok()?.path()).split(' ').next()?.parse::<u64>().ok()).sum()
}
