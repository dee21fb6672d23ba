//! Services and their trust: unique slugs, replayed registrations, scores that follow from calls.

use engine::{RegisterService, ServicePatch, ServiceView};
use ledger::{Amount, Denial, ServiceStatus, Sla, Timestamp, TokenStatus};
use wal::testing::MemoryStorage;

use crate::harness::{
    Market, Node, Party, Setup, amount, denial, eventually, key, pass, register, seen, terms,
};

fn setup() -> Setup {
    Setup::new(MemoryStorage::new())
}

fn registered(node: &Node, provider: &Party, name: &str) -> ServiceView {
    let command = register(terms(name, "0.5", None));
    node.run(node.engine.register_service(&provider.caller, command)).expect("registered").value
}

#[test]
fn a_service_is_registered_found_changed_and_ended() {
    let setup = setup();
    let node = setup.start();
    let (provider, stranger) = (node.party("provider"), node.party("stranger"));
    let service = registered(&node, &provider, "Weather API");
    assert_eq!((&*service.slug, service.trust_score, service.verified), ("weather-api", 50, false));
    assert_eq!(service.wallet, provider.wallet);
    let by_slug = |node: &Node, slug| node.engine.service_by_slug(slug).map(|found| found.id);
    assert_eq!(by_slug(&node, "weather-api"), Some(service.id));
    let url = "https://api.example.com/Weather API";
    assert_eq!(node.engine.services_at(url, 9).1, 1);

    let patch = ServicePatch {
        name: Some("Forecasts".into()),
        price: Some(amount("0.75")),
        endpoint_url: Some(Some("https://api.example.com/new".into())),
        ..ServicePatch::default()
    };
    let foreign = node.run(node.engine.patch_service(&stranger.caller, service.id, patch.clone()));
    assert_eq!(denial(foreign), Denial::UnknownService);
    node.run(node.engine.verify_service(service.id, true, Timestamp::from_millis(2))).expect("verified");
    let patched = node.run(node.engine.patch_service(&provider.caller, service.id, patch)).expect("patched");
    assert_eq!((&*patched.slug, patched.verified, patched.terms.price), ("forecasts", false, amount("0.75")));
    assert_eq!((by_slug(&node, "weather-api"), by_slug(&node, "forecasts")), (None, Some(service.id)));
    assert!(node.engine.services_at(url, 9).0.is_empty());
    node.run(node.engine.verify_service(service.id, true, Timestamp::from_millis(3))).expect("verified");
    let again = registered(&node, &provider, "Weather API");
    assert_ne!(again.id, service.id, "a slug that was given up is free");
    let at = Timestamp::from_millis(4);
    let ended = node.run(node.engine.deactivate_service(&provider.caller, service.id, at)).expect("ended");
    assert_eq!((ended.status, ended.verified), (ServiceStatus::Inactive, true));
    assert!(node.engine.services_at("https://api.example.com/new", 9).0.is_empty());
    let newest: Vec<_> = node.engine.services().iter().map(|service| service.id).collect();
    assert_eq!(newest, [again.id, service.id], "registered in the same millisecond");

    let all: Vec<ServiceView> = node.engine.services().iter().map(|service| (**service).clone()).collect();
    node.kill();
    for snapshot in [true, false] {
        let node = setup.start();
        let found: Vec<ServiceView> = node.engine.services().iter().map(|s| (**s).clone()).collect();
        assert_eq!(found, all);
        let taken = register(terms("forecasts", "1", None));
        let taken = node.run(node.engine.register_service(&stranger.caller, taken));
        assert_eq!(denial(taken), Denial::SlugTaken { slug: "forecasts".into() });
        if snapshot { drop(node.shutdown()) } else { node.kill() }
    }
    setup.audit();
}

#[test]
fn a_hundred_registrations_of_one_name_make_one_service() {
    let node = setup().start();
    let providers: Vec<_> = (0..100).map(|index| node.party(&format!("provider {index}"))).collect();
    let tasks: Vec<_> = providers
        .iter()
        .map(|provider| {
            let (engine, caller) = (node.engine.clone(), provider.caller.clone());
            node.spawn(async move {
                engine.register_service(&caller, register(terms("Same Name", "1", None))).await
            })
        })
        .collect();
    let outcomes: Vec<_> = node.run(async move {
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.expect("no task panics"));
        }
        outcomes
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for outcome in lost {
        assert_eq!(denial(outcome), Denial::SlugTaken { slug: "same-name".into() });
    }
    assert_eq!(node.engine.services().len(), 1);
}

