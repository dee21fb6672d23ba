//! Golden files: the format, byte for byte. What version 1 wrote is read for ever, and version 1 is what is
//! written today.

use super::{Driven, replay, small};
use crate::testing::{FaultyStorage, Loss, MemoryStorage};
use crate::{Log, Lsn, Options};
use std::sync::Arc;

const FILES: [(&str, &[u8]); 3] = [
    ("0000000001.wal", include_bytes!("../../tests/golden/v1/0000000001.wal")),
    ("0000000002.wal", include_bytes!("../../tests/golden/v1/0000000002.wal")),
    ("0000000003.wal", include_bytes!("../../tests/golden/v1/0000000003.wal")),
];

fn options() -> Options {
    Options { segment_bytes: 2048, record_bytes_max: 512, batch_bytes_max: 1024, ..small(1) }
}

/// Payloads of the golden log: they cross a segment, leave room for a torn tail, and are told from each
/// other.
fn payloads() -> Vec<Vec<u8>> {
    (0..6).map(|number: u8| (0..number * 40).map(|byte| byte ^ number).collect()).collect()
}

fn written_today() -> MemoryStorage {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), options()).expect("starts");
    for batch in payloads().chunks(2) {
        driven.allocate();
        for payload in batch {
            driven.append(payload.clone()).expect("room");
        }
        while driven.commit() {}
    }
    driven.allocate();
    driven.rest();
    storage.crash_image(Loss::Dropped)
}

#[test]
fn files_of_version_1_are_read() {
    let files = FILES.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    let log = Log::open(Arc::new(MemoryStorage::with_files(files)), options()).expect("opens");
    let found = replay(&log, Lsn::ZERO).expect("sound");
    let positions: Vec<u64> = found.iter().map(|(lsn, _)| lsn.get()).collect();
    assert_eq!(positions, [1096, 1112, 1240, 1336, 1544, 3144]);
    assert!(found.into_iter().map(|(_, payload)| payload).eq(payloads()));
    assert_eq!((log.begin(), log.end(), log.residual_risk()), (Lsn::new(1024), Lsn::new(3432), None));
}

#[test]
fn version_1_is_written_byte_for_byte() {
    let today = written_today().files();
    assert_eq!(today.len(), FILES.len());
    for (name, golden) in FILES {
        let written = &today[name];
        let differs = golden.iter().zip(written).position(|(golden, written)| golden != written);
        assert_eq!(
            (differs, golden.len()),
            (None, written.len()),
            "{name}: the format changed; give it a new version"
        );
    }
}
