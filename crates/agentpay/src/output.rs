//! What commands print on standard output: text for people, or one JSON line for programs.
//!
//! Logs never go to standard output, so a script may read it whole.

use crate::exit::{Exit, Failure};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Where a command's answer goes and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints `answer` as one JSON line, or the text for people.
    pub(crate) fn answer(
        self,
        answer: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.line(&self.rendered(answer, text)?)
    }

    /// The same from a process whose work goes on whether anybody reads it or not.
    pub(crate) fn announce(
        self,
        event: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        // Standard output may be closed, and a service manager may never have read it.
        let _ = write_line(&self.rendered(event, text)?);
        Ok(())
    }

    /// Prints one line. A reader that went away (`agentpay wal dump | head`) is not a failure of ours.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        match write_line(line) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(Failure::because("cannot write to standard output", &error)),
        }
    }

    fn rendered(self, answer: &impl Serialize, text: impl FnOnce() -> String) -> Result<String, Failure> {
        if !self.json {
            return Ok(text());
        }
        serde_json::to_string(answer)
            .map_err(|error| Failure::because("cannot write the answer as JSON", &error))
    }
}

fn write_line(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Says on standard error why the program ends. With `--json` as one JSON line.
pub(crate) fn complain(json: bool, failure: &Failure) {
    let line = if json {
        serde_json::json!({ "error": failure.message, "exit_code": failure.exit as u8 }).to_string()
    } else {
        format!("agentpay: {}", failure.message)
    };
    // Nothing is left to do when even standard error is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A table of text: columns as wide as their widest cell.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        assert_eq!(row.len(), header.len(), "every row has a cell for every column");
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text.pop();
    text
}

/// A usage error that the parser could not see.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["key", "value"], &rows), "key     value\na       1\nlonger  22");
        assert_eq!(table(&["only"], &[]), "only");
    }
}
