//! What following the log and asking for a page cost.
//!
//! `apply` adds 100 000 payments in batches as the follower does, writing parts out as they fill up; `page` asks for the
//! newest page of a hot wallet, of one that is in the database only, and for the payments of ten wallets.

mod shared;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use history::{History, Options, PaymentFilter, TimeRange};
use journal::{Encode, Scratch};
use ledger::WalletId;
use wal::testing::{MemoryStorage, Random};
use wal::{Log, Lsn, Reader};

const PAYMENTS: u64 = 100_000;
const BATCH: usize = 4_096;

fn wallets(count: u64) -> Vec<WalletId> {
    let mut random = Random::new(count);
    let raw = |random: &mut Random| u128::from(random.draw()) << 64 | u128::from(random.draw());
    (0..count).map(|_| WalletId::new(0, raw(&mut random))).collect()
}

/// Records of payments between random wallets, at made-up positions.
fn payments(wallets: &[WalletId]) -> Vec<(Lsn, Vec<u8>)> {
    let mut random = Random::new(1);
    let mut scratch = Scratch::new();
    let mut lsn = 4_096;
    let pick =
        |random: &mut Random| usize::try_from(random.below(wallets.len() as u64)).expect("it is small");
    (0..PAYMENTS)
        .map(|number| {
            let payer = pick(&mut random);
            let payee = (payer + 1 + pick(&mut random) % (wallets.len() - 1)) % wallets.len();
            let payment = shared::payment(wallets[payer], wallets[payee], number);
            payment.encode(&mut scratch);
            lsn += scratch.bytes().len() as u64 + 16;
            (Lsn::new(lsn), scratch.bytes().to_vec())
        })
        .collect()
}

/// The index compares itself with a log when it is opened; a new one fits an empty log.
fn empty_log() -> Reader {
    Log::open(Arc::new(MemoryStorage::new()), wal::Options::default()).expect("it opens").reader()
}

fn apply(history: &History, records: &[(Lsn, Vec<u8>)]) {
    for records in records.chunks(BATCH) {
        let mut batch = history.batch();
        for (lsn, payload) in records {
            batch.record(*lsn, payload).expect("it is indexed");
        }
        let (last, payload) = records.last().expect("chunks hold something");
        batch.commit(Lsn::new(last.get() + payload.len() as u64));
        if history.is_full() {
            history.seal().expect("it is sealed");
        }
    }
}

fn bench_apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(PAYMENTS)).sample_size(10);
    for (name, count) in [("10k wallets", 10_000), ("1m wallets", 1_000_000)] {
        let records = payments(&wallets(count));
        group.bench_function(name, |bencher| {
            let setup = || {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let history =
                    History::open(directory.path(), &empty_log(), Options::default()).expect("it opens");
                (directory, history)
            };
            let run = |(directory, history): (tempfile::TempDir, History)| {
                apply(&history, &records);
                history.seal().expect("it is sealed");
                (history, directory)
            };
            bencher.iter_batched(setup, run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn bench_page(criterion: &mut Criterion) {
    let wallets = wallets(10_000);
    let records = payments(&wallets);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let history = History::open(directory.path(), &empty_log(), Options::default()).expect("it opens");
    let mut group = criterion.benchmark_group("page");
    let mut next = wallets.iter().cycle();
    apply(&history, &records);
    group.bench_function("20 entries in memory", |bencher| {
        bencher.iter(|| {
            let wallet = *next.next().expect("it never ends");
            black_box(history.entries(wallet, None, TimeRange::default(), 20).expect("it is read"))
        });
    });
    history.seal().expect("it is sealed");
    group.bench_function("20 entries in the database", |bencher| {
        bencher.iter(|| {
            let wallet = *next.next().expect("it never ends");
            black_box(history.entries(wallet, None, TimeRange::default(), 20).expect("it is read"))
        });
    });
    group.bench_function("20 payments of 10 wallets in the database", |bencher| {
        let mut first = 0;
        bencher.iter(|| {
            first = (first + 10) % 9_990;
            let ten = &wallets[first..first + 10];
            black_box(history.payments(ten, &PaymentFilter::default(), None, 20).expect("it is read"))
        });
    });
    group.finish();
}

criterion_group!(benches, bench_apply, bench_page);
criterion_main!(benches);
