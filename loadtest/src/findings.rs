//! What a verification found wrong: counted by kind, with a few examples of each in words.

use std::collections::BTreeMap;
use std::fmt;

/// Examples kept of each kind.
const EXAMPLES_MAX: usize = 5;

/// A broken promise. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Acknowledged, and not readable afterwards.
    Lost,
    /// One idempotency key, more than one effect.
    Doubled,
    /// A payment that nobody was told about.
    Unasked,
    /// Readable, but not what was acknowledged.
    WrongPayment,
    /// An answer that contradicts its request or itself.
    WrongAnswer,
    /// A wallet holds another sum than its acknowledged payments add up to.
    WrongBalance,
    NegativeBalance,
    /// Sum of balances is not funded - external - fees.
    WrongSum,
    /// The operator's trial balance is not zero, or contradicts the payments.
    WrongBooks,
    /// A service call that did not come to the end it was told.
    WrongToken,
    /// No answer could be had, so nothing is known.
    Unsettled,
}

impl Finding {
    /// For tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Lost => "lost",
            Finding::Doubled => "doubled",
            Finding::Unasked => "unasked",
            Finding::WrongPayment => "wrong_payment",
            Finding::WrongAnswer => "wrong_answer",
            Finding::WrongBalance => "wrong_balance",
            Finding::NegativeBalance => "negative_balance",
            Finding::WrongSum => "wrong_sum",
            Finding::WrongBooks => "wrong_books",
            Finding::WrongToken => "wrong_token",
            Finding::Unsettled => "unsettled",
        }
    }
}

/// All that was found, in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    found: BTreeMap<Finding, (u64, Vec<String>)>,
}

impl Findings {
    /// `describe` is only called while examples are wanted.
    pub(crate) fn add(&mut self, finding: Finding, describe: impl FnOnce() -> String) {
        let (count, examples) = self.found.entry(finding).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(describe());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn count(&self, finding: Finding) -> u64 {
        self.found.get(&finding).map_or(0, |(count, _)| *count)
    }

    /// Each kind that was found, with its count and examples.
    pub fn iter(&self) -> impl Iterator<Item = (Finding, u64, &[String])> {
        self.found.iter().map(|(finding, (count, examples))| (*finding, *count, examples.as_slice()))
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (finding, count, examples) in self.iter() {
            writeln!(out, "  {} x {count}", finding.name())?;
            for example in examples {
                writeln!(out, "    {example}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_bounded_and_counts_are_not() {
        let mut findings = Findings::default();
        assert!(findings.is_empty());
        (0..1_000).for_each(|n| findings.add(Finding::Lost, || format!("tx_{n}")));
        findings.add(Finding::WrongSum, || "1 instead of 2".to_owned());
        assert_eq!(findings.count(Finding::Lost), 1_000);
        let text = findings.to_string();
        assert!(text.contains("lost x 1000") && text.contains("tx_4") && !text.contains("tx_5"), "{text}");
        assert!(text.find("lost") < text.find("wrong_sum"));
    }
}
