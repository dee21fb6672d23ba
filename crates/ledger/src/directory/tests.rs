use super::*;
use crate::{Fact, KeyPlace, Position, Scopes};

const AGENT: AgentId = AgentId::from_raw(1);
const USED: KeyPlace = KeyPlace { lsn: 77, item: 0 };

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn key(id: u64, kind: KeyKind, created: i64, expires: Option<i64>) -> Key {
    Key {
        id: KeyId::from_raw(id),
        kind,
        hash: [0; 32],
        scopes: Scopes::ALL,
        created_at: at(created),
        expires_at: expires.map(at),
        revoked_at: None,
    }
}

fn agent(keys: Vec<Key>) -> Agent {
    let fact = AgentCreated {
        agent: AGENT,
        name: "a".into(),
        operator: "self".into(),
        metadata: None,
        public_key: [0; 32],
        keys,
        wallet: WalletId::from_raw(10),
        currency: Currency::USD,
        at: at(0),
    };
    Agent::created(&fact, Position::new(1))
}

fn owner_and_runtime() -> Vec<Key> {
    vec![key(1, KeyKind::Owner, 0, None), key(2, KeyKind::Runtime, 0, None)]
}

fn open_wallet(key: Option<(&str, u64)>, currency: Currency, wallets_max: u32) -> Decision<WalletOpened> {
    let mut agent = agent(owner_and_runtime());
    agent.idempotency.remember(KeyHash::of(KeyScope::OpenWallet, "used"), USED, 5, at(0), 1_000);
    let key = key.map(|(text, fingerprint)| KeyUse { text: text.into(), fingerprint });
    let wallet = WalletId::from_raw(11);
    let command = OpenWalletCommand { wallet, label: Some("ops".into()), currency, key, at: at(5) };
    decide_open_wallet(&agent, command, &Rules { wallets_per_agent_max: wallets_max, ..Rules::default() })
}

#[test]
fn wallets_are_opened_in_offered_currencies_up_to_a_limit() {
    let opened = WalletOpened {
        agent: AGENT,
        wallet: WalletId::from_raw(11),
        label: Some("ops".into()),
        currency: Currency::EUR,
        key: Some(KeyUse { text: "new".into(), fingerprint: 1 }),
        at: at(5),
    };
    assert_eq!(open_wallet(Some(("new", 1)), Currency::EUR, 2), Decision::Fact(opened.clone()));
    let mut keys = Vec::new();
    opened.for_each_key(|hash, fingerprint, item| keys.push((hash, fingerprint, item)));
    assert_eq!(keys, [(KeyHash::of(KeyScope::OpenWallet, "new"), 1, 0)]);

    let yen = Currency::parse("JPY").expect("a code");
    assert_eq!(open_wallet(None, yen, 2), Decision::Denied(Denial::UnsupportedCurrency));
    assert_eq!(open_wallet(None, Currency::EUR, 1), Decision::Denied(Denial::TooManyWallets { limit: 1 }));
    assert_eq!(open_wallet(Some(("used", 5)), yen, 1), Decision::Replay(USED));
    assert_eq!(open_wallet(Some(("used", 6)), yen, 1), Decision::Denied(Denial::KeyConflict));
}

#[test]
fn only_usable_keys_count_against_the_limit() {
    let rules = Rules { keys_per_agent_max: 3, ..Rules::default() };
    let decide =
        |keys, created| decide_add_key(&agent(keys), key(9, KeyKind::Runtime, created, None), &rules);
    let mut keys = owner_and_runtime();
    assert!(matches!(decide(keys.clone(), 5), Decision::Fact(_)));
    keys.push(key(3, KeyKind::Runtime, 0, Some(10)));
    assert_eq!(decide(keys.clone(), 9), Decision::Denied(Denial::TooManyKeys { limit: 3 }));
    assert!(matches!(decide(keys.clone(), 10), Decision::Fact(_)));
    keys[2] = Key { expires_at: None, revoked_at: Some(at(0)), ..keys[2].clone() };
    let added = KeyAdded { agent: AGENT, key: key(9, KeyKind::Runtime, 5, None) };
    assert_eq!(decide(keys, 5), Decision::Fact(added));
}

