//! The ractor shell of a wallet's owner: woken, it carries out what the inbox holds; told to, it goes back to rest.

use std::sync::Arc;

use ledger::{Wallet, WalletId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{inbox::Inbox, message::Work, owner::Owner};
use crate::{release::Requester, shared::Shared};

/// The only message: look into the inbox.
pub(super) struct Wake;

pub(super) struct WalletActor;

pub(super) struct Arguments {
    pub(super) id: WalletId,
    pub(super) wallet: Box<Wallet>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct State {
    id: WalletId,
    /// `None` once it has gone back to rest.
    wallet: Option<Box<Wallet>>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    /// Kept between passes for its capacity.
    work: Vec<Work>,
}

/// Passes over the inbox per wake-up. A hot wallet gives the worker back after this many, so that others get their
/// turn.
const PASSES_PER_WAKE: usize = 8;

impl Actor for WalletActor {
    type Msg = Wake;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, _: ActorRef<Wake>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { id, wallet, inbox, shared } = arguments;
        Ok(State { id, wallet: Some(wallet), shared, inbox, work: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Wake>,
        _: Wake,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        for _ in 0..PASSES_PER_WAKE {
            match state.pass() {
                Next::Sleep => return Ok(()),
                Next::Continue => {}
                Next::Rested => {
                    myself.stop(None);
                    return Ok(());
                }
            }
        }
        myself.send_message(Wake)?;
        Ok(())
    }
}

/// What the actor does after a pass.
enum Next {
    /// Nothing waits.
    Sleep,
    /// Look again.
    Continue,
    /// The wallet is back at rest; the actor ends.
    Rested,
}

impl State {
    /// Takes what waits and carries it out.
    fn pass(&mut self) -> Next {
        let Some(wallet) = &mut self.wallet else { return Next::Sleep };
        if !self.inbox.take(&mut self.work, wallet) {
            return Next::Sleep;
        }
        let mut owner = Owner::new(self.id, wallet, &self.shared);
        let mut rest = false;
        for work in self.work.drain(..) {
            match work {
                Work::Command(asked, parked) => {
                    let here = owner.carry_out(asked, Requester::There(parked));
                    assert!(here.is_none(), "the requester is on another task");
                }
                Work::Row(reply) => owner.row(reply),
                Work::ForgetKeys { part } => {
                    if let Some(part) = owner.forget_keys(part) {
                        // Behind what came in meanwhile. The actor is awake and looks again.
                        let _ = self.inbox.push(Work::ForgetKeys { part }, usize::MAX);
                    }
                }
                Work::Rest => rest = true,
            }
        }
        if rest { self.rest() } else { Next::Continue }
    }

    /// Goes back to rest, unless something waits or a decision is not delivered yet.
    fn rest(&mut self) -> Next {
        let wallet = self.wallet.take().expect("only a wallet in hand is put to rest");
        if !self.shared.delivered.covers(wallet.decided) {
            self.wallet = Some(wallet);
            return Next::Continue;
        }
        match self.shared.registry.rest(self.id, wallet, &self.inbox) {
            Ok(()) => Next::Rested,
            Err(wallet) => {
                self.wallet = Some(wallet);
                Next::Continue
            }
        }
    }
}
