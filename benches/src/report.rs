//! The table: one line per figure, with what it is compared with and whether it meets its target.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::machine::Machine;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    /// The node's figure.
    pub measured: String,
    /// What it is compared with, measured in the same run.
    pub compared: String,
    pub ratio: Option<f64>,
    pub target: String,
    /// `None`: the row has no target or could not be measured.
    pub met: Option<bool>,
    /// All raw figures, for the JSON report.
    pub details: Value,
}

/// A finished run.
pub struct Report {
    pub machine: Machine,
    pub command: String,
    pub rows: Vec<Row>,
    /// The share of processor time that the hypervisor withheld while rows were measured, by their name.
    pub withheld: Vec<(String, f64)>,
}

impl Report {
    /// Markdown: the table, then machine, commit and command.
    pub fn to_markdown(&self) -> String {
        let mut out = String::from(
            "| what | node | compared with, same run | ratio | target | met |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let met = match row.met {
                Some(true) => "yes",
                Some(false) => "no",
                None => "",
            };
            let cells = [&row.name, &row.measured, &row.compared, &ratio, &row.target, met].map(cell);
            writeln!(out, "| {} |", cells.join(" | ")).expect("writing to a String cannot fail");
        }
        let machine = &self.machine;
        write!(
            out,
            "\nMachine: {} ({} cores), Linux {}, {:.1} GiB. Commit {}. Command: `{}`. \
             Figures are medians of rounds that alternate with the comparison, spread in parentheses; \
             load generator, node and floor share the cores.\n",
            machine.cpu, machine.cores, machine.kernel, machine.memory_gib, machine.commit, self.command
        )
        .expect("writing to a String cannot fail");
        if !self.withheld.is_empty() {
            let shares = self.withheld.iter().map(|(name, share)| format!("{name} {:.1} %", share * 100.0));
            let shares = shares.collect::<Vec<_>>().join(", ");
            writeln!(out, "Processor time that the hypervisor withheld: {shares}.")
                .expect("writing to a String cannot fail");
        }
        out
    }

    /// The same with all raw figures.
    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.name, "measured": row.measured, "compared": row.compared, "ratio": row.ratio,
                "target": row.target, "met": row.met, "details": row.details,
            })
        };
        json!({
            "cpu": self.machine.cpu,
            "cores": self.machine.cores,
            "kernel": self.machine.kernel,
            "memory_gib": self.machine.memory_gib,
            "commit": self.machine.commit,
            "command": self.command,
            "withheld": self.withheld.iter().map(|(name, share)| json!({ "rows": name, "share": share })).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// Text that cannot break out of its table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_becomes_one_line() {
        let row = Row {
            name: "a|b".to_owned(),
            measured: "1/s".to_owned(),
            compared: "2/s".to_owned(),
            ratio: Some(0.5),
            target: "0.5".to_owned(),
            met: Some(true),
            details: Value::Null,
        };
        let machine = Machine {
            cpu: "cpu".to_owned(),
            cores: 2,
            kernel: "6".to_owned(),
            memory_gib: 1.0,
            commit: "c".to_owned(),
        };
        let report = Report {
            machine,
            command: "bench".to_owned(),
            rows: vec![row],
            withheld: vec![("singles".to_owned(), 0.0314)],
        };
        let text = report.to_markdown();
        let line = text.lines().nth(2).expect("a line under the head");
        assert_eq!(line, r"| a\|b | 1/s | 2/s | 0.50 | 0.5 | yes |");
        assert!(text.ends_with("\nProcessor time that the hypervisor withheld: singles 3.1 %.\n"), "{text}");
        assert_eq!(report.to_json()["rows"][0]["ratio"], 0.5);
    }
}
