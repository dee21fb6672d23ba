//! The run that is recorded: several clients at once, each noting what it was told.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use engine::{Answer, Engine, PayBatch, PaymentReceipt, Refusal, WalletView};
use ledger::{Amount, BatchItem, Currency, FundCommand, PayCommand, WalletId, WalletStatus};
use testkit::Random;
use wal::testing::{Call, FaultyStorage};

use crate::harness::{
    Node, Party, Setup, batch, batch_item, external, fund, fund_keyed, key, open_wallet, pay, pay_keyed,
};

const CLIENTS: usize = 8;
const OPERATIONS: usize = 250;
const WALLETS: usize = 10;

/// Something that somebody was told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Paid(PayCommand, PaymentReceipt),
    Batch(PayBatch, Answer<Vec<Result<Answer<PaymentReceipt>, Refusal>>>),
    Funded(FundCommand, engine::FundReceipt),
    Opened(WalletView),
    /// So many freezes and unfreezes of the wallet that is switched.
    Switched(usize),
    /// What a wallet had that is only paid.
    SinkHas(Amount),
    /// What a wallet had left that only pays.
    SourceHas(Amount),
    /// The books were shown up to this position.
    Books(u64),
    /// A snapshot was finished.
    Snapshot(u64),
}

/// Who takes part.
#[derive(Clone)]
pub(super) struct Cast {
    pub(super) parties: Vec<Party>,
    pub(super) sink: Party,
    pub(super) source: Party,
    pub(super) switched: Party,
}

pub(super) struct Recording {
    pub(super) setup: Setup,
    pub(super) cast: Cast,
    pub(super) calls: Vec<Call>,
    /// Each with how many of the calls had been made when it was told.
    pub(super) told: Vec<(usize, Told)>,
    /// Items of each keyed batch of one payer, by its key, whether it was answered or not.
    pub(super) sent: HashMap<String, usize>,
}

/// The notes of all clients, each with how many calls the disk had seen by then.
struct Notes {
    disk: FaultyStorage,
    told: Mutex<Vec<(usize, Told)>>,
    sent: Mutex<HashMap<String, usize>>,
    /// Clients that have finished.
    done: AtomicUsize,
}

impl Notes {
    fn told(&self) -> MutexGuard<'_, Vec<(usize, Told)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: Told) {
        let mut told = self.told();
        // Counted under the lock, so that the counts grow.
        let calls = self.disk.call_count();
        told.push((calls, what));
    }
}

impl Recording {
    pub(super) fn make(seed: u64) -> Self {
        let disk = FaultyStorage::new();
        let mut setup = Setup::new(disk.clone()).with_many_segments().tuned(|options| {
            options.wal.watermark_after = Duration::from_millis(2);
            options.idle_after = Duration::from_millis(4);
            options.snapshots_kept = usize::MAX;
        });
        setup.workers = 3;
        let node = setup.start();
        let cast = Cast::assemble(&node);
        let notes = Arc::new(Notes {
            disk: disk.clone(),
            told: Mutex::default(),
            sent: Mutex::default(),
            done: AtomicUsize::new(0),
        });
        let mut random = Random::new(seed);
        let mut tasks: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (engine, cast, notes) = (node.engine.clone(), cast.clone(), notes.clone());
                let random = Random::new(random.next_u64());
                node.spawn(Client { number, engine, cast, notes, random, switches: 0 }.work())
            })
            .collect();
        tasks.push(node.spawn(watch(node.engine.clone(), cast.clone(), notes.clone())));
        node.run(async move {
            for task in tasks {
                task.await.expect("no task panics");
            }
        });
        node.kill();
        let told = std::mem::take(&mut *notes.told());
        let sent = std::mem::take(&mut *notes.sent.lock().unwrap_or_else(PoisonError::into_inner));
        Self { setup, cast, calls: disk.calls(), told, sent }
    }

    /// Copies the generations that were finished when `told` answers had been given.
    pub(super) fn copy_snapshots(&self, told: usize, to: &Path) {
        let finished: Vec<String> = self.told[..told]
            .iter()
            .filter_map(|(_, told)| match told {
                Told::Snapshot(id) => Some(format!("{id:020}")),
                _ => None,
            })
            .collect();
        // The two newest: recovery needs no more, and there are many.
        let kept = &finished[finished.len().saturating_sub(2)..];
        for entry in std::fs::read_dir(self.setup.snapshots()).expect("the snapshots") {
            let path: PathBuf = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if kept.iter().any(|id| name.contains(id)) {
                std::fs::copy(&path, to.join(name)).expect("a copy");
            }
        }
    }
}

impl Cast {
    fn assemble(node: &Node) -> Self {
        let parties: Vec<_> = (0..WALLETS).map(|index| node.party(&format!("party {index}"))).collect();
        let (sink, source, switched) = (node.party("sink"), node.party("source"), node.party("switched"));
        for party in parties.iter().chain([&source]) {
            node.run(node.engine.fund(&party.caller, fund(party, "10000"))).expect("funded");
        }
        Self { parties, sink, source, switched }
    }

    /// Callers are known by their agent; places are counted by whoever calls.
    pub(super) fn owner(&self, wallet: WalletId) -> &Party {
        let everybody = self.parties.iter().chain([&self.sink, &self.source, &self.switched]);
        everybody.into_iter().find(|party| party.wallet == wallet).expect("one of the cast")
    }
}

struct Client {
    number: usize,
    engine: Engine,
    cast: Cast,
    notes: Arc<Notes>,
    random: Random,
    switches: usize,
}

