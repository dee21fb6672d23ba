//! The engine's public face: start, commands, shutdown. Everything a request needs goes through [`Engine`]; nothing
//! behind it is visible outside this crate.

mod wallets;

use std::{
    future::poll_fn,
    num::NonZeroU64,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use history::History;
use ledger::{
    Agent, AgentId, Amount, BatchItem, Denial, FundCommand, IdSealer, Key, KeyId, OpenWalletCommand,
    PayCommand, Payee, Payment, Policy, Position, Timestamp, WalletId, WalletStatus,
};
use parking_lot::Mutex;
use snapshot::{Generation, SnapshotStore};
use spread::Rate;
use tokio::sync::{mpsc, oneshot};
use wal::Log;

use crate::{
    admission::{Admission, AgentMeter, Permit},
    background, batch,
    clock::{Clock, Entropy},
    commit,
    delivered::Delivered,
    denied::DeniedLately,
    directory::{self, PublishedDirectory},
    follower::Follower,
    keys::{Keys, Spiller},
    line::{Line, LogTakes},
    metrics::Metrics,
    options::Options,
    reads::Reads,
    recovery::{self, StartError},
    refusal::Refusal,
    registry::{Handed, WalletFacts},
    release::{Decided, Delivery, Parked, Reply, Seat, Undelivered},
    rush::Rush,
    service::Services,
    shared::Shared,
    snapshots::{self, SnapshotError},
    status::Status,
    timer::{Supervisor, Timekeeper, TimerInbox, TimerStats},
    views::{
        Answer, Caller, FundReceipt, Gauges, KeyRecord, NewAgent, OpenWallet, PayBatch, PaymentReceipt,
        PolicyView, TrialBalance, WalletView,
    },
    wallet::{Asked, Command, preview},
    webhook::PublishedWebhooks,
};

/// Whoever pays has the core when both want it.
const SNAPSHOT_NICENESS: i32 = 10;

/// One partition's ledger: recovered, running, and asked through this handle. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    directory: directory::Handle,
    snapshots: Arc<dyn SnapshotStore>,
    /// One snapshot at a time.
    snapshotting: tokio::sync::Mutex<()>,
    reads: Reads,
    follower: Mutex<Option<Follower>>,
    spiller: Mutex<Option<Spiller>>,
    /// Ends its thread when the engine goes.
    _timers: Supervisor,
}

/// Where the history index lives.
#[derive(Clone, Debug)]
pub struct HistoryAt {
    /// The index's own directory; a damaged one is set aside beside it.
    pub directory: PathBuf,
    pub options: history::Options,
}

