//! Costs on the hot path: decide and apply, encode, walk in place, decode.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use journal::{Encode, Scratch, decode, view};
use ledger::{
    AgentId, Amount, BatchCommand, BatchItem, Currency, Decision, KeyPlace, KeyUse, PayCommand, Payee,
    Payment, PaymentBatch, Position, Rail, Rules, Timestamp, Wallet, WalletId, decide_batch, decide_payment,
};

const OWNER: AgentId = AgentId::from_raw(1);
const PAYER: WalletId = WalletId::from_raw(2);
const PAYEE: WalletId = WalletId::from_raw(3);
const AT: Timestamp = Timestamp::from_millis(1_778_241_600_123);
const BATCH_ITEMS: usize = 1_000;

fn wallet() -> Wallet {
    let mut wallet = Wallet::open(OWNER, Currency::USD, None, AT, Position::new(1));
    wallet.available = Amount::MAX;
    wallet
}

fn command(key: Option<KeyUse>) -> PayCommand {
    PayCommand {
        caller: OWNER,
        payer: PAYER,
        payee: Payee::Wallet(PAYEE),
        payee_agent: None,
        amount: Amount::from_nanos(5_000_000_000),
        currency: Some(Currency::USD),
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key,
        agent_terms: None,
        at: AT,
    }
}

fn payment() -> Payment {
    let key = Some(KeyUse { text: "tool-call-0000000001".into(), fingerprint: 7 });
    match decide_payment(&wallet(), command(key), &Rules::default()) {
        Decision::Fact(payment) => payment,
        other => panic!("{other:?}"),
    }
}

fn batch() -> PaymentBatch {
    let item = BatchItem {
        payee: Payee::Wallet(PAYEE),
        payee_agent: None,
        amount: Amount::from_nanos(5_000_000_000),
        currency: None,
        rail: Rail::Internal,
        description: None,
        metadata: None,
        key: None,
        refused: None,
    };
    let items = vec![item; BATCH_ITEMS];
    let command = BatchCommand {
        caller: OWNER,
        payer: PAYER,
        items,
        atomic: true,
        key: None,
        agent_terms: None,
        at: AT,
    };
    match decide_batch(&wallet(), command, &Rules::default()) {
        Decision::Fact(batch) => batch,
        other => panic!("{other:?}"),
    }
}

/// What replay does with a record: the owner's change, the postings to others, the keys.
fn walk(payload: &[u8]) -> i128 {
    let view = view(payload).expect("a record");
    let mut sum = view.change().map_or(0, |change| change.available.nanos());
    view.for_each_foreign(|posting| sum += posting.delta.nanos());
    view.for_each_key(|hash, _, _| sum ^= i128::from(hash.raw() == 0));
    sum
}

fn single(criterion: &mut Criterion) {
    let payment = payment();
    let mut scratch = Scratch::new();
    let mut group = criterion.benchmark_group("payment");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            black_box(&payment).encode(&mut scratch);
            scratch.bytes().len()
        });
    });
    payment.encode(&mut scratch);
    let payload = scratch.bytes().to_vec();
    group.bench_function("view_and_walk", |bencher| bencher.iter(|| walk(black_box(&payload))));
    group.bench_function("decode", |bencher| bencher.iter(|| decode(black_box(&payload))));
    group.bench_function("decide_and_apply", |bencher| {
        let (mut wallet, rules) = (wallet(), Rules::default());
        let mut position = 1;
        bencher.iter(|| {
            position += 200;
            let Decision::Fact(payment) = decide_payment(&wallet, command(None), &rules) else {
                panic!("paid")
            };
            wallet.apply(&payment.change(), Position::new(position));
            wallet.credit(payment.total_debited(), Position::new(position));
        });
    });
    group.bench_function("decide_and_apply_with_key", |bencher| {
        let (mut wallet, rules) = (wallet(), Rules::default());
        let mut position = 1;
        bencher.iter(|| {
            position += 200;
            let key = Some(KeyUse { text: "tool-call-0000000001".into(), fingerprint: position });
            let Decision::Fact(payment) = decide_payment(&wallet, command(key), &rules) else {
                panic!("paid")
            };
            wallet.apply(&payment.change(), Position::new(position));
            payment.for_each_key(|hash, fingerprint, item| {
                let place = KeyPlace { lsn: position, item };
                wallet.keys.remember(hash, place, fingerprint, AT, 86_400_000);
            });
            wallet.keys = ledger::IdempotencyKeys::default();
            wallet.credit(payment.total_debited(), Position::new(position));
        });
    });
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let batch = batch();
    let mut scratch = Scratch::new();
    let mut group = criterion.benchmark_group("batch_of_1000");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            black_box(&batch).encode(&mut scratch);
            scratch.bytes().len()
        });
    });
    batch.encode(&mut scratch);
    let payload = scratch.bytes().to_vec();
    group.bench_function("view_and_walk", |bencher| bencher.iter(|| walk(black_box(&payload))));
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = records; config = quick(); targets = single, batches }
criterion_main!(records);
