//! Snapshots: taken at any moment, they and the log above them lead to the state that the whole log leads to.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::{Asker, Engine, StartError};
use journal::Row;
use ledger::{Amount, Currency, DisputeMove, PayCommand};
use snapshot::{FileStore, SnapshotStore};
use testkit::Random;
use wal::testing::MemoryStorage;

use crate::harness::{
    Node, PATIENCE, Party, Setup, amount, batch, batch_item, dispute_of, eventually, evidence_for, fund,
    open_wallet, pay, pay_keyed, refund_of, runtime_key,
};

/// An idle log writes a watermark, which moves the durable position without any record.
#[test]
fn a_snapshot_can_be_taken_after_a_watermark() {
    let setup = Setup::new(MemoryStorage::new());
    let setup = setup.tuned(|options| options.wal.watermark_after = Duration::from_millis(1));
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "10"))).expect("funded");
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "5"))).expect("paid");
    let recorded = node.engine.trial_balance().lsn;
    eventually("a watermark is delivered", || node.engine.gauges().delivered_lsn > recorded);
    let generation = node.run(node.engine.snapshot_now()).expect("a snapshot of an idle engine");
    assert!(generation.summary.start > recorded, "{generation:?}");
    assert_eq!(generation.summary.wallets, 2);
    node.shutdown();
    setup.audit();

    let node = setup.start();
    assert_eq!(node.available(&bob), amount("5"));
    assert_eq!(node.available(&alice), amount("4.98"));
    node.check_trial_balance();
    node.shutdown();
}

/// A row may include credits of a batch that is being delivered right now. The generation must not claim to be covered
/// by a shorter log than they came from.
#[test]
fn a_generation_covers_every_credit_in_it() {
    const GENERATIONS: usize = 8;
    const REPLAY: &str = "cargo test -p engine --test engine a_generation_covers_every_credit_in_it";
    let mut random = Random::new(testkit::seed(REPLAY));
    let mut setup = Setup::new(MemoryStorage::new()).tuned(|options| {
        options.wal =
            wal::Options { segment_bytes: 16 << 20, record_bytes_max: 8 << 20, ..Default::default() };
        options.snapshots_kept = usize::MAX;
    });
    setup.workers = 3;
    let node = setup.start();
    let payer = node.party("payer");
    let payees: Vec<_> = (0..500).map(|index| node.party(&format!("payee {index}"))).collect();
    node.run(node.engine.fund(&payer.caller, fund(&payer, "900000"))).expect("funded");
    let stop = Arc::new(AtomicBool::new(false));
    let paying = {
        let items: Vec<_> = (0..1_000).map(|_| batch_item(random.pick(&payees).wallet, "0.01")).collect();
        let (engine, payer, stop) = (node.engine.clone(), payer.clone(), stop.clone());
        node.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let items = items.iter().map(|item| (payer.wallet, item.clone())).collect();
                engine.pay_batch(&payer.caller, batch(items)).await.expect("paid");
            }
        })
    };
    for _ in 0..GENERATIONS {
        node.run(node.engine.snapshot_now()).expect("a snapshot");
    }
    stop.store(true, Ordering::Relaxed);
    node.run(paying).expect("no panic");
    node.shutdown();
    let store = FileStore::open(setup.snapshots()).expect("the snapshots");
    let generations = store.list().expect("a listing").generations;
    assert_eq!(generations.len(), GENERATIONS + 1);
    for generation in generations {
        let mut newest = 0;
        let mut visit = |row| {
            if let Row::Wallet(_, wallet) = row {
                newest = newest.max(wallet.posted.get()).max(wallet.decided.get());
            }
            Ok(())
        };
        store.load(generation.id, &mut visit).expect("whole");
        assert!(newest < generation.summary.covers, "a row knows {newest}: {:?}", generation.summary);
    }
    setup.audit();
}

/// Agents whose rows are larger than what is taken at a time, and such as have nothing beside them.
#[test]
fn agents_of_many_wallets_are_all_in_a_generation() {
    const WALLETS: usize = 3_000;
    let setup =
        Setup::new(MemoryStorage::new()).tuned(|options| options.rules.wallets_per_agent_max = 10_000);
    let node = setup.start();
    let agents: Vec<_> = (0..20).map(|index| node.party(&format!("agent {index}"))).collect();
    for agent in agents.iter().step_by(5) {
        for _ in 0..WALLETS {
            node.another(agent, ledger::Currency::USD);
        }
    }
    node.run(node.engine.snapshot_now()).expect("a snapshot");
    node.shutdown();
    let store = FileStore::open(setup.snapshots()).expect("the snapshots");
    let newest = store.list().expect("a listing").generations.pop().expect("one was taken");
    let mut taken = Vec::new();
    let mut visit = |row| {
        if let Row::Agent(agent) = row {
            taken.push((agent.id, agent.wallets.len()));
        }
        Ok(())
    };
    store.load(newest.id, &mut visit).expect("whole");
    let mut expected: Vec<_> = (agents.iter().enumerate())
        .map(|(number, agent)| (agent.caller.agent, if number % 5 == 0 { WALLETS + 1 } else { 1 }))
        .collect();
    expected.sort_unstable();
    assert_eq!(taken, expected);
    setup.audit();
}

