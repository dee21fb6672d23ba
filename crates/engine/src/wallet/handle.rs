//! The engine's grip on an active wallet: its inbox, its immutable facts, and the way to wake it. The `ActorRef` does
//! not leave this folder.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use ledger::{AgentId, Currency, Position, Posting, Wallet, WalletId};
use ractor::{ActorRef, ActorRuntime};

use super::{
    actor::{Arguments, Wake, WalletActor},
    inbox::{Inbox, Pushed},
    message::Work,
};
use crate::shared::Shared;

pub(crate) struct Handle {
    pub(crate) agent: AgentId,
    pub(crate) currency: Currency,
    inbox: Arc<Inbox>,
    actor: ActorRef<Wake>,
    /// Commands since the last sweep.
    commands: AtomicU32,
}

impl Handle {
    /// Starts the actor of a wallet that was at rest. It takes messages at once; the caller holds the registry's write
    /// guard and puts the handle into the slot.
    pub(crate) fn activate(id: WalletId, wallet: Box<Wallet>, shared: &Arc<Shared>) -> Self {
        let (agent, currency) = (wallet.agent, wallet.currency);
        let inbox = Arc::new(Inbox::default());
        let arguments = Arguments { id, wallet, inbox: inbox.clone(), shared: shared.clone() };
        let (actor, _) = ActorRuntime::spawn_instant(None, WalletActor, arguments)
            .expect("spawning fails only for a name that is taken, and wallets have none");
        Self { agent, currency, inbox, actor, commands: AtomicU32::new(0) }
    }

    /// Hands work to the owner; gives it back when `max` pieces wait already.
    pub(crate) fn push(&self, work: Work, max: usize) -> Result<(), Work> {
        if matches!(work, Work::Command(..)) {
            self.commands.fetch_add(1, Ordering::Relaxed);
        }
        match self.inbox.push(work, max) {
            Pushed::Awake => Ok(()),
            Pushed::Wake => {
                // An actor ends at rest, when it is out of reach, or with its runtime. Then the process is ending, which
                // must not turn into a panic: whoever waits learns that there will be no answer.
                if self.actor.send_message(Wake).is_err() {
                    self.inbox.abandon();
                }
                Ok(())
            }
            Pushed::Full(work) => Err(work),
        }
    }

    pub(crate) fn post(&self, posting: &Posting, position: Position) {
        self.inbox.post(posting, position);
    }

    /// Commands since this was asked last.
    pub(crate) fn take_commands(&self) -> u32 {
        self.commands.swap(0, Ordering::Relaxed)
    }
}
