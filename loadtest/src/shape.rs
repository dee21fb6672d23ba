//! Who pays whom: pairs of different wallets with the skew that was asked for.

use fastrand::Rng;

/// Distribution of payers and payees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Every wallet is as likely as any other.
    Uniform,
    /// A few wallets pay and are paid much more often than others: rank k has weight 1/k^exponent.
    Zipf { exponent: f64 },
    /// One wallet pays all the others.
    OneHotPayer,
    /// One wallet is paid by all the others, like a merchant.
    OneHotPayee,
}

impl Shape {
    /// For people.
    pub fn name(&self) -> String {
        match self {
            Shape::Uniform => "uniform".to_owned(),
            Shape::Zipf { exponent } => format!("zipf {exponent}"),
            Shape::OneHotPayer => "one hot payer".to_owned(),
            Shape::OneHotPayee => "one hot payee".to_owned(),
        }
    }
}

/// Draws pairs of indices below a count.
pub(crate) struct Pairs {
    count: u32,
    shape: Shape,
    zipf: Option<Zipf>,
    /// Coprime to `count`: rank r is wallet `r·stride mod count`, so that hot wallets belong to different agents.
    stride: u64,
}

impl Pairs {
    /// At least two wallets.
    pub(crate) fn new(shape: Shape, count: u32) -> Pairs {
        assert!(count >= 2, "a payment needs two wallets");
        let zipf = match shape {
            Shape::Zipf { exponent } => Some(Zipf::new(count, exponent)),
            _ => None,
        };
        let stride = (1_000_003..).find(|stride| greatest_common_divisor(*stride, u64::from(count)) == 1);
        Pairs { count, shape, zipf, stride: stride.expect("some number is coprime to any other") }
    }

    /// Payer and payee.
    pub(crate) fn next(&self, rng: &mut Rng) -> (u32, u32) {
        match self.shape {
            Shape::Uniform => {
                let first = rng.u32(0..self.count);
                let second = rng.u32(0..self.count - 1);
                (first, if second >= first { second + 1 } else { second })
            }
            Shape::OneHotPayer => (0, rng.u32(1..self.count)),
            Shape::OneHotPayee => (rng.u32(1..self.count), 0),
            Shape::Zipf { .. } => {
                let payer = self.ranked(rng);
                loop {
                    let payee = self.ranked(rng);
                    if payee != payer {
                        return (payer, payee);
                    }
                }
            }
        }
    }

    fn ranked(&self, rng: &mut Rng) -> u32 {
        let zipf = self.zipf.as_ref().expect("made for this shape");
        let index = u64::from(zipf.rank(rng) - 1) * self.stride % u64::from(self.count);
        u32::try_from(index).expect("a remainder of a u32")
    }
}

/// Ranks 1..=n with weight 1/k^s in constant time and memory, by rejection-inversion (Hörmann and Derflinger,
/// "Rejection-inversion to generate variates from monotone discrete distributions", 1996).
struct Zipf {
    count: f64,
    exponent: f64,
    integral_at_begin: f64,
    integral_at_end: f64,
}

impl Zipf {
    fn new(count: u32, exponent: f64) -> Zipf {
        let mut zipf =
            Zipf { count: f64::from(count), exponent, integral_at_begin: 0.0, integral_at_end: 0.0 };
        // The first rank has exactly its own weight; the others share the area under the curve.
        zipf.integral_at_begin = zipf.integral(1.5) - 1.0;
        zipf.integral_at_end = zipf.integral(zipf.count + 0.5);
        zipf
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1..=count, which is a u32"
    )]
    fn rank(&self, rng: &mut Rng) -> u32 {
        loop {
            let area = self.integral_at_begin + rng.f64() * (self.integral_at_end - self.integral_at_begin);
            let rank = self.inverse(area).round().clamp(1.0, self.count);
            if area >= self.integral(rank + 0.5) - rank.powf(-self.exponent) {
                return rank as u32;
            }
        }
    }

    /// Antiderivative of x^-s.
    fn integral(&self, x: f64) -> f64 {
        if self.is_harmonic() { x.ln() } else { (x.powf(1.0 - self.exponent) - 1.0) / (1.0 - self.exponent) }
    }

    fn inverse(&self, area: f64) -> f64 {
        if self.is_harmonic() {
            area.exp()
        } else {
            (1.0 + area * (1.0 - self.exponent)).max(0.0).powf(1.0 / (1.0 - self.exponent))
        }
    }

    fn is_harmonic(&self) -> bool {
        (self.exponent - 1.0).abs() < 1e-9
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(shape: Shape, wallets: u32, draws: u32) -> (Vec<u32>, Vec<u32>) {
        let seed = 7;
        eprintln!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        let pairs = Pairs::new(shape, wallets);
        let (mut paid, mut received) = (vec![0; wallets as usize], vec![0; wallets as usize]);
        for _ in 0..draws {
            let (payer, payee) = pairs.next(&mut rng);
            assert_ne!(payer, payee);
            paid[payer as usize] += 1;
            received[payee as usize] += 1;
        }
        (paid, received)
    }

    #[test]
    fn hot_wallets_are_hot_and_nobody_else_is_left_out() {
        let (paid, received) = counts(Shape::OneHotPayee, 10, 1_000);
        assert_eq!((paid[0], received[0]), (0, 1_000));
        assert!(paid[1..].iter().all(|count| *count > 0), "{paid:?}");
        let (paid, received) = counts(Shape::OneHotPayer, 10, 1_000);
        assert_eq!((paid[0], received[0]), (1_000, 0));
        assert!(received[1..].iter().all(|count| *count > 0), "{received:?}");
        let (paid, received) = counts(Shape::Uniform, 10, 10_000);
        assert!(paid.iter().chain(&received).all(|count| (800..1_200).contains(count)), "{paid:?}");
    }

    /// The frequency of each of the first ranks is within a few per cent of 1/k^s.
    #[test]
    fn zipf_follows_its_law() {
        for exponent in [0.7, 1.0, 1.3] {
            let mut rng = Rng::with_seed(11);
            let zipf = Zipf::new(1_000, exponent);
            let mut seen = vec![0_u32; 1_001];
            const DRAWS: u32 = 400_000;
            (0..DRAWS).for_each(|_| seen[zipf.rank(&mut rng) as usize] += 1);
            let weights: f64 = (1..=1_000).map(|k| f64::from(k).powf(-exponent)).sum();
            for rank in 1..=10_u32 {
                let expected = f64::from(rank).powf(-exponent) / weights * f64::from(DRAWS);
                let found = f64::from(seen[rank as usize]);
                assert!(
                    (found / expected - 1.0).abs() < 0.06,
                    "exponent {exponent}, rank {rank}: {found} instead of {expected}"
                );
            }
        }
    }

    #[test]
    fn ranks_are_spread_over_all_wallets() {
        for count in [2, 3, 1_000_003, 4_000_000] {
            let pairs = Pairs::new(Shape::Zipf { exponent: 1.0 }, count);
            assert_eq!(greatest_common_divisor(pairs.stride, u64::from(count)), 1);
        }
    }
}