/// A shutdown that could not keep its promise; the log still holds everything that was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    #[error("{in_flight} payments were still under way at the deadline; their outcome is in the log")]
    Deadline { in_flight: u32 },
    #[error("the log could not be closed in order")]
    Log(#[from] wal::Error),
    #[error("the last snapshot could not be taken; the next start replays the log instead")]
    Snapshot(#[from] SnapshotError),
}

impl Engine {
    /// Recovers from snapshot and log on a blocking thread, then starts owners, commit stream and followers on the
    /// current runtime.
    pub async fn start(
        options: Options,
        storage: Arc<dyn wal::Storage>,
        snapshots: Arc<dyn SnapshotStore>,
        history: Option<HistoryAt>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        status: Status,
    ) -> Result<Self, StartError> {
        options.rules.validate()?;
        if !options.rules.currencies.contains(&options.default_currency) {
            return Err(StartError::DefaultCurrency(options.default_currency));
        }
        let (log, rebuilt, history, keys) = {
            let (options, now) = (options.clone(), clock.now());
            let (snapshots, status) = (snapshots.clone(), status.clone());
            let recovering = tokio::task::spawn_blocking(move || {
                let rules = &options.rules;
                let log = Log::open(storage, options.wal.clone())?;
                let keys = Keys::open(&options.keys, rules)?;
                let rebuilt = recovery::recover(&log, &*snapshots, &keys, now, rules, &status)?;
                let open = |at: HistoryAt| History::open(&at.directory, &log.reader(), at.options);
                let history = history.map(open).transpose()?;
                Ok::<_, StartError>((log, rebuilt, history, keys))
            });
            recovering.await.expect("recovery does not panic")?
        };
        if let Some(risk) = log.residual_risk() {
            tracing::warn!(risk, "recovery cannot exclude this");
        }
        tracing::info!(
            records = rebuilt.records,
            wallets = rebuilt.registry.len(),
            agents = rebuilt.agents.len(),
            end = log.end().get(),
            "recovered"
        );
        let delivered = Arc::new(Delivered::default());
        delivered.saw(rebuilt.newest);
        delivered.advance(log.end());
        let published = PublishedDirectory::new();
        for agent in rebuilt.agents.values() {
            published.publish_agent(agent.id, &agent.operator, &agent.keys);
        }
        let (events, batches) = mpsc::unbounded_channel();
        // Unbounded, because a batch exists only for admitted commands, and those are bounded.
        let wal = log.start(move |event| drop(events.send(event)))?;
        let time =
            Timekeeper::start(clock.clone(), rebuilt.outages, options.clock_jump_max, options.outage_max);
        let shared = Arc::new(Shared {
            rules: options.rules.clone(),
            registry: rebuilt.registry,
            tokens: rebuilt.tokens,
            services: Services::recovered(rebuilt.services),
            claims: rebuilt.claims,
            time,
            timers: TimerInbox::default(),
            timer_stats: TimerStats::default(),
            directory: published,
            webhooks: PublishedWebhooks::recovered(&rebuilt.webhooks),
            budgets: rebuilt.budgets,
            denied: DeniedLately::default(),
            keys: Arc::new(keys),
            totals: Mutex::new(rebuilt.totals),
            delivered,
            admission: Admission::new(options.in_flight_max, options.in_flight_per_agent_max),
            line: Line::default(),
            rush: Rush::default(),
            snapshot_rate: Arc::new(Rate::new(NonZeroU64::new(options.snapshot_bytes_per_second))),
            sealer: IdSealer::new(&options.id_key),
            clock,
            entropy,
            status: status.clone(),
            metrics: Metrics::new(),
            wal,
            options,
        });
        tokio::spawn(commit::run(shared.clone(), batches));
        let directory = directory::Handle::start(rebuilt.agents, rebuilt.webhooks, shared.clone()).await;
        let follower = history.map(|history| Follower::start(history, &shared.wal.reader()));
        let spiller = Mutex::new(Spiller::start(&shared, directory.clone()));
        let reads = Reads::new(shared.clone(), follower.as_ref().map(Follower::history));
        let indexed = {
            let reads = reads.clone();
            move || reads.history_cursor()
        };
        let (timers, caught_up) = Supervisor::start(shared.clone(), indexed);
        // What ran out while nobody was here is decided before anybody is served.
        if caught_up.await.is_err() {
            tracing::error!("the timer thread ended before its first round was over");
        }
        let follower = Mutex::new(follower);
        let snapshotting = tokio::sync::Mutex::default();
        let engine = Self(Arc::new(Inner {
            shared,
            directory,
            snapshots,
            snapshotting,
            reads,
            follower,
            spiller,
            _timers: timers,
        }));
        engine.spawn_housekeeping();
        status.set_ready();
        Ok(engine)
    }

    /// Where the engine stands.
    pub fn status(&self) -> &Status {
        &self.0.shared.status
    }

    /// The clock that was given at start.
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.shared.clock
    }

    /// The settings that were given at start.
    pub fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// Whether requests come so densely that it pays to look for them instead of sleeping.
    pub fn rush(&self) -> Rush {
        self.0.shared.rush.clone()
    }

    /// Figures for the metrics exporter. Costs a walk over the shards' lengths.
    pub fn gauges(&self) -> Gauges {
        let shared = &self.0.shared;
        // What follows is read before what it follows, so that no figure is ahead of one that bounds it.
        let history_cursor = self.0.reads.history_cursor();
        let spilled = shared.keys.spilled();
        let delivered_lsn = shared.delivered.end().get();
        let durable_lsn = shared.wal.durable_lsn().get();
        Gauges {
            appended_lsn: shared.wal.appended_lsn().get(),
            durable_lsn,
            delivered_lsn,
            wallets: shared.registry.len() as u64,
            agents: shared.directory.agents(),
            active_actors: shared.registry.active_len(),
            in_flight: u64::from(shared.admission.in_flight()),
            waiting_for_segment: shared.line.len(),
            history_cursor: history_cursor.unwrap_or(durable_lsn),
            keys_in_memory: shared.keys.in_memory(),
            keys_on_disk: spilled.keys,
            key_files: spilled.runs,
            key_filter_bytes: spilled.filter_bytes,
            services: shared.services.len() as u64,
            webhooks: shared.webhooks.len() as u64,
            tokens: shared.tokens.len() as u64,
            open_tokens: shared.tokens.open_len(),
            claims: shared.claims.len() as u64,
            open_disputes: shared.claims.open_disputes(),
            timers: shared.timers.live(),
            deadlines_fired: shared.timer_stats.fired.load(Ordering::Relaxed),
            served_until_ms: shared.time.late().millis(),
            clock_frozen: u64::from(shared.time.is_frozen()),
        }
    }

    /// Sums of all accounts at the delivered position.
    pub fn trial_balance(&self) -> TrialBalance {
        self.0.shared.totals.lock().trial_balance()
    }

    /// A durable key.
    pub fn key(&self, id: KeyId) -> Option<KeyRecord> {
        self.0.shared.directory.key(id)
    }

    /// A durable agent.
    pub async fn agent(&self, id: AgentId) -> Result<Option<Agent>, Refusal> {
        let permit = self.admit_read(&Arc::default(), 1)?;
        match self.ask_directory(directory::Command::Read(id), permit).await? {
            Reply::Agent(agent) => Ok(agent.map(|agent| *agent)),
            reply => unexpected(&reply),
        }
    }

    /// Registers an agent with its keys and a first wallet.
    pub async fn create_agent(&self, new: NewAgent) -> Result<Agent, Refusal> {
        let permit = self.admit(&Arc::default(), 1).await?;
        match self.ask_directory(directory::Command::Create(Box::new(new)), permit).await? {
            Reply::Agent(Some(agent)) => Ok(*agent),
            reply => unexpected(&reply),
        }
    }

    pub async fn add_key(&self, agent: AgentId, key: Key) -> Result<(), Refusal> {
        self.change_keys(directory::Command::AddKey { agent, key: Box::new(key) }).await
    }

    pub async fn revoke_key(&self, agent: AgentId, key: KeyId, at: Timestamp) -> Result<(), Refusal> {
        self.change_keys(directory::Command::RevokeKey { agent, key, at }).await
    }

    /// Adds a key; the agent's other keys of its kind end at `old_expire_at`.
    pub async fn rotate_keys(
        &self,
        agent: AgentId,
        key: Key,
        old_expire_at: Timestamp,
    ) -> Result<(), Refusal> {
        self.change_keys(directory::Command::Rotate { agent, key: Box::new(key), old_expire_at }).await
    }

    pub async fn open_wallet(
        &self,
        caller: &Caller,
        command: OpenWallet,
    ) -> Result<Answer<WalletView>, Refusal> {
        let shared = &self.0.shared;
        let permit = self.admit(&caller.meter, 1).await?;
        let command = OpenWalletCommand {
            wallet: WalletId::new(shared.options.partition, shared.random()),
            label: command.label,
            currency: command.currency.unwrap_or(shared.options.default_currency),
            key: command.key,
            at: command.at,
        };
        let command = directory::Command::OpenWallet { agent: caller.agent, command };
        match self.ask_directory(command, permit).await? {
            Reply::Opened(opened) => Ok(Answer::first(WalletView::opened(&opened))),
            Reply::Replay(place) => {
                self.0.reads.opened(place).await.map(|fact| Answer::again(WalletView::opened(&fact)))
            }
            reply => unexpected(&reply),
        }
    }

    /// Takes a snapshot while payments go on.
    pub async fn snapshot_now(&self) -> Result<Generation, SnapshotError> {
        let _one_at_a_time = self.0.snapshotting.lock().await;
        let inner = self.0.clone();
        let runtime = tokio::runtime::Handle::current();
        let take = move || snapshots::take(&inner.shared, &inner.directory, &*inner.snapshots, &runtime);
        // The runtime waits for the thread when it ends, and whoever hears of the snapshot finds that it let go of the engine.
        let taking = tokio::task::spawn_blocking(move || {
            let thread = background::start("snapshot", SNAPSHOT_NICENESS, take);
            thread.map_err(SnapshotError::Thread)?.join().map_err(|_| SnapshotError::Stopping)?
        });
        taking.await.map_err(|_| SnapshotError::Stopping)?
    }

    /// Stops admission, lets what is under way finish, takes a last snapshot and closes the log.
    ///
    /// What is not finished by `deadline` waits for a disk that does not answer: the snapshot and the closing would wait
    /// for it too, so neither is tried, and the next start replays the log.
    pub async fn shutdown(&self, deadline: Duration) -> Result<Generation, ShutdownError> {
        let shared = &self.0.shared;
        shared.status.set_stopping();
        // Nobody waits for the disk any more but whoever waits for the end.
        shared.snapshot_rate.set(None);
        let drained = tokio::time::timeout(deadline, async {
            while shared.admission.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        if drained.await.is_err() {
            return Err(ShutdownError::Deadline { in_flight: shared.admission.in_flight() });
        }
        let snapshot = self.snapshot_now().await;
        let follower = self.0.follower.lock().take();
        let spiller = self.0.spiller.lock().take();
        let wal = shared.wal.clone();
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(follower) = follower {
                follower.stop();
            }
            if let Some(spiller) = spiller {
                spiller.stop();
            }
            wal.close()
        });
        closing.await.expect("closing does not panic")?;
        shared.status.set_stopped();
        Ok(snapshot?)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// Takes places for a command that will change something, unless the engine takes none now. Waits when the log will
    /// soon have room again; the places are taken before that, so what waits is bounded.
    pub(crate) async fn admit(&self, meter: &Arc<AgentMeter>, weight: u32) -> Result<Permit, Refusal> {
        let shared = &self.0.shared;
        let log = shared.log_takes_changes()?;
        // Nothing is forgotten early for lack of room, so nothing new is taken.
        if shared.keys.is_full() {
            return Err(Refusal::Overloaded);
        }
        let permit = shared.admission.admit(meter, weight)?;
        if log == LogTakes::Later {
            Box::pin(shared.line.wait(shared)).await?;
        }
        Ok(permit)
    }

    /// Takes places for questions to owners: their answers may have to wait for the disk, and what waits is bounded. In
    /// every phase, because reading is never closed.
    pub(crate) fn admit_read(&self, meter: &Arc<AgentMeter>, weight: u32) -> Result<Permit, Refusal> {
        self.0.shared.admission.admit(meter, weight)
    }

    /// Existence, currency and identity never change, so the face checks them; the payer's owner decides the rest.
    /// Whose wallet it is comes first: nobody learns anything through a wallet that is not theirs.
    /// The answer is the agent that owns the payee's wallet.
    fn check_payee(
        &self,
        caller: &Caller,
        payer: WalletId,
        payee: &Payee,
    ) -> Result<Option<AgentId>, Refusal> {
        let currency = self.owned(caller, payer)?;
        let Payee::Wallet(payee) = payee else { return Ok(None) };
        let facts = self.0.shared.registry.facts(*payee);
        judge_payee((payer, currency), *payee, facts)?;
        Ok(facts.map(|(agent, _)| agent))
    }

    /// The currency of a wallet, if it is the caller's.
    pub(crate) fn owned(&self, caller: &Caller, id: WalletId) -> Result<ledger::Currency, Refusal> {
        match self.0.shared.registry.facts(id) {
            Some((agent, currency)) if agent == caller.agent => Ok(currency),
            _ => Err(Denial::UnknownWallet.into()),
        }
    }

    /// Whether the wallet is the agent's. Who owns a wallet never changes, so this waits for nothing.
    pub fn owns(&self, agent: AgentId, wallet: WalletId) -> bool {
        self.owner_of(wallet) == Some(agent)
    }

    fn owner_of(&self, id: WalletId) -> Option<AgentId> {
        self.0.shared.registry.facts(id).map(|(agent, _)| agent)
    }

    /// Waits until everything up to `position` is delivered.
    pub(crate) async fn delivered(&self, position: Position) -> Result<(), Refusal> {
        let shared = self.shared();
        tokio::select! {
            () = shared.delivered.reach(position) => Ok(()),
            () = shared.status.failed() => Err(Refusal::OutcomeUnknown),
        }
    }

    /// Gives a command to a wallet's owner and waits until the reply may be shown.
    pub(crate) async fn ask(
        &self,
        id: WalletId,
        asked: impl Into<Asked>,
        permit: Permit,
    ) -> Result<Reply, Refusal> {
        let asked = asked.into();
        let seen = asked.seen();
        let (reply, delivery) = self.decide(id, asked, permit).await?;
        delivery.await?;
        self.delivered(seen).await?;
        settled(Ok(reply))
    }

    /// Gives a command to a wallet's owner. The reply may be shown once it is delivered.
    async fn decide(
        &self,
        id: WalletId,
        mut asked: Asked,
        permit: Permit,
    ) -> Result<(Reply, Delivery<'_>), Refusal> {
        let keys = &self.0.shared.keys;
        let hashes = || asked.command.key_hashes().into_iter().map(|hash| (id, hash)).collect();
        let warmed = keys.warm(hashes).await;
        asked.absent_below = warmed.absent_below(id);
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let (reply, position) =
            match self.hand(id, asked, Seat { waker: Some(waker.clone()), permit: Some(permit) })? {
                Handed::Decided(Decided { reply, position }) => (reply, position),
                // An actor's reply comes through the log.
                Handed::Queued(receiver) => (settled(receiver.await)?, Position::ZERO),
                Handed::Unknown | Handed::Full => unreachable!("refused above"),
            };
        Ok((reply, Delivery::new(&self.0.shared, position, waker)))
    }

    /// Gives a command to a wallet's owner.
    pub(crate) fn hand(&self, id: WalletId, asked: Asked, seat: Seat) -> Result<Handed, Refusal> {
        let shared = &self.0.shared;
        let max = usize::try_from(shared.options.in_flight_per_wallet_max).unwrap_or(usize::MAX);
        match shared.registry.hand(id, asked, seat, max, shared) {
            Handed::Full => Err(Refusal::TooManyInFlight),
            Handed::Unknown => Err(Denial::UnknownWallet.into()),
            handed => Ok(handed),
        }
    }

    pub(crate) async fn ask_directory(
        &self,
        command: directory::Command,
        permit: Permit,
    ) -> Result<Reply, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let parked = Parked { to: sender, permit: Some(permit), task: None };
        self.0.directory.send(directory::Message::Command(command, parked));
        settled(receiver.await)
    }

    async fn change_keys(&self, command: directory::Command) -> Result<(), Refusal> {
        let permit = self.admit(&Arc::default(), 1).await?;
        match self.ask_directory(command, permit).await? {
            Reply::Done => Ok(()),
            reply => unexpected(&reply),
        }
    }
}

/// Why a wallet in this currency cannot pay the wallet of which this is known.
pub(crate) fn judge_payee(
    (payer, currency): (WalletId, ledger::Currency),
    payee: WalletId,
    facts: Option<WalletFacts>,
) -> Result<(), Denial> {
    let Some((_, payee_currency)) = facts else { return Err(Denial::UnknownPayee) };
    if payee == payer {
        return Err(Denial::SameWallet);
    }
    if payee_currency != currency {
        return Err(Denial::CurrencyMismatch { wallet: payee_currency, requested: currency });
    }
    Ok(())
}

/// A reply that never comes means that the owner ended with the process, after the log had failed.
pub(crate) fn settled(reply: Result<Reply, oneshot::error::RecvError>) -> Result<Reply, Refusal> {
    match reply {
        Ok(Reply::Refused(refusal)) => Err(refusal),
        Ok(reply) => Ok(reply),
        Err(_) => Err(Refusal::OutcomeUnknown),
    }
}

fn unexpected<T>(reply: &Reply) -> T {
    unreachable!("an owner answered with something it was not asked for: {reply:?}")
}
