//! Against a plain map, with opening again as an operation.

use std::collections::HashMap;

use testkit::Random;

use super::*;

/// The last use of every key: where, and when.
type Model = HashMap<(u128, u64), SpilledKey>;

#[test]
fn lookups_agree_with_a_plain_map() {
    let seed = testkit::seed("cargo test -p idempotency lookups_agree");
    let mut random = Random::new(seed);
    for _ in 0..30 {
        one_life(&mut random);
    }
}

fn one_life(random: &mut Random) {
    let directory = directory();
    let options = Options {
        filter_bytes_max: *random.pick(&[0, 4_096, 1 << 20]),
        run_keys_max: *random.pick(&[300, 100_000]),
        ..options()
    };
    let open = || KeyStore::open(directory.path(), options.clone()).expect("it opens");
    let (mut store, mut model) = (open(), Model::new());
    let (mut end, mut now) = (0, 0);
    for _ in 0..60 {
        match random.below(8) {
            0..4 => {
                let to = end + 1 + random.below(2_000);
                let added: Vec<_> = (0..random.below(200))
                    .map(|_| {
                        let lsn = end + random.below(to - end);
                        key(u128::from(random.below(3)), random.below(600), lsn, now)
                    })
                    .collect();
                store.add(end, to, &added, &mut || ()).expect("added");
                for key in added {
                    let name = (key.owner, key.place.item.into());
                    let last = model.entry(name).or_insert(key);
                    if last.place <= key.place {
                        *last = key;
                    }
                }
                end = to;
            }
            4 | 5 => drop(store.maintain(at(now), &mut || ()).expect("maintained")),
            6 => now += i64::try_from(random.below(400)).expect("small"),
            _ => {
                drop(store);
                store = open();
            }
        }
        check(&store, &model, end, now);
    }
}

/// Young keys are found where they were used last. Old ones may be gone, but are never found elsewhere.
fn check(store: &KeyStore, model: &Model, end: u64, now: i64) {
    assert_eq!(store.covers(), end);
    for owner in 0..3 {
        for number in (0..600).step_by(7) {
            let found = store.find(owner, hash(number), end).expect("readable");
            let Some(last) = model.get(&(owner, number)) else {
                assert_eq!(found, None);
                continue;
            };
            let expected = Some((last.place, last.fingerprint));
            let young = now - last.at.millis() < i64::try_from(RETENTION).expect("small");
            assert!(found == expected || (found.is_none() && !young), "{found:?} {last:?} at {now}");
        }
    }
}
