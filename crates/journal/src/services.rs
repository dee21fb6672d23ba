//! Records and rows of services, their trust and the partition's clock, schema version 1.

use ledger::{
    AgentId, Amount, CALLS_MAX, Call, ClockFact, KeyHash, Outage, OutageCause, Outages, Outcome, Position,
    Service, ServiceChange, ServiceChanged, ServiceId, ServiceStatus, ServiceTerms, Timestamp, Trust,
    TrustChanged, WalletId,
};
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Serialize};

use crate::archive::OptionalText;
use crate::records::KeyUseRecord;
use crate::tokens::{SlaRecord, sla, sla_record};
use crate::{Encode, Error, Kind, Scratch, check, decode, encode};

#[derive(Archive, Serialize)]
struct ServiceTermsRecord<'a> {
    #[rkyv(with = InlineAsBox)]
    name: &'a str,
    #[rkyv(with = OptionalText)]
    description: Option<&'a str>,
    price: i128,
    currency: [u8; 3],
    #[rkyv(with = OptionalText)]
    category: Option<&'a str>,
    #[rkyv(with = OptionalText)]
    endpoint_url: Option<&'a str>,
    sla: Option<SlaRecord>,
    #[rkyv(with = OptionalText)]
    metadata: Option<&'a str>,
}

#[derive(Archive, Serialize)]
enum ServiceStatusRecord {
    Active,
    Inactive,
}

#[derive(Archive, Serialize)]
enum ServiceChangeRecord {
    Registered,
    Patched,
    Judged,
}

#[derive(Archive, Serialize)]
pub(crate) struct ServiceChangedRecord<'a> {
    pub(crate) service: u128,
    change: ServiceChangeRecord,
    provider: u128,
    wallet: u128,
    #[rkyv(with = InlineAsBox)]
    slug: &'a str,
    terms: ServiceTermsRecord<'a>,
    status: ServiceStatusRecord,
    verified: bool,
    key: KeyUseRecord<'a>,
    created_at: i64,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) struct TrustChangedRecord {
    pub(crate) service: u128,
    score: u8,
    settled_calls: u64,
    breached_calls: u64,
    pub(crate) at: i64,
}

#[derive(Archive, Serialize)]
pub(crate) enum CauseRecord {
    Down,
    ReadOnly,
    Stalled,
    Clock,
}

#[derive(Archive, Serialize)]
pub(crate) enum ClockRecord {
    Alive { at: i64 },
    Outage { from: i64, at: i64, cause: CauseRecord },
}

#[derive(Archive, Serialize)]
enum OutcomeRow {
    Settled,
    Breached,
    Cancelled,
    Disputed,
}

#[derive(Archive, Serialize)]
struct CallRow {
    consumer: u32,
    outcome: OutcomeRow,
}

#[derive(Archive, Serialize)]
pub(crate) struct ServiceRow<'a> {
    id: u128,
    provider: u128,
    wallet: u128,
    #[rkyv(with = InlineAsBox)]
    slug: &'a str,
    terms: ServiceTermsRecord<'a>,
    status: ServiceStatusRecord,
    verified: bool,
    calls: Vec<CallRow>,
    settled_calls: u64,
    breached_calls: u64,
    shown: u8,
    created_at: i64,
    updated_at: i64,
    registered_by: Option<(u128, u64)>,
    registered: u64,
    version: u64,
    decided: u64,
    posted: u64,
}

#[derive(Archive, Serialize)]
pub(crate) struct OutagesRow {
    list: Vec<(i64, i64)>,
    alive_at: Option<i64>,
    decided: u64,
}

impl Encode for ServiceChanged {
    fn encode(&self, out: &mut Scratch) {
        let record = ServiceChangedRecord {
            service: self.service.raw(),
            change: match self.change {
                ServiceChange::Registered => ServiceChangeRecord::Registered,
                ServiceChange::Patched => ServiceChangeRecord::Patched,
                ServiceChange::Judged => ServiceChangeRecord::Judged,
            },
            provider: self.provider.raw(),
            wallet: self.wallet.raw(),
            slug: &self.slug,
            terms: terms_record(&self.terms),
            status: status_record(self.status),
            verified: self.verified,
            key: encode::key_use(self.key.as_ref()),
            created_at: self.created_at.millis(),
            at: self.at.millis(),
        };
        out.archive(Kind::ServiceChanged as u8, &record);
    }
}

impl Encode for TrustChanged {
    fn encode(&self, out: &mut Scratch) {
        let record = TrustChangedRecord {
            service: self.service.raw(),
            score: self.score,
            settled_calls: self.settled_calls,
            breached_calls: self.breached_calls,
            at: self.at.millis(),
        };
        out.archive(Kind::TrustChanged as u8, &record);
    }
}