/// Random traffic on a few wallets that rest and wake, while one snapshot follows the other.
struct Traffic {
    node: Node,
    setup: Setup,
    parties: Arc<Vec<Party>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn begin(setup: Setup, random: &mut Random) -> Self {
        let mut setup = setup.tuned(|options| {
            options.idle_after = Duration::from_millis(2);
            options.snapshots_kept = usize::MAX;
            options.wal.watermark_after = Duration::from_millis(1);
        });
        setup.workers = 3;
        let node = setup.start();
        let parties: Vec<_> = (0..16).map(|index| node.party(&format!("party {index}"))).collect();
        for party in &parties {
            node.run(node.engine.fund(&party.caller, fund(party, "100000"))).expect("funded");
        }
        let (parties, stop) = (Arc::new(parties), Arc::new(AtomicBool::new(false)));
        let task = |_| {
            let (engine, parties, stop) = (node.engine.clone(), parties.clone(), stop.clone());
            node.spawn(drive(engine, parties, stop, Random::new(random.next_u64())))
        };
        let tasks = (0..6).map(task).collect();
        Self { node, setup, parties, stop, tasks }
    }

    /// Ends the traffic.
    fn settle(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let tasks = std::mem::take(&mut self.tasks);
        self.node.run(async move {
            for task in tasks {
                task.await.expect("no task panics");
            }
        });
    }

    fn balances(&self, node: &Node) -> Vec<Amount> {
        self.parties.iter().map(|party| node.available(party)).collect()
    }
}

/// Payments, batches with several receivers, wallets and keys, until told to stop.
async fn drive(engine: Engine, parties: Arc<Vec<Party>>, stop: Arc<AtomicBool>, mut random: Random) {
    let mut number = random.next_u64();
    while !stop.load(Ordering::Relaxed) {
        number = number.wrapping_add(1);
        let (payer, payee) = (random.pick(&parties), random.pick(&parties));
        let amount = Amount::from_nanos(1 + i128::from(random.below(1_000_000)));
        match random.below(20) {
            0 => drop(engine.open_wallet(&payer.caller, open_wallet(Currency::EUR)).await),
            1 => drop(engine.add_key(payer.id(), runtime_key(number, 1)).await),
            2..5 => {
                let item = || batch_item(random.pick(&parties).wallet, "0.001");
                let items = std::iter::repeat_with(item).take(6).map(|item| (payer.wallet, item)).collect();
                drop(engine.pay_batch(&payer.caller, batch(items)).await.expect("item by item"));
            }
            5..9 => claim(&engine, payer, payee, &mut random).await,
            9 => tokio::time::sleep(Duration::from_millis(random.below(5))).await,
            _ if payer.wallet == payee.wallet => {}
            _ => {
                let command = pay_keyed(payer, payee.wallet, "1", &number.to_string(), 1);
                engine.pay(&payer.caller, PayCommand { amount, ..command }).await.expect("paid");
            }
        }
    }
}

/// A payment that is refunded in part, disputed, and sometimes resolved; most disputes stay open.
async fn claim(engine: &Engine, payer: &Party, payee: &Party, random: &mut Random) {
    if payer.wallet == payee.wallet {
        return;
    }
    let command = pay(payer, payee.wallet, "0.5");
    let payment = engine.pay(&payer.caller, command).await.expect("paid").value.id;
    if random.chance(50) {
        let refund = refund_of(payment, "0.1");
        engine.refund(Asker::Agent(&payee.caller), refund).await.expect("refunded");
    }
    if random.chance(30) {
        return;
    }
    let asker = Asker::Agent(&payer.caller);
    let dispute = engine.open_dispute(asker, dispute_of(payment)).await.expect("opened").value.id;
    let add = evidence_for(dispute, "a line of a log", None);
    engine.add_evidence(asker, add).await.expect("added");
    let (asker, step) = match random.below(6) {
        0 => (asker, DisputeMove::Withdraw),
        1 => (Asker::Operator, DisputeMove::Refund),
        2 => (Asker::Operator, DisputeMove::Deny),
        _ => (Asker::Operator, DisputeMove::Review),
    };
    let at = engine.clock().now();
    engine.move_dispute(asker, dispute, step, None, at).await.expect("moved");
}

