//! Records read in place: one check per payload, then walks without allocation.
//!
//! Thread: any; the commit stream and replay walk whole batches through it. What a view says about a record is what
//! the ledger said when it decided: both post through [`ledger::Transfer`] and hash keys with [`ledger::KeyHash`].

use ledger::{
    Account, AgentId, Amount, CallTerms, Change, ClaimChange, Currency, Fact, KeyHash, KeyScope,
    PolicyChanged, Position, Posting, ServiceId, Spending, SystemAccount, Timestamp, Transfer, WalletId,
};

use crate::archive::access;
use crate::claims::{
    ArchivedDisputeMovedRecord, ArchivedDisputeOpenedRecord, ArchivedEvidenceAddedRecord,
    ArchivedRefundRecord,
};
use crate::policies::{
    ArchivedAgentPolicyChangedRecord, ArchivedPolicyChangedRecord, ArchivedPolicyDeniedRecord,
};
use crate::records::{
    ArchivedAgentCreatedRecord, ArchivedFundingRecord, ArchivedItemRecord, ArchivedKeyAddedRecord,
    ArchivedKeyRevokedRecord, ArchivedKeyUseRecord, ArchivedKeysRotatedRecord, ArchivedPayeeRecord,
    ArchivedPaymentBatchRecord, ArchivedPaymentRecord, ArchivedStatusChangeRecord,
    ArchivedWalletOpenedRecord,
};
use crate::services::{ArchivedClockRecord, ArchivedServiceChangedRecord, ArchivedTrustChangedRecord};
use crate::tokens::{ArchivedTokenEndedRecord, ArchivedTokenReservedRecord, ArchivedTokenSteppedRecord};
use crate::webhooks::ArchivedWebhookChangedRecord;
use crate::{Error, Kind, Paid, check, claims, decode, kind, paid, policies, services, tokens, webhooks};

/// A checked record, borrowed from its payload.
#[derive(Copy, Clone)]
pub struct View<'a> {
    body: Body<'a>,
}

