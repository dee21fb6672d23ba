//! A log of 200 records, damaged in every way: cut at every byte, every bit flipped, blocks lost, doubled,
//! swapped and aged, lengths forged. What opens must be the longest valid prefix; everything else must be
//! refused, loudly. Nothing panics, and nothing is read into more memory than the file has bytes.

use super::{Driven, Record, payload, replay, small, variable};
use crate::batch::{BATCH_FRAME, Tip};
use crate::frame::{self, Kind, frame_bytes};
use crate::recovery::survey;
use crate::scan::{Scan, Step};
use crate::segment::{HEAD_BYTES, Identity, SECTOR, decode_link};
use crate::storage::{Access, Lock, Storage, StorageFile};
use crate::testing::{FaultyStorage, Loss, MemoryStorage, Random};
use crate::{Error, Log, Lsn, Options};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) fn options() -> Options {
    small(42)
}

/// One batch of the log under test.
#[derive(Copy, Clone, Debug)]
struct Span {
    at: Lsn,
    /// Where its write began: the first batch of a segment goes out together with the link.
    written_from: Lsn,
    /// Behind its last byte that is not zero.
    content_end: Lsn,
    end: Lsn,
    /// Records in the log up to here.
    records: usize,
}

/// The log under test.
struct Log200 {
    options: Options,
    files: Files,
    records: Vec<Record>,
    batches: Vec<Span>,
    /// The files as they were when half of the records were in.
    older: Files,
}

impl Log200 {
    /// Closed in good order, so that a watermark proves the last batch.
    fn closed() -> Log200 {
        Log200::make(true, options(), 60)
    }

    /// Killed right after its last batch.
    fn killed() -> Log200 {
        Log200::make(false, options(), 60)
    }

    fn make(close: bool, options: Options, payload_bytes_max: u64) -> Log200 {
        let storage = FaultyStorage::new();
        let mut random = Random::new(7);
        let mut driven = Driven::start(Arc::new(storage.clone()), options.clone()).expect("starts");
        let mut older = Files::new();
        for number in 0..200 {
            if number == 80 {
                // A restart in the middle leaves an unsealed segment behind.
                while driven.commit() {}
                drop(driven);
                driven = Driven::start(Arc::new(storage.clone()), options.clone()).expect("restarts");
            }
            driven.allocate();
            driven.append(payload(&mut random, payload_bytes_max)).expect("room");
            if random.below(3) == 0 {
                while driven.commit() {}
            }
            if number == 100 {
                older = storage.crash_image(Loss::Dropped).files();
            }
        }
        while driven.commit() {}
        if close {
            driven.rest();
        }
        let files = storage.crash_image(Loss::Dropped).files();
        let (records, batches) = (driven.records, batches(&files));
        assert!(records.len() == 200 && files.len() >= 3, "{} segments", files.len());
        Log200 { options, files, records, batches, older }
    }

    /// Records in the batches that end at or before `lsn`.
    fn records_below(&self, lsn: Lsn) -> usize {
        self.batches.iter().take_while(|batch| batch.end <= lsn).last().map_or(0, |batch| batch.records)
    }

    fn identities(&self) -> Vec<(String, Identity)> {
        let identity =
            |bytes: &Vec<u8>| Identity::decode(bytes.first_chunk().expect("a head")).expect("sound");
        self.files.iter().map(|(name, bytes)| (name.clone(), identity(bytes))).collect()
    }

    /// Whatever was damaged, the outcome must be a refusal or a prefix; and only damage from `from` on may
    /// shorten it, with no sound batch behind `to`, because such a batch proves that everything before it was
    /// durable.
    fn check(&self, name: &str, damaged: Vec<u8>, from: Lsn, to: Lsn, what: &str) -> bool {
        let mut files = self.files.clone();
        files.insert(name.to_owned(), damaged);
        let found = match outcome(files, self.options.clone()) {
            Ok(found) => found,
            Err(Error::Corrupt { .. } | Error::Version { .. }) => return true,
            Err(error) => panic!("{what}: {error}"),
        };
        assert!(self.records.starts_with(&found), "{what}: the log holds what was not appended");
        assert!(found.len() >= self.records_below(from), "{what}: records before the damage are gone");
        if self.batches.iter().any(|batch| batch.written_from >= to) {
            assert_eq!(found.len(), self.records.len(), "{what}: durable records are gone without a word");
        }
        false
    }
}

