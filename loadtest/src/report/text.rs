//! The document for a terminal.

use std::fmt::Write as _;

use super::{Block, Document, Figure, Table};

pub(super) fn render(document: &Document) -> String {
    let mut out = String::new();
    line(&mut out, &document.title);
    if !document.lead.is_empty() {
        line(&mut out, &document.lead);
    }
    for block in &document.blocks {
        match block {
            Block::Heading(text) => line(&mut out, &format!("\n{text}")),
            Block::Figures(figures) => figures.iter().for_each(|figure| write_figure(&mut out, figure)),
            Block::Table(table) => write_table(&mut out, table),
            Block::Plot(_) => {}
            Block::Note(text) => line(&mut out, text),
            Block::Lines(lines) => lines.iter().for_each(|text| line(&mut out, &format!("  {text}"))),
        }
    }
    if let Some((good, text)) = &document.verdict {
        line(&mut out, &format!("\n{} {text}", if *good { "OK:" } else { "WRONG:" }));
    }
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}

fn write_figure(out: &mut String, figure: &Figure) {
    let Figure { label, value, note } = figure;
    line(out, format!("  {label:<24} {value:<18} {note}").trim_end());
}

fn write_table(out: &mut String, table: &Table) {
    let width = |column: usize| {
        let cells = table.rows.iter().chain([&table.head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    for row in [&table.head].into_iter().chain(&table.rows) {
        let mut text = String::from(" ");
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if index == 0 { ("", padding.as_str()) } else { (padding.as_str(), "") };
            write!(text, " {before}{cell}{after} ").expect("writing to a String cannot fail");
        }
        line(out, text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["step", "rate"]);
        table.row(vec!["one".to_owned(), "7".to_owned()]);
        table.row(vec!["a longer one".to_owned(), "12\u{202f}345".to_owned()]);
        let document = Document {
            title: "T".to_owned(),
            verdict: Some((false, "a reason".to_owned())),
            blocks: vec![Block::Table(table)],
            ..Document::default()
        };
        let text = document.to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  step            rate");
        assert_eq!(lines[2], "  one                7");
        assert_eq!(lines[3], "  a longer one  12\u{202f}345");
        assert!(text.ends_with("WRONG: a reason\n"), "{text}");
    }
}
