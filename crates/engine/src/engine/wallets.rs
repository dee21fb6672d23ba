//! Commands to wallets: reading, funding, freezing, paying.

use super::*;

impl Engine {
    /// A wallet of the caller, as its owner sees it once that is durable.
    pub async fn wallet(&self, caller: &Caller, id: WalletId) -> Result<WalletView, Refusal> {
        let shared = &self.0.shared;
        let at = shared.clock.now();
        self.owned(caller, id)?;
        // What is delivered is read beside everybody else, without a place.
        let at_rest = shared.registry.at_rest(id, |wallet| {
            shared.delivered.covers(wallet.decided).then(|| WalletView::of(id, wallet, at))
        });
        if let Some(view) = at_rest.flatten() {
            return Ok(view);
        }
        let permit = self.admit_read(&caller.meter, 1)?;
        match self.ask(id, Command::Read { caller: caller.agent, at }, permit).await? {
            Reply::Wallet(view) => Ok(view),
            reply => unexpected(&reply),
        }
    }

    pub async fn fund(&self, caller: &Caller, command: FundCommand) -> Result<Answer<FundReceipt>, Refusal> {
        let permit = self.admit(&caller.meter, 1)?;
        self.owned(caller, command.wallet)?;
        match self.ask(command.wallet, Command::Fund(command), permit).await? {
            Reply::Funding(lsn, funding) => {
                let id = self.0.shared.payment_id(lsn.get(), 0);
                Ok(Answer::first(FundReceipt { id, funding: *funding }))
            }
            Reply::Replay(place) => self.0.reads.funding(place).await.map(Answer::again),
            reply => unexpected(&reply),
        }
    }

    /// Freezes or unfreezes a wallet of the caller.
    pub async fn set_status(
        &self,
        caller: &Caller,
        id: WalletId,
        wanted: WalletStatus,
        at: Timestamp,
    ) -> Result<WalletView, Refusal> {
        let permit = self.admit(&caller.meter, 1)?;
        self.owned(caller, id)?;
        match self.ask(id, Command::SetStatus { caller: caller.agent, wanted, at }, permit).await? {
            Reply::Wallet(view) => Ok(view),
            reply => unexpected(&reply),
        }
    }

    /// Makes one payment; answers once it is durable and its payee has been credited.
    pub async fn pay(&self, caller: &Caller, command: PayCommand) -> Result<Answer<PaymentReceipt>, Refusal> {
        self.pay_undelivered(caller, command).await?.delivered().await
    }

    /// [`Self::pay`] as far as it is decided.
    pub async fn pay_undelivered(
        &self,
        caller: &Caller,
        command: PayCommand,
    ) -> Result<Undelivered<'_, Answer<PaymentReceipt>>, Refusal> {
        let permit = self.admit(&caller.meter, 1)?;
        let payer = command.payer;
        self.check_payee(caller, payer, &command.payee)?;
        let (reply, delivery) = self.decide(payer, Command::Pay(command), permit).await?;
        match reply {
            Reply::Payment(lsn, payment) => {
                let id = self.0.shared.payment_id(lsn.get(), 0);
                let receipt = PaymentReceipt { id, payment };
                Ok(Undelivered::new(Answer::first(receipt), delivery))
            }
            reply => {
                delivery.await?;
                match settled(Ok(reply))? {
                    Reply::Replay(place) => {
                        let receipt = self.0.reads.payment(place).await?;
                        Ok(Undelivered::delivered_already(Answer::again(receipt)))
                    }
                    reply => unexpected(&reply),
                }
            }
        }
    }

    /// What [`Self::pay`] would do now. Writes nothing and binds nobody.
    pub async fn dry_run(&self, caller: &Caller, command: PayCommand) -> Result<Payment, Refusal> {
        let shared = &self.0.shared;
        let payer = command.payer;
        self.check_payee(caller, payer, &command.payee)?;
        // What is delivered is tried out beside everybody else, without a place. A key may have to be looked up on disk.
        let is_kept_elsewhere = command.key.is_some() && shared.keys.floor() > 0;
        let at_rest = shared.registry.try_at_rest(payer, |wallet| {
            let delivered = !is_kept_elsewhere && shared.delivered.covers(wallet.decided);
            delivered.then(|| preview(wallet, command.clone(), &shared.rules))
        });
        let reply = match at_rest.flatten() {
            Some(Reply::Refused(refusal)) => return Err(refusal),
            Some(reply) => reply,
            None => {
                let permit = self.admit_read(&caller.meter, 1)?;
                self.ask(payer, Command::Preview(command), permit).await?
            }
        };
        match reply {
            Reply::Preview(payment) => Ok(*payment),
            Reply::Replay(place) => self.0.reads.payment(place).await.map(|receipt| *receipt.payment),
            reply => unexpected(&reply),
        }
    }

    /// Makes many payments, grouped by payer; one result per item, in order.
    pub async fn pay_batch(
        &self,
        caller: &Caller,
        request: PayBatch,
    ) -> Result<Answer<Vec<Result<Answer<PaymentReceipt>, Refusal>>>, Refusal> {
        batch::pay(self, caller, request).await?.delivered().await
    }

    /// [`Self::pay_batch`] as far as it is decided.
    pub async fn pay_batch_undelivered(
        &self,
        caller: &Caller,
        request: PayBatch,
    ) -> Result<Undelivered<'_, Answer<Vec<Result<Answer<PaymentReceipt>, Refusal>>>>, Refusal> {
        batch::pay(self, caller, request).await
    }
}
