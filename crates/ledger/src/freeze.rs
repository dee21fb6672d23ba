//! Freezing and unfreezing a wallet.

use crate::{AgentId, Change, Decision, Denial, Timestamp, Wallet, WalletId, WalletStatus};

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct StatusChange {
    pub wallet: WalletId,
    pub status: WalletStatus,
    pub at: Timestamp,
}

impl StatusChange {
    pub fn change(&self) -> Change {
        Change { status: Some(self.status), ..Change::default() }
    }
}

/// Decides a freeze or unfreeze. A status that the wallet has already is [`Denial::WrongStatus`], which an idempotent
/// caller takes as done. Closing is refused with it too: what is still under way to a wallet when it closes needs
/// the suspense account, and no record for that exists.
pub fn decide_status(
    wallet: &Wallet,
    id: WalletId,
    caller: AgentId,
    wanted: WalletStatus,
    at: Timestamp,
) -> Decision<StatusChange> {
    if caller != wallet.agent {
        return Decision::Denied(Denial::UnknownWallet);
    }
    if wallet.status == WalletStatus::Closed {
        return Decision::Denied(Denial::WalletClosed);
    }
    if wallet.status == wanted || wanted == WalletStatus::Closed {
        return Decision::Denied(Denial::WrongStatus { status: wallet.status });
    }
    Decision::Fact(StatusChange { wallet: id, status: wanted, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Currency, Position};
    use WalletStatus::{Active, Closed, Frozen};

    const ID: WalletId = WalletId::from_raw(5);
    const OWNER: AgentId = AgentId::from_raw(1);
    const AT: Timestamp = Timestamp::from_millis(9);

    #[track_caller]
    fn check(
        status: WalletStatus,
        caller: AgentId,
        wanted: WalletStatus,
        expected: Result<WalletStatus, Denial>,
    ) {
        let mut wallet = Wallet::open(OWNER, Currency::USD, None, AT, Position::new(1));
        wallet.status = status;
        let expected = match expected {
            Ok(status) => Decision::Fact(StatusChange { wallet: ID, status, at: AT }),
            Err(denial) => Decision::Denied(denial),
        };
        assert_eq!(decide_status(&wallet, ID, caller, wanted, AT), expected);
    }

    #[test]
    fn a_wallet_is_frozen_and_unfrozen_by_its_owner() {
        check(Active, OWNER, Frozen, Ok(Frozen));
        check(Frozen, OWNER, Active, Ok(Active));
        check(Active, OWNER, Active, Err(Denial::WrongStatus { status: Active }));
        check(Frozen, OWNER, Frozen, Err(Denial::WrongStatus { status: Frozen }));
        check(Active, OWNER, Closed, Err(Denial::WrongStatus { status: Active }));
        check(Closed, OWNER, Active, Err(Denial::WalletClosed));
        check(Closed, OWNER, Closed, Err(Denial::WalletClosed));
        check(Active, AgentId::from_raw(2), Frozen, Err(Denial::UnknownWallet));
        check(Closed, AgentId::from_raw(2), Frozen, Err(Denial::UnknownWallet));
    }

    #[test]
    fn only_the_status_changes() {
        let frozen = StatusChange { wallet: ID, status: Frozen, at: AT };
        assert_eq!(frozen.change(), Change { status: Some(Frozen), ..Change::default() });
    }
}
