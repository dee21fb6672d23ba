//! A hierarchical timer wheel: eight levels of 256 slots, so that every time fits and nothing overflows into a list.
//!
//! A timer lies at the level of the highest byte in which its tick differs from the present one, in the slot that this
//! byte names. When the wheel reaches the beginning of a slot above the first level, the slot's timers move down. Adding
//! is a push, and a timer moves at most seven times; empty stretches are skipped by bitmaps.
//! Whoever knows that timers are not needed any more may sweep: the wheel is walked a few timers at a time, round and
//! round, and drops what is not wanted.
//! Invariants: nothing fires before its time; it fires at most one tick after the wheel was told of it.
//! Memory: 16 bytes per timer in vectors that double, so 32 at most, and 49 KiB for the slots.

use super::inbox::Timer;
use ledger::{Position, Timestamp};

/// Milliseconds of a tick.
pub(super) const TICK_MS: u64 = 4;
const LEVELS: usize = 8;
const SLOTS: usize = 256;
/// A slot that was emptied keeps its memory up to this many timers.
const KEPT_TIMERS_MAX: usize = 64;

#[derive(Copy, Clone)]
struct Entry {
    token: u64,
    tick: u64,
}

const _: () = assert!(size_of::<Entry>() == 16);

struct Level {
    slots: Box<[Vec<Entry>]>,
    occupied: [u64; SLOTS / 64],
}

pub(super) struct Wheel {
    levels: [Level; LEVELS],
    /// Everything at or before this tick has fired.
    tick: u64,
    len: usize,
    sweep: Place,
}

/// A timer's place: the next one that a sweep looks at.
#[derive(Copy, Clone, Default)]
struct Place {
    level: usize,
    slot: usize,
    index: usize,
}

