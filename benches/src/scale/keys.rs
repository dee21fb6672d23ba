//! Very many idempotency keys on disk, by the store alone: a day of them is made in minutes.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use idempotency::{KeyStore, Options, SpilledKey};
use ledger::{KeyHash, KeyPlace, Timestamp};
use serde_json::{Value, json};

use super::{made, resident_bytes};

/// Keys that are moved to disk at a time, as the engine does it by default.
const STEP: u64 = 125_000;
const OWNERS: u64 = 10_000;
const LOOKUPS: u64 = 200_000;

fn key(number: u64, millis: i64) -> SpilledKey {
    let hash = made::wallet(number).raw() << 16;
    SpilledKey {
        owner: made::wallet(number % OWNERS).raw(),
        hash: KeyHash::from_raw(hash),
        place: KeyPlace { lsn: number, item: 0 },
        fingerprint: number,
        at: Timestamp::from_millis(millis),
    }
}

/// Adds `keys` keys that come `per_second`, keeping house as the engine does, and looks some up.
pub fn fill(dir: &Path, keys: u64, per_second: u64) -> Result<Value> {
    let before = resident_bytes().0;
    let store = KeyStore::open(&dir.join("keys"), Options::default())?;
    let millis = |number: u64| i64::try_from(number * 1_000 / per_second).expect("in range");
    let begun = Instant::now();
    for from in (0..keys).step_by(usize::try_from(STEP)?) {
        let to = keys.min(from + STEP);
        let step: Vec<SpilledKey> = (from..to).map(|number| key(number, millis(number))).collect();
        store.add(from, to, &step, &mut || ())?;
        while store.maintain(Timestamp::from_millis(millis(to)), &mut || ())? {}
    }
    let fill_seconds = begun.elapsed().as_secs_f64();
    let (resident, most) = resident_bytes();
    let figures = store.figures();
    ensure!(figures.keys == keys, "{} keys are kept of {keys}: {figures:?}", figures.keys);

    let mut random = fastrand::Rng::with_seed(1);
    let begun = Instant::now();
    for _ in 0..LOOKUPS {
        let new = key(keys + random.u64(0..u64::MAX / 2), 0);
        ensure!(store.find(new.owner, new.hash, keys)?.is_none(), "a key that was never used is found");
    }
    let new_micros = begun.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64;
    let begun = Instant::now();
    for _ in 0..LOOKUPS / 10 {
        let old = key(random.u64(0..keys), 0);
        ensure!(store.find(old.owner, old.hash, keys)?.is_some(), "a key is lost");
    }
    let old_micros = begun.elapsed().as_secs_f64() * 1e7 / LOOKUPS as f64;
    Ok(json!({
        "stage": "keys", "keys": keys, "fill_seconds": fill_seconds, "runs": figures.runs,
        "disk_bytes": figures.disk_bytes, "filter_bytes": figures.filter_bytes,
        "resident_bytes": resident.saturating_sub(before), "most_bytes": most.saturating_sub(before),
        "lookup_new_micros": new_micros, "lookup_old_micros": old_micros,
    }))
}
