use super::*;
use crate::{Denial, Rules};

const PROVIDER: AgentId = AgentId::from_raw(1);
const AT: Timestamp = Timestamp::from_millis(9);

fn command(name: &str, price: i128) -> RegisterCommand {
    RegisterCommand {
        service: ServiceId::from_raw(3),
        provider: PROVIDER,
        wallet: WalletId::from_raw(2),
        terms: ServiceTerms {
            name: name.into(),
            description: None,
            price: Amount::from_nanos(price),
            currency: Currency::USD,
            category: None,
            endpoint_url: Some("https://api.example.com/weather".into()),
            sla: None,
            metadata: None,
        },
        key: None,
        at: AT,
    }
}

fn service() -> Service {
    let fact = decide_register(command("WeatherAPI", 2), 0, |_| false, &Rules::default()).expect("it passes");
    Service::registered(&fact, Position::new(7))
}

#[test]
fn slugs_follow_from_names() {
    for (name, slug) in [
        ("MarketDataFeed", "marketdatafeed"),
        ("WeatherAPI", "weatherapi"),
        ("  My  Feed -- v2! ", "my-feed-v2"),
        ("Größe", "gr-e"),
        ("日本語", "service-91dff8fcac0a8b7b"),
    ] {
        let given = slug_of(name);
        if slug.starts_with("service-") {
            assert!(given.starts_with("service-") && given.len() == slug.len(), "{given}");
            assert_ne!(given, slug_of("日本"));
        } else {
            assert_eq!(&*given, slug);
        }
    }
}

#[test]
fn slas_that_cannot_be_kept_are_refused() {
    let check = |window_ms, accept_within_ms| Sla { window_ms, accept_within_ms }.check();
    assert!(check(1, None) && check(1, Some(1)) && check(SLA_WINDOW_MS_MAX, Some(SLA_WINDOW_MS_MAX)));
    assert!(
        !check(0, None) && !check(5, Some(0)) && !check(5, Some(6)) && !check(SLA_WINDOW_MS_MAX + 1, None)
    );
}

#[test]
fn a_registration_is_refused_in_order() {
    let rules = Rules { services_per_agent_max: 2, ..Rules::default() };
    let check = |price, services, taken: bool, expected: Denial| {
        assert_eq!(decide_register(command("A b", price), services, |_| taken, &rules), Err(expected));
    };
    check(0, 2, true, Denial::AmountNotPositive);
    check(Amount::MAX.nanos() + 1, 2, true, Denial::AmountTooLarge);
    check(1, 2, true, Denial::SlugTaken { slug: "a-b".into() });
    check(1, 2, false, Denial::TooManyServices { limit: 2 });
    let registered = decide_register(command("A b", 1), 1, |slug| slug != "a-b", &rules).expect("it passes");
    assert_eq!((&*registered.slug, registered.status), ("a-b", ServiceStatus::Active));
}

#[test]
fn a_patch_changes_what_it_names_and_a_new_url_is_not_verified() {
    let mut service = service();
    let patch = |patch: PatchCommand| decide_patch(&service, PROVIDER, patch, |slug| slug == "taken");
    assert_eq!(patch(PatchCommand::default()), Ok(None));
    assert_eq!(
        patch(PatchCommand { price: Some(Amount::from_nanos(2)), ..PatchCommand::default() }),
        Ok(None)
    );
    let taken = PatchCommand { name: Some("Taken".into()), ..PatchCommand::default() };
    assert_eq!(patch(taken), Err(Denial::SlugTaken { slug: "taken".into() }));
    let spelled = PatchCommand { name: Some("weather api".into()), ..PatchCommand::default() };
    assert_eq!(patch(spelled).expect("passes").map(|fact| fact.slug), Some("weather-api".into()));
    let free = PatchCommand { price: Some(Amount::ZERO), ..PatchCommand::default() };
    assert_eq!(patch(free), Err(Denial::AmountNotPositive));
    let stranger = decide_patch(&service, AgentId::from_raw(8), PatchCommand::default(), |_| false);
    assert_eq!(stranger, Err(Denial::UnknownService));

    let judged = decide_verified(&service, true, AT).expect("it is new");
    assert!(service.apply(&judged, Position::new(8)) && service.verified);
    assert!(!service.apply(&judged, Position::new(8)), "a record is folded in once");
    assert_eq!(decide_verified(&service, true, AT), None);
    let ended = PatchCommand { status: Some(ServiceStatus::Inactive), ..PatchCommand::default() };
    let ended = decide_patch(&service, PROVIDER, ended, |_| false).expect("passes").expect("changes");
    assert!(ended.verified && ended.status == ServiceStatus::Inactive);
    let moved = PatchCommand { endpoint_url: Some(None), ..PatchCommand::default() };
    let moved = decide_patch(&service, PROVIDER, moved, |_| false).expect("passes").expect("changes");
    assert!(!moved.verified && moved.terms.endpoint_url.is_none());
    assert!(service.apply(&moved, Position::new(9)));
    assert_eq!((service.version, service.registered), (Position::new(9), Position::new(7)));
}
