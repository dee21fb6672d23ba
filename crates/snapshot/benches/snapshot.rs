//! Rows per second through a file store: encoded and put, verified, loaded. Set TMPDIR to a memory file system to leave
//! the disk out.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use journal::{RowRef, Scratch, encode_row};
use ledger::{AgentId, Amount, Currency, KeyHash, KeyPlace, Position, Timestamp, Wallet, WalletId};
use snapshot::{FileStore, Generation, SnapshotStore, Tally};

const WALLETS: u64 = 200_000;

/// Wallets without keys, and every eighth with one.
fn wallets() -> Vec<(WalletId, Wallet)> {
    let at = Timestamp::from_millis(1_700_000_000_000);
    (0..WALLETS)
        .map(|index| {
            let random = u128::from(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 20;
            let mut wallet =
                Wallet::open(AgentId::new(0, random), Currency::USD, None, at, Position::new(index + 1));
            wallet.available = Amount::from_nanos(i128::from(index) * 1_000);
            if index.is_multiple_of(8) {
                let place = KeyPlace { lsn: index, item: 0 };
                wallet.keys.remember(KeyHash::from_raw(random), place, index, at, 86_400_000);
            }
            (WalletId::new(0, random), wallet)
        })
        .collect()
}

fn write(store: &FileStore, wallets: &[(WalletId, Wallet)]) -> Generation {
    let mut writer = store.begin(0, 1).expect("it begins");
    let mut tally = Tally::default();
    let mut scratch = Scratch::new();
    for (id, wallet) in wallets {
        encode_row(RowRef::Wallet(*id, wallet.fields()), &mut scratch);
        tally.wallet(wallet);
        writer.put(scratch.bytes()).expect("it is put");
    }
    writer.finish(tally.summary(1, 2), Timestamp::from_millis(0)).expect("it is written")
}

fn snapshot(criterion: &mut Criterion) {
    let wallets = wallets();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = FileStore::open(directory.path()).expect("it opens");
    let generation = write(&store, &wallets);

    let mut group = criterion.benchmark_group("snapshot");
    group.throughput(Throughput::Elements(WALLETS)).sample_size(10);
    group.bench_function("write", |bencher| {
        bencher.iter_batched(|| store.retain(1), |_| write(&store, &wallets), BatchSize::PerIteration);
    });
    let generation = store.list().expect("it lists").generations.pop().unwrap_or(generation);
    group.bench_function("verify", |bencher| {
        bencher.iter(|| store.verify(generation.id).expect("it is whole"))
    });
    group.bench_function("load", |bencher| {
        bencher.iter(|| {
            let load = store.load(generation.id, &mut |row| {
                black_box(row);
                Ok(())
            });
            load.expect("it is whole")
        });
    });
    group.finish();
}

criterion_group!(benches, snapshot);
criterion_main!(benches);