#[derive(Copy, Clone)]
enum Body<'a> {
    AgentCreated(&'a ArchivedAgentCreatedRecord<'a>),
    WalletOpened(&'a ArchivedWalletOpenedRecord<'a>),
    KeyAdded(&'a ArchivedKeyAddedRecord),
    KeyRevoked(&'a ArchivedKeyRevokedRecord),
    KeysRotated(&'a ArchivedKeysRotatedRecord),
    Funding(Currency, &'a ArchivedFundingRecord<'a>),
    Payment(Currency, &'a ArchivedPaymentRecord<'a>),
    PaymentBatch(Currency, &'a ArchivedPaymentBatchRecord<'a>),
    StatusChange(&'a ArchivedStatusChangeRecord),
    TokenReserved(Currency, &'a ArchivedTokenReservedRecord<'a>),
    TokenStepped(&'a ArchivedTokenSteppedRecord<'a>),
    TokenEnded(Currency, &'a ArchivedTokenEndedRecord),
    ServiceChanged(&'a ArchivedServiceChangedRecord<'a>),
    TrustChanged(&'a ArchivedTrustChangedRecord),
    Clock(&'a ArchivedClockRecord),
    WebhookChanged(&'a ArchivedWebhookChangedRecord<'a>),
    PolicyChanged(&'a ArchivedPolicyChangedRecord<'a>),
    AgentPolicyChanged(&'a ArchivedAgentPolicyChangedRecord<'a>),
    PolicyDenied(&'a ArchivedPolicyDeniedRecord),
    Refund(Currency, &'a ArchivedRefundRecord<'a>),
    DisputeOpened(Currency, &'a ArchivedDisputeOpenedRecord<'a>),
    EvidenceAdded(Currency, &'a ArchivedEvidenceAddedRecord<'a>),
    DisputeMoved(Currency, &'a ArchivedDisputeMovedRecord<'a>),
}

/// Who decided a record, and whose `decided` position it moves.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Owner {
    Wallet(WalletId),
    /// The directory, about this agent.
    Directory(AgentId),
    /// The token whose reservation is the record there.
    Token(Position),
    Service(ServiceId),
    /// The budget of this agent.
    Budget(AgentId),
    /// The partition's clock.
    Clock,
}

/// Checks a payload in place. What passes has a known version and kind, sound offsets and texts, amounts within their
/// ranges, and postings that sum to zero: walking and folding it in cannot fail for the sake of its bytes.
pub fn view(payload: &[u8]) -> Result<View<'_>, Error> {
    let (byte, archive) = kind::split(payload)?;
    let kind = Kind::from_byte(byte).ok_or(Error::UnknownKind { kind: byte })?;
    let body = match kind {
        Kind::AgentCreated => {
            let record = access(byte, archive)?;
            check::agent_created(record)?;
            Body::AgentCreated(record)
        }
        Kind::WalletOpened => {
            let record = access(byte, archive)?;
            check::wallet_opened(record)?;
            Body::WalletOpened(record)
        }
        Kind::KeyAdded => {
            let record: &ArchivedKeyAddedRecord = access(byte, archive)?;
            check::api_key(kind, &record.key)?;
            Body::KeyAdded(record)
        }
        Kind::KeyRevoked => Body::KeyRevoked(access(byte, archive)?),
        Kind::KeysRotated => {
            let record: &ArchivedKeysRotatedRecord = access(byte, archive)?;
            check::api_key(kind, &record.key)?;
            Body::KeysRotated(record)
        }
        Kind::Funding => {
            let record = access(byte, archive)?;
            Body::Funding(check::funding(record)?, record)
        }
        Kind::Payment => {
            let record = access(byte, archive)?;
            Body::Payment(check::payment(record)?, record)
        }
        Kind::PaymentBatch => {
            let record = access(byte, archive)?;
            Body::PaymentBatch(check::payment_batch(record)?, record)
        }
        Kind::StatusChange => Body::StatusChange(access(byte, archive)?),
        Kind::TokenReserved => {
            let record = access(byte, archive)?;
            Body::TokenReserved(tokens::check_reserved(record)?, record)
        }
        Kind::TokenStepped => {
            let record = access(byte, archive)?;
            tokens::check_stepped(record)?;
            Body::TokenStepped(record)
        }
        Kind::TokenEnded => {
            let record = access(byte, archive)?;
            Body::TokenEnded(tokens::check_ended(record)?, record)
        }
        Kind::ServiceChanged => {
            let record = access(byte, archive)?;
            services::check_changed(record)?;
            Body::ServiceChanged(record)
        }
        Kind::TrustChanged => {
            let record = access(byte, archive)?;
            services::check_trust(record)?;
            Body::TrustChanged(record)
        }
        Kind::Clock => {
            let record = access(byte, archive)?;
            services::check_clock(record)?;
            Body::Clock(record)
        }
        Kind::WebhookChanged => {
            let record = access(byte, archive)?;
            webhooks::check_changed(record)?;
            Body::WebhookChanged(record)
        }
        Kind::PolicyChanged => {
            let record = access(byte, archive)?;
            policies::check_changed(record)?;
            Body::PolicyChanged(record)
        }
        Kind::AgentPolicyChanged => {
            let record = access(byte, archive)?;
            policies::check_agent_changed(record)?;
            Body::AgentPolicyChanged(record)
        }
        Kind::PolicyDenied => {
            let record = access(byte, archive)?;
            policies::check_denied(record)?;
            Body::PolicyDenied(record)
        }
        Kind::Refund => {
            let record = access(byte, archive)?;
            Body::Refund(claims::check_refund(record)?, record)
        }
        Kind::DisputeOpened => {
            let record = access(byte, archive)?;
            Body::DisputeOpened(claims::check_opened(record)?, record)
        }
        Kind::EvidenceAdded => {
            let record = access(byte, archive)?;
            Body::EvidenceAdded(claims::check_evidence(record)?, record)
        }
        Kind::DisputeMoved => {
            let record = access(byte, archive)?;
            Body::DisputeMoved(claims::check_moved(record)?, record)
        }
    };
    Ok(View { body })
}

impl<'a> View<'a> {
    /// The payments that the record makes, in the order of items; none for what is neither a payment nor a batch of them.
    pub fn paid(&self) -> impl Iterator<Item = Paid<'a>> + use<'a> {
        let (single, batch) = match self.body {
            Body::Payment(_, record) => (Some(paid::single(record)), None),
            Body::PaymentBatch(_, record) => (None, Some(paid::of_batch(record))),
            _ => (None, None),
        };
        single.into_iter().chain(batch.into_iter().flatten())
    }
}

impl View<'_> {
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::AgentCreated(_) => Kind::AgentCreated,
            Body::WalletOpened(_) => Kind::WalletOpened,
            Body::KeyAdded(_) => Kind::KeyAdded,
            Body::KeyRevoked(_) => Kind::KeyRevoked,
            Body::KeysRotated(_) => Kind::KeysRotated,
            Body::Funding(..) => Kind::Funding,
            Body::Payment(..) => Kind::Payment,
            Body::PaymentBatch(..) => Kind::PaymentBatch,
            Body::StatusChange(_) => Kind::StatusChange,
            Body::TokenReserved(..) => Kind::TokenReserved,
            Body::TokenStepped(_) => Kind::TokenStepped,
            Body::TokenEnded(..) => Kind::TokenEnded,
            Body::ServiceChanged(_) => Kind::ServiceChanged,
            Body::TrustChanged(_) => Kind::TrustChanged,
            Body::Clock(_) => Kind::Clock,
            Body::WebhookChanged(_) => Kind::WebhookChanged,
            Body::PolicyChanged(_) => Kind::PolicyChanged,
            Body::AgentPolicyChanged(_) => Kind::AgentPolicyChanged,
            Body::PolicyDenied(_) => Kind::PolicyDenied,
            Body::Refund(..) => Kind::Refund,
            Body::DisputeOpened(..) => Kind::DisputeOpened,
            Body::EvidenceAdded(..) => Kind::EvidenceAdded,
            Body::DisputeMoved(..) => Kind::DisputeMoved,
        }
    }

    pub fn owner(&self) -> Owner {
        let wallet = |raw| Owner::Wallet(WalletId::from_raw(raw));
        let agent = |raw| Owner::Directory(AgentId::from_raw(raw));
        match self.body {
            Body::AgentCreated(record) => agent(record.agent.to_native()),
            Body::WalletOpened(record) => agent(record.agent.to_native()),
            Body::KeyAdded(record) => agent(record.agent.to_native()),
            Body::KeyRevoked(record) => agent(record.agent.to_native()),
            Body::KeysRotated(record) => agent(record.agent.to_native()),
            Body::Funding(_, record) => wallet(record.wallet.to_native()),
            Body::Payment(_, record) => wallet(record.payer.to_native()),
            Body::PaymentBatch(_, record) => wallet(record.payer.to_native()),
            Body::StatusChange(record) => wallet(record.wallet.to_native()),
            Body::TokenReserved(_, record) => wallet(record.terms.payer.to_native()),
            Body::TokenStepped(record) => Owner::Token(Position::new(record.token.to_native())),
            Body::TokenEnded(_, record) => Owner::Token(Position::new(record.token.to_native())),
            Body::ServiceChanged(record) => Owner::Service(ServiceId::from_raw(record.service.to_native())),
            Body::TrustChanged(record) => Owner::Service(ServiceId::from_raw(record.service.to_native())),
            Body::Clock(_) => Owner::Clock,
            Body::WebhookChanged(record) => agent(record.agent.to_native()),
            Body::PolicyChanged(record) => wallet(record.wallet.to_native()),
            Body::PolicyDenied(record) => wallet(record.wallet.to_native()),
            Body::AgentPolicyChanged(record) => Owner::Budget(AgentId::from_raw(record.agent.to_native())),
            Body::Refund(_, record) => Owner::Wallet(claims::owner(&record.terms)),
            Body::DisputeOpened(_, record) => Owner::Wallet(claims::owner(&record.terms)),
            Body::EvidenceAdded(_, record) => Owner::Wallet(claims::owner(&record.terms)),
            Body::DisputeMoved(_, record) => Owner::Wallet(claims::owner(&record.terms)),
        }
    }

    /// When the request arrived that led to the record.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(match self.body {
            Body::AgentCreated(record) => record.at.to_native(),
            Body::WalletOpened(record) => record.at.to_native(),
            Body::KeyAdded(record) => record.key.created_at.to_native(),
            Body::KeyRevoked(record) => record.at.to_native(),
            Body::KeysRotated(record) => record.key.created_at.to_native(),
            Body::Funding(_, record) => record.at.to_native(),
            Body::Payment(_, record) => record.at.to_native(),
            Body::PaymentBatch(_, record) => record.at.to_native(),
            Body::StatusChange(record) => record.at.to_native(),
            Body::TokenReserved(_, record) => record.terms.reserved_at.to_native(),
            Body::TokenStepped(record) => record.at.to_native(),
            Body::TokenEnded(_, record) => record.at.to_native(),
            Body::ServiceChanged(record) => record.at.to_native(),
            Body::TrustChanged(record) => record.at.to_native(),
            Body::Clock(record) => return services::clock(record).at(),
            Body::WebhookChanged(record) => record.at.to_native(),
            Body::PolicyChanged(record) => record.at.to_native(),
            Body::PolicyDenied(record) => record.at.to_native(),
            Body::AgentPolicyChanged(record) => record.at.to_native(),
            Body::Refund(_, record) => record.at.to_native(),
            Body::DisputeOpened(_, record) => record.at.to_native(),
            Body::EvidenceAdded(_, record) => record.at.to_native(),
            Body::DisputeMoved(_, record) => record.at.to_native(),
        })
    }

    /// What the record does to the claim that it is about; `None` for everything but refunds and disputes.
    pub fn claim_change(&self) -> Option<ClaimChange> {
        match self.body {
            Body::Refund(currency, record) => Some(claims::refund_change(currency, record)),
            Body::DisputeOpened(currency, record) => Some(claims::opened_change(currency, record)),
            Body::EvidenceAdded(currency, record) => Some(claims::evidence_change(currency, record)),
            Body::DisputeMoved(currency, record) => Some(claims::moved_change(currency, record)),
            _ => None,
        }
    }

    /// The settled call whose dispute this record resolves with a refund.
    pub fn refunded_call(&self) -> Option<CallTerms> {
        match self.body {
            Body::DisputeMoved(_, record) => claims::refunded_call(record),
            _ => None,
        }
    }

    /// The owner wallet's side, for [`ledger::Wallet::apply`]; `None` for records of other owners.
    pub fn change(&self) -> Option<Change> {
        match self.body {
            Body::Funding(_, record) => {
                let amount = Amount::from_nanos(record.amount.to_native());
                Some(Change { available: amount, faucet_drawn: amount, ..Change::default() })
            }
            Body::Payment(currency, record) => {
                let debit = payment_transfer(currency, record).total_debited();
                Some(Change { available: debit.negated(), ..Change::default() })
            }
            Body::PaymentBatch(currency, record) => {
                let mut debit = Amount::ZERO;
                for_each_transfer(currency, record, |transfer| debit = debit.plus(transfer.total_debited()));
                Some(Change { available: debit.negated(), ..Change::default() })
            }
            Body::StatusChange(record) => {
                Some(Change { status: Some(decode::status(&record.status)), ..Change::default() })
            }
            Body::TokenReserved(_, record) => {
                let amount = Amount::from_nanos(record.terms.amount.to_native());
                Some(Change { available: amount.negated(), held: amount, ..Change::default() })
            }
            Body::PolicyChanged(_) | Body::PolicyDenied(_) => Some(Change::default()),
            Body::Refund(..) | Body::DisputeOpened(..) | Body::EvidenceAdded(..) | Body::DisputeMoved(..) => {
                self.claim_change().map(|change| change.change())
            }
            Body::AgentPolicyChanged(_)
            | Body::AgentCreated(_)
            | Body::WalletOpened(_)
            | Body::KeyAdded(_)
            | Body::KeyRevoked(_)
            | Body::KeysRotated(_)
            | Body::TokenStepped(_)
            | Body::TokenEnded(..)
            | Body::ServiceChanged(_)
            | Body::TrustChanged(_)
            | Body::Clock(_)
            | Body::WebhookChanged(_) => None,
        }
    }

    /// What the record uses of its wallet's policy; `None` for what is no spending. Walks the items of a batch, so it is
    /// asked where there is a policy.
    pub fn spending(&self) -> Option<Spending> {
        let of = |transfer: &Transfer| Spending { amount: transfer.total_debited(), payments: 1 };
        match self.body {
            Body::Payment(currency, record) => Some(of(&payment_transfer(currency, record))),
            Body::PaymentBatch(currency, record) => {
                let mut sum = ledger::AT_ONCE;
                for_each_transfer(currency, record, |transfer| sum = sum.and(of(&transfer)));
                Some(sum)
            }
            Body::TokenReserved(_, record) => {
                let amount = Amount::from_nanos(record.terms.amount.to_native());
                Some(Spending { amount, payments: 1 })
            }
            _ => None,
        }
    }

    /// The change of a wallet's policy that the record is.
    pub fn policy_changed(&self) -> Option<PolicyChanged> {
        let Body::PolicyChanged(record) = self.body else { return None };
        Some(policies::changed(record).expect("a policy was checked with its record"))
    }

    /// The wallets that payments go to, alone or in a batch: a hint for who looks ahead, not everything that is posted on.
    pub fn for_each_payee(&self, mut f: impl FnMut(WalletId)) {
        let mut payee = |payee: &ArchivedPayeeRecord<'_>| {
            if let ArchivedPayeeRecord::Wallet(raw) = payee {
                f(WalletId::from_raw(raw.to_native()));
            }
        };
        match self.body {
            Body::Payment(_, record) => payee(&record.payee),
            Body::PaymentBatch(_, record) => {
                for outcome in record.items.iter() {
                    if let ArchivedItemRecord::Paid(payment) = outcome {
                        payee(&payment.payee);
                    }
                }
            }
            _ => {}
        }
    }

    /// Every posting whose account is not the owner wallet, in the order of items.
    pub fn for_each_foreign(&self, mut f: impl FnMut(Posting)) {
        match self.body {
            Body::Funding(currency, record) => {
                let delta = Amount::from_nanos(record.amount.to_native()).negated();
                f(Posting::spendable(Account::System(SystemAccount::Faucet), currency, delta, 0));
            }
            Body::Payment(currency, record) => foreign(&payment_transfer(currency, record), &mut f),
            Body::PaymentBatch(currency, record) => {
                for_each_transfer(currency, record, |transfer| foreign(&transfer, &mut f));
            }
            Body::TokenEnded(currency, record) => tokens::hold_end(currency, record).for_each_posting(f),
            Body::Refund(currency, record) => claims::refund_change(currency, record).for_each_foreign(f),
            Body::DisputeMoved(currency, record) => {
                claims::moved_change(currency, record).for_each_foreign(f)
            }
            Body::StatusChange(_)
            | Body::PolicyChanged(_)
            | Body::PolicyDenied(_)
            | Body::AgentPolicyChanged(_)
            | Body::TokenReserved(..)
            | Body::AgentCreated(_)
            | Body::WalletOpened(_)
            | Body::KeyAdded(_)
            | Body::KeyRevoked(_)
            | Body::KeysRotated(_)
            | Body::TokenStepped(_)
            | Body::ServiceChanged(_)
            | Body::TrustChanged(_)
            | Body::Clock(_)
            | Body::WebhookChanged(_)
            | Body::DisputeOpened(..)
            | Body::EvidenceAdded(..) => {}
        }
    }

    /// Hash, fingerprint and item of every idempotency key that the record uses up, for its owner wallet or agent to
    /// remember.
    pub fn for_each_key(&self, mut f: impl FnMut(KeyHash, u64, u32)) {
        match self.body {
            Body::WalletOpened(record) => key(KeyScope::OpenWallet, &record.key, 0, &mut f),
            Body::Funding(_, record) => key(KeyScope::Fund, &record.key, 0, &mut f),
            Body::Payment(_, record) => key(KeyScope::Payment, &record.key, 0, &mut f),
            Body::PaymentBatch(_, record) => {
                key(KeyScope::Batch, &record.key, 0, &mut f);
                for (item, outcome) in (0u32..).zip(record.items.iter()) {
                    if let ArchivedItemRecord::Paid(payment) = outcome {
                        key(KeyScope::Payment, &payment.key, item, &mut f);
                    }
                }
            }
            Body::TokenReserved(_, record) => key(KeyScope::Authorize, &record.key, 0, &mut f),
            Body::WebhookChanged(record) => {
                if let Some(scope) = webhooks::change(&record.change).key_scope() {
                    key(scope, &record.key, 0, &mut f);
                }
            }
            Body::Refund(_, record) => {
                key_about(KeyScope::Refund, claims::payment(&record.terms), &record.key, &mut f);
            }
            Body::DisputeOpened(_, record) => {
                key_about(KeyScope::OpenDispute, claims::payment(&record.terms), &record.key, &mut f);
            }
            Body::EvidenceAdded(_, record) => {
                key_about(KeyScope::AddEvidence, claims::payment(&record.terms), &record.key, &mut f);
            }
            Body::StatusChange(_)
            | Body::PolicyChanged(_)
            | Body::PolicyDenied(_)
            | Body::AgentPolicyChanged(_)
            | Body::AgentCreated(_)
            | Body::KeyAdded(_)
            | Body::KeyRevoked(_)
            | Body::KeysRotated(_)
            | Body::TokenStepped(_)
            | Body::TokenEnded(..)
            | Body::ServiceChanged(_)
            | Body::TrustChanged(_)
            | Body::Clock(_)
            | Body::DisputeMoved(..) => {}
        }
    }

    /// The fact, owned.
    pub fn to_fact(&self) -> Result<Fact, Error> {
        Ok(match self.body {
            Body::AgentCreated(record) => decode::agent_created(record)?.into(),
            Body::WalletOpened(record) => decode::wallet_opened(record)?.into(),
            Body::KeyAdded(record) => decode::key_added(record)?.into(),
            Body::KeyRevoked(record) => decode::key_revoked(record).into(),
            Body::KeysRotated(record) => decode::keys_rotated(record)?.into(),
            Body::Funding(currency, record) => decode::funding(currency, record).into(),
            Body::Payment(currency, record) => decode::payment(currency, record).into(),
            Body::PaymentBatch(currency, record) => decode::payment_batch(currency, record)?.into(),
            Body::StatusChange(record) => decode::status_change(record).into(),
            Body::TokenReserved(currency, record) => tokens::reserved(currency, record).into(),
            Body::TokenStepped(record) => tokens::stepped(record).into(),
            Body::TokenEnded(currency, record) => tokens::ended(currency, record).into(),
            Body::ServiceChanged(record) => services::changed(record)?.into(),
            Body::TrustChanged(record) => services::trust_changed(record).into(),
            Body::Clock(record) => services::clock(record).into(),
            Body::WebhookChanged(record) => webhooks::changed(record).into(),
            Body::PolicyChanged(record) => policies::changed(record)?.into(),
            Body::PolicyDenied(record) => policies::denied(record)?.into(),
            Body::AgentPolicyChanged(record) => policies::agent_changed(record)?.into(),
            Body::Refund(currency, record) => claims::refund(currency, record).into(),
            Body::DisputeOpened(currency, record) => claims::opened(currency, record).into(),
            Body::EvidenceAdded(currency, record) => claims::evidence(currency, record).into(),
            Body::DisputeMoved(currency, record) => claims::moved(currency, record).into(),
        })
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("kind", &self.kind())
            .field("owner", &self.owner())
            .finish_non_exhaustive()
    }
}