/// All batches of sound files.
fn batches(files: &Files) -> Vec<Span> {
    let storage = MemoryStorage::with_files(files.clone());
    let mut batches = Vec::new();
    let mut records = 0;
    for bytes in files.values() {
        let identity = Identity::decode(bytes.first_chunk().expect("a head")).expect("sound");
        let link = decode_link(bytes[SECTOR..].first_chunk().expect("a head"), identity.seed());
        let Ok(mut tip): Result<Tip, _> = link else { continue };
        let mut scan = Scan::open(&storage, identity, identity.limit()).expect("readable");
        while let Step::Batch { at, bytes, checked } = scan.next(&tip).expect("readable") {
            tip = checked.tip;
            records += checked.records as usize;
            let content = bytes.iter().rposition(|byte| *byte != 0).expect("a header") as u64 + 1;
            let link = if at == identity.first() { SECTOR as u64 } else { 0 };
            let written_from = Lsn::new(at.get() - link);
            let content_end = at.plus(content);
            batches.push(Span { at, written_from, content_end, end: tip.end, records });
        }
    }
    batches
}

/// Opens and replays, watching how much is read at once.
pub(super) fn outcome(files: Files, options: Options) -> Result<Vec<Record>, Error> {
    let longest = files.values().map(Vec::len).max().unwrap_or(0);
    let storage = Bounded { inner: MemoryStorage::with_files(files), longest };
    let log = Log::open(Arc::new(storage), options)?;
    replay(&log, Lsn::ZERO)
}

/// Refuses reads that are larger than the largest file.
struct Bounded {
    inner: MemoryStorage,
    longest: usize,
}

struct BoundedFile {
    inner: Arc<dyn StorageFile>,
    longest: usize,
}

