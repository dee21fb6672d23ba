//! Fees: basis points per rail, rounded half-up at 10⁻⁹, debited on top of the amount.

use crate::{Amount, Rail};

/// A fee of the whole amount. Larger rates are refused by [`crate::Rules::validate`].
pub const BASIS_POINTS_MAX: u32 = 10_000;
const HALF: i128 = 5_000;

/// Rate of each rail in basis points (1/10 000 of the amount).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct FeeSchedule {
    basis_points: [u32; Rail::COUNT],
}

impl Default for FeeSchedule {
    /// 40 basis points on every rail: 5 costs 0.02.
    fn default() -> Self {
        Self { basis_points: [40; Rail::COUNT] }
    }
}

impl FeeSchedule {
    #[must_use]
    pub fn with(mut self, rail: Rail, basis_points: u32) -> Self {
        self.basis_points[rail.index()] = basis_points;
        self
    }

    pub fn basis_points(&self, rail: Rail) -> u32 {
        self.basis_points[rail.index()]
    }

    /// Fee of a payment of `amount`, which must not be negative. `None` when the product leaves the range of numbers.
    pub fn fee(&self, rail: Rail, amount: Amount) -> Option<Amount> {
        share(self.basis_points(rail), amount)
    }
}

/// `basis_points` of `amount`, which must not be negative. `None` when the product leaves the range of numbers.
pub(crate) fn share(basis_points: u32, amount: Amount) -> Option<Amount> {
    assert!(!amount.is_negative(), "a fee is taken of what is paid");
    let scaled = amount.nanos().checked_mul(i128::from(basis_points))?.checked_add(HALF)?;
    // Most payments fit 64 bits, where division costs a tenth of what it costs in 128.
    let nanos = match u64::try_from(scaled) {
        Ok(small) => i128::from(small.div_euclid(u64::from(BASIS_POINTS_MAX))),
        Err(_) => scaled.div_euclid(i128::from(BASIS_POINTS_MAX)),
    };
    Some(Amount::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(basis_points: u32, amount: i128, expected: Option<i128>) {
        let fees = FeeSchedule::default().with(Rail::Internal, basis_points);
        let fee = fees.fee(Rail::Internal, Amount::from_nanos(amount));
        assert_eq!(fee.map(Amount::nanos), expected, "{basis_points} basis points of {amount}");
    }

    #[test]
    fn fees_round_half_up_at_the_last_decimal() {
        check(40, 5_000_000_000, Some(20_000_000));
        check(40, 0, Some(0));
        check(40, 1, Some(0));
        check(40, 124, Some(0));
        check(40, 125, Some(1));
        check(40, 374, Some(1));
        check(40, 375, Some(2));
        check(1, 4_999, Some(0));
        check(1, 5_000, Some(1));
        check(0, 1_000_000_000, Some(0));
        check(10_000, 7, Some(7));
    }

    #[test]
    fn large_amounts_are_exact_or_reported() {
        check(40, Amount::MAX.nanos(), Some(4_000_000_000_000_000_000_000_000));
        check(10_000, Amount::MAX.nanos(), Some(Amount::MAX.nanos()));
        // Both sides of the boundary between the 64-bit and the 128-bit division.
        check(1, i128::from(u64::MAX) - 5_000, Some(1_844_674_407_370_955));
        check(1, i128::from(u64::MAX) - 4_999, Some(1_844_674_407_370_955));
        check(2, i128::MAX / 2, None);
        check(1, i128::MAX, None);
    }

    #[test]
    fn each_rail_has_its_own_rate() {
        let fees = FeeSchedule::default().with(Rail::Card, 290);
        assert_eq!(fees.basis_points(Rail::Card), 290);
        assert_eq!(fees.basis_points(Rail::Internal), 40);
        assert_eq!(fees.fee(Rail::Card, Amount::from_nanos(10_000)), Some(Amount::from_nanos(290)));
    }
}
