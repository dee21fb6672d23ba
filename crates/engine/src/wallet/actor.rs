//! The ractor shell of a wallet's owner: woken, it carries out what the inbox holds; told to, it goes back to rest.

use std::sync::Arc;

use ledger::{Wallet, WalletId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    inbox::Inbox,
    message::Work,
    owner::{Next, Owner},
};
use crate::shared::Shared;

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
    /// `None` once the wallet has gone back to rest.
    owner: Option<Owner>,
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
        Ok(State { owner: Some(Owner::new(id, wallet, shared)), inbox, work: Vec::new() })
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

impl State {
    /// Takes what waits and carries it out.
    fn pass(&mut self) -> Next {
        let Some(owner) = &mut self.owner else { return Next::Sleep };
        if !self.inbox.take(&mut self.work, &mut owner.wallet) {
            return Next::Sleep;
        }
        let mut rest = false;
        for work in self.work.drain(..) {
            match work {
                Work::Command(command, parked) => owner.carry_out(command, parked),
                Work::Row(reply) => owner.row(reply),
                Work::Rest => rest = true,
            }
        }
        if !rest {
            return Next::Continue;
        }
        match self.owner.take().expect("present above").rest(&self.inbox) {
            Ok(()) => Next::Rested,
            Err(owner) => {
                self.owner = Some(*owner);
                Next::Continue
            }
        }
    }
}
