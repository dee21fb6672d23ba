use std::fs;
use std::path::Path;

use ledger::{KeyHash, KeyPlace, KeyScope, Timestamp};
use tempfile::TempDir;

use crate::{Error, KeyStore, Options, SpilledKey};

mod damage;
mod model;

const RETENTION: u64 = 1_000;

fn options() -> Options {
    Options { retention_ms: RETENTION, ..Options::default() }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(directory: &Path) -> KeyStore {
    KeyStore::open(directory, options()).expect("it opens")
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn hash(key: u64) -> KeyHash {
    KeyHash::of(KeyScope::Payment, &key.to_string())
}

fn key(owner: u128, key: u64, lsn: u64, millis: i64) -> SpilledKey {
    let place = KeyPlace { lsn, item: u32::try_from(key % 65_536).expect("16 bits") };
    SpilledKey { owner, hash: hash(key), place, fingerprint: key ^ lsn, at: at(millis) }
}

fn keys(range: std::ops::Range<u64>, millis: i64) -> Vec<SpilledKey> {
    range.map(|number| key(u128::from(number % 7), number, number, millis)).collect()
}

#[track_caller]
fn holds(store: &KeyStore, keys: &[SpilledKey]) {
    for key in keys {
        let found = store.find(key.owner, key.hash, 0).expect("it can be read");
        assert_eq!(found, Some((key.place, key.fingerprint)), "{key:?}");
    }
}

fn files(directory: &Path, ending: &str) -> usize {
    let names = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().ends_with(ending)).count()
}

#[test]
fn keys_are_found_by_owner_and_hash_also_after_opening_again() {
    let directory = directory();
    let all = keys(0..20_000, 5);
    let mut store = open(directory.path());
    assert!(store.is_empty() && store.covers() == 0);
    store.add(0, 100, &all[..9_000], &mut || ()).expect("added");
    store.add(100, 250, &all[9_000..], &mut || ()).expect("added");
    for _ in 0..2 {
        holds(&store, &all);
        assert_eq!((store.covers(), store.gaps(250), store.gaps(300)), (250, vec![], vec![(250, 300)]));
        for number in 0..20_000 {
            let stranger = store.find(u128::from(number % 7) + 7, hash(number), 250).expect("readable");
            assert_eq!(stranger, None, "another owner's key");
            assert_eq!(store.find(1, hash(number + 20_000), 250).expect("readable"), None);
        }
        assert!(matches!(store.find(1, hash(1 << 40), 251), Err(Error::Incomplete { covers: 250, .. })));
        drop(store);
        store = open(directory.path());
    }
}

#[test]
fn the_younger_use_of_a_key_wins_within_and_between_runs() {
    let directory = directory();
    let store = open(directory.path());
    store.add(0, 10, &[key(1, 1, 3, 0), key(1, 1, 7, 0), key(1, 2, 8, 0)], &mut || ()).expect("added");
    holds(&store, &[key(1, 1, 7, 0), key(1, 2, 8, 0)]);
    for run in 1..4 {
        store.add(run * 10, run * 10 + 10, &[key(1, 1, run * 10 + 1, 0)], &mut || ()).expect("added");
        holds(&store, &[key(1, 1, run * 10 + 1, 0)]);
    }
    while store.maintain(at(0), &mut || ()).expect("joined") {}
    assert_eq!((store.figures().runs, store.figures().keys), (1, 2));
    holds(&store, &[key(1, 1, 31, 0), key(1, 2, 8, 0)]);
}

#[test]
fn keys_go_when_the_youngest_of_their_run_is_past_the_retention() {
    let directory = directory();
    let mut store = open(directory.path());
    store.add(0, 10, &[key(1, 1, 1, 0), key(1, 2, 2, 100)], &mut || ()).expect("added");
    store.add(10, 20, &[key(1, 3, 11, 900)], &mut || ()).expect("added");
    assert!(!store.maintain(at(1_099), &mut || ()).expect("kept"));
    holds(&store, &[key(1, 1, 1, 0), key(1, 2, 2, 100), key(1, 3, 11, 900)]);
    assert!(store.maintain(at(1_100), &mut || ()).expect("dropped"));
    assert_eq!(store.find(1, hash(1), 20).expect("readable"), None);
    holds(&store, &[key(1, 3, 11, 900)]);
    assert!(
        store.maintain(at(1_900), &mut || ()).expect("dropped")
            && store.maintain(at(1_900), &mut || ()).expect("joined")
    );
    assert!(!store.maintain(at(1_900), &mut || ()).expect("done"));
    for _ in 0..2 {
        assert_eq!((store.covers(), store.figures().runs, store.is_empty()), (20, 1, true));
        drop(store);
        store = open(directory.path());
    }
    assert_eq!(files(directory.path(), ".run"), 1);
}

#[test]
fn runs_of_like_size_are_joined_and_far_times_are_not() {
    let directory = directory();
    let store = open(directory.path());
    let all = keys(0..64_000, 7);
    for (number, part) in (0u64..).zip(all.chunks(1_000)) {
        store.add(number * 10, number * 10 + 10, part, &mut || ()).expect("added");
        while store.maintain(at(7), &mut || ()).expect("joined") {}
    }
    assert!(store.figures().runs <= 10, "{:?}", store.figures());
    assert_eq!(store.figures().keys, 64_000);
    holds(&store, &all);
    drop(store);
    holds(&open(directory.path()), &all);

    let directory = self::directory();
    let store = open(directory.path());
    for number in 0..8 {
        let millis = i64::try_from(number).expect("small") * 200;
        store.add(number, number + 1, &[key(1, number, number, millis)], &mut || ()).expect("added");
        assert!(!store.maintain(at(0), &mut || ()).expect("nothing to do"), "600 ms are more than a quarter");
    }
}

#[test]
fn a_run_is_never_larger_than_its_bound() {
    let directory = directory();
    let bounded = Options { run_keys_max: 2_000, ..options() };
    let store = KeyStore::open(directory.path(), bounded).expect("it opens");
    for (number, part) in (0u64..).zip(keys(0..7_800, 7).chunks(600)) {
        store.add(number, number + 1, part, &mut || ()).expect("added");
        assert!(!store.maintain(at(7), &mut || ()).expect("nothing to do"));
    }
}

#[test]
fn without_memory_for_filters_they_are_read_from_disk() {
    let directory = directory();
    let frugal = Options { filter_bytes_max: 4_096 * 30, ..options() };
    let mut store = KeyStore::open(directory.path(), frugal.clone()).expect("it opens");
    let all = keys(0..60_000, 7);
    for (number, part) in (0u64..).zip(all.chunks(20_000)) {
        store.add(number, number + 1, part, &mut || ()).expect("added");
    }
    for _ in 0..2 {
        let held = store.figures().filter_bytes;
        assert!(held > 0 && held <= 4_096 * 30, "{held}");
        holds(&store, &all);
        for number in 60_000..61_000 {
            assert_eq!(store.find(1, hash(number), 3).expect("readable"), None);
        }
        drop(store);
        store = KeyStore::open(directory.path(), frugal.clone()).expect("it opens");
    }
}

/// Most lookups of keys that are not there read nothing.
#[test]
fn filters_say_no_nearly_always() {
    let directory = directory();
    let store = open(directory.path());
    store.add(0, 1, &keys(0..50_000, 7), &mut || ()).expect("added");
    let wrong = (50_000..150_000).filter(|number| !store.is_absent(3, hash(*number), 0)).count();
    assert!(wrong < 200, "{wrong} of 100 000");
    let bytes = store.figures().filter_bytes;
    assert!(bytes < 50_000 * 21 / 10 + 4_096, "{bytes}");
}

/// What a crash leaves: a half-written run, and the parts of a joined one.
#[test]
fn leftovers_of_a_crash_are_cleared_away() {
    let directory = directory();
    let path = directory.path();
    let store = open(path);
    let all = keys(0..400, 7);
    let mut parts = Vec::new();
    for (number, part) in (0u64..).zip(all.chunks(100)) {
        store.add(number, number + 1, part, &mut || ()).expect("added");
        let name = format!("keys-{number:020}-{:020}.run", number + 1);
        parts.push((path.join(&name), fs::read(path.join(&name)).expect("read")));
    }
    while store.maintain(at(7), &mut || ()).expect("joined") {}
    assert_eq!(files(path, ".run"), 1);
    drop(store);
    for (part, bytes) in &parts {
        fs::write(part, bytes).expect("written");
    }
    fs::write(path.join("keys-00000000000000000004-00000000000000000005.run.tmp"), b"half").expect("written");
    fs::write(path.join("unrelated"), b"kept").expect("written");
    let store = open(path);
    assert_eq!((files(path, ".run"), files(path, ".tmp"), files(path, "unrelated")), (1, 0, 1));
    assert_eq!((store.covers(), store.figures().keys), (4, 400));
    holds(&store, &all);
    drop(store);

    // The joined one is damaged, and the parts are still there: they count.
    let joined = path.join("keys-00000000000000000000-00000000000000000004.run");
    fs::write(&joined, b"torn").expect("written");
    for (part, bytes) in &parts {
        fs::write(part, bytes).expect("written");
    }
    let store = open(path);
    assert_eq!((store.covers(), store.figures().runs, files(path, ".damaged")), (4, 4, 1));
    holds(&store, &all);
}

#[test]
fn a_missing_run_is_a_gap_until_it_is_added_again() {
    let directory = directory();
    let store = open(directory.path());
    let all = keys(0..300, 7);
    for (number, part) in (0u64..).zip(all.chunks(100)) {
        store.add(number * 10, number * 10 + 10, part, &mut || ()).expect("added");
    }
    drop(store);
    fs::remove_file(directory.path().join(format!("keys-{:020}-{:020}.run", 10, 20))).expect("removed");
    let store = open(directory.path());
    assert_eq!((store.covers(), store.gaps(30), store.gaps(5)), (10, vec![(10, 20)], vec![]));
    assert_eq!(store.gaps(40), [(10, 20), (30, 40)]);
    holds(&store, &all[..100]);
    holds(&store, &all[200..]);
    assert!(matches!(store.find(9, hash(9), 30), Err(Error::Incomplete { covers: 10, needed: 30 })));
    store.add(10, 20, &all[100..200], &mut || ()).expect("added");
    assert_eq!((store.covers(), store.find(9, hash(9), 30).expect("complete")), (30, None));
    holds(&store, &all);
}

/// The bytes of a run, written once and read for ever.
#[test]
fn a_run_is_read_and_written_as_ever() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.run");
    let directory = directory();
    let keys: Vec<SpilledKey> = (0..100).map(|number| key(u128::MAX - 5, number, number, -7)).collect();
    open(directory.path()).add(0, 4_096, &keys, &mut || ()).expect("added");
    let name = format!("keys-{:020}-{:020}.run", 0, 4_096);
    let written = fs::read(directory.path().join(&name)).expect("read");
    if !golden.exists() && std::env::var_os("AGENTPAY_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(golden.parent().expect("a folder")).expect("made");
        fs::write(&golden, &written).expect("written");
    }
    let recorded = fs::read(&golden).expect("the golden file is there");
    assert!(recorded == written, "today's bytes are not the recorded ones");
    let elsewhere = self::directory();
    fs::copy(&golden, elsewhere.path().join(&name)).expect("copied");
    holds(&open(elsewhere.path()), &keys);
}

#[test]
fn a_store_is_open_once_at_a_time() {
    let directory = directory();
    let store = open(directory.path());
    assert!(matches!(KeyStore::open(directory.path(), options()), Err(Error::Locked { .. })));
    store.close();
    open(directory.path());
}

#[test]
fn a_cleared_store_is_empty_for_good() {
    let directory = directory();
    let store = open(directory.path());
    store.add(0, 9, &keys(0..10, 7), &mut || ()).expect("added");
    store.clear().expect("cleared");
    assert_eq!((store.covers(), files(directory.path(), ".run")), (0, 0));
    drop(store);
    assert_eq!(open(directory.path()).covers(), 0);
}
