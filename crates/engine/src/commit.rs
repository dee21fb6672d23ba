//! The commit stream: after each sync it walks the batch in log order, delivers every record's postings to the owners
//! that did not decide it, moves the delivered position, and only then releases the replies that waited.
//!
//! Runs as one task. Nothing in it can refuse: what is in the log has happened.

use std::sync::Arc;

use journal::{Kind, Owner, View};
use ledger::{Account, Fact, Position, Posting, Token, TokenReserved, Wallet, WalletId};
use tokio::sync::mpsc;
use wal::{Committed, Event, Lsn};

use crate::{
    release::Companion,
    requesters::Requesters,
    shared::Shared,
    totals::{SUSPENSE, TotalsAt},
};

/// Delivers batches until the log's thread ends.
pub(crate) async fn run(shared: Arc<Shared>, mut events: mpsc::UnboundedReceiver<Event<Companion>>) {
    let mut foreign = Foreign::default();
    let mut requesters = Requesters::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::Committed(committed) => {
                deliver(&shared, &mut foreign, &mut requesters, committed);
            }
            Event::Poisoned { error, companions } => fail(&shared, &error, companions),
        }
    }
}

/// Postings of a batch on wallets that did not decide them, in log order; empty between two batches.
#[derive(Default)]
struct Foreign {
    wallets: Vec<WalletId>,
    postings: Vec<(Posting, Position)>,
}

impl Foreign {
    fn push(&mut self, wallet: WalletId, posting: Posting, position: Position) {
        self.wallets.push(wallet);
        self.postings.push((posting, position));
    }

    fn deliver(&mut self, shared: &Shared, totals: &mut TotalsAt) {
        shared.registry.post_each(&self.wallets, &self.postings, |posting, exists| {
            if exists {
                totals.post_wallets(posting.currency, posting.total());
            } else {
                totals.system.post(&Posting { account: SUSPENSE, ..*posting });
            }
        });
        self.wallets.clear();
        self.postings.clear();
    }
}

fn deliver(
    shared: &Shared,
    foreign: &mut Foreign,
    requesters: &mut Requesters,
    mut committed: Committed<Companion>,
) {
    {
        let mut totals = shared.totals.lock();
        for (lsn, payload) in committed.records() {
            let view = journal::view(payload).expect("a batch that was just written reads back");
            post(shared, &mut totals, foreign, lsn, &view);
            shared.delivered.saw(lsn);
        }
        foreign.deliver(shared, &mut totals);
        // A watermark holds no record and moves the end all the same: totals never stay behind what is delivered.
        totals.end = committed.end();
    }
    shared.delivered.advance(committed.end());
    shared.metrics.batch(committed.stats(), committed.companions.len());
    for companion in committed.companions.drain(..) {
        if let Some(task) = companion.task() {
            requesters.saw(task);
        }
        companion.release();
    }
    if let Some(round) = requesters.ends_batch() {
        shared.wal.gather_to(round.count.div_ceil(3));
        shared.rush.judge(round);
    }
}

/// The log failed: everybody who waits is told that the outcome is unknown, and the process is told to end.
fn fail(shared: &Shared, error: &wal::Error, companions: Vec<Companion>) {
    tracing::error!(%error, waiting = companions.len(), "the log failed; nothing more is acknowledged");
    shared.status.set_failed();
    for companion in companions {
        companion.fail();
    }
}

