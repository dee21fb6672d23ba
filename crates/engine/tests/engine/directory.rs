//! Agents, keys and wallets: what authentication sees is what is durable, before and after every end.

use std::{sync::Arc, time::Duration};

use engine::{OpenWallet, Refusal};
use ledger::{AgentId, Currency, Denial, Key, KeyId, Timestamp, WalletId, WalletStatus};
use wal::testing::{FaultyStorage, Loss, MemoryStorage};

use crate::harness::{
    GatedStorage, Node, Party, Setup, denial, key, new_agent, open_wallet, owner_key, runtime_key,
};

const OWNER: KeyId = KeyId::from_raw(1);
const RUNTIME: KeyId = KeyId::from_raw(2);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn alice(node: &Node) -> Party {
    node.party_with_keys("alice", vec![owner_key(1, 0), runtime_key(2, 0)])
}

/// Which of the keys numbered 1 to 9 open the door at `now`.
fn usable(node: &Node, now: i64) -> Vec<u64> {
    let usable =
        |id: &u64| node.engine.key(KeyId::from_raw(*id)).is_some_and(|record| record.key.usable(at(now)));
    (1..10).filter(usable).collect()
}

fn keys(node: &Node, party: &Party) -> Vec<Key> {
    node.run(node.engine.agent(party.id())).expect("read").expect("present").keys
}

/// The published keys are those of the directory's owner.
#[track_caller]
fn check_published(node: &Node, party: &Party) {
    for key in keys(node, party) {
        let record = node.engine.key(key.id).expect("published");
        assert_eq!((record.agent, record.key), (party.id(), key));
    }
}

#[test]
fn a_revoked_key_is_gone_with_the_answer_and_for_ever() {
    let disk = FaultyStorage::new();
    let setup = Setup::new(disk.clone());
    let node = setup.start();
    let alice = alice(&node);
    assert_eq!(usable(&node, 10), [1, 2]);
    let revoke = |node: &Node, id| node.run(node.engine.revoke_key(alice.id(), id, at(10)));
    revoke(&node, RUNTIME).expect("revoked");
    assert_eq!(usable(&node, 10), [1]);
    check_published(&node, &alice);
    assert_eq!(denial(revoke(&node, RUNTIME)), Denial::UnknownKey);
    assert_eq!(denial(revoke(&node, OWNER)), Denial::LastOwnerKey);
    assert_eq!(denial(revoke(&node, KeyId::from_raw(77))), Denial::UnknownKey);

    let image = disk.crash_image(Loss::Dropped);
    node.kill();
    let node = setup.on(image.clone()).start();
    assert_eq!(usable(&node, 10), [1], "after a crash");
    check_published(&node, &alice);
    node.shutdown();
    let setup = setup.on(image);
    let node = setup.start();
    assert_eq!(usable(&node, 10), [1], "from a snapshot");
    check_published(&node, &alice);
    node.shutdown();
    setup.audit();
}

#[test]
fn rotated_keys_overlap_until_the_old_ones_end() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let alice = alice(&node);
    let rotate = |node: &Node, key, until| node.run(node.engine.rotate_keys(alice.id(), key, at(until)));
    rotate(&node, runtime_key(3, 100), 200).expect("rotated");
    assert_eq!((usable(&node, 150), usable(&node, 200)), (vec![1, 2, 3], vec![1, 3]));
    // A second rotation cannot make a key live longer than the first left it.
    rotate(&node, runtime_key(4, 150), 900).expect("rotated again");
    assert_eq!((usable(&node, 199), usable(&node, 200)), (vec![1, 2, 3, 4], vec![1, 3, 4]));
    assert_eq!(usable(&node, 900), [1, 4]);
    check_published(&node, &alice);
    node.shutdown();
    let node = setup.start();
    assert_eq!((usable(&node, 199), usable(&node, 900)), (vec![1, 2, 3, 4], vec![1, 4]));
    check_published(&node, &alice);
    // Keys that have ended make room when the next one comes.
    node.run(node.engine.add_key(alice.id(), runtime_key(5, 1_000))).expect("added");
    assert_eq!(keys(&node, &alice).iter().map(|key| key.id.raw()).collect::<Vec<_>>(), [1, 4, 5]);
    assert!(node.engine.key(RUNTIME).is_none() && node.engine.key(KeyId::from_raw(3)).is_none());
    node.shutdown();
    setup.audit();
}

/// What authentication sees and what the directory decided agree for every kind of key.
#[test]
fn a_rotation_ends_keys_of_its_own_kind_only() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let alice = alice(&node);
    node.run(node.engine.rotate_keys(alice.id(), owner_key(3, 100), at(200))).expect("rotated");
    assert_eq!((usable(&node, 199), usable(&node, 200)), (vec![1, 2, 3], vec![2, 3]));
    check_published(&node, &alice);
    node.shutdown();
    let node = setup.start();
    assert_eq!(usable(&node, 200), [2, 3]);
    check_published(&node, &alice);
    node.shutdown();
}