impl Storage for Bounded {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        self.inner.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn StorageFile>> {
        panic!("opening and replaying make no files")
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        assert_eq!(access, Access::Read, "opening and replaying write nothing");
        Ok(Arc::new(BoundedFile { inner: self.inner.open(name, access)?, longest: self.longest }))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        panic!("opening and replaying rename nothing")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        panic!("opening and replaying remove nothing")
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
}

impl StorageFile for BoundedFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(buffer.len() <= self.longest, "{} bytes read at once", buffer.len());
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        panic!("opening and replaying write nothing")
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        panic!("opening and replaying allocate nothing")
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

#[test]
fn a_log_that_ends_at_any_byte_is_its_longest_valid_prefix() {
    for log in [Log200::closed(), Log200::killed()] {
        let end = log.batches.last().expect("batches").end;
        let mut files = log.files.clone();
        let identities = log.identities();
        // Made while the log was this long, a segment would tell that something is missing.
        for (name, identity) in &identities {
            let modest = Identity { durable: Lsn::ZERO, ..*identity };
            files.get_mut(name).expect("the file")[..SECTOR].copy_from_slice(&modest.encode());
        }
        // From the last byte to the first: everything from `cut` on was never written.
        for cut in (0..end.get()).rev().map(Lsn::new) {
            let (name, identity) =
                identities.iter().rfind(|(_, identity)| identity.base <= cut).expect("a segment");
            let offset = usize::try_from(identity.offset_of(cut)).expect("small");
            if offset < SECTOR {
                continue;
            }
            files.get_mut(name).expect("the file")[offset] = 0;
            let found =
                outcome(files.clone(), options()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            let whole = log.batches.iter().take_while(|batch| batch.content_end <= cut).last();
            assert_eq!(found.len(), whole.map_or(0, |batch| batch.records), "cut at {cut}");
            assert!(log.records.starts_with(&found), "cut at {cut}");
        }
    }
}

#[test]
fn a_file_that_lost_bytes_is_refused() {
    let log = Log200::closed();
    for (name, bytes) in &log.files {
        for length in (0..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
            let mut files = log.files.clone();
            files.get_mut(name).expect("the file").truncate(length);
            let outcome = outcome(files, options());
            assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_is_seen_or_harmless() {
    let mut refused = 0;
    for log in [Log200::closed(), Log200::killed()] {
        let end = log.batches.last().expect("batches").end;
        for (name, identity) in log.identities() {
            let bytes = &log.files[&name];
            for bit in 0..bytes.len() * 8 {
                let at = identity.base.plus((bit / 64 * 8) as u64);
                // Of the zeros behind the end one bit in each byte is enough.
                if at > end && bytes[bit / 8] == 0 && bit % 8 != bit / 8 % 8 {
                    continue;
                }
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                refused += u32::from(log.check(&name, damaged, at, at.plus(8), &format!("{name} bit {bit}")));
            }
        }
    }
    assert!(refused > 200_000, "only {refused} flips were refused");
}

#[test]
fn blocks_that_were_lost_doubled_swapped_or_aged_are_seen_or_harmless() {
    let large = Options { segment_bytes: 16_384, ..options() };
    for log in [Log200::make(true, large.clone(), 200), Log200::make(false, large, 200)] {
        let mut refused = 0;
        for size in [512, 4096] {
            for (name, identity) in log.identities() {
                for start in (0..log.files[&name].len()).step_by(size) {
                    for (what, damaged, from, length) in blocks(&log, &name, start, size) {
                        let from = identity.base.plus(from as u64);
                        let what = format!("{name}: block of {size} at {start} {what}");
                        refused +=
                            u32::from(log.check(&name, damaged, from, from.plus(length as u64), &what));
                    }
                }
            }
        }
        assert!(refused > 200, "only {refused} damaged blocks were refused");
    }
}

/// Damaged versions of one file: what was done, the file, and the extent of the damage.
fn blocks(log: &Log200, name: &str, start: usize, size: usize) -> Vec<(&'static str, Vec<u8>, usize, usize)> {
    let bytes = &log.files[name];
    let block = start..start + size;
    let mut zeroed = bytes.clone();
    zeroed[block.clone()].fill(0);
    let mut damaged = vec![("zeroed", zeroed, start, size)];
    if let Some(older) = log.older.get(name) {
        let mut aged = bytes.clone();
        aged[block.clone()].copy_from_slice(&older[block.clone()]);
        damaged.push(("aged", aged, start, size));
    }
    if start + 2 * size <= bytes.len() {
        let mut doubled = bytes.clone();
        doubled.copy_within(block.clone(), start + size);
        damaged.push(("doubled", doubled, start + size, size));
        let mut swapped = bytes.clone();
        swapped[start..start + 2 * size].rotate_left(size);
        damaged.push(("swapped", swapped, start, 2 * size));
    }
    damaged
}

/// Bytes of any number anywhere, replaced by anything.
#[test]
fn random_damage_is_seen_or_harmless() {
    let only = variable("WAL_DAMAGE_SEED");
    let log = Log200::closed();
    let identities = log.identities();
    for seed in only.map_or(1..=variable("WAL_DAMAGE_RUNS").unwrap_or(5_000), |seed| seed..=seed) {
        let mut random = Random::new(seed);
        let (name, identity) =
            &identities[usize::try_from(random.below(identities.len() as u64)).expect("small")];
        let mut damaged = log.files[name].clone();
        let start = usize::try_from(random.below(damaged.len() as u64)).expect("small");
        let longest = 1 << random.below(12);
        let length = usize::try_from(1 + random.below(longest)).expect("small").min(damaged.len() - start);
        for byte in &mut damaged[start..start + length] {
            *byte = random.draw().to_le_bytes()[0];
        }
        let from = identity.base.plus(start as u64);
        let replay = format!("replay: WAL_DAMAGE_SEED={seed} cargo test -p wal random_damage");
        log.check(name, damaged, from, from.plus(length as u64), &format!("{name} at {start}; {replay}"));
    }
}

#[test]
fn segments_that_are_missing_doubled_reordered_or_foreign_are_refused() {
    let log = Log200::closed();
    let foreign = foreign();
    let last = log.batches.last().expect("batches").at;
    let used: Vec<_> = log.identities().into_iter().filter(|(_, identity)| identity.base < last).collect();
    let refused = |files: Files, what: String| {
        let outcome = outcome(files, options());
        assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{what}: {outcome:?}");
    };
    for (name, _) in &used {
        let mut missing = log.files.clone();
        missing.remove(name);
        refused(missing, format!("{name} missing"));
        let mut strange = log.files.clone();
        strange.insert(name.clone(), foreign[name].clone());
        refused(strange, format!("{name} foreign"));
        for (other, _) in used.iter().filter(|(other, _)| other != name) {
            let mut doubled = log.files.clone();
            doubled.insert(other.clone(), log.files[name].clone());
            refused(doubled, format!("{name} as {other}"));
            let mut swapped = log.files.clone();
            swapped.insert(other.clone(), log.files[name].clone());
            swapped.insert(name.clone(), log.files[other].clone());
            refused(swapped, format!("{name} and {other} swapped"));
        }
    }
    // All segments of the other log are sound, only not this log.
    assert!(outcome(foreign, options()).is_ok());
}

/// Files of another log with the same records, and more.
fn foreign() -> Files {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), small(4711)).expect("starts");
    let mut random = Random::new(7);
    for _ in 0..300 {
        driven.allocate();
        driven.append(payload(&mut random, 60)).expect("room");
        while driven.commit() {}
    }
    driven.rest();
    storage.crash_image(Loss::Dropped).files()
}

#[test]
fn an_older_copy_of_a_segment_is_refused() {
    let log = Log200::closed();
    let mut changed = 0;
    for (name, older) in &log.older {
        if log.files[name] == *older {
            continue;
        }
        changed += 1;
        let mut files = log.files.clone();
        files.insert(name.clone(), older.clone());
        assert!(matches!(outcome(files, options()), Err(Error::Corrupt { .. })), "{name}");
    }
    assert!(changed > 0, "some segment grew after the copy");
}

#[test]
fn forged_lengths_never_lead_out_of_the_file() {
    let log = Log200::closed();
    for (name, identity) in log.identities() {
        let bytes = &log.files[&name];
        let inside = |batch: &&Span| batch.at >= identity.base && batch.at < identity.limit();
        for Span { at, end, .. } in log.batches.iter().filter(inside) {
            let start = usize::try_from(identity.offset_of(*at)).expect("small");
            let stop = usize::try_from(identity.offset_of(*end)).expect("small");
            let room = u32::try_from(bytes.len() - start).expect("small");
            for length in [0, 1, 71, 72, 73, 1024, 1025, room - 1, room, room + 1, u32::MAX] {
                // Length of the batch, with a checksum that vouches for it.
                let mut forged = bytes.clone();
                forged[start + 64..start + 68].copy_from_slice(&length.to_le_bytes());
                frame::seal(&mut forged[start..start + BATCH_FRAME], *at, identity.seed());
                log.check_forged(&name, forged, *at, &format!("{name}: batch at {at} of {length} bytes"));
                // Length of its first frame, without.
                if start + BATCH_FRAME < stop {
                    let mut forged = bytes.clone();
                    let field = start + BATCH_FRAME + 4;
                    forged[field..field + 4].copy_from_slice(&length.to_le_bytes());
                    log.check_forged(
                        &name,
                        forged,
                        *at,
                        &format!("{name}: frame after {at} of {length} bytes"),
                    );
                }
            }
        }
    }
}

impl Log200 {
    fn check_forged(&self, name: &str, forged: Vec<u8>, at: Lsn, what: &str) {
        if forged != self.files[name] {
            self.check(name, forged, at, at.plus(8), what);
        }
    }
}

#[test]
fn sizes_at_the_limits_are_stored_or_refused() {
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), small(3)).expect("starts");
    for length in [0, 1, 7, 8, 1023, 1024, 0] {
        driven.allocate();
        driven.append(vec![9; length]).expect("within the limit");
    }
    assert_eq!(driven.append(vec![9; 1025]), Err(crate::Refused::TooLarge));
    driven.rest();
    assert_eq!(driven.durable, 7);
    let found = outcome(storage.crash_image(Loss::Dropped).files(), small(3)).expect("sound");
    assert_eq!(found, driven.records);
}

#[test]
fn a_frame_within_a_payload_is_not_taken_for_a_batch() {
    // A record that quotes the log: its payload is a batch frame, aligned, but made for another position.
    let log = Log200::closed();
    let (name, _) = &log.identities()[0];
    let head = usize::try_from(HEAD_BYTES).expect("small");
    let quoted = log.files[name][head..head + BATCH_FRAME].to_vec();
    assert!(frame::resembles(&quoted, Kind::Batch));
    assert_eq!(frame_bytes(quoted.len()), quoted.len() + 16);
    let storage = FaultyStorage::new();
    let mut driven = Driven::start(Arc::new(storage.clone()), options()).expect("starts");
    for _ in 0..3 {
        driven.append(quoted.clone()).expect("room");
        while driven.commit() {}
    }
    // The last batch is torn: its header is gone, the quotation remains.
    let mut files = storage.crash_image(Loss::Dropped).files();
    let offset = usize::try_from(batches(&files).last().expect("three batches").at.get()).expect("small");
    files.first_entry().expect("a segment").into_mut()[offset..offset + BATCH_FRAME].fill(0);
    assert_eq!(outcome(files, options()).expect("a torn tail").len(), 2);
}

/// Damage in one file, or in two of which the first is what counts: the outcome does not hang on who looks first.
#[test]
fn any_number_of_threads_comes_to_the_same_judgement() {
    let mut random = Random::new(11);
    let mut corrupt = 0;
    for log in [Log200::closed(), Log200::killed()] {
        for _ in 0..400 {
            let image = MemoryStorage::new();
            for (name, bytes) in &log.files {
                let mut bytes = bytes.clone();
                if random.below(3) == 0 {
                    let mut below =
                        |bound: usize| usize::try_from(random.below(bound as u64)).expect("below it");
                    let at = below(bytes.len());
                    let end = (at + 1 + below(600)).min(bytes.len());
                    bytes[at..end].fill([0, 0xa5][below(2)]);
                }
                image.put(name, bytes);
            }
            let Ok(survey) = survey(&image, false) else { continue };
            for from in [0, survey.judge_from()] {
                let judge = |threads| format!("{:?}", survey.judge_on(threads, &image, &log.options, from));
                let alone = judge(1);
                corrupt += usize::from(alone.contains("Corrupt"));
                for threads in [2, 3, 64] {
                    assert_eq!(judge(threads), alone, "{threads} threads from segment {from}");
                }
            }
        }
    }
    assert!((200..1_400).contains(&corrupt), "sound and damaged ones were compared: {corrupt}");
}
