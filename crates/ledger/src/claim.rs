//! What is claimed back of a payment: refunds, and the one dispute there may be about it.
//!
//! Owner of state: a [`Claim`] belongs to the wallet that can be made to pay, which is the payee's, or the payer's when
//! the payee is outside this ledger. It is changed under that wallet's guard only, by records that the wallet decides.
//! Invariants: refunds never exceed the principal; fees are kept; one dispute per payment, ever, and no refund while it
//! is open; what a dispute sets aside leaves again once, in the record that ends it; a credit to the payer cannot fail.
//! Non-goals: who may ask (where requests arrive), evidence and texts (they lie in the log), the payment itself.

mod dispute;
mod evidence;
mod refund;
mod resolve;
mod status;

pub use dispute::{CallTerms, DisputeOpened, OpenDisputeCommand, decide_open_dispute};
pub use evidence::{AddEvidenceCommand, EVIDENCE_BYTES_MAX, EVIDENCE_MAX, EvidenceAdded, decide_evidence};
pub use refund::{Refund, RefundCommand, decide_refund};
pub use resolve::{DisputeMoved, MoveDisputeCommand, decide_dispute_move};
pub use status::{DisputeMove, DisputeStatus, PaymentState};

use crate::{Account, Amount, Change, Currency, KeyPlace, Position, Posting, SystemAccount, WalletId};

/// Who did something about a payment.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Party {
    Payer,
    Payee,
    Operator,
}

impl Party {
    pub const ALL: [Party; 3] = [Party::Payer, Party::Payee, Party::Operator];

    pub const fn as_str(self) -> &'static str {
        match self {
            Party::Payer => "payer",
            Party::Payee => "payee",
            Party::Operator => "operator",
        }
    }
}

/// The payment that a claim is about, as far as money goes. It never changes, so every record about it repeats it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct ClaimTerms {
    /// Record of the payment, and its item there.
    pub payment: KeyPlace,
    pub payer: WalletId,
    /// `None` for somebody outside this ledger.
    pub payee: Option<WalletId>,
    pub currency: Currency,
    /// What was paid, without a fee on top.
    pub principal: Amount,
}

impl ClaimTerms {
    /// The wallet that decides.
    pub fn owner(&self) -> WalletId {
        self.payee.unwrap_or(self.payer)
    }

    /// Under which the claim is kept.
    pub fn position(&self) -> Position {
        Position::of_item(self.payment.lsn, self.payment.item)
    }
}

/// What one record does to a claim.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ClaimStep {
    Refunded {
        amount: Amount,
    },
    /// A dispute was opened, and so much of what the payee had available was set aside for it.
    Opened {
        by: Party,
        set_aside: Amount,
    },
    Evidence {
        bytes: u32,
    },
    /// The dispute went on. At its end `released` leaves what was set aside, and `returned` goes to the payer.
    Moved {
        to: DisputeStatus,
        returned: Amount,
        released: Amount,
    },
}

/// A record about a claim as plain numbers. The live path and the walk over recorded bytes both fold it in.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct ClaimChange {
    pub terms: ClaimTerms,
    pub step: ClaimStep,
}

impl ClaimChange {
    /// The deciding wallet's side.
    pub fn change(&self) -> Change {
        let (available, disputed) = match self.step {
            ClaimStep::Evidence { .. } => (Amount::ZERO, Amount::ZERO),
            ClaimStep::Opened { set_aside, .. } => (set_aside.negated(), set_aside),
            ClaimStep::Refunded { amount } => self.paid_back(amount, Amount::ZERO),
            ClaimStep::Moved { to: DisputeStatus::ResolvedRefunded, returned, released } => {
                self.paid_back(returned, released)
            }
            ClaimStep::Moved { released, .. } => (released, released.negated()),
        };
        // What a dispute returns is owed, whether it is there or not.
        let may_owe = matches!(self.step, ClaimStep::Moved { to: DisputeStatus::ResolvedRefunded, .. });
        Change { available, disputed, may_owe, ..Change::default() }
    }

    /// The deciding wallet first, then who stands on the other side of what was paid back.
    pub fn for_each_posting(&self, mut f: impl FnMut(Posting)) {
        let Change { available, disputed, .. } = self.change();
        if !available.is_zero() || !disputed.is_zero() {
            let owner = Account::Wallet(self.terms.owner());
            f(Posting { disputed, ..Posting::spendable(owner, self.terms.currency, available, 0) });
        }
        self.for_each_foreign(f);
    }

    /// Postings on others than the deciding wallet.
    pub fn for_each_foreign(&self, mut f: impl FnMut(Posting)) {
        let returned = self.returned();
        if returned.is_zero() {
            return;
        }
        let (account, delta) = match self.terms.payee {
            Some(_) => (Account::Wallet(self.terms.payer), returned),
            None => (Account::System(SystemAccount::External), returned.negated()),
        };
        f(Posting::spendable(account, self.terms.currency, delta, 0));
    }

