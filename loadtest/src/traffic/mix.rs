//! What a load consists of.

use std::ops::RangeInclusive;

use fastrand::Rng;

use crate::Shape;

/// Shares of kinds of requests, and their form.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    pub shape: Shape,
    /// Amount of a payment in cents.
    pub cents: RangeInclusive<u32>,
    /// Share of single payments that go to somebody outside of the ledger, from 0 to 1.
    pub external_share: f64,
    /// Payments in one batch.
    pub batch_items: usize,
    /// The payers of batches take turns instead of being drawn, so that a batch that is not larger than its agent has
    /// as many payers as payments.
    pub payers_take_turns: bool,
    pub weights: Weights,
}

/// How often each kind of request is begun, relative to the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weights {
    pub payments: u32,
    pub batches: u32,
    pub reads: u32,
    /// Whole service calls of five requests each.
    pub calls: u32,
}

/// A kind of request that is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Payment,
    Batch,
    Read,
    Call,
}

impl Mix {
    /// Single payments only.
    pub fn payments(shape: Shape) -> Mix {
        Mix {
            shape,
            cents: 1..=100,
            external_share: 0.0,
            batch_items: 1_000,
            payers_take_turns: false,
            weights: Weights { payments: 1, ..Weights::default() },
        }
    }

    /// What is counted: see [`crate::Traffic::units`].
    pub fn unit(&self) -> &'static str {
        match self.weights {
            Weights { reads: 0, calls: 0, .. } => "payments",
            Weights { payments: 0, batches: 0, calls: 0, .. } => "reads",
            Weights { payments: 0, batches: 0, reads: 0, .. } => "service calls",
            _ => "requests",
        }
    }

    /// Nothing moves money, so every read can be compared exactly.
    pub(crate) fn is_quiet(&self) -> bool {
        let Weights { payments, batches, calls, .. } = self.weights;
        payments == 0 && batches == 0 && calls == 0
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> Kind {
        let Weights { payments, batches, reads, calls } = self.weights;
        let total = payments + batches + reads + calls;
        assert!(total > 0, "a mix contains something");
        // The usual loads have one kind only: no chance is needed for those.
        if payments == total {
            return Kind::Payment;
        }
        let mut drawn = rng.u32(0..total);
        for (weight, kind) in [(payments, Kind::Payment), (batches, Kind::Batch), (reads, Kind::Read)] {
            if drawn < weight {
                return kind;
            }
            drawn -= weight;
        }
        Kind::Call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_by_their_weights() {
        let weights = Weights { payments: 5, batches: 1, reads: 3, calls: 1 };
        let mix = Mix { weights, ..Mix::payments(Shape::Uniform) };
        let mut rng = Rng::with_seed(3);
        let mut counts = [0_u32; 4];
        (0..10_000).for_each(|_| counts[mix.draw(&mut rng) as usize] += 1);
        for (count, expected) in counts.into_iter().zip([5_000_u32, 1_000, 3_000, 1_000]) {
            assert!(count.abs_diff(expected) < 300, "{counts:?}");
        }
        assert_eq!((mix.unit(), mix.is_quiet()), ("requests", false));
        let reads = Mix { weights: Weights { reads: 1, ..Weights::default() }, ..mix };
        assert_eq!((reads.unit(), reads.is_quiet()), ("reads", true));
        assert_eq!(reads.draw(&mut rng), Kind::Read);
    }
}
