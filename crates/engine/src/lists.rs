//! What the engine offers about the past: payments by id, lists, statements.

use ledger::{AgentId, Denial, WalletId};

use crate::{
    Engine,
    refusal::Refusal,
    views::{EntryView, Page, PageRequest, PaymentFilter, TimeRange, Transaction},
};

impl Engine {
    /// What a `tx_` id names, for its payer's or payee's agent.
    pub async fn transaction(&self, caller: AgentId, id: ledger::PaymentId) -> Result<Transaction, Refusal> {
        self.reads().transaction(caller, id).await
    }

    /// Payments of the caller's wallets, newest first.
    pub async fn payments(
        &self,
        caller: AgentId,
        filter: PaymentFilter,
        page: PageRequest,
    ) -> Result<Page<Transaction>, Refusal> {
        let wallets = match filter.wallet {
            Some(wallet) if self.owns(caller, wallet) => vec![wallet],
            Some(_) => return Err(Denial::UnknownWallet.into()),
            None => self.agent(caller).await?.map(|agent| agent.wallets).ok_or(Refusal::UnknownAgent)?,
        };
        let (page, decided) = self.reads().payments(wallets, filter, page).await?;
        // Whether a payment was refunded is not shown before that is durable.
        self.delivered(decided).await?;
        Ok(page)
    }

    /// The statement of one wallet of the caller, newest first.
    pub async fn entries(
        &self,
        caller: AgentId,
        wallet: WalletId,
        range: TimeRange,
        page: PageRequest,
    ) -> Result<Page<EntryView>, Refusal> {
        if !self.owns(caller, wallet) {
            return Err(Denial::UnknownWallet.into());
        }
        self.reads().entries(wallet, range, page).await
    }
}