    /// What goes back to the payer.
    pub fn returned(&self) -> Amount {
        match self.step {
            ClaimStep::Refunded { amount } => amount,
            ClaimStep::Moved { to: DisputeStatus::ResolvedRefunded, returned, .. } => returned,
            ClaimStep::Opened { .. } | ClaimStep::Evidence { .. } | ClaimStep::Moved { .. } => Amount::ZERO,
        }
    }

    /// Changes of what the deciding wallet has available and disputed when `amount` is paid back, `released` of it from
    /// what was set aside. A payer who decides for an outside payee is the one who gets it.
    fn paid_back(&self, amount: Amount, released: Amount) -> (Amount, Amount) {
        match self.terms.payee {
            Some(_) => (released.minus(amount), released.negated()),
            None => (amount, Amount::ZERO),
        }
    }
}

/// What has been claimed back of one payment. Most payments have none. It is kept for good, because refunds add up and a
/// payment is disputed once, hence the size limit.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Claim {
    /// The wallet that decides.
    pub owner: WalletId,
    pub principal: Amount,
    pub refunded: Amount,
    /// The one dispute, whatever became of it.
    pub dispute: Option<Box<Dispute>>,
    /// Position of the last record about this claim.
    pub decided: Position,
}

const _: () = assert!(size_of::<Claim>() <= 64);

/// Where the dispute about a payment stands. Its texts lie in the log: from `last` every record leads to the one before.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Dispute {
    /// The record that opened it, whose sealed address is its id.
    pub opened: Position,
    /// The last record about it.
    pub last: Position,
    pub status: DisputeStatus,
    /// Who opened it.
    pub by: Party,
    /// What is set aside for it now.
    pub set_aside: Amount,
    /// Pieces of evidence, and their bytes together.
    pub evidence: u32,
    pub evidence_bytes: u32,
}

const _: () = assert!(size_of::<Dispute>() <= 48);

impl Claim {
    /// A claim about which no record has said anything yet.
    pub fn new(terms: &ClaimTerms) -> Claim {
        Claim {
            owner: terms.owner(),
            principal: terms.principal,
            refunded: Amount::ZERO,
            dispute: None,
            decided: Position::ZERO,
        }
    }

    /// What is left of the principal.
    pub fn refundable(&self) -> Amount {
        self.principal.minus(self.refunded)
    }

    pub fn state(&self) -> PaymentState {
        PaymentState::of(self.principal, self.refunded)
    }

    /// The dispute, while it has not ended.
    pub fn open_dispute(&self) -> Option<&Dispute> {
        self.dispute.as_deref().filter(|dispute| dispute.status.is_open())
    }

    /// Folds in the record at `position`: right after the append, and in replay for records above `decided`. Panics when
    /// it is out of order or gives back what is not there: state and log have parted.
    pub fn apply(&mut self, change: &ClaimChange, position: Position) {
        assert!(position > self.decided, "record {position} about a claim is not after {}", self.decided);
        assert_eq!(self.owner, change.terms.owner(), "a claim has one owner");
        let refunded = self.refunded.plus(change.returned());
        assert!(refunded <= self.principal, "record {position} gives back more than was paid");
        match change.step {
            ClaimStep::Refunded { .. } => {
                assert!(self.open_dispute().is_none(), "record {position} refunds what is disputed");
            }
            ClaimStep::Opened { by, set_aside } => {
                assert!(self.dispute.is_none(), "record {position} opens a second dispute");
                self.dispute = Some(Box::new(Dispute::begun(by, set_aside, position)));
            }
            ClaimStep::Evidence { bytes } => self.disputed(position).add(bytes, position),
            ClaimStep::Moved { to, released, .. } => self.disputed(position).go_on(to, released, position),
        }
        self.refunded = refunded;
        self.decided = position;
    }

    fn disputed(&mut self, position: Position) -> &mut Dispute {
        let dispute = self.dispute.as_deref_mut().filter(|dispute| dispute.status.is_open());
        dispute.unwrap_or_else(|| panic!("record {position} goes on with a dispute that is not open"))
    }
}

impl Dispute {
    /// The dispute as the record at `position` opens it.
    pub fn opened(fact: &DisputeOpened, position: Position) -> Dispute {
        Dispute::begun(fact.by, fact.set_aside, position)
    }

    fn begun(by: Party, set_aside: Amount, position: Position) -> Dispute {
        Dispute {
            opened: position,
            last: position,
            status: DisputeStatus::Open,
            by,
            set_aside,
            evidence: 0,
            evidence_bytes: 0,
        }
    }

    fn add(&mut self, bytes: u32, position: Position) {
        self.evidence = self.evidence.saturating_add(1);
        self.evidence_bytes = self.evidence_bytes.saturating_add(bytes);
        self.last = position;
    }

    fn go_on(&mut self, to: DisputeStatus, released: Amount, position: Position) {
        assert!(self.status.leads_to(to), "record {position} leads from {:?} to {to:?}", self.status);
        let left = if to.is_open() { self.set_aside } else { Amount::ZERO };
        assert_eq!(self.set_aside.minus(released), left, "record {position} releases what was set aside");
        self.status = to;
        self.set_aside = left;
        self.last = position;
    }
}

#[cfg(test)]
mod tests;