#[test]
fn a_repeated_registration_gets_the_first_answer() {
    let setup = setup();
    let node = setup.start();
    let provider = node.party("provider");
    let ask = |node: &Node, name: &str, fingerprint| {
        let command = RegisterService { key: key("r-1", fingerprint), ..register(terms(name, "1", None)) };
        node.run(node.engine.register_service(&provider.caller, command))
    };
    let first = ask(&node, "feed", 1).expect("registered").value;
    let patch = ServicePatch { name: Some("other".into()), ..ServicePatch::default() };
    node.run(node.engine.patch_service(&provider.caller, first.id, patch)).expect("patched");
    let again = ask(&node, "feed", 1).expect("the same answer");
    assert_eq!((again.replayed, &again.value), (true, &first));
    assert_eq!(denial(ask(&node, "else", 2)), Denial::KeyConflict);
    node.shutdown();
    let node = setup.start();
    assert_eq!(ask(&node, "feed", 1).expect("the same answer").value, first);
}

#[test]
fn what_a_service_cannot_be_is_refused() {
    let node = setup().tuned(|options| options.rules.services_per_agent_max = 1).start();
    let (provider, stranger) = (node.party("provider"), node.party("stranger"));
    let ask = |change: &dyn Fn(&mut RegisterService)| {
        let mut command = register(terms("feed", "1", None));
        change(&mut command);
        denial(node.run(node.engine.register_service(&provider.caller, command)))
    };
    let yen = ledger::Currency::parse("JPY").expect("a currency");
    let euro = ledger::Currency::EUR;
    assert_eq!(ask(&|command| command.terms.currency = yen), Denial::UnsupportedCurrency);
    assert_eq!(ask(&|command| command.wallet = Some(stranger.wallet)), Denial::UnknownWallet);
    assert_eq!(ask(&|command| command.terms.currency = euro), Denial::NoWalletInCurrency { currency: euro });
    let mismatch = Denial::CurrencyMismatch { wallet: ledger::Currency::USD, requested: euro };
    let named = |command: &mut RegisterService| {
        command.terms.currency = euro;
        command.wallet = Some(provider.wallet);
    };
    assert_eq!(ask(&named), mismatch);
    assert_eq!(ask(&|command| command.terms.price = Amount::ZERO), Denial::AmountNotPositive);
    registered(&node, &provider, "one");
    assert_eq!(ask(&|_| ()), Denial::TooManyServices { limit: 1 });
    let in_euro = node.another(&stranger, euro);
    let mut command = register(terms("euros", "1", None));
    command.terms.currency = euro;
    let service =
        node.run(node.engine.register_service(&stranger.caller, command)).expect("registered").value;
    assert_eq!(service.wallet, in_euro.wallet, "the first wallet that fits");
}

#[test]
fn trust_follows_from_calls_is_told_once_a_second_and_comes_back() {
    let setup = setup();
    let clock = setup.clock.clone();
    let node = setup.start();
    let market = Market::open(&node, Some(Sla { window_ms: 500, accept_within_ms: None }));
    let shown = |node: &Node| {
        let service = node.engine.service(market.service).expect("registered");
        (service.trust_score, service.settled_calls, service.breached_calls)
    };
    for _ in 0..5 {
        let token = market.reserve(&node).id;
        market.verify(&node, token);
        market.start(&node, token);
        market.accept(&node, token);
        market.complete(&node, token);
    }
    pass(&node, &clock, 1_100);
    eventually("the score is told", || shown(&node) == (66, 5, 0));
    let token = market.reserve(&node).id;
    market.verify(&node, token);
    market.start(&node, token);
    pass(&node, &clock, 600);
    eventually("it is breached", || market.token(&node, token).status == TokenStatus::SlaBreached);
    pass(&node, &clock, 1_100);
    eventually("the score is told", || shown(&node) == (58, 5, 1));
    node.kill();
    let node = setup.start();
    assert_eq!(shown(&node), (58, 5, 1));
    node.shutdown();
    let node = setup.start();
    assert_eq!(shown(&node), (58, 5, 1));
    node.kill();
    setup.audit();
    let books = crate::harness::Books::of(setup.storage.clone(), &setup.options.wal);
    let told = |fact: &&(u64, ledger::Fact)| matches!(fact.1, ledger::Fact::TrustChanged(_));
    assert!(books.facts.iter().filter(told).count() <= 4, "scores are told together");
}

#[test]
fn calls_inside_one_operator_do_not_count() {
    let setup = setup();
    let clock = setup.clock.clone();
    let node = setup.start();
    let member = |name: &str, operator: &str| {
        let new =
            engine::NewAgent { operator: operator.into(), ..crate::harness::new_agent(name, Vec::new()) };
        Party::of(&node.run(node.engine.create_agent(new)).expect("created"))
    };
    for (operators, expected) in [(("acme", "acme"), 50), (("acme", "globex"), 66), (("self", "self"), 66)] {
        let (consumer, provider) = (member("c", operators.0), member("p", operators.1));
        node.run(node.engine.fund(&consumer.caller, crate::harness::fund(&consumer, "10"))).expect("funded");
        let service = registered(&node, &provider, &format!("{} {}", operators.0, operators.1)).id;
        let market = Market { consumer, provider, service };
        for _ in 0..5 {
            let token = market.reserve(&node).id;
            market.verify(&node, token);
            market.start(&node, token);
            market.accept(&node, token);
            market.complete(&node, token);
        }
        clock.advance(1_100);
        seen(&node, &clock);
        let shown = || {
            let service = node.engine.service(market.service).expect("registered");
            (service.trust_score, service.settled_calls)
        };
        eventually("the calls are told", || shown() == (expected, 5));
    }
}

