//! Records and rows of payment tokens, schema version 1: their shape on disk, and the way there and back.

use std::sync::Arc;

use ledger::{
    AgentId, Amount, Currency, HoldEnd, Offer, Parts, Position, ServiceId, Sla, Step, Timestamp, Token,
    TokenEnd, TokenEnded, TokenReserved, TokenStatus, TokenStepped, TokenTerms, TokenTimes, Verification,
    WalletId,
};
use rkyv::option::ArchivedOption;
use rkyv::primitive::{ArchivedI64, ArchivedU64};
use rkyv::tuple::ArchivedTuple2;
use rkyv::{Archive, Serialize};

use crate::records::KeyUseRecord;
use crate::{Encode, Error, Kind, Scratch, check, decode, encode};

#[derive(Archive, Serialize)]
pub(crate) struct SlaRecord {
    window_ms: u32,
    accept_within_ms: Option<u32>,
}

#[derive(Archive, Serialize)]
pub(crate) struct TokenTermsRecord {
    pub(crate) payer: u128,
    payer_agent: u128,
    service: u128,
    service_at: u64,
    provider: u128,
    payee: u128,
    pub(crate) amount: i128,
    currency: [u8; 3],
    sla: Option<SlaRecord>,
    counts: bool,
    pub(crate) reserved_at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct TokenReservedRecord<'a> {
    pub(crate) terms: TokenTermsRecord,
    expires_at: i64,
    pub(crate) key: KeyUseRecord<'a>,
    available_after: i128,
    held_after: i128,
}

#[derive(Archive, Serialize)]
enum StepRecord {
    Verify,
    Start,
    Accept,
}

#[derive(Archive, Serialize)]
pub(crate) struct TokenSteppedRecord<'a> {
    pub(crate) token: u64,
    step: StepRecord,
    key: KeyUseRecord<'a>,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
enum EndRecord {
    Settled,
    Cancelled,
    Expired,
    SlaBreached,
    Refunded,
}

#[derive(Archive, Serialize)]
struct TimesRecord {
    verified_at: Option<i64>,
    started_at: Option<i64>,
    accepted_at: Option<i64>,
    ended_at: Option<i64>,
}