/// Everything that the record at `lsn` does to others than its owner; what it posts on wallets is kept for the end of the
/// batch.
fn post(shared: &Shared, totals: &mut TotalsAt, foreign: &mut Foreign, lsn: Lsn, view: &View<'_>) {
    match view.owner() {
        Owner::Wallet(wallet) => {
            let mut currency = None;
            view.for_each_foreign(|posting| {
                currency = Some(posting.currency);
                post_foreign(totals, foreign, lsn, posting);
            });
            // A record without foreign postings moves no money: it would not balance.
            if let (Some(currency), Some(change)) = (currency, view.change()) {
                totals.post_owner(currency, &change);
            }
            if !shared.budgets.is_empty()
                && let Some(spending) = view.spending()
                && let Some((agent, _)) = shared.registry.facts(wallet)
            {
                shared.budgets.spent(agent, spending, view.at(), lsn);
            }
            if let Some(call) = view.refunded_call() {
                shared.services.refunded(&call, position(lsn, 0));
            }
            if view.kind() == Kind::TokenReserved
                && let Fact::TokenReserved(reserved) = owned(view)
            {
                bring_to_life(shared, lsn, &reserved);
            }
        }
        Owner::Token(token) => {
            if view.kind() == Kind::TokenEnded
                && let Fact::TokenEnded(ended) = owned(view)
            {
                view.for_each_foreign(|posting| {
                    if let Some(release) = posting.release {
                        shared.budgets.released(ended.terms.payer_agent, release, lsn);
                    }
                    post_foreign(totals, foreign, lsn, posting);
                });
                shared.services.saw(&ended, position(lsn, 0));
                shared.tokens.closed(token, position(lsn, 0));
            }
        }
        Owner::Service(_) => match owned(view) {
            Fact::ServiceChanged(changed) => shared.services.publish(lsn, &changed),
            Fact::TrustChanged(changed) => shared.services.publish_trust(&changed),
            _ => unreachable!("no other record is owned by a service"),
        },
        // The timer thread has applied it when it decided, a budget has too.
        Owner::Clock | Owner::Budget(_) => {}
        Owner::Directory(_) => {
            publish(shared, lsn, &owned(view));
        }
    }
}

fn owned(view: &View<'_>) -> Fact {
    view.to_fact().expect("a record that was just written reads back")
}

/// A token exists for others once its reservation is durable; its timer runs from then on.
fn bring_to_life(shared: &Shared, lsn: Lsn, reserved: &TokenReserved) {
    let id = position(lsn, 0);
    shared.tokens.insert(id, Token::reserved(reserved, id));
    shared.timers.arm(id, reserved.expires_at);
}

fn post_foreign(totals: &mut TotalsAt, foreign: &mut Foreign, lsn: Lsn, posting: Posting) {
    match posting.account {
        Account::Wallet(wallet) => foreign.push(wallet, posting, position(lsn, posting.item)),
        Account::System(_) => totals.system.post(&posting),
    }
}

/// Position of item `item` of the record at `lsn`. A record has more bytes than items, so positions are unique.
pub(crate) fn position(lsn: Lsn, item: u32) -> Position {
    Position::new(lsn.get() + u64::from(item))
}

/// Makes a directory record visible: wallets come to life, keys open doors or close them.
pub(crate) fn publish(shared: &Shared, lsn: Lsn, fact: &Fact) {
    match fact {
        Fact::AgentCreated(created) => {
            shared.directory.publish_agent(created.agent, &created.operator, &created.keys);
            let wallet = Wallet::open(created.agent, created.currency, None, created.at, position(lsn, 0));
            shared.registry.insert(created.wallet, wallet);
        }
        Fact::WalletOpened(opened) => {
            let wallet = Wallet::open(
                opened.agent,
                opened.currency,
                opened.label.clone(),
                opened.at,
                position(lsn, 0),
            );
            shared.registry.insert(opened.wallet, wallet);
        }
        Fact::KeyAdded(added) => shared.directory.publish_key(added.agent, &added.key),
        Fact::KeyRevoked(revoked) => shared.directory.publish_revoked(revoked.key, revoked.at),
        Fact::KeysRotated(rotated) => {
            shared.directory.publish_rotated(rotated.agent, &rotated.key, rotated.old_expire_at);
        }
        Fact::WebhookChanged(changed) => shared.webhooks.publish(lsn, changed),
        Fact::Funding(_)
        | Fact::Payment(_)
        | Fact::PaymentBatch(_)
        | Fact::StatusChange(_)
        | Fact::PolicyChanged(_)
        | Fact::PolicyDenied(_)
        | Fact::AgentPolicyChanged(_)
        | Fact::TokenReserved(_)
        | Fact::TokenStepped(_)
        | Fact::TokenEnded(_)
        | Fact::ServiceChanged(_)
        | Fact::TrustChanged(_)
        | Fact::Clock(_)
        | Fact::Refund(_)
        | Fact::DisputeOpened(_)
        | Fact::EvidenceAdded(_)
        | Fact::DisputeMoved(_) => unreachable!("not owned by the directory"),
    }
}
