//! Power cuts: what a start finds when the power had gone at some moment of a recorded run.

use testkit::Random;
use wal::testing::{Call, Disk, FaultyStorage, Loss, MemoryStorage};

use super::{Node, Setup};

/// Lets the power go at `points` random moments of a run behind its first `begin` calls of the disk, in their order: with
/// everything, nothing and some of what was not synced. `check` gets each moment, as a number of calls, and what is left.
pub(crate) fn for_each_power_cut(
    calls: &[Call],
    begin: usize,
    points: usize,
    random: &mut Random,
    mut check: impl FnMut(usize, MemoryStorage),
) {
    let mut moments: Vec<usize> =
        (0..points).map(|_| begin + random.index(calls.len() + 1 - begin)).collect();
    moments.sort_unstable();
    let (mut image, mut applied) = (Disk::new(), 0);
    for moment in moments {
        calls[applied..moment].iter().for_each(|call| image.apply(call));
        applied = moment;
        let loss = match random.below(3) {
            0 => Loss::Dropped,
            1 => Loss::Kept,
            _ => Loss::Random(random.next_u64()),
        };
        check(moment, image.image(loss));
    }
}

impl Setup {
    /// With segments and batches so small that a short run crosses many borders.
    pub(crate) fn with_many_segments(self) -> Self {
        self.tuned(|options| {
            options.wal.segment_bytes = 1 << 16;
            options.wal.record_bytes_max = 1 << 14;
            options.wal.batch_bytes_max = 1 << 13;
        })
    }

    /// The power goes: what was not synced is lost, and nothing of that was acknowledged. The next start on what is left.
    pub(crate) fn lose_power(&mut self, disk: &mut FaultyStorage, node: Node) -> Node {
        let image = disk.crash_image(Loss::Dropped);
        node.kill();
        *disk = FaultyStorage::with_image(&image);
        *self = self.on(disk.clone());
        self.start()
    }
}