#[derive(Archive, Serialize)]
pub(crate) struct TokenEndedRecord {
    pub(crate) token: u64,
    end: EndRecord,
    terms: TokenTermsRecord,
    expires_at: i64,
    times: TimesRecord,
    fee: i128,
    redeemed_by: (u64, u64),
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
enum TokenStatusRow {
    Reserved,
    Verified,
    Started,
    Accepted,
    Settled,
    Cancelled,
    Expired,
    SlaBreached,
    Refunded,
}

#[derive(Archive, Serialize)]
pub(crate) struct TokenRow {
    id: u64,
    terms: TokenTermsRecord,
    status: TokenStatusRow,
    expires_at: i64,
    times: TimesRecord,
    fee: i128,
    redeemed_by: (u64, u64),
    decided: u64,
}

const _: () = assert!(size_of::<ArchivedTokenReservedRecord<'_>>() + 2 + 20 <= 230);
const _: () = assert!(size_of::<ArchivedTokenEndedRecord>() + 2 <= 240);

impl Encode for TokenReserved {
    fn encode(&self, out: &mut Scratch) {
        let record = TokenReservedRecord {
            terms: terms_record(&self.terms),
            expires_at: self.expires_at.millis(),
            key: encode::key_use(self.key.as_ref()),
            available_after: self.balance_after.available.nanos(),
            held_after: self.balance_after.held.nanos(),
        };
        out.archive(Kind::TokenReserved as u8, &record);
    }
}

impl Encode for TokenStepped {
    /// Panics for a step that ends a token: that is recorded as its end.
    fn encode(&self, out: &mut Scratch) {
        let (step, key) = match &self.step {
            Step::Verify(verification) => (StepRecord::Verify, verification.key.as_ref()),
            Step::Start => (StepRecord::Start, None),
            Step::Accept => (StepRecord::Accept, None),
            Step::Complete | Step::Cancel => panic!("a step that ends a token is recorded as its end"),
        };
        let (token, key, at) = (self.token.get(), encode::key_use(key), self.at.millis());
        out.archive(Kind::TokenStepped as u8, &TokenSteppedRecord { token, step, key, at });
    }
}

impl Encode for TokenEnded {
    fn encode(&self, out: &mut Scratch) {
        let record = TokenEndedRecord {
            token: self.token.get(),
            end: match self.end {
                TokenEnd::Settled => EndRecord::Settled,
                TokenEnd::Cancelled => EndRecord::Cancelled,
                TokenEnd::Expired => EndRecord::Expired,
                TokenEnd::SlaBreached => EndRecord::SlaBreached,
                TokenEnd::Refunded => EndRecord::Refunded,
            },
            terms: terms_record(&self.terms),
            expires_at: self.expires_at.millis(),
            times: times_record(&self.times),
            fee: self.fee.nanos(),
            redeemed_by: self.redeemed_by,
            at: self.at.millis(),
        };
        out.archive(Kind::TokenEnded as u8, &record);
    }
}

pub(crate) fn token_row(id: Position, token: &Token) -> TokenRow {
    TokenRow {
        id: id.get(),
        terms: terms_record(&token.terms),
        status: match token.status {
            TokenStatus::Reserved => TokenStatusRow::Reserved,
            TokenStatus::Verified => TokenStatusRow::Verified,
            TokenStatus::Started => TokenStatusRow::Started,
            TokenStatus::Accepted => TokenStatusRow::Accepted,
            TokenStatus::Settled => TokenStatusRow::Settled,
            TokenStatus::Cancelled => TokenStatusRow::Cancelled,
            TokenStatus::Expired => TokenStatusRow::Expired,
            TokenStatus::SlaBreached => TokenStatusRow::SlaBreached,
            TokenStatus::Refunded => TokenStatusRow::Refunded,
        },
        expires_at: token.expires_at.millis(),
        times: times_record(&token.times()),
        fee: token.fee.nanos(),
        redeemed_by: token.redeemed_by(),
        decided: token.decided.get(),
    }
}

pub(crate) fn token(kind: u8, row: &ArchivedTokenRow) -> Result<(Position, Token), Error> {
    let currency = check_terms(kind, &row.terms)?;
    let status = match row.status {
        ArchivedTokenStatusRow::Reserved => TokenStatus::Reserved,
        ArchivedTokenStatusRow::Verified => TokenStatus::Verified,
        ArchivedTokenStatusRow::Started => TokenStatus::Started,
        ArchivedTokenStatusRow::Accepted => TokenStatus::Accepted,
        ArchivedTokenStatusRow::Settled => TokenStatus::Settled,
        ArchivedTokenStatusRow::Cancelled => TokenStatus::Cancelled,
        ArchivedTokenStatusRow::Expired => TokenStatus::Expired,
        ArchivedTokenStatusRow::SlaBreached => TokenStatus::SlaBreached,
        ArchivedTokenStatusRow::Refunded => TokenStatus::Refunded,
    };
    let times = times(&row.times);
    let told = [times.verified_at, times.started_at, times.accepted_at, times.ended_at];
    // The beginning of time stands for "never" in memory.
    check::ensure_kind(kind, !told.contains(&Some(Timestamp::from_millis(i64::MIN))), "time of a token")?;
    let (verified, started) = (times.verified_at.is_some(), times.started_at.is_some());
    let sound = match status {
        TokenStatus::Verified => verified,
        TokenStatus::Started | TokenStatus::Accepted => started,
        _ => true,
    };
    check::ensure_kind(kind, sound && times.ended_at.is_some() != status.is_open(), "time of a token")?;
    check_fee(kind, &row.terms, row.fee.to_native(), status == TokenStatus::Settled)?;
    let token = Token::restore(
        terms(currency, &row.terms),
        status,
        Timestamp::from_millis(row.expires_at.to_native()),
        times,
        Amount::from_nanos(row.fee.to_native()),
        redeemed_by(&row.redeemed_by),
        Position::new(row.decided.to_native()),
    );
    Ok((Position::new(row.id.to_native()), token))
}

pub(crate) fn check_reserved(record: &ArchivedTokenReservedRecord<'_>) -> Result<Currency, Error> {
    check::key_use(Kind::TokenReserved, &record.key)?;
    check_terms(Kind::TokenReserved as u8, &record.terms)
}

pub(crate) fn check_stepped(record: &ArchivedTokenSteppedRecord<'_>) -> Result<(), Error> {
    check::key_use(Kind::TokenStepped, &record.key)?;
    let is_verify = matches!(record.step, ArchivedStepRecord::Verify);
    check::ensure_kind(Kind::TokenStepped as u8, is_verify || record.key.text.is_none(), "idempotency key")
}

pub(crate) fn check_ended(record: &ArchivedTokenEndedRecord) -> Result<Currency, Error> {
    let kind = Kind::TokenEnded as u8;
    let currency = check_terms(kind, &record.terms)?;
    check_fee(kind, &record.terms, record.fee.to_native(), matches!(record.end, ArchivedEndRecord::Settled))?;
    check::ensure_kind(kind, record.times.ended_at.is_none(), "time of a token")?;
    Ok(currency)
}

/// With an amount in `1..=MAX` and a fee within it, the postings of a hold and of its end sum to zero whatever the
/// numbers are.
fn check_terms(kind: u8, record: &ArchivedTokenTermsRecord) -> Result<Currency, Error> {
    let amount = record.amount.to_native();
    check::ensure_kind(kind, (1..=Amount::MAX.nanos()).contains(&amount), "amount")?;
    check::ensure_kind(kind, record.payer != record.payee, "payee")?;
    check::ensure_kind(kind, sla(&record.sla).is_none_or(|sla| sla.check()), "SLA")?;
    check::currency(kind, record.currency)
}

fn check_fee(kind: u8, terms: &ArchivedTokenTermsRecord, fee: i128, settled: bool) -> Result<(), Error> {
    let most = if settled { terms.amount.to_native() } else { 0 };
    check::ensure_kind(kind, (0..=most).contains(&fee), "fee")
}

pub(crate) fn reserved(currency: Currency, record: &ArchivedTokenReservedRecord<'_>) -> TokenReserved {
    TokenReserved {
        terms: terms(currency, &record.terms),
        expires_at: Timestamp::from_millis(record.expires_at.to_native()),
        key: decode::key_use(&record.key),
        balance_after: Parts {
            available: Amount::from_nanos(record.available_after.to_native()),
            held: Amount::from_nanos(record.held_after.to_native()),
        },
    }
}

pub(crate) fn stepped(record: &ArchivedTokenSteppedRecord<'_>) -> TokenStepped {
    TokenStepped {
        token: Position::new(record.token.to_native()),
        step: match record.step {
            ArchivedStepRecord::Verify => Step::Verify(Verification { key: decode::key_use(&record.key) }),
            ArchivedStepRecord::Start => Step::Start,
            ArchivedStepRecord::Accept => Step::Accept,
        },
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn ended(currency: Currency, record: &ArchivedTokenEndedRecord) -> TokenEnded {
    TokenEnded {
        token: Position::new(record.token.to_native()),
        end: match record.end {
            ArchivedEndRecord::Settled => TokenEnd::Settled,
            ArchivedEndRecord::Cancelled => TokenEnd::Cancelled,
            ArchivedEndRecord::Expired => TokenEnd::Expired,
            ArchivedEndRecord::SlaBreached => TokenEnd::SlaBreached,
            ArchivedEndRecord::Refunded => TokenEnd::Refunded,
        },
        terms: terms(currency, &record.terms),
        expires_at: Timestamp::from_millis(record.expires_at.to_native()),
        times: times(&record.times),
        fee: Amount::from_nanos(record.fee.to_native()),
        redeemed_by: redeemed_by(&record.redeemed_by),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn hold_end(currency: Currency, record: &ArchivedTokenEndedRecord) -> HoldEnd {
    HoldEnd {
        payer: WalletId::from_raw(record.terms.payer.to_native()),
        payee: WalletId::from_raw(record.terms.payee.to_native()),
        currency,
        amount: Amount::from_nanos(record.terms.amount.to_native()),
        fee: Amount::from_nanos(record.fee.to_native()),
        settled: matches!(record.end, ArchivedEndRecord::Settled),
        reserved: Position::new(record.token.to_native()),
        reserved_at: Timestamp::from_millis(record.terms.reserved_at.to_native()),
    }
}

fn redeemed_by(pair: &ArchivedTuple2<ArchivedU64, ArchivedU64>) -> (u64, u64) {
    (pair.0.to_native(), pair.1.to_native())
}

fn terms_record(terms: &TokenTerms) -> TokenTermsRecord {
    TokenTermsRecord {
        payer: terms.payer.raw(),
        payer_agent: terms.payer_agent.raw(),
        service: terms.service.raw(),
        service_at: terms.service_at.get(),
        provider: terms.provider.raw(),
        payee: terms.payee.raw(),
        amount: terms.price.nanos(),
        currency: terms.currency.to_bytes(),
        sla: terms.sla.as_ref().map(sla_record),
        counts: terms.counts,
        reserved_at: terms.reserved_at.millis(),
    }
}

fn terms(currency: Currency, record: &ArchivedTokenTermsRecord) -> TokenTerms {
    TokenTerms {
        offer: Arc::new(Offer {
            service: ServiceId::from_raw(record.service.to_native()),
            service_at: Position::new(record.service_at.to_native()),
            provider: AgentId::from_raw(record.provider.to_native()),
            payee: WalletId::from_raw(record.payee.to_native()),
            price: Amount::from_nanos(record.amount.to_native()),
            currency,
            sla: sla(&record.sla),
        }),
        payer: WalletId::from_raw(record.payer.to_native()),
        payer_agent: AgentId::from_raw(record.payer_agent.to_native()),
        counts: record.counts,
        reserved_at: Timestamp::from_millis(record.reserved_at.to_native()),
    }
}

pub(crate) fn sla_record(sla: &Sla) -> SlaRecord {
    SlaRecord { window_ms: sla.window_ms, accept_within_ms: sla.accept_within_ms }
}

pub(crate) fn sla(record: &ArchivedOption<ArchivedSlaRecord>) -> Option<Sla> {
    let record = record.as_ref()?;
    Some(Sla {
        window_ms: record.window_ms.to_native(),
        accept_within_ms: record.accept_within_ms.as_ref().map(|within| within.to_native()),
    })
}

fn times_record(times: &TokenTimes) -> TimesRecord {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    TimesRecord {
        verified_at: millis(times.verified_at),
        started_at: millis(times.started_at),
        accepted_at: millis(times.accepted_at),
        ended_at: millis(times.ended_at),
    }
}

fn times(record: &ArchivedTimesRecord) -> TokenTimes {
    let time = |at: &ArchivedOption<ArchivedI64>| decode::optional_time(at);
    TokenTimes {
        verified_at: time(&record.verified_at),
        started_at: time(&record.started_at),
        accepted_at: time(&record.accepted_at),
        ended_at: time(&record.ended_at),
    }
}
