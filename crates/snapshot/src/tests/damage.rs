//! Files that are not what was written: an error that names the file, never a row, never a panic.

use super::*;
use crate::Summary;
use crate::format::{FRAME_BYTES, FrameHead, FrameKind, HEADER_BYTES, Header, Trailer, encode_footer};

/// A store whose one generation is `bytes`, which must be refused before the first row.
#[track_caller]
fn check_refused(directory: &Path, bytes: &[u8], why: impl std::fmt::Display) {
    let file = directory.join("generation-00000000000000000001.snapshot");
    std::fs::write(&file, bytes).expect("it is written");
    let store = FileStore::open(directory).expect("it opens");
    let mut rows = 0;
    let error = store
        .load(1, &mut |_| {
            rows += 1;
            Ok(())
        })
        .expect_err(&format!("{why}: it is refused"));
    assert!(matches!(error, Error::Damaged { .. } | Error::Version { .. }), "{why}: {error}");
    assert!(error.to_string().contains("generation-00000000000000000001.snapshot"), "{why}: {error}");
    assert_eq!(rows, 0, "{why}: no row of a damaged file is seen");
    assert!(store.verify(1).is_err(), "{why}: it does not verify");
}

/// Bytes of a small generation with several chunks in front of the trailer.
fn generation(directory: &Path) -> Vec<u8> {
    let store = FileStore::open(directory).expect("it opens");
    let written = write(&store, 0, 7, &rows(1, 4)).expect("it is written");
    assert_eq!(written.id, 1);
    std::fs::read(&files(directory)[0]).expect("it is read")
}

#[test]
fn cut_at_every_byte() {
    let directory = directory();
    let bytes = generation(directory.path());
    for length in 0..bytes.len() {
        check_refused(directory.path(), &bytes[..length], format_args!("cut to {length} bytes"));
    }
}

#[test]
fn every_bit_flipped() {
    let directory = directory();
    let bytes = generation(directory.path());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        check_refused(directory.path(), &flipped, format_args!("bit {bit} flipped"));
    }
}

#[test]
fn zeros_garbage_and_more_bytes_than_were_written() {
    let directory = directory();
    let bytes = generation(directory.path());
    check_refused(directory.path(), &vec![0; bytes.len()], "zeros");
    check_refused(directory.path(), &[], "nothing");
    for tail in [&b"x"[..], &[0; 8], &bytes] {
        check_refused(directory.path(), &[&bytes, tail].concat(), format_args!("{} bytes more", tail.len()));
    }
    for begin in (0..bytes.len()).step_by(16) {
        let mut zeroed = bytes.clone();
        let end = bytes.len().min(begin + 16);
        zeroed[begin..end].fill(0);
        if zeroed != bytes {
            check_refused(directory.path(), &zeroed, format_args!("zeros from {begin}"));
        }
    }
}

#[test]
fn chunks_of_another_generation_or_order() {
    let directory = directory();
    let store = FileStore::open(directory.path()).expect("it opens");
    // Rows beyond a few chunks.
    write(&store, 0, 7, &rows(1, 6_000)).expect("it is written");
    write(&store, 0, 7, &rows(1, 6_000)).expect("it is written");
    let [one, other] = [0, 1].map(|file| std::fs::read(&files(directory.path())[file]).expect("it is read"));
    let chunks = chunk_ends(&one);
    assert!(chunks.len() > 3, "there are chunks to exchange");
    assert_eq!(chunks, chunk_ends(&other), "both have the same shape");

    let first = HEADER_BYTES..chunks[0];
    let second = chunks[0]..chunks[1];
    let rest = chunks[1]..one.len();
    let elsewhere = self::directory();
    let swapped =
        [&one[..HEADER_BYTES], &one[second.clone()], &one[first.clone()], &one[rest.clone()]].concat();
    check_refused(elsewhere.path(), &swapped, "chunks swapped");
    let dropped = [&one[..HEADER_BYTES], &one[first.clone()], &one[rest.clone()]].concat();
    check_refused(elsewhere.path(), &dropped, "a chunk dropped");
    let doubled = [
        &one[..HEADER_BYTES],
        &one[first.clone()],
        &one[first.clone()],
        &one[second.clone()],
        &one[rest.clone()],
    ]
    .concat();
    check_refused(elsewhere.path(), &doubled, "a chunk doubled");
    let foreign = [&one[..HEADER_BYTES], &other[first], &one[second], &one[rest]].concat();
    check_refused(elsewhere.path(), &foreign, "a chunk of another generation");
    check_refused(elsewhere.path(), &other, "another generation under this name");
}

/// Ends of the frames in front of the trailer.
fn chunk_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut begin = HEADER_BYTES;
    loop {
        let frame: &[u8; FRAME_BYTES] = bytes[begin..].first_chunk().expect("a frame is here");
        let head = FrameHead::parse(frame).expect("it is a frame");
        if head.kind == FrameKind::Trailer {
            return ends;
        }
        begin += FRAME_BYTES + head.payload_bytes as usize;
        ends.push(begin);
    }
}