impl Encode for ClockFact {
    fn encode(&self, out: &mut Scratch) {
        let record = match self {
            ClockFact::Alive { at } => ClockRecord::Alive { at: at.millis() },
            ClockFact::Outage { from, at, cause } => {
                let cause = match cause {
                    OutageCause::Down => CauseRecord::Down,
                    OutageCause::ReadOnly => CauseRecord::ReadOnly,
                    OutageCause::Stalled => CauseRecord::Stalled,
                    OutageCause::Clock => CauseRecord::Clock,
                };
                ClockRecord::Outage { from: from.millis(), at: at.millis(), cause }
            }
        };
        out.archive(Kind::Clock as u8, &record);
    }
}

pub(crate) fn check_changed(record: &ArchivedServiceChangedRecord<'_>) -> Result<(), Error> {
    check::key_use(Kind::ServiceChanged, &record.key)?;
    check_terms(Kind::ServiceChanged as u8, &record.terms)
}

pub(crate) fn check_trust(record: &ArchivedTrustChangedRecord) -> Result<(), Error> {
    check::ensure_kind(Kind::TrustChanged as u8, record.score <= 100, "score")
}

pub(crate) fn check_clock(record: &ArchivedClockRecord) -> Result<(), Error> {
    let sound = match record {
        ArchivedClockRecord::Alive { .. } => true,
        ArchivedClockRecord::Outage { from, at, .. } => from.to_native() <= at.to_native(),
    };
    check::ensure_kind(Kind::Clock as u8, sound, "outage")
}

pub(crate) fn changed(record: &ArchivedServiceChangedRecord<'_>) -> Result<ServiceChanged, Error> {
    Ok(ServiceChanged {
        service: ServiceId::from_raw(record.service.to_native()),
        change: match record.change {
            ArchivedServiceChangeRecord::Registered => ServiceChange::Registered,
            ArchivedServiceChangeRecord::Patched => ServiceChange::Patched,
            ArchivedServiceChangeRecord::Judged => ServiceChange::Judged,
        },
        provider: AgentId::from_raw(record.provider.to_native()),
        wallet: WalletId::from_raw(record.wallet.to_native()),
        slug: Box::from(&*record.slug),
        terms: terms(Kind::ServiceChanged as u8, &record.terms)?,
        status: status(&record.status),
        verified: record.verified,
        key: decode::key_use(&record.key),
        created_at: Timestamp::from_millis(record.created_at.to_native()),
        at: Timestamp::from_millis(record.at.to_native()),
    })
}

pub(crate) fn trust_changed(record: &ArchivedTrustChangedRecord) -> TrustChanged {
    TrustChanged {
        service: ServiceId::from_raw(record.service.to_native()),
        score: record.score,
        settled_calls: record.settled_calls.to_native(),
        breached_calls: record.breached_calls.to_native(),
        at: Timestamp::from_millis(record.at.to_native()),
    }
}

pub(crate) fn clock(record: &ArchivedClockRecord) -> ClockFact {
    match record {
        ArchivedClockRecord::Alive { at } => ClockFact::Alive { at: Timestamp::from_millis(at.to_native()) },
        ArchivedClockRecord::Outage { from, at, cause } => ClockFact::Outage {
            from: Timestamp::from_millis(from.to_native()),
            at: Timestamp::from_millis(at.to_native()),
            cause: match cause {
                ArchivedCauseRecord::Down => OutageCause::Down,
                ArchivedCauseRecord::ReadOnly => OutageCause::ReadOnly,
                ArchivedCauseRecord::Stalled => OutageCause::Stalled,
                ArchivedCauseRecord::Clock => OutageCause::Clock,
            },
        },
    }
}

pub(crate) fn service_row(service: &Service) -> ServiceRow<'_> {
    let calls = service.trust.calls.iter().map(|call| CallRow {
        consumer: call.consumer,
        outcome: match call.outcome {
            Outcome::Settled => OutcomeRow::Settled,
            Outcome::Breached => OutcomeRow::Breached,
            Outcome::Cancelled => OutcomeRow::Cancelled,
            Outcome::Disputed => OutcomeRow::Disputed,
        },
    });
    ServiceRow {
        id: service.id.raw(),
        provider: service.provider.raw(),
        wallet: service.wallet.raw(),
        slug: &service.slug,
        terms: terms_record(&service.terms),
        status: status_record(service.status),
        verified: service.verified,
        calls: calls.collect(),
        settled_calls: service.trust.settled_calls,
        breached_calls: service.trust.breached_calls,
        shown: service.trust.shown,
        created_at: service.created_at.millis(),
        updated_at: service.updated_at.millis(),
        registered_by: service.registered_by.map(|(hash, fingerprint)| (hash.raw(), fingerprint)),
        registered: service.registered.get(),
        version: service.version.get(),
        decided: service.decided.get(),
        posted: service.posted.get(),
    }
}

