//! A result as a document: one model, written as text for a terminal and as one self-contained page for a browser.
//!
//! Non-goals: JSON. Programs want the raw figures, which the commands write themselves.

mod html;
mod number;
mod plot;
mod text;

pub use number::{grouped, millis, short};
pub use plot::{Plot, Scale, Series};

/// A whole result.
#[derive(Debug, Clone, Default)]
pub struct Document {
    pub title: String,
    /// One sentence below the title.
    pub lead: String,
    /// Whether everything was as it must be, with the sentence that says so.
    pub verdict: Option<(bool, String)>,
    pub blocks: Vec<Block>,
}

/// A part of a document, in reading order.
#[derive(Debug, Clone)]
pub enum Block {
    Heading(String),
    /// The few numbers that matter most.
    Figures(Vec<Figure>),
    Table(Table),
    /// Browser only.
    Plot(Plot),
    Note(String),
    /// Lines that must keep their form.
    Lines(Vec<String>),
}

#[derive(Debug, Clone)]
pub struct Figure {
    pub label: String,
    pub value: String,
    pub note: String,
}

impl Figure {
    pub fn new(label: &str, value: impl Into<String>, note: impl Into<String>) -> Figure {
        Figure { label: label.to_owned(), value: value.into(), note: note.into() }
    }
}

/// The first column is text, the others are numbers.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|text| (*text).to_owned()).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.head.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }
}

impl Document {
    /// For a terminal: no plots.
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    /// One page with everything inside: style, plots, numbers.
    pub fn to_html(&self) -> String {
        html::render(self)
    }
}
