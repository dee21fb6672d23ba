//! Median and spread of a few rounds, and numbers as people read them.

/// The figures of several rounds of the same thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    sorted: Vec<f64>,
}

impl Summary {
    /// At least one round, no NaN.
    pub fn new(mut rounds: Vec<f64>) -> Summary {
        assert!(!rounds.is_empty(), "a summary needs at least one round");
        rounds.sort_by(|a, b| a.partial_cmp(b).expect("measured figures are numbers"));
        Summary { sorted: rounds }
    }

    pub fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        if self.sorted.len().is_multiple_of(2) {
            (self.sorted[middle - 1] + self.sorted[middle]) / 2.0
        } else {
            self.sorted[middle]
        }
    }

    pub fn min(&self) -> f64 {
        self.sorted[0]
    }

    pub fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// `median/s (min–max)` in whole numbers.
    pub fn per_second(&self) -> String {
        format!("{}/s ({}–{})", grouped(self.median()), grouped(self.min()), grouped(self.max()))
    }
}

/// A whole number with thin groups: `152 341`.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !out.ends_with('-') {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spread() {
        let odd = Summary::new(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.median(), odd.min(), odd.max()), (2.0, 1.0, 3.0));
        assert!((Summary::new(vec![4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-12);
        assert_eq!(Summary::new(vec![1500.0]).per_second(), "1 500/s (1 500–1 500)");
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        let table =
            [(0.4, "0"), (999.0, "999"), (1_000.0, "1 000"), (152_341.0, "152 341"), (-1_234.0, "-1 234")];
        for (value, text) in table {
            assert_eq!(grouped(value), text);
        }
    }
}
