//! The document as one page: no script, no font, no address of anything else.

use std::fmt::Write as _;

use super::{Block, Document, Figure, Table};

const STYLE: &str = include_str!("page.css");

pub(super) fn render(document: &Document) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let title = escape(&document.title);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    )
    .expect("writing to a String cannot fail");
    if !document.lead.is_empty() {
        paragraph(&mut out, "lead", &document.lead);
    }
    if let Some((good, text)) = &document.verdict {
        let (class, word) = if *good { ("verdict", "OK") } else { ("verdict bad", "Wrong") };
        writeln!(out, "<p class=\"{class}\"><strong>{word}</strong> {}</p>\n", escape(text))
            .expect("writing to a String cannot fail");
    }
    document.blocks.iter().for_each(|block| write_block(&mut out, block));
    out.push_str("</main></body></html>\n");
    out
}

fn write_block(out: &mut String, block: &Block) {
    match block {
        Block::Heading(text) => {
            writeln!(out, "<h2>{}</h2>\n", escape(text)).expect("writing to a String cannot fail");
        }
        Block::Figures(figures) => {
            out.push_str("<div class=\"figures\">");
            figures.iter().for_each(|figure| write_figure(out, figure));
            out.push_str("</div>\n");
        }
        Block::Table(table) => write_table(out, table),
        Block::Plot(plot) => plot.render(out),
        Block::Note(text) => paragraph(out, "note", text),
        Block::Lines(lines) => {
            writeln!(out, "<pre>{}</pre>\n", escape(&lines.join("\n")))
                .expect("writing to a String cannot fail");
        }
    }
}

fn paragraph(out: &mut String, class: &str, text: &str) {
    writeln!(out, "<p class=\"{class}\">{}</p>\n", escape(text)).expect("writing to a String cannot fail");
}

fn write_figure(out: &mut String, figure: &Figure) {
    let [label, value, note] = [&figure.label, &figure.value, &figure.note].map(|text| escape(text));
    // A long number is set smaller: broken in two it would read as two numbers.
    let class = if figure.value.chars().count() > 10 { " class=\"long\"" } else { "" };
    write!(out, "<div><dl><dt>{label}</dt><dd{class}>{value}<small>{note}</small></dd></dl></div>")
        .expect("writing to a String cannot fail");
}

fn write_table(out: &mut String, table: &Table) {
    let cells = |row: &[String], tag: &str| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    out.push_str("<div class=\"scroll\"><table><thead><tr>");
    out.push_str(&cells(&table.head, "th"));
    out.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        write!(out, "<tr>{}</tr>", cells(row, "td")).expect("writing to a String cannot fail");
    }
    out.push_str("</tbody></table></div>\n");
}

/// Text that stays text, within elements and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Plot, Scale, Series};

    const HOSTILE: &str = "</style><script>alert(1)</script>\" onload='x' &";

    #[test]
    fn a_page_carries_everything_and_text_stays_text() {
        let mut table = Table::new(&[HOSTILE]);
        table.row(vec![HOSTILE.to_owned()]);
        let plot = Plot {
            title: HOSTILE.to_owned(),
            x_label: HOSTILE.to_owned(),
            y_label: HOSTILE.to_owned(),
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series: vec![
                Series { name: HOSTILE.to_owned(), points: vec![(1.0, 1.0), (10.0, 5.0)] },
                Series { name: HOSTILE.to_owned(), points: Vec::new() },
            ],
            shaded: Some((1.0, 2.0, HOSTILE.to_owned())),
            marks: Some((vec![1.5], HOSTILE.to_owned())),
        };
        let document = Document {
            title: HOSTILE.to_owned(),
            lead: HOSTILE.to_owned(),
            verdict: Some((false, HOSTILE.to_owned())),
            blocks: vec![
                Block::Heading(HOSTILE.to_owned()),
                Block::Figures(vec![Figure::new(HOSTILE, HOSTILE, HOSTILE)]),
                Block::Table(table),
                Block::Plot(plot),
                Block::Note(HOSTILE.to_owned()),
                Block::Lines(vec![HOSTILE.to_owned()]),
            ],
        };
        let page = document.to_html();
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("onload='"), "{page}");
        assert_eq!(page.matches("</style>").count(), 1);
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "the page reaches for {outside}");
        }
    }
}