#[test]
fn the_last_owner_key_stays() {
    let decide = |keys: Vec<Key>, id, now| decide_revoke_key(&agent(keys), KeyId::from_raw(id), at(now));
    let keys = owner_and_runtime();
    let revoked =
        |id, now| Decision::Fact(KeyRevoked { agent: AGENT, key: KeyId::from_raw(id), at: at(now) });
    assert_eq!(decide(keys.clone(), 2, 5), revoked(2, 5));
    assert_eq!(decide(keys.clone(), 1, 5), Decision::Denied(Denial::LastOwnerKey));
    assert_eq!(decide(keys.clone(), 3, 5), Decision::Denied(Denial::UnknownKey));

    let mut two_owners = keys;
    two_owners.push(key(3, KeyKind::Owner, 0, Some(10)));
    assert_eq!(decide(two_owners.clone(), 1, 9), revoked(1, 9));
    assert_eq!(decide(two_owners.clone(), 1, 10), Decision::Denied(Denial::LastOwnerKey));
    assert_eq!(decide(two_owners, 3, 10), Decision::Denied(Denial::UnknownKey));
}

#[test]
fn a_rotation_fits_when_the_old_keys_end_at_once() {
    let rules = Rules { keys_per_agent_max: 2, ..Rules::default() };
    let old = agent(owner_and_runtime());
    let new = key(9, KeyKind::Runtime, 50, None);
    let decide = |old_expire_at| decide_rotate(&old, new.clone(), at(old_expire_at), &rules);
    let rotated = KeysRotated { agent: AGENT, key: new.clone(), old_expire_at: at(50) };
    assert_eq!(decide(50), Decision::Fact(rotated));
    assert_eq!(decide(51), Decision::Denied(Denial::TooManyKeys { limit: 2 }));
    let mut two_owners = owner_and_runtime();
    two_owners.push(key(3, KeyKind::Owner, 0, None));
    let full = decide_rotate(&agent(two_owners), new.clone(), at(50), &rules);
    assert_eq!(full, Decision::Denied(Denial::TooManyKeys { limit: 2 }), "keys of the other kind stay");
    let roomy = Rules { keys_per_agent_max: 3, ..Rules::default() };
    assert!(matches!(decide_rotate(&old, new.clone(), at(51), &roomy), Decision::Fact(_)));
}

#[test]
#[should_panic(expected = "a new key has a new id")]
fn a_key_id_is_never_used_twice() {
    let _ = decide_add_key(&agent(owner_and_runtime()), key(2, KeyKind::Runtime, 5, None), &Rules::default());
}

#[test]
fn agent_facts_are_facts_and_come_back() {
    let revoked = KeyRevoked { agent: AGENT, key: KeyId::from_raw(1), at: at(3) };
    let added = KeyAdded { agent: AGENT, key: key(9, KeyKind::Owner, 4, None) };
    let rotated = KeysRotated { agent: AGENT, key: key(9, KeyKind::Owner, 5, None), old_expire_at: at(9) };
    let Decision::Fact(opened) = open_wallet(None, Currency::USD, 9) else { panic!("opened") };
    for (fact, time) in [
        (AgentFact::KeyRevoked(revoked), 3),
        (AgentFact::KeyAdded(added), 4),
        (AgentFact::KeysRotated(rotated), 5),
        (AgentFact::WalletOpened(opened), 5),
    ] {
        assert_eq!(fact.agent(), AGENT);
        let general = Fact::from(fact.clone());
        assert_eq!((general.at(), general.change()), (at(time), None));
        general.for_each_posting(|posting| panic!("{posting:?} by the directory"));
        assert_eq!(AgentFact::try_from(general), Ok(fact));
    }
}
