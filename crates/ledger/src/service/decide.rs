//! Decisions about services. Whether a slug is free is told by the caller, who knows all services.

use super::{Service, ServiceChange, ServiceChanged, ServiceStatus, ServiceTerms, Sla, slug_of};
use crate::{AgentId, Amount, Denial, KeyUse, Rules, ServiceId, Timestamp, WalletId};

/// A service to register. Currency and wallet were compared where the request arrived: both never change.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct RegisterCommand {
    /// Drawn by the caller: the rules know no chance.
    pub service: ServiceId,
    pub provider: AgentId,
    pub wallet: WalletId,
    pub terms: ServiceTerms,
    pub key: Option<KeyUse>,
    pub at: Timestamp,
}

/// What a provider changes; `None` leaves a field as it is.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct PatchCommand {
    pub name: Option<Box<str>>,
    pub description: Option<Option<Box<str>>>,
    pub price: Option<Amount>,
    pub category: Option<Option<Box<str>>>,
    pub endpoint_url: Option<Option<Box<str>>>,
    pub sla: Option<Option<Sla>>,
    pub metadata: Option<Option<Box<str>>>,
    pub status: Option<ServiceStatus>,
    pub at: Timestamp,
}

/// Decides a registration. `services` of the provider exist already; `is_taken` tells whether a slug is.
pub fn decide_register(
    command: RegisterCommand,
    services: usize,
    is_taken: impl FnOnce(&str) -> bool,
    rules: &Rules,
) -> Result<ServiceChanged, Denial> {
    price(command.terms.price)?;
    assert!(command.terms.sla.is_none_or(|sla| sla.check()), "SLAs are checked where requests arrive");
    let slug = slug_of(&command.terms.name);
    if is_taken(&slug) {
        return Err(Denial::SlugTaken { slug });
    }
    let limit = rules.services_per_agent_max;
    if u32::try_from(services).map_or(true, |services| services >= limit) {
        return Err(Denial::TooManyServices { limit });
    }
    Ok(ServiceChanged {
        service: command.service,
        change: ServiceChange::Registered,
        provider: command.provider,
        wallet: command.wallet,
        slug,
        terms: command.terms,
        status: ServiceStatus::Active,
        verified: false,
        key: command.key,
        created_at: command.at,
        at: command.at,
    })
}

/// Decides a change by the provider; `None` when it changes nothing. What was verified is the service at its URL: a new
/// URL has to be verified anew.
pub fn decide_patch(
    service: &Service,
    caller: AgentId,
    patch: PatchCommand,
    is_taken: impl FnOnce(&str) -> bool,
) -> Result<Option<ServiceChanged>, Denial> {
    if caller != service.provider {
        return Err(Denial::UnknownService);
    }
    let old = service.terms.clone();
    let terms = ServiceTerms {
        name: patch.name.unwrap_or(old.name),
        description: patch.description.unwrap_or(old.description),
        price: patch.price.unwrap_or(old.price),
        currency: old.currency,
        category: patch.category.unwrap_or(old.category),
        endpoint_url: patch.endpoint_url.unwrap_or(old.endpoint_url),
        sla: patch.sla.unwrap_or(old.sla),
        metadata: patch.metadata.unwrap_or(old.metadata),
    };
    price(terms.price)?;
    assert!(terms.sla.is_none_or(|sla| sla.check()), "SLAs are checked where requests arrive");
    let slug = if terms.name == service.terms.name { service.slug.clone() } else { slug_of(&terms.name) };
    if slug != service.slug && is_taken(&slug) {
        return Err(Denial::SlugTaken { slug });
    }
    let status = patch.status.unwrap_or(service.status);
    let verified = service.verified && terms.endpoint_url == service.terms.endpoint_url;
    if terms == service.terms && status == service.status {
        return Ok(None);
    }
    Ok(Some(ServiceChanged {
        slug,
        terms,
        status,
        verified,
        ..changed(service, ServiceChange::Patched, patch.at)
    }))
}

/// Decides whether a service counts as verified; `None` when that is said already.
pub fn decide_verified(service: &Service, verified: bool, at: Timestamp) -> Option<ServiceChanged> {
    (service.verified != verified)
        .then(|| ServiceChanged { verified, ..changed(service, ServiceChange::Judged, at) })
}

fn changed(service: &Service, change: ServiceChange, at: Timestamp) -> ServiceChanged {
    ServiceChanged {
        service: service.id,
        change,
        provider: service.provider,
        wallet: service.wallet,
        slug: service.slug.clone(),
        terms: service.terms.clone(),
        status: service.status,
        verified: service.verified,
        key: None,
        created_at: service.created_at,
        at,
    }
}

fn price(price: Amount) -> Result<(), Denial> {
    if !price.is_positive() {
        return Err(Denial::AmountNotPositive);
    }
    if price > Amount::MAX {
        return Err(Denial::AmountTooLarge);
    }
    Ok(())
}