pub(crate) fn service(kind: u8, row: &ArchivedServiceRow<'_>) -> Result<Service, Error> {
    check_terms(kind, &row.terms)?;
    check::ensure_kind(kind, row.shown <= 100 && row.calls.len() <= CALLS_MAX, "trust")?;
    let calls = row.calls.iter().map(|call| Call {
        consumer: call.consumer.to_native(),
        outcome: match call.outcome {
            ArchivedOutcomeRow::Settled => Outcome::Settled,
            ArchivedOutcomeRow::Breached => Outcome::Breached,
            ArchivedOutcomeRow::Cancelled => Outcome::Cancelled,
            ArchivedOutcomeRow::Disputed => Outcome::Disputed,
        },
    });
    Ok(Service {
        id: ServiceId::from_raw(row.id.to_native()),
        provider: AgentId::from_raw(row.provider.to_native()),
        wallet: WalletId::from_raw(row.wallet.to_native()),
        slug: Box::from(&*row.slug),
        terms: terms(kind, &row.terms)?,
        status: status(&row.status),
        verified: row.verified,
        trust: Trust {
            calls: calls.collect(),
            settled_calls: row.settled_calls.to_native(),
            breached_calls: row.breached_calls.to_native(),
            shown: row.shown,
        },
        created_at: Timestamp::from_millis(row.created_at.to_native()),
        updated_at: Timestamp::from_millis(row.updated_at.to_native()),
        registered_by: row
            .registered_by
            .as_ref()
            .map(|pair| (KeyHash::from_raw(pair.0.to_native()), pair.1.to_native())),
        registered: Position::new(row.registered.to_native()),
        version: Position::new(row.version.to_native()),
        decided: Position::new(row.decided.to_native()),
        posted: Position::new(row.posted.to_native()),
    })
}

pub(crate) fn outages_row(outages: &Outages) -> OutagesRow {
    OutagesRow {
        list: outages.list().iter().map(|outage| (outage.from.millis(), outage.to.millis())).collect(),
        alive_at: outages.alive_at().map(Timestamp::millis),
        decided: outages.decided.get(),
    }
}

pub(crate) fn outages(kind: u8, row: &ArchivedOutagesRow) -> Result<Outages, Error> {
    let list: Vec<Outage> = row
        .list
        .iter()
        .map(|pair| Outage {
            from: Timestamp::from_millis(pair.0.to_native()),
            to: Timestamp::from_millis(pair.1.to_native()),
        })
        .collect();
    let ordered =
        list.is_sorted_by(|one, next| one.to <= next.from) && list.iter().all(|one| one.from < one.to);
    check::ensure_kind(kind, ordered, "outage")?;
    let alive_at = decode::optional_time(&row.alive_at);
    Ok(Outages::restore(list, alive_at, Position::new(row.decided.to_native())))
}

fn check_terms(kind: u8, record: &ArchivedServiceTermsRecord<'_>) -> Result<(), Error> {
    check::ensure_kind(kind, (1..=Amount::MAX.nanos()).contains(&record.price.to_native()), "price")?;
    check::ensure_kind(kind, sla(&record.sla).is_none_or(|sla| sla.check()), "SLA")?;
    check::currency(kind, record.currency)?;
    Ok(())
}

fn terms_record(terms: &ServiceTerms) -> ServiceTermsRecord<'_> {
    ServiceTermsRecord {
        name: &terms.name,
        description: terms.description.as_deref(),
        price: terms.price.nanos(),
        currency: terms.currency.to_bytes(),
        category: terms.category.as_deref(),
        endpoint_url: terms.endpoint_url.as_deref(),
        sla: terms.sla.as_ref().map(sla_record),
        metadata: terms.metadata.as_deref(),
    }
}

fn terms(kind: u8, record: &ArchivedServiceTermsRecord<'_>) -> Result<ServiceTerms, Error> {
    Ok(ServiceTerms {
        name: Box::from(&*record.name),
        description: decode::text(&record.description),
        price: Amount::from_nanos(record.price.to_native()),
        currency: check::currency(kind, record.currency)?,
        category: decode::text(&record.category),
        endpoint_url: decode::text(&record.endpoint_url),
        sla: sla(&record.sla),
        metadata: decode::text(&record.metadata),
    })
}

fn status_record(status: ServiceStatus) -> ServiceStatusRecord {
    match status {
        ServiceStatus::Active => ServiceStatusRecord::Active,
        ServiceStatus::Inactive => ServiceStatusRecord::Inactive,
    }
}

fn status(record: &ArchivedServiceStatusRecord) -> ServiceStatus {
    match record {
        ArchivedServiceStatusRecord::Active => ServiceStatus::Active,
        ArchivedServiceStatusRecord::Inactive => ServiceStatus::Inactive,
    }
}