/// Each generation and the log above it lead to what the whole log leads to, however the owners were caught.
#[test]
fn every_generation_taken_under_load_leads_to_the_same_state() {
    const REPLAY: &str =
        "cargo test -p engine --test engine every_generation_taken_under_load_leads_to_the_same_state";
    let mut random = Random::new(testkit::seed(REPLAY));
    let mut traffic = Traffic::begin(Setup::new(MemoryStorage::new()), &mut random);
    for _ in 0..12 {
        traffic.node.run(traffic.node.engine.snapshot_now()).expect("a snapshot");
    }
    traffic.settle();
    let balances = traffic.balances(&traffic.node);
    traffic.node.check_trial_balance();
    let ended = traffic.node.run(traffic.node.engine.shutdown(PATIENCE)).expect("in order");
    let setup = &traffic.setup;
    let store = FileStore::open(setup.snapshots()).expect("the snapshots");
    let generations = store.list().expect("a listing").generations;
    assert_eq!((generations.len(), generations[0].id), (13, ended.id));
    // From the newest to the oldest: each is the one that the audit and the start use when its turn comes.
    for generation in generations {
        let audit = setup.audit();
        assert_eq!(audit.snapshot, Some(generation.id));
        let directory = tempfile::tempdir().expect("a temporary directory");
        copy_generations(setup.snapshots(), directory.path());
        let node = setup.with_snapshots(directory.path()).start();
        assert_eq!(traffic.balances(&node), balances);
        node.check_trial_balance();
        node.shutdown();
        std::fs::remove_file(path_of(setup.snapshots(), generation.id)).expect("removed");
    }
    assert_eq!(setup.audit().snapshot, None);
}

/// T18: a damaged generation is passed over, however it is damaged; the log leads to the same state without it.
#[test]
fn damaged_generations_are_passed_over() {
    const REPLAY: &str = "cargo test -p engine --test engine damaged_generations_are_passed_over";
    let mut random = Random::new(testkit::seed(REPLAY));
    let mut traffic = Traffic::begin(Setup::new(MemoryStorage::new()), &mut random);
    for _ in 0..3 {
        traffic.node.run(traffic.node.engine.snapshot_now()).expect("a snapshot");
    }
    traffic.settle();
    let balances = traffic.balances(&traffic.node);
    let newest = traffic.node.run(traffic.node.engine.shutdown(PATIENCE)).expect("in order");
    let setup = &traffic.setup;
    for round in 0..24 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        copy_generations(setup.snapshots(), directory.path());
        let mut used = newest.id;
        // One generation after the other is damaged, from the newest on; in some rounds all of them.
        for _ in 0..1 + round % 4 {
            let path = path_of(directory.path(), used);
            let mut bytes = std::fs::read(&path).expect("readable");
            match random.below(4) {
                0 => bytes.truncate(random.index(bytes.len())),
                1 => bytes.clear(),
                2 => {
                    let at = random.index(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
                _ => bytes.extend_from_slice(&[0; 16]),
            }
            std::fs::write(&path, bytes).expect("written");
            used -= 1;
        }
        let damaged = setup.with_snapshots(directory.path());
        assert_eq!(damaged.audit().snapshot, (used > 0).then_some(used), "round {round}");
        let node = damaged.start();
        assert_eq!(traffic.balances(&node), balances, "round {round}");
        node.check_trial_balance();
        node.shutdown();
        // The snapshot of this end is the newest now, and whole.
        assert!(damaged.audit().snapshot > Some(newest.id), "round {round}");
    }
}

/// A log that has lost its end must not be taken for the whole: the snapshot knows more than it.
#[test]
fn a_log_behind_its_snapshot_is_refused() {
    let disk = MemoryStorage::new();
    let setup = Setup::new(disk.clone());
    let node = setup.start();
    let (alice, bob) = (node.party("alice"), node.party("bob"));
    node.run(node.engine.fund(&alice.caller, fund(&alice, "10"))).expect("funded");
    node.run(node.engine.snapshot_now()).expect("a snapshot");
    let older = MemoryStorage::with_files(disk.files());
    node.run(node.engine.pay(&alice.caller, pay(&alice, bob.wallet, "5"))).expect("paid");
    let newest = node.shutdown();
    match setup.on(older).try_start().map(drop) {
        Err(StartError::LogBehindSnapshot { generation, covers, end }) => {
            assert_eq!((generation, covers), (newest.id, newest.summary.covers));
            assert!(end.get() < covers);
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    let restored = setup.start();
    assert_eq!(restored.available(&bob), amount("5"), "the right log is fine");
    restored.shutdown();
}

fn path_of(directory: &Path, id: u64) -> PathBuf {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let is_it = |path: &PathBuf| path.to_string_lossy().contains(&format!("{id:020}"));
    paths.find(is_it).expect("the generation's file")
}

fn copy_generations(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}