/// Whoever asks what a URL costs gets the first few in order, whatever happens to services in the meantime.
#[test]
fn services_of_one_url_are_in_order_and_counted() {
    const URL: &str = "https://api.example.com/one";
    let setup = setup();
    let clock = setup.clock.clone();
    let node = setup.start();
    let provider = node.party("provider");
    let ids: Vec<_> = (0..4)
        .map(|number| {
            let mut command = register(terms(&format!("service {number}"), "0.5", None));
            command.terms.endpoint_url = Some(URL.into());
            command.at = Timestamp::from_millis(number);
            node.run(node.engine.register_service(&provider.caller, command)).expect("registered").value.id
        })
        .collect();
    let order = |node: &Node, limit| {
        let (found, total) = node.engine.services_at(URL, limit);
        let place = |service: &std::sync::Arc<ServiceView>| ids.iter().position(|id| *id == service.id);
        (found.iter().filter_map(place).collect::<Vec<_>>(), total)
    };
    assert_eq!(order(&node, 9), (vec![0, 1, 2, 3], 4), "the oldest first");
    let at = Timestamp::from_millis(9);
    node.run(node.engine.verify_service(ids[3], true, at)).expect("verified");
    let consumer = node.party("consumer");
    node.run(node.engine.fund(&consumer.caller, crate::harness::fund(&consumer, "10"))).expect("funded");
    let market = Market { consumer, provider: provider.clone(), service: ids[2] };
    let token = market.reserve(&node).id;
    market.verify(&node, token);
    market.start(&node, token);
    market.accept(&node, token);
    market.complete(&node, token);
    pass(&node, &clock, 1_100);
    eventually("the score is told", || node.engine.service(ids[2]).is_some_and(|s| s.trust_score > 50));
    assert_eq!(order(&node, 9), (vec![3, 2, 0, 1], 4));
    assert_eq!(order(&node, 2), (vec![3, 2], 4), "counted beyond the limit");
    node.run(node.engine.deactivate_service(&provider.caller, ids[3], at)).expect("ended");
    let away = ServicePatch { endpoint_url: Some(None), ..ServicePatch::default() };
    node.run(node.engine.patch_service(&provider.caller, ids[0], away)).expect("patched");
    assert_eq!(order(&node, 9), (vec![2, 1], 2));
    node.kill();
    let node = setup.start();
    assert_eq!(order(&node, 9), (vec![2, 1], 2), "after a restart");
    let back = ServicePatch { status: Some(ServiceStatus::Active), ..ServicePatch::default() };
    node.run(node.engine.patch_service(&provider.caller, ids[3], back)).expect("patched");
    assert_eq!(order(&node, 9), (vec![3, 2, 1], 3));
}

/// Changes of different fields at the same time are all kept: each is made to what the one before it left.
#[test]
fn changes_that_race_lose_nothing_of_each_other() {
    let setup = setup();
    let node = setup.start();
    let provider = node.party("provider");
    let id = registered(&node, &provider, "Raced").id;
    let patches = [
        ServicePatch { price: Some(amount("0.75")), ..ServicePatch::default() },
        ServicePatch { description: Some(Some("told".into())), ..ServicePatch::default() },
        ServicePatch { category: Some(None), ..ServicePatch::default() },
        ServicePatch { name: Some("Renamed".into()), ..ServicePatch::default() },
    ];
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let (engine, caller, patch) =
                (node.engine.clone(), provider.caller.clone(), patches[number % patches.len()].clone());
            node.spawn(async move { engine.patch_service(&caller, id, patch).await })
        })
        .collect();
    node.run(async move {
        for task in tasks {
            task.await.expect("no task panics").expect("patched");
        }
    });
    let changed = |node: &Node| {
        let service = node.engine.service(id).expect("registered");
        assert_eq!((service.terms.price, service.terms.category.as_deref()), (amount("0.75"), None));
        assert_eq!((service.terms.description.as_deref(), &*service.slug), (Some("told"), "renamed"));
        assert!(node.engine.service_by_slug("raced").is_none());
    };
    changed(&node);
    node.kill();
    changed(&setup.start());
    let books = crate::harness::Books::of(setup.storage.clone(), &setup.options.wal);
    let records =
        books.facts.iter().filter(|(_, fact)| matches!(fact, ledger::Fact::ServiceChanged(_))).count();
    assert_eq!(records, 1 + patches.len(), "a change that changes nothing is no record");
}
