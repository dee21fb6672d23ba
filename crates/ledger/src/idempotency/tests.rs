use super::*;

const DAY: u64 = 1_000;

fn hash(text: &str) -> KeyHash {
    KeyHash::of(KeyScope::Payment, text)
}

fn place(lsn: u64) -> KeyPlace {
    KeyPlace { lsn, item: 0 }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn kept(keys: &IdempotencyKeys, text: &str) -> bool {
    keys.find(hash(text)).is_some()
}

#[test]
fn a_key_is_found_with_its_place_and_fingerprint() {
    let mut keys = IdempotencyKeys::default();
    assert_eq!(keys.find(hash("a")), None);
    assert!(keys.is_empty());
    keys.remember(hash("a"), KeyPlace { lsn: u64::MAX, item: 65_535 }, 7, at(0), DAY);
    keys.remember(hash("b"), place(9), 8, at(1), DAY);
    assert_eq!(keys.find(hash("a")), Some((KeyPlace { lsn: u64::MAX, item: 65_535 }, 7)));
    assert_eq!(keys.find(hash("b")), Some((place(9), 8)));
    assert_eq!(keys.find(hash("c")), None);
    assert_eq!(keys.len(), 2);
}

#[test]
fn scopes_do_not_share_keys() {
    let scopes = [KeyScope::Payment, KeyScope::Batch, KeyScope::Fund, KeyScope::OpenWallet];
    let mut hashes: Vec<u128> = scopes.iter().map(|scope| KeyHash::of(*scope, "k").raw()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), scopes.len());
    let used = KeyUse { text: "k".into(), fingerprint: 1 };
    assert_eq!(used.hash(KeyScope::Fund), KeyHash::of(KeyScope::Fund, "k"));
}

/// Snapshot rows hold hashes: these values must never change.
#[test]
fn hashes_are_stable() {
    let longest = "x".repeat(255);
    let hashes = ["tool-call-001", "", longest.as_str()].map(|text| hash(text).raw());
    let expected = [
        38_656_836_087_189_911_334_138_854_813_750_067_200,
        288_641_663_974_058_300_363_650_943_496_620_605_440,
        234_893_974_768_848_670_530_949_093_029_443_862_528,
    ];
    assert_eq!(hashes, expected);
}

#[test]
fn a_key_lives_one_to_two_retentions() {
    let mut keys = IdempotencyKeys::default();
    keys.remember(hash("early"), place(1), 1, at(0), DAY);
    keys.remember(hash("late"), place(2), 2, at(999), DAY);
    keys.forget_expired(at(999), DAY);
    assert_eq!(keys.len(), 2);

    // The generation turns over: both are still found, a new key goes to the new generation.
    keys.remember(hash("next"), place(3), 3, at(1_000), DAY);
    assert!(kept(&keys, "early") && kept(&keys, "late") && kept(&keys, "next"));
    keys.forget_expired(at(1_999), DAY);
    assert!(kept(&keys, "early") && kept(&keys, "late") && kept(&keys, "next"));

    keys.forget_expired(at(2_000), DAY);
    assert!(!kept(&keys, "early") && !kept(&keys, "late") && kept(&keys, "next"));
    keys.forget_expired(at(3_000), DAY);
    assert!(keys.is_empty());
    assert_eq!(keys.started(), None);
}

#[test]
fn idleness_of_two_retentions_drops_everything_at_once() {
    let mut keys = IdempotencyKeys::default();
    keys.remember(hash("a"), place(1), 1, at(0), DAY);
    keys.remember(hash("b"), place(2), 2, at(1_500), DAY);
    keys.remember(hash("c"), place(3), 3, at(3_500), DAY);
    assert!(!kept(&keys, "a") && !kept(&keys, "b") && kept(&keys, "c"));
    assert_eq!(keys.started(), Some(at(3_500)));
}

#[test]
fn a_clock_that_runs_backwards_drops_nothing() {
    let mut keys = IdempotencyKeys::default();
    keys.remember(hash("a"), place(1), 1, at(5_000), DAY);
    keys.remember(hash("b"), place(2), 2, at(-5_000), DAY);
    keys.forget_expired(at(i64::MIN), DAY);
    assert!(kept(&keys, "a") && kept(&keys, "b"));
}

#[test]
fn the_later_use_of_a_forgotten_key_wins() {
    let mut keys = IdempotencyKeys::default();
    keys.remember(hash("a"), place(1), 1, at(0), DAY);
    keys.remember(hash("a"), place(2), 2, at(10), DAY);
    assert_eq!(keys.find(hash("a")), Some((place(2), 2)));
    keys.remember(hash("a"), place(3), 3, at(1_000), DAY);
    assert_eq!(keys.find(hash("a")), Some((place(3), 3)));
}

