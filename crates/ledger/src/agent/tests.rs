use super::*;
use crate::{Currency, KeyAdded, KeyRevoked, KeysRotated, WalletOpened};

const AGENT: AgentId = AgentId::from_raw(1);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn key(id: u64, kind: KeyKind, created: i64) -> Key {
    Key {
        id: KeyId::from_raw(id),
        kind,
        hash: [7; 32],
        scopes: Scopes::ALL,
        created_at: at(created),
        expires_at: None,
        revoked_at: None,
    }
}

/// Born at position 10 with owner key 1 and runtime key 2.
fn agent() -> Agent {
    let fact = AgentCreated {
        agent: AGENT,
        name: "ResearchOpsAgent".into(),
        operator: "acme".into(),
        metadata: None,
        public_key: [3; 32],
        keys: vec![key(1, KeyKind::Owner, 0), key(2, KeyKind::Runtime, 0)],
        wallet: WalletId::from_raw(10),
        currency: Currency::USD,
        at: at(0),
    };
    Agent::created(&fact, Position::new(10))
}

fn usable(agent: &Agent, now: i64) -> Vec<u64> {
    agent.keys.iter().filter(|key| key.usable(at(now))).map(|key| key.id.raw()).collect()
}

#[test]
fn an_agent_is_born_with_its_keys_and_wallet() {
    let agent = agent();
    assert_eq!(agent.id, AGENT);
    assert_eq!((&*agent.name, &*agent.operator, agent.public_key), ("ResearchOpsAgent", "acme", [3; 32]));
    assert_eq!(agent.wallets, [WalletId::from_raw(10)]);
    assert_eq!(usable(&agent, 0), [1, 2]);
    assert_eq!((agent.created_at, agent.decided), (at(0), Position::new(10)));
}

#[test]
fn a_fact_is_folded_in_once() {
    let mut agent = agent();
    let opened = AgentFact::WalletOpened(WalletOpened {
        agent: AGENT,
        wallet: WalletId::from_raw(11),
        label: None,
        currency: Currency::EUR,
        key: None,
        at: at(1),
    });
    assert!(!agent.apply(&opened, Position::new(10)));
    assert!(agent.apply(&opened, Position::new(20)));
    assert!(!agent.apply(&opened, Position::new(20)));
    assert_eq!(agent.wallets, [WalletId::from_raw(10), WalletId::from_raw(11)]);
    assert_eq!(agent.decided, Position::new(20));
}

#[test]
fn a_revocation_counts_at_once_and_for_ever() {
    let mut agent = agent();
    let revoked = KeyRevoked { agent: AGENT, key: KeyId::from_raw(2), at: at(50) };
    assert!(agent.apply(&AgentFact::KeyRevoked(revoked), Position::new(20)));
    assert_eq!(usable(&agent, 0), [1]);
    assert_eq!(usable(&agent, 100), [1]);
    assert_eq!(agent.key(KeyId::from_raw(2)).and_then(|key| key.revoked_at), Some(at(50)));
    assert_eq!(agent.key(KeyId::from_raw(3)), None);
}

#[test]
fn a_rotation_ends_the_keys_of_its_kind_after_the_overlap() {
    let mut agent = agent();
    let mut short = key(3, KeyKind::Runtime, 1);
    short.expires_at = Some(at(60));
    assert!(agent.apply(&AgentFact::KeyAdded(KeyAdded { agent: AGENT, key: short }), Position::new(20)));
    let rotated = KeysRotated { agent: AGENT, key: key(4, KeyKind::Runtime, 50), old_expire_at: at(100) };
    assert!(agent.apply(&AgentFact::KeysRotated(rotated), Position::new(30)));
    assert_eq!(usable(&agent, 59), [1, 2, 3, 4]);
    assert_eq!(usable(&agent, 60), [1, 2, 4]);
    assert_eq!(usable(&agent, 99), [1, 2, 4]);
    assert_eq!(usable(&agent, 100), [1, 4]);
}

#[test]
fn ended_keys_make_room_for_new_ones() {
    let mut agent = agent();
    for round in 0..50u64 {
        let now = i64::try_from(round).expect("small") * 10 + 10;
        let fact = KeysRotated {
            agent: AGENT,
            key: key(100 + round, KeyKind::Runtime, now),
            old_expire_at: at(now),
        };
        assert!(agent.apply(&AgentFact::KeysRotated(fact), Position::new(20 + round)));
    }
    assert_eq!(usable(&agent, 10_000), [1, 149]);
    assert_eq!(agent.keys.len(), 2, "ended keys are dropped when one is added");
}

#[test]
#[should_panic(expected = "reaches the agent it is about")]
fn a_fact_about_another_agent_stops_the_process() {
    let other = KeyRevoked { agent: AgentId::from_raw(2), key: KeyId::from_raw(1), at: at(0) };
    agent().apply(&AgentFact::KeyRevoked(other), Position::new(20));
}

#[test]
fn scopes_are_a_closed_set_of_bits() {
    let all = Scopes::READ.with(Scopes::PAY).with(Scopes::PROVIDE).with(Scopes::WEBHOOKS);
    assert_eq!(all, Scopes::ALL);
    assert!(all.contains(Scopes::PAY) && !Scopes::READ.contains(Scopes::PAY) && all.contains(Scopes::NONE));
    assert!(!Scopes::READ.contains(Scopes::READ.with(Scopes::PAY)));
    for bits in 0..=255 {
        assert_eq!(Scopes::from_bits(bits).map(Scopes::bits), (bits < 16).then_some(bits));
    }
}

#[test]
fn a_keys_hash_stays_out_of_log_lines() {
    let text = format!("{:?}", key(1, KeyKind::Owner, 0));
    assert!(text.contains("Owner") && !text.contains("hash") && !text.contains('7'), "{text}");
}
