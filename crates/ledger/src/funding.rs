//! Sandbox money: the faucet credits a wallet, up to a cap over the wallet's life.

use crate::{
    Account, AgentId, Amount, Change, Currency, Decision, Denial, KeyHash, KeyScope, KeyUse, KeyVerdict,
    Parts, Posting, Rules, SystemAccount, Timestamp, Wallet, WalletId, WalletStatus,
};

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct FundCommand {
    pub caller: AgentId,
    pub wallet: WalletId,
    pub amount: Amount,
    pub key: Option<KeyUse>,
    /// Arrival of the request.
    pub at: Timestamp,
}

#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Funding {
    pub wallet: WalletId,
    pub amount: Amount,
    pub currency: Currency,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
    pub balance_after: Parts,
}

impl Funding {
    /// The wallet's side.
    pub fn change(&self) -> Change {
        Change { available: self.amount, faucet_drawn: self.amount, ..Change::default() }
    }

    pub fn for_each_posting(&self, mut f: impl FnMut(Posting)) {
        let mut post = |account, delta| f(Posting::spendable(account, self.currency, delta, 0));
        post(Account::Wallet(self.wallet), self.amount);
        post(Account::System(SystemAccount::Faucet), self.amount.negated());
    }

    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        if let Some(key) = &self.key {
            f(key.hash(KeyScope::Fund), key.fingerprint, 0);
        }
    }
}

/// Decides a funding. A frozen wallet may be funded: a freeze stops debits, never credits.
pub fn decide_funding(wallet: &Wallet, command: FundCommand, rules: &Rules) -> Decision<Funding> {
    if command.caller != wallet.agent {
        return Decision::Denied(Denial::UnknownWallet);
    }
    match wallet.keys.judge(command.key.as_ref(), KeyScope::Fund) {
        KeyVerdict::New => {}
        KeyVerdict::Repeats(place) => return Decision::Replay(place),
        KeyVerdict::Conflicts => return Decision::Denied(Denial::KeyConflict),
    }
    if wallet.status == WalletStatus::Closed {
        return Decision::Denied(Denial::WalletClosed);
    }
    if !command.amount.is_positive() {
        return Decision::Denied(Denial::AmountNotPositive);
    }
    if command.amount > Amount::MAX {
        return Decision::Denied(Denial::AmountTooLarge);
    }
    let drawn = wallet.faucet_drawn.plus(command.amount);
    if drawn > rules.faucet_cap {
        let (used, needed) = (wallet.faucet_drawn, command.amount);
        return Decision::Denied(Denial::FaucetCap { limit: rules.faucet_cap, used, needed });
    }
    Decision::Fact(Funding {
        wallet: command.wallet,
        amount: command.amount,
        currency: wallet.currency,
        key: command.key,
        at: command.at,
        balance_after: Parts { available: wallet.available.plus(command.amount), held: wallet.held },
    })
}

#[cfg(test)]
mod tests;
