//! Golden files: bytes that were written once and must be read for ever.
//!
//! `AGENTPAY_WRITE_GOLDEN=1 cargo test -p journal golden` writes files that do not exist yet, for a new kind or
//! version. A file that exists is never written again.

use std::path::PathBuf;

use journal::{Encode, Scratch, decode, decode_row, encode_row};

use crate::samples;

#[track_caller]
fn check(name: &str, encoded: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(format!("{name}.bin"));
    if !path.exists() && std::env::var_os("AGENTPAY_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
        std::fs::write(&path, encoded).expect("the golden file can be written");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(golden, encoded, "{name}: today's bytes are not the recorded ones");
    golden
}

#[test]
fn records_are_read_and_written_as_ever() {
    let mut scratch = Scratch::new();
    for (name, fact) in samples::facts() {
        fact.encode(&mut scratch);
        let golden = check(name, scratch.bytes());
        assert_eq!(decode(&golden), Ok(fact), "{name}");
    }
}

#[test]
fn rows_are_read_and_written_as_ever() {
    let mut scratch = Scratch::new();
    for (name, row) in samples::rows() {
        encode_row(row.as_ref(), &mut scratch);
        let golden = check(name, scratch.bytes());
        assert_eq!(decode_row(&golden), Ok(row), "{name}");
    }
}

/// Both directions of the table: no sample without its file (above), no file without its sample.
#[test]
fn every_golden_file_belongs_to_a_sample() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the golden files are there")
        .map(|entry| entry.expect("a folder can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let facts = samples::facts().into_iter().map(|(name, _)| name);
    let rows = samples::rows().into_iter().map(|(name, _)| name);
    let mut names: Vec<String> = facts.chain(rows).map(|name| format!("{name}.bin")).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn records_and_rows_are_never_taken_for_each_other() {
    let mut scratch = Scratch::new();
    for (name, fact) in samples::facts() {
        fact.encode(&mut scratch);
        assert!(decode_row(scratch.bytes()).is_err(), "{name}");
    }
    for (name, row) in samples::rows() {
        encode_row(row.as_ref(), &mut scratch);
        assert!(decode(scratch.bytes()).is_err(), "{name}");
    }
}