#[test]
fn a_set_comes_back_from_its_entries() {
    let mut keys = IdempotencyKeys::default();
    for number in 0..100u32 {
        let at = at(i64::from(number) * 15);
        keys.remember(hash(&number.to_string()), KeyPlace { lsn: 7, item: number }, 9, at, DAY);
    }
    let started = keys.started().expect("keys were remembered");
    let mut restored = IdempotencyKeys::restore(started, keys.iter());
    assert_eq!(restored, keys);
    assert_eq!(restored.len(), 100);
    assert_eq!(keys.iter().filter(|entry| entry.previous).count(), 67);
    assert_eq!(IdempotencyKeys::restore(started, []), IdempotencyKeys::default());
    restored.remember(hash("one more"), place(8), 9, at(1_600), DAY);
    assert_ne!(restored, keys);
}

#[test]
fn sets_differ_when_one_entry_differs() {
    let with = |place, fingerprint, started| {
        let mut keys = IdempotencyKeys::default();
        keys.remember(hash("a"), place, fingerprint, at(started), DAY);
        keys
    };
    let keys = with(place(1), 1, 0);
    assert_eq!(keys, with(place(1), 1, 0));
    for other in
        [with(place(2), 1, 0), with(place(1), 2, 0), with(place(1), 1, 5), IdempotencyKeys::default()]
    {
        assert_ne!(keys, other);
    }
}

#[test]
fn a_key_is_judged_by_its_fingerprint() {
    let mut keys = IdempotencyKeys::default();
    keys.remember(hash("a"), place(1), 7, at(0), DAY);
    let used = |text: &str, fingerprint| KeyUse { text: text.into(), fingerprint };
    let judge = |key: Option<&KeyUse>, scope| keys.judge(key, scope);
    assert_eq!(judge(None, KeyScope::Payment), KeyVerdict::New);
    assert_eq!(judge(Some(&used("a", 7)), KeyScope::Payment), KeyVerdict::Repeats(place(1)));
    assert_eq!(judge(Some(&used("a", 8)), KeyScope::Payment), KeyVerdict::Conflicts);
    assert_eq!(judge(Some(&used("a", 8)), KeyScope::Fund), KeyVerdict::New);
    assert_eq!(judge(Some(&used("b", 7)), KeyScope::Payment), KeyVerdict::New);
}

#[test]
fn a_recalled_key_counts_for_one_decision_and_leaves_no_trace() {
    let used = |fingerprint| KeyUse { text: "old".into(), fingerprint };
    for mut keys in [IdempotencyKeys::default(), {
        let mut keys = IdempotencyKeys::default();
        keys.remember(hash("a"), place(50), 1, at(7), DAY);
        keys
    }] {
        let before = keys.clone();
        keys.recall(hash("old"), place(3), 7);
        assert_eq!(keys.judge(Some(&used(7)), KeyScope::Payment), KeyVerdict::Repeats(place(3)));
        assert_eq!(keys.judge(Some(&used(8)), KeyScope::Payment), KeyVerdict::Conflicts);
        assert_eq!((keys.len(), keys.iter().count()), (before.len(), before.len()), "not part of a snapshot");
        keys.release_recalled();
        assert_eq!(keys, before);
        assert_eq!(keys.find(hash("old")), None);
    }
}

#[test]
fn a_key_in_memory_is_younger_than_a_recalled_one() {
    let mut keys = IdempotencyKeys::default();
    keys.remember(hash("a"), place(9), 2, at(0), DAY);
    keys.recall(hash("a"), place(3), 1);
    assert_eq!(keys.find(hash("a")), Some((place(9), 2)));
}

/// What is remembered while a key is recalled starts its generation at its own time.
#[test]
fn a_recalled_key_does_not_shorten_the_life_of_the_next() {
    let (mut keys, mut plain) = (IdempotencyKeys::default(), IdempotencyKeys::default());
    keys.recall(hash("old"), place(3), 7);
    for keys in [&mut keys, &mut plain] {
        keys.remember(hash("a"), place(9), 2, at(5_500), DAY);
    }
    keys.release_recalled();
    assert_eq!(keys, plain);
    assert_eq!(keys.started(), Some(at(5_500)));
}

#[test]
fn keys_of_old_records_are_forgotten_by_position() {
    let mut keys = IdempotencyKeys::default();
    for number in 0..30u64 {
        keys.remember(hash(&number.to_string()), place(number), 1, at(number.cast_signed() * 100), DAY);
    }
    let held = keys.len();
    assert_eq!((keys.parts(), keys.forget_below(0, 0)), (1, 0));
    assert_eq!(keys.forget_below(29, 0) + 1, held);
    assert!(kept(&keys, "29") && !kept(&keys, "28"));
    assert_eq!((keys.len(), keys.forget_below(30, 0), keys.is_none()), (1, 1, true));
    assert_eq!(keys.forget_below(99, 0), 0);
}
