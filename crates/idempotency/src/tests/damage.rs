//! A damaged run is said to be damaged: it never says that a key is not there.

use super::*;

/// Every byte of a small run, one at a time: the lookup is right, or it is an error, or the run is not opened at all.
#[test]
fn every_changed_byte_is_seen_or_harmless() {
    let directory = directory();
    let path = directory.path().join(format!("keys-{:020}-{:020}.run", 0, 9));
    let keys = keys(0..200, 7);
    open(directory.path()).add(0, 9, &keys, &mut || ()).expect("added");
    let sound = fs::read(&path).expect("read");
    let frugal = Options { filter_bytes_max: 0, ..options() };
    let (mut refused, mut failed) = (0, 0);
    for byte in (0..sound.len()).step_by(7).chain(sound.len() - 72..sound.len()) {
        let mut bytes = sound.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(&path, &bytes).expect("written");
        let store = KeyStore::open(directory.path(), frugal.clone()).expect("it opens");
        if store.covers() == 0 {
            refused += 1;
            let aside = path.with_extension("run.damaged");
            fs::remove_file(aside).expect("it was set aside");
            continue;
        }
        for key in &keys {
            match store.find(key.owner, key.hash, 9) {
                Ok(found) => assert_eq!(found, Some((key.place, key.fingerprint)), "byte {byte}"),
                Err(Error::Damaged { .. }) => failed += 1,
                Err(error) => panic!("byte {byte}: {error}"),
            }
        }
    }
    assert!(refused >= 72 && failed > 0, "{refused} were refused, {failed} lookups failed");
}

#[test]
fn a_run_of_every_length_is_refused() {
    let directory = directory();
    let path = directory.path().join(format!("keys-{:020}-{:020}.run", 0, 9));
    open(directory.path()).add(0, 9, &keys(0..200, 7), &mut || ()).expect("added");
    let sound = fs::read(&path).expect("read");
    for length in (0..sound.len()).step_by(61).chain([sound.len() + 1, sound.len() + 4_096]) {
        let mut bytes = sound.clone();
        bytes.resize(length, 0);
        fs::write(&path, &bytes).expect("written");
        assert_eq!(open(directory.path()).covers(), 0, "{length} bytes");
    }
}

/// A run under another's name would speak of another part of the log.
#[test]
fn a_run_under_another_name_is_refused() {
    let directory = directory();
    let store = open(directory.path());
    store.add(0, 9, &keys(0..10, 7), &mut || ()).expect("added");
    drop(store);
    let name = |from, to| directory.path().join(format!("keys-{from:020}-{to:020}.run"));
    fs::rename(name(0, 9), name(0, 10)).expect("renamed");
    assert_eq!(open(directory.path()).covers(), 0);
}

#[test]
fn a_newer_version_is_not_taken_for_damage() {
    let directory = directory();
    open(directory.path()).add(0, 9, &keys(0..10, 7), &mut || ()).expect("added");
    let path = directory.path().join(format!("keys-{:020}-{:020}.run", 0, 9));
    let mut bytes = fs::read(&path).expect("read");
    let foot = bytes.len() - 72;
    bytes[foot + 8] = 2;
    let sum = crc32c::crc32c(&bytes[foot..foot + 68]);
    bytes[foot + 68..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, &bytes).expect("written");
    let refused = KeyStore::open(directory.path(), options());
    assert!(matches!(refused, Err(Error::Version { found: 2, known: 1, .. })));
    assert!(path.exists(), "and it is left as it is");
}

#[test]
fn what_a_lookup_found_damaged_can_be_built_again() {
    let directory = directory();
    let store = open(directory.path());
    let (first, second) = (keys(0..300, 7), keys(300..600, 7));
    store.add(0, 9, &first, &mut || ()).expect("added");
    store.add(9, 18, &second, &mut || ()).expect("added");
    let path = directory.path().join(format!("keys-{:020}-{:020}.run", 0, 9));
    let mut bytes = fs::read(&path).expect("read");
    bytes[..4_096 * 4].fill(0);
    fs::write(&path, &bytes).expect("written");
    assert!(matches!(store.find(first[0].owner, first[0].hash, 18), Err(Error::Damaged { .. })));
    holds(&store, &second);
    assert_eq!(store.discard_damaged().expect("taken out"), 1);
    assert!(matches!(store.find(first[0].owner, first[0].hash, 18), Err(Error::Incomplete { .. })));
    assert_eq!(store.gaps(18), [(0, 9)]);
    store.add(0, 9, &first, &mut || ()).expect("added");
    holds(&store, &first);
    assert_eq!(store.discard_damaged().expect("nothing left"), 0);
    drop(store);
    assert_eq!(open(directory.path()).covers(), 18);
}