#[test]
fn keys_and_wallets_are_limited() {
    let setup = Setup::new(MemoryStorage::new()).tuned(|options| {
        options.rules.keys_per_agent_max = 3;
        options.rules.wallets_per_agent_max = 2;
    });
    let node = setup.start();
    let alice = alice(&node);
    node.run(node.engine.add_key(alice.id(), runtime_key(3, 10))).expect("the third");
    let fourth = node.run(node.engine.add_key(alice.id(), runtime_key(4, 10)));
    assert_eq!(denial(fourth), Denial::TooManyKeys { limit: 3 });
    node.run(node.engine.open_wallet(&alice.caller, open_wallet(Currency::EUR))).expect("the second");
    let third = node.run(node.engine.open_wallet(&alice.caller, open_wallet(Currency::EUR)));
    assert_eq!(denial(third), Denial::TooManyWallets { limit: 2 });
    let gbp = Currency::parse("GBP").expect("a currency");
    let foreign = node.run(node.engine.open_wallet(&alice.caller, open_wallet(gbp)));
    assert_eq!(denial(foreign), Denial::UnsupportedCurrency);
    assert_eq!(node.engine.gauges().in_flight, 0);
}

#[test]
fn a_wallet_is_usable_as_soon_as_it_is_answered() {
    let setup = Setup::new(MemoryStorage::new());
    let node = setup.start();
    let alice = alice(&node);
    let label = OpenWallet { label: Some("travel".into()), ..open_wallet(Currency::EUR) };
    let opened = node.run(node.engine.open_wallet(&alice.caller, label)).expect("opened").value;
    let party = Party { wallet: opened.id, ..alice.clone() };
    let read = node.wallet(&party);
    assert_eq!((read.currency, read.label.as_deref()), (Currency::EUR, Some("travel")));
    assert_eq!(engine::WalletView { as_of: opened.as_of, ..read }, opened);
    let default = OpenWallet { currency: None, ..open_wallet(Currency::EUR) };
    let opened = node.run(node.engine.open_wallet(&alice.caller, default)).expect("opened").value;
    assert_eq!(opened.currency, Currency::USD);
    let agent = node.run(node.engine.agent(alice.id())).expect("read").expect("present");
    assert_eq!(agent.wallets, [alice.wallet, party.wallet, opened.id]);
    node.shutdown();
}

#[test]
fn nobody_learns_of_agents_and_wallets_of_others() {
    let node = Setup::new(MemoryStorage::new()).start();
    let (alice, bob) = (alice(&node), node.party("bob"));
    let nobody = AgentId::new(0, 99);
    assert_eq!(node.run(node.engine.agent(nobody)), Ok(None));
    assert_eq!(node.run(node.engine.add_key(nobody, runtime_key(9, 0))), Err(Refusal::UnknownAgent));
    assert_eq!(node.run(node.engine.revoke_key(bob.id(), RUNTIME, at(1))), Err(Denial::UnknownKey.into()));
    for wallet in [bob.wallet, WalletId::new(0, 5)] {
        assert_eq!(denial(node.run(node.engine.wallet(&alice.caller, wallet))), Denial::UnknownWallet);
        let frozen = node.run(node.engine.set_status(&alice.caller, wallet, WalletStatus::Frozen, at(1)));
        assert_eq!(denial(frozen), Denial::UnknownWallet);
    }
    assert_eq!(node.wallet(&bob).status, WalletStatus::Active);
    let stranger = Party::new(nobody, alice.wallet);
    let key = OpenWallet { key: key("k", 1), ..open_wallet(Currency::USD) };
    let opened = node.run(node.engine.open_wallet(&stranger.caller, key));
    assert_eq!(opened.map(drop), Err(Refusal::UnknownAgent));
    assert_eq!(node.engine.gauges().in_flight, 0);
}

/// An agent that was never acknowledged is whole or not there after a crash.
#[test]
fn a_crash_leaves_no_half_of_an_agent() {
    let disk = FaultyStorage::new();
    let gate = GatedStorage::new(Arc::new(disk.clone()));
    // A watermark at the gate would keep the record from being written.
    let setup =
        Setup::new(gate.clone()).tuned(|options| options.wal.watermark_after = Duration::from_secs(3_600));
    let node = setup.start();
    let alice = alice(&node);
    let records = || setup.on(disk.crash_image(Loss::Kept)).audit().records;
    let before = records();
    let shut = gate.shut();
    let engine = node.engine.clone();
    let creating =
        node.spawn(async move { engine.create_agent(new_agent("carol", vec![owner_key(3, 0)])).await });
    // A sync at the gate would not tell: the next segment's may be there before the record is written.
    crate::harness::eventually("the record is written", || records() > before);
    let images =
        [Loss::Dropped, Loss::Kept, Loss::Random(1), Loss::Random(2)].map(|loss| disk.crash_image(loss));
    assert!(!creating.is_finished());
    for (image, expected) in images.into_iter().zip([Some(1), Some(2), None, None]) {
        let setup = setup.on(image);
        let node = setup.start();
        let gauges = node.engine.gauges();
        assert_eq!(gauges.agents, gauges.wallets, "an agent has its wallet");
        assert_eq!(node.engine.key(KeyId::from_raw(3)).is_some(), gauges.agents == 2, "and its key");
        assert!(expected.is_none_or(|agents| gauges.agents == agents));
        assert_eq!(usable(&node, 1)[..2], [1, 2]);
        check_published(&node, &alice);
        node.kill();
    }
    shut.open();
    node.run(creating).expect("no panic").expect("created after all");
    node.shutdown();
}