impl Client {
    async fn work(mut self) {
        for operation in 0..OPERATIONS {
            match self.random.below(100) {
                0..50 => self.pay(operation).await,
                50..64 => self.batch(operation, false).await,
                64..70 => self.batch(operation, true).await,
                70..76 => self.fund(operation).await,
                76..86 => self.drain().await,
                86..90 => self.open().await,
                90..95 => self.switch().await,
                95..97 => tokio::time::sleep(Duration::from_millis(self.random.below(8))).await,
                _ => self.repeat().await,
            }
        }
        self.notes.done.fetch_add(1, Ordering::Release);
    }

    fn party(&mut self) -> Party {
        self.random.pick(&self.cast.parties).clone()
    }

    fn amount(&mut self) -> Amount {
        Amount::from_nanos(1 + i128::from(self.random.below(3_000_000_000)))
    }

    fn text(&self, operation: usize) -> String {
        format!("{}-{operation}", self.number)
    }

    async fn pay(&mut self, operation: usize) {
        let (payer, payee) = (self.party(), self.party());
        let command = pay_keyed(&payer, payee.wallet, "1", &self.text(operation), operation as u64);
        let mut command = PayCommand { amount: self.amount(), ..command };
        if payee.wallet == payer.wallet {
            command.payee = external("shop");
        }
        if let Ok(answer) = self.engine.pay(&payer.caller, command.clone()).await {
            self.notes.note(Told::Paid(command, answer.value));
        }
    }

    /// A batch of one payer, or of two.
    async fn batch(&mut self, operation: usize, mixed: bool) {
        let (payer, other) = (self.party(), self.party());
        let mut items = Vec::new();
        for index in 0..1 + self.random.index(9) {
            let payer = if mixed && index % 2 == 1 { &other } else { &payer };
            let amount = if self.random.chance(5) { Amount::MAX } else { self.amount() };
            let item = batch_item(self.cast.sink.wallet, "1");
            items.push((payer.wallet, BatchItem { amount, ..item }));
        }
        let text = format!("batch-{}", self.text(operation));
        let payers: Vec<WalletId> = items.iter().map(|(payer, _)| *payer).collect();
        if payers.iter().all(|payer| *payer == payers[0]) {
            let mut sent = self.notes.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(text.clone(), items.len());
        }
        let atomic = !mixed && self.random.chance(50);
        let request = PayBatch { atomic, key: key(&text, 1), ..batch(items) };
        // Both payers belong to different agents: one of them is a stranger's wallet then.
        if let Ok(answer) = self.engine.pay_batch(&payer.caller, request.clone()).await {
            self.notes.note(Told::Batch(request, answer));
        }
    }

    async fn fund(&mut self, operation: usize) {
        let party = self.party();
        let command = fund_keyed(&party, "1", &self.text(operation), operation as u64);
        if let Ok(answer) = self.engine.fund(&party.caller, command.clone()).await {
            self.notes.note(Told::Funded(command, answer.value));
        }
    }

    async fn drain(&mut self) {
        let source = self.cast.source.clone();
        let command = PayCommand { amount: self.amount(), ..pay(&source, self.cast.sink.wallet, "1") };
        if let Ok(answer) = self.engine.pay(&source.caller, command.clone()).await {
            self.notes.note(Told::Paid(command, answer.value));
        }
    }

    async fn open(&mut self) {
        let party = self.party();
        if let Ok(answer) = self.engine.open_wallet(&party.caller, open_wallet(Currency::EUR)).await {
            self.notes.note(Told::Opened(answer.value));
        }
    }

    /// Only one client switches, so that it knows how often.
    async fn switch(&mut self) {
        if self.number != 0 {
            return;
        }
        let wanted =
            if self.switches.is_multiple_of(2) { WalletStatus::Frozen } else { WalletStatus::Active };
        let (party, at) = (self.cast.switched.clone(), self.engine.clock().now());
        let view = self.engine.set_status(&party.caller, party.wallet, wanted, at).await.expect("in turn");
        assert_eq!(view.status, wanted);
        self.switches += 1;
        self.notes.note(Told::Switched(self.switches));
    }

    /// The same request again, sometimes while the first is under way elsewhere.
    async fn repeat(&mut self) {
        let earlier = {
            let told = self.notes.told();
            let recent = &told[told.len().saturating_sub(40)..];
            let is_paid = |told: &&Told| matches!(told, Told::Paid(command, _) if command.key.is_some());
            recent.iter().rev().map(|(_, told)| told).find(is_paid).cloned()
        };
        let Some(Told::Paid(command, receipt)) = earlier else { return };
        let caller = self.cast.owner(command.payer).caller.clone();
        let again = self.engine.pay(&caller, command).await.expect("it was paid before");
        assert!(again.replayed && again.value == receipt);
    }
}

/// Reads all the time, and takes snapshots, until every client is done.
async fn watch(engine: Engine, cast: Cast, notes: Arc<Notes>) {
    for round in 0_u32.. {
        // Looked at first, so that a last round follows the last operation.
        let done = notes.done.load(Ordering::Acquire) == CLIENTS;
        let sink = engine.wallet(&cast.sink.caller, cast.sink.wallet).await.expect("one's own wallet");
        notes.note(Told::SinkHas(sink.available));
        let source = engine.wallet(&cast.source.caller, cast.source.wallet).await.expect("one's own wallet");
        notes.note(Told::SourceHas(source.available));
        notes.note(Told::Books(engine.trial_balance().lsn));
        if done || round % 4 == 0 {
            let generation = engine.snapshot_now().await.expect("a snapshot");
            notes.note(Told::Snapshot(generation.id));
        }
        if done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
