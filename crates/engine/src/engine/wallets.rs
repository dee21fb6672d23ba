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
        let permit = self.admit(&caller.meter, 1).await?;
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
        let permit = self.admit(&caller.meter, 1).await?;
        self.owned(caller, id)?;
        match self.ask(id, Command::SetStatus { caller: caller.agent, wanted, at }, permit).await? {
            Reply::Wallet(view) => Ok(view),
            reply => unexpected(&reply),
        }
    }

    /// Puts a policy into force for a wallet of the caller, in the place of any before; an empty one is none.
    pub async fn set_policy(
        &self,
        caller: &Caller,
        id: WalletId,
        policy: Policy,
        at: Timestamp,
    ) -> Result<PolicyView, Refusal> {
        let permit = self.admit(&caller.meter, 1).await?;
        self.owned(caller, id)?;
        let command = Command::SetPolicy { caller: caller.agent, policy: Box::new(policy), at };
        match self.ask(id, command, permit).await? {
            Reply::Policy(view) => Ok(*view),
            reply => unexpected(&reply),
        }
    }

    /// The policy of a wallet of the caller, and what is left of it.
    pub async fn policy(&self, caller: &Caller, id: WalletId) -> Result<PolicyView, Refusal> {
        let permit = self.admit_read(&caller.meter, 1)?;
        self.owned(caller, id)?;
        let command = Command::Policy { caller: caller.agent, at: self.0.shared.clock.now() };
        match self.ask(id, command, permit).await? {
            Reply::Policy(view) => Ok(*view),
            reply => unexpected(&reply),
        }
    }

    /// Puts a policy into force for all wallets of the caller together; an empty one is none.
    pub async fn set_agent_policy(
        &self,
        caller: &Caller,
        policy: Policy,
        at: Timestamp,
    ) -> Result<PolicyView, Refusal> {
        let shared = &self.0.shared;
        let _permit = self.admit(&caller.meter, 1).await?;
        let at = shared.time.now().max(at);
        let decided = shared.budgets.set(shared, caller.agent, policy, at)?;
        self.delivered(decided).await?;
        self.agent_policy(caller).await
    }

    /// The policy of the caller's agent, and what its wallets together have left of it.
    pub async fn agent_policy(&self, caller: &Caller) -> Result<PolicyView, Refusal> {
        let shared = &self.0.shared;
        let (mandate, shown) = shared.budgets.mandate(caller.agent);
        self.delivered(shown).await?;
        Ok(PolicyView::of(None, mandate.as_ref(), shared.time.now()))
    }

    /// The command with what its agent's policy says to it, where there is one, and with what it may spend reserved.
    pub(crate) fn held_to_budget(&self, agent: AgentId, mut command: Command) -> Asked {
        let shared = &self.0.shared;
        let Some(budget) = shared.budgets.of(agent) else { return command.into() };
        let total = |rail, amount: Amount| {
            let is_bookable = amount.is_positive() && amount <= Amount::MAX;
            let fee = if is_bookable { shared.rules.fees.fee(rail, amount) } else { None };
            fee.and_then(|fee| amount.checked_add(fee))
        };
        let needs = match &command {
            Command::Pay(command) | Command::Preview(command) => vec![total(command.rail, command.amount)],
            Command::Batch(command) => {
                let needed = |item: &BatchItem| match item.refused {
                    None => total(item.rail, item.amount),
                    Some(_) => None,
                };
                command.items.iter().map(needed).collect()
            }
            Command::Reserve(command) => vec![command.offer.as_ref().ok().map(|offer| offer.price)],
            _ => return command.into(),
        };
        let (reserved, terms) = budget.reserve(&needs, shared.time.now());
        let terms = Some(Box::new(terms));
        match &mut command {
            Command::Pay(command) | Command::Preview(command) => command.agent_terms = terms,
            Command::Batch(command) => command.agent_terms = terms,
            Command::Reserve(command) => {
                let ahead = reserved.at.millis().saturating_sub(command.at.millis()).max(0);
                command.expires_at = command.expires_at.saturating_add_millis(ahead.unsigned_abs());
                command.at = command.at.max(reserved.at);
                command.agent_terms = terms;
            }
            _ => unreachable!("returned above"),
        }
        Asked { reserved: Some(reserved), ..command.into() }
    }

    /// Makes one payment; answers once it is durable and its payee has been credited.
    pub async fn pay(&self, caller: &Caller, command: PayCommand) -> Result<Answer<PaymentReceipt>, Refusal> {
        self.pay_undelivered(caller, command).await?.delivered().await
    }

    /// [`Self::pay`] as far as it is decided.
    pub async fn pay_undelivered(
        &self,
        caller: &Caller,
        mut command: PayCommand,
    ) -> Result<Undelivered<'_, Answer<PaymentReceipt>>, Refusal> {
        let permit = self.admit(&caller.meter, 1).await?;
        let payer = command.payer;
        command.payee_agent = self.check_payee(caller, payer, &command.payee)?;
        let asked = self.held_to_budget(caller.agent, Command::Pay(command));
        let seen = asked.seen();
        let (reply, delivery) = self.decide(payer, asked, permit).await?;
        match reply {
            Reply::Payment(lsn, payment) => {
                let id = self.0.shared.payment_id(lsn.get(), 0);
                let receipt = PaymentReceipt { id, payment };
                Ok(Undelivered::new(Answer::first(receipt), delivery))
            }
            reply => {
                delivery.await?;
                self.delivered(seen).await?;
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
    pub async fn dry_run(&self, caller: &Caller, mut command: PayCommand) -> Result<Payment, Refusal> {
        let shared = &self.0.shared;
        let payer = command.payer;
        command.payee_agent = self.check_payee(caller, payer, &command.payee)?;
        // What is delivered is tried out beside everybody else, without a place. A key may have to be looked up on disk.
        let is_kept_elsewhere = command.key.is_some() && shared.keys.floor() > 0;
        let has_budget = shared.budgets.of(caller.agent).is_some();
        let at_rest = shared.registry.try_at_rest(payer, |wallet| {
            let delivered = !has_budget && !is_kept_elsewhere && shared.delivered.covers(wallet.decided);
            delivered.then(|| {
                let at = if wallet.policy.is_some() { shared.time.now() } else { command.at };
                preview(wallet, PayCommand { at, ..command.clone() }, &shared.rules)
            })
        });
        let reply = match at_rest.flatten() {
            Some(Reply::Refused(refusal)) => return Err(refusal),
            Some(reply) => reply,
            None => {
                let permit = self.admit_read(&caller.meter, 1)?;
                let asked = self.held_to_budget(caller.agent, Command::Preview(command));
                self.ask(payer, asked, permit).await?
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