/// A file whose every digest holds, around a payload of rows as given.
fn sealed(payload: &[u8], rows: u32, summary: &Summary) -> Vec<u8> {
    let (header, chain) = Header { partition: 0, id: 1, start: summary.start }.encode();
    let chunk = FrameHead::seal(FrameKind::Rows, rows, payload, &chain);
    let previous = chunk.digest();
    let trailer =
        Trailer { previous, chunks: 1, rows: rows.into(), summary: summary.clone(), created_at: CREATED_AT }
            .encode();
    let tail = FrameHead::seal(FrameKind::Trailer, 0, &trailer, &previous);
    let footer = encode_footer(FRAME_BYTES + trailer.len());
    [&header[..], &chunk.bytes(), payload, &tail.bytes(), &trailer, &footer].concat()
}

fn payload(rows: &[Row]) -> Vec<u8> {
    let mut scratch = Scratch::new();
    let mut payload = Vec::new();
    for row in rows {
        encode_row(row.as_ref(), &mut scratch);
        let length = u32::try_from(scratch.bytes().len()).expect("rows are small");
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(scratch.bytes());
    }
    payload
}

/// Loads a file whose digests hold; the error, or what was read.
fn load(bytes: &[u8]) -> Result<(Vec<Row>, Generation), Error> {
    let directory = directory();
    std::fs::write(directory.path().join("generation-00000000000000000001.snapshot"), bytes)
        .expect("it is written");
    read(&FileStore::open(directory.path()).expect("it opens"), 1)
}

#[test]
fn a_file_sealed_by_hand_is_read() {
    let row = wallet(1, 4);
    let mut tally = Tally::default();
    tally.row(&row);
    let (rows, generation) =
        load(&sealed(&payload(std::slice::from_ref(&row)), 1, &tally.summary(1, 2))).expect("it is read");
    assert_eq!((rows, generation.summary.wallets), (vec![row], 1));
}

#[test]
fn digests_that_hold_do_not_excuse_what_is_inside() {
    let row = payload(&[wallet(1, 4)]);
    let mut tally = Tally::default();
    tally.row(&wallet(1, 4));
    let summary = tally.summary(1, 2);
    let check = |why: &str, payload: &[u8], rows: u32, summary: &Summary| {
        let error = load(&sealed(payload, rows, summary)).expect_err(why);
        assert!(matches!(error, Error::Damaged { .. } | Error::Row { .. }), "{why}: {error}");
    };
    check("another number of rows", &row, 2, &summary);
    check("rows in an empty chunk", &[], 1, &summary);
    check("a row cut short", &row[..row.len() - 1], 1, &summary);
    check("a length beyond the chunk", &[&u32::MAX.to_le_bytes()[..], &row].concat(), 1, &summary);
    check("an empty row", &[&[0; 4][..], &row].concat(), 2, &summary);
    check("a row that cannot be decoded", &[3, 0, 0, 0, 1, 1, 1], 1, &summary);
    let altered = |alter: fn(&mut Summary)| {
        let mut summary = summary.clone();
        alter(&mut summary);
        summary
    };
    check("a wallet more", &row, 1, &altered(|summary| summary.wallets += 1));
    check("an agent more", &row, 1, &altered(|summary| summary.agents += 1));
    check("another sum", &row, 1, &altered(|summary| summary.sums[0].1 = Amount::ZERO));
    check(
        "a sum without wallets",
        &row,
        1,
        &altered(|summary| {
            summary.sums.push((Currency::EUR, Amount::from_nanos(1)));
        }),
    );
    check("a sum missing", &row, 1, &altered(|summary| summary.sums.clear()));
    check("replay behind the rows", &row, 1, &altered(|summary| summary.covers = 0));
}

#[test]
fn a_trailer_that_repeats_another_digest_than_the_one_before_it_is_refused() {
    let summary = Tally::default().summary(1, 2);
    let (header, chain) = Header { partition: 0, id: 1, start: 1 }.encode();
    let file = |previous| {
        let trailer =
            Trailer { previous, chunks: 0, rows: 0, summary: summary.clone(), created_at: CREATED_AT }
                .encode();
        let tail = FrameHead::seal(FrameKind::Trailer, 0, &trailer, &chain);
        [&header[..], &tail.bytes(), &trailer, &encode_footer(FRAME_BYTES + trailer.len())].concat()
    };
    assert_eq!(load(&file(chain)).expect("it is read").0, []);
    let error = load(&file([3; 32])).expect_err("it is refused");
    assert!(error.to_string().contains("other chunks"), "{error}");
}

#[test]
fn balances_beyond_all_numbers_are_damage_and_no_panic() {
    let mut rich = Wallet::open(AgentId::new(0, 1), Currency::USD, None, CREATED_AT, Position::new(1));
    rich.available = Amount::from_nanos(i128::MAX);
    let rows = [Row::Wallet(WalletId::new(0, 1), rich.clone()), Row::Wallet(WalletId::new(0, 2), rich)];
    let sums = vec![(Currency::USD, Amount::from_nanos(i128::MAX))];
    let summary = Summary { start: 1, covers: 1, wallets: 2, agents: 0, sums };
    let error = load(&sealed(&payload(&rows), 2, &summary)).expect_err("it is refused");
    assert!(error.to_string().contains("unreadable row"), "a balance above the supply is no row: {error}");
}

#[test]
fn a_foreign_version_is_named() {
    let (mut header, _) = Header { partition: 0, id: 1, start: 1 }.encode();
    header[8] = 2;
    let digest = *blake3::hash(&header[..32]).as_bytes();
    header[32..].copy_from_slice(&digest);
    let error = load(&header).expect_err("it is refused");
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}
