//! What a payload holds: the numbers are on disk and never change or get reused.

use crate::Error;

/// Version that this program writes. Every version ever written stays readable.
pub(crate) const VERSION: u8 = 1;
/// Version and kind, in front of the archive.
pub(crate) const HEADER_BYTES: usize = 2;

/// Kind of a record, for metrics and for tools that list a log.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[repr(u8)]
pub enum Kind {
    AgentCreated = 1,
    WalletOpened = 2,
    KeyAdded = 3,
    KeyRevoked = 4,
    KeysRotated = 5,
    Funding = 6,
    Payment = 7,
    PaymentBatch = 8,
    StatusChange = 9,
    TokenReserved = 10,
    TokenStepped = 11,
    TokenEnded = 12,
    ServiceChanged = 13,
    TrustChanged = 14,
    Clock = 15,
    WebhookChanged = 16,
    PolicyChanged = 17,
    AgentPolicyChanged = 18,
    Refund = 25,
    DisputeOpened = 26,
    EvidenceAdded = 27,
    DisputeMoved = 28,
}

impl Kind {
    pub const ALL: [Kind; 22] = [
        Kind::AgentCreated,
        Kind::WalletOpened,
        Kind::KeyAdded,
        Kind::KeyRevoked,
        Kind::KeysRotated,
        Kind::Funding,
        Kind::Payment,
        Kind::PaymentBatch,
        Kind::StatusChange,
        Kind::TokenReserved,
        Kind::TokenStepped,
        Kind::TokenEnded,
        Kind::ServiceChanged,
        Kind::TrustChanged,
        Kind::Clock,
        Kind::WebhookChanged,
        Kind::PolicyChanged,
        Kind::AgentPolicyChanged,
        Kind::Refund,
        Kind::DisputeOpened,
        Kind::EvidenceAdded,
        Kind::DisputeMoved,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::AgentCreated => "agent_created",
            Kind::WalletOpened => "wallet_opened",
            Kind::KeyAdded => "key_added",
            Kind::KeyRevoked => "key_revoked",
            Kind::KeysRotated => "keys_rotated",
            Kind::Funding => "funding",
            Kind::Payment => "payment",
            Kind::PaymentBatch => "payment_batch",
            Kind::StatusChange => "status_change",
            Kind::TokenReserved => "token_reserved",
            Kind::TokenStepped => "token_stepped",
            Kind::TokenEnded => "token_ended",
            Kind::ServiceChanged => "service_changed",
            Kind::TrustChanged => "trust_changed",
            Kind::Clock => "clock",
            Kind::WebhookChanged => "webhook_changed",
            Kind::PolicyChanged => "policy_changed",
            Kind::AgentPolicyChanged => "agent_policy_changed",
            Kind::Refund => "refund",
            Kind::DisputeOpened => "dispute_opened",
            Kind::EvidenceAdded => "evidence_added",
            Kind::DisputeMoved => "dispute_moved",
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Kind> {
        BY_BYTE[usize::from(byte)]
    }
}

/// The kind of each number; building it proves that the table is in order and that no number is a row's.
const BY_BYTE: [Option<Kind>; 256] = {
    let mut kinds = [None; 256];
    let (mut index, mut last) = (0, 0);
    while index < Kind::ALL.len() {
        let kind = Kind::ALL[index];
        assert!(kind as u8 > last && (kind as u8) < ROW_WALLET);
        last = kind as u8;
        kinds[last as usize] = Some(kind);
        index += 1;
    }
    kinds
};

/// Kinds of snapshot rows, apart from records so that neither is ever taken for the other.
pub(crate) const ROW_WALLET: u8 = 129;
pub(crate) const ROW_AGENT: u8 = 130;
pub(crate) const ROW_TOTALS: u8 = 131;
pub(crate) const ROW_SPILLED: u8 = 144;
pub(crate) const ROW_TOKEN: u8 = 132;
pub(crate) const ROW_SERVICE: u8 = 133;
pub(crate) const ROW_OUTAGES: u8 = 134;
pub(crate) const ROW_WEBHOOK: u8 = 135;
/// A wallet that has a policy, with that.
pub(crate) const ROW_WALLET_POLICY: u8 = 136;
pub(crate) const ROW_BUDGET: u8 = 137;
pub(crate) const ROW_CLAIM: u8 = 139;

/// Kind byte and archive of a payload in a version that this program reads.
pub(crate) fn split(payload: &[u8]) -> Result<(u8, &[u8]), Error> {
    let [version, kind, archive @ ..] = payload else {
        return Err(Error::TooShort { length: payload.len() });
    };
    if *version != VERSION {
        return Err(Error::UnknownVersion { version: *version });
    }
    Ok((*kind, archive))
}