impl Wheel {
    /// An empty wheel at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        let level = || Level { slots: vec![Vec::new(); SLOTS].into_boxed_slice(), occupied: [0; 4] };
        Self {
            levels: std::array::from_fn(|_| level()),
            tick: millis(now) / TICK_MS,
            len: 0,
            sweep: Place::default(),
        }
    }

    /// Timers that have not fired.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a timer. One whose time has come already fires with the next tick.
    pub(super) fn add(&mut self, timer: Timer) {
        // Rounded up: a tick fires once all of it has passed.
        let tick = millis(timer.at).div_ceil(TICK_MS).max(self.tick + 1);
        self.put(Entry { token: timer.token.get(), tick });
        self.len += 1;
    }

    /// Moves to `now` and hands out every timer whose time has come, in order of ticks. A time before the present one
    /// changes nothing.
    pub(super) fn advance(&mut self, now: Timestamp, due: &mut impl FnMut(Position)) {
        let target = millis(now) / TICK_MS;
        while self.tick < target {
            let Some((level, tick)) = self.next().filter(|(_, tick)| *tick <= target) else {
                self.tick = target;
                return;
            };
            self.tick = tick;
            let entries = self.take(level, tick);
            if level == 0 {
                self.len -= entries.len();
                entries.iter().for_each(|entry| due(Position::new(entry.token)));
            } else {
                for entry in &entries {
                    if entry.tick == tick {
                        self.len -= 1;
                        due(Position::new(entry.token));
                    } else {
                        self.put(*entry);
                    }
                }
            }
            self.give_back(level, tick, entries);
        }
    }

    /// Looks at up to `limit` timers, from where the last sweep stopped, and drops those that nobody wants.
    pub(super) fn sweep(&mut self, limit: usize, mut is_wanted: impl FnMut(Position) -> bool) {
        let mut looked = 0;
        while looked < limit && self.len > 0 {
            let Place { level, slot, index } = self.sweep;
            let entries = &mut self.levels[level].slots[slot];
            match entries.get(index) {
                None => self.leave_swept_slot(),
                Some(entry) if is_wanted(Position::new(entry.token)) => {
                    looked += 1;
                    self.sweep.index += 1;
                }
                Some(_) => {
                    looked += 1;
                    // Within a slot timers have no order.
                    entries.swap_remove(index);
                    self.len -= 1;
                }
            }
        }
    }

    /// Gives back memory that the sweep has emptied, and goes on to the next slot with timers.
    fn leave_swept_slot(&mut self) {
        let Place { level, slot, .. } = self.sweep;
        let present = &mut self.levels[level];
        let entries = &mut present.slots[slot];
        if entries.is_empty() {
            present.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        if entries.capacity() > KEPT_TIMERS_MAX.max(entries.len().saturating_mul(4)) {
            entries.shrink_to(entries.len().saturating_mul(2));
        }
        self.sweep = match present.from(slot + 1) {
            Some(slot) => Place { level, slot, index: 0 },
            None => {
                let level = (level + 1) % LEVELS;
                Place { level, slot: self.levels[level].from(0).unwrap_or(SLOTS - 1), index: 0 }
            }
        };
    }

    /// When the next slot has to be looked at.
    fn next(&self) -> Option<(usize, u64)> {
        (0..LEVELS).find_map(|level| {
            let slot = self.levels[level].from(byte(self.tick, level) + 1)?;
            let above = self.tick.checked_shr(shift(level) + 8).unwrap_or(0);
            let base = above.checked_shl(shift(level) + 8).unwrap_or(0);
            Some((level, base | ((slot as u64) << shift(level))))
        })
    }

    fn put(&mut self, entry: Entry) {
        assert!(entry.tick > self.tick, "a timer lies ahead");
        let level = (63 - (entry.tick ^ self.tick).leading_zeros() as usize) / 8;
        let slot = byte(entry.tick, level);
        self.levels[level].slots[slot].push(entry);
        self.levels[level].occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn take(&mut self, level: usize, tick: u64) -> Vec<Entry> {
        let slot = byte(tick, level);
        self.levels[level].occupied[slot / 64] &= !(1 << (slot % 64));
        std::mem::take(&mut self.levels[level].slots[slot])
    }

    /// The memory of a small slot is used again; that of a large one is freed, or a burst would be paid for ever.
    fn give_back(&mut self, level: usize, tick: u64, mut entries: Vec<Entry>) {
        let slot = &mut self.levels[level].slots[byte(tick, level)];
        if slot.is_empty() && entries.capacity() <= KEPT_TIMERS_MAX {
            entries.clear();
            *slot = entries;
        }
    }
}

impl Level {
    /// The first slot with timers from `first` on.
    fn from(&self, first: usize) -> Option<usize> {
        (first / 64..SLOTS / 64).find_map(|word| {
            let from = if word == first / 64 { first % 64 } else { 0 };
            let bits = self.occupied[word] & (u64::MAX << from);
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })
    }
}

const fn shift(level: usize) -> u32 {
    const SHIFTS: [u32; LEVELS] = [0, 8, 16, 24, 32, 40, 48, 56];
    SHIFTS[level]
}

const fn byte(tick: u64, level: usize) -> usize {
    ((tick >> shift(level)) & 0xff) as usize
}

/// Times before 1970 are long past.
fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use testkit::Random;

    use super::*;

    const START: u64 = 1_790_000_000_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(i64::try_from(millis).expect("a time of this age"))
    }

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<u64> {
        let mut fired = Vec::new();
        wheel.advance(at(now), &mut |token| fired.push(token.get()));
        fired
    }

    fn add(wheel: &mut Wheel, token: u64, millis: u64) {
        wheel.add(Timer { token: Position::new(token), at: at(millis) });
    }

    #[test]
    fn a_timer_fires_once_not_early_and_within_a_tick() {
        for delay in [0, 1, 3, 4, 5, 1_023, 1_024, 1_025, 262_144, 300_000, 67_108_864, 10 * 365 * 86_400_000]
        {
            let mut wheel = Wheel::new(at(START));
            add(&mut wheel, 7, START + delay);
            assert_eq!(wheel.len(), 1);
            if delay > 0 {
                assert_eq!(fired(&mut wheel, START + delay - 1), [0u64; 0], "{delay} ms");
            }
            assert_eq!(fired(&mut wheel, START + delay + TICK_MS), [7], "{delay} ms");
            assert_eq!((wheel.len(), fired(&mut wheel, START * 2)), (0, vec![]));
        }
    }

    #[test]
    fn time_that_stands_still_or_goes_back_fires_nothing() {
        let mut wheel = Wheel::new(at(START));
        add(&mut wheel, 1, START + 100);
        for now in [START, START - 1, 0, START + 99, START + 50] {
            assert_eq!(fired(&mut wheel, now), [0u64; 0]);
        }
        wheel.advance(Timestamp::from_millis(i64::MIN), &mut |_| panic!("nothing is due"));
        assert_eq!(fired(&mut wheel, START + 104), [1]);
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let mut wheel = Wheel::new(at(START));
        wheel.add(Timer { token: Position::new(1), at: Timestamp::from_millis(i64::MAX) });
        wheel.add(Timer { token: Position::new(2), at: Timestamp::from_millis(i64::MIN) });
        assert_eq!(fired(&mut wheel, START + 8), [2]);
        assert_eq!(fired(&mut wheel, START + 10_000), [0u64; 0]);
        let mut last = Vec::new();
        wheel.advance(Timestamp::from_millis(i64::MAX), &mut |token| last.push(token.get()));
        assert!(last == [1] || wheel.len() == 1, "it fires at the last tick, or time ends first");
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut wheel = Wheel::new(at(START));
        (0..100_000).for_each(|token| add(&mut wheel, token, START + 5_000));
        assert_eq!(fired(&mut wheel, START + 6_000).len(), 100_000);
        let kept: usize =
            wheel.levels.iter().flat_map(|level| level.slots.iter()).map(|slot| slot.capacity()).sum();
        assert!(kept <= LEVELS * SLOTS * KEPT_TIMERS_MAX, "{kept} timers' worth is kept");
    }

    #[test]
    fn a_sweep_drops_what_nobody_wants_and_gives_its_memory_back() {
        let mut wheel = Wheel::new(at(START));
        (0..100_000).for_each(|token| add(&mut wheel, token, START + 5_000 + token * 40));
        let wanted = |token: Position| token.get().is_multiple_of(100);
        wheel.sweep(1_000, wanted);
        assert!(
            (99_000..99_050).contains(&wheel.len()),
            "a thousand were looked at: {} are left",
            wheel.len()
        );
        for _ in 0..100 {
            wheel.sweep(1_000, wanted);
        }
        assert_eq!(wheel.len(), 1_000);
        wheel.sweep(10_000, wanted);
        assert_eq!(wheel.len(), 1_000, "round and round");
        let kept: usize =
            wheel.levels.iter().flat_map(|level| level.slots.iter()).map(|slot| slot.capacity()).sum();
        assert!(kept <= LEVELS * SLOTS * KEPT_TIMERS_MAX, "{kept} timers' worth is kept");
        let expected: Vec<u64> = (0..100_000).filter(|token| token % 100 == 0).collect();
        assert_eq!(fired(&mut wheel, START + 5_000_000), expected);
        wheel.sweep(10, |_| panic!("there is nothing left"));
    }

    /// Against a sorted list, with random delays from nothing to years, random steps of time, and sweeps that stop
    /// somewhere: what they have dropped never fires.
    #[test]
    fn the_wheel_agrees_with_a_sorted_list() {
        let seed = testkit::seed("cargo test -p engine --lib the_wheel_agrees");
        let mut random = Random::new(seed);
        for _ in 0..200 {
            let start = START + random.next_u64() % 1_000_000;
            let (mut wheel, mut list, mut now) = (Wheel::new(at(start)), BTreeSet::new(), start);
            let mut token = 0;
            for _ in 0..400 {
                for _ in 0..random.index(4) {
                    let reach = 1u64 << random.index(40);
                    let deadline = now.saturating_sub(50) + random.next_u64() % reach;
                    token += 1;
                    add(&mut wheel, token, deadline);
                    // Late ones fire with the tick that follows.
                    list.insert((deadline.div_ceil(TICK_MS).max(now / TICK_MS + 1), token));
                }
                if random.below(4) == 0 {
                    let unwanted = random.below(7);
                    let mut dropped = BTreeSet::new();
                    wheel.sweep(random.index(60), |token| {
                        token.get() % 7 != unwanted || !dropped.insert(token.get())
                    });
                    list.retain(|(_, token)| !dropped.contains(token));
                }
                now += random.next_u64() % (1u64 << random.index(34));
                let later = list.split_off(&(now / TICK_MS + 1, 0));
                let mut expected: Vec<u64> = list.iter().map(|(_, token)| *token).collect();
                list = later;
                let mut found = fired(&mut wheel, now);
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected);
                assert_eq!(wheel.len(), list.len());
            }
        }
    }
}