fn payment_transfer(currency: Currency, record: &ArchivedPaymentRecord<'_>) -> Transfer {
    Transfer {
        payer: WalletId::from_raw(record.payer.to_native()),
        payee: account(&record.payee),
        currency,
        amount: Amount::from_nanos(record.amount.to_native()),
        fee: Amount::from_nanos(record.fee.to_native()),
        item: 0,
    }
}

fn for_each_transfer(
    currency: Currency,
    record: &ArchivedPaymentBatchRecord<'_>,
    mut f: impl FnMut(Transfer),
) {
    let payer = WalletId::from_raw(record.payer.to_native());
    for (item, outcome) in (0u32..).zip(record.items.iter()) {
        if let ArchivedItemRecord::Paid(payment) = outcome {
            f(Transfer {
                payer,
                payee: account(&payment.payee),
                currency,
                amount: Amount::from_nanos(payment.amount.to_native()),
                fee: Amount::from_nanos(payment.fee.to_native()),
                item,
            });
        }
    }
}

fn foreign(transfer: &Transfer, f: &mut impl FnMut(Posting)) {
    transfer.for_each_posting(|posting| {
        if posting.account != Account::Wallet(transfer.payer) {
            f(posting);
        }
    });
}

fn account(payee: &ArchivedPayeeRecord<'_>) -> Account {
    match payee {
        ArchivedPayeeRecord::Wallet(raw) => Account::Wallet(WalletId::from_raw(raw.to_native())),
        ArchivedPayeeRecord::External(_) => Account::System(SystemAccount::External),
    }
}

fn key(scope: KeyScope, key: &ArchivedKeyUseRecord<'_>, item: u32, f: &mut impl FnMut(KeyHash, u64, u32)) {
    if let Some(text) = key.text.as_deref() {
        f(KeyHash::of(scope, text), key.fingerprint.to_native(), item);
    }
}

fn key_about(
    scope: KeyScope,
    payment: Position,
    key: &ArchivedKeyUseRecord<'_>,
    f: &mut impl FnMut(KeyHash, u64, u32),
) {
    if let Some(text) = key.text.as_deref() {
        f(KeyHash::about(scope, payment, text), key.fingerprint.to_native(), 0);
    }
}
