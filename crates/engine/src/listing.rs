//! A page of a list whose members are found in the index and shown as their owners see them now: a filter on what an owner
//! says can only be asked of what was found, so a page may be short although more follow.

use history::{Entry, EntryKey};
use ledger::Position;

use crate::{
    Engine,
    refusal::Refusal,
    views::{Cursor, Page, PageRequest},
};

/// Members that one request looks at: a filter that matches little gives short pages.
const LISTED_MAX: usize = 1_000;
/// Members that a list with a filter asks the index for at once, or a page of one that matches little would be a thousand
/// questions.
const PIECE: usize = 100;

/// A page while it is gathered.
pub(crate) struct Listing<T> {
    limit: usize,
    piece: usize,
    before: Option<EntryKey>,
    items: Vec<T>,
    looked: usize,
    /// The last decision of an owner that is shown.
    decided: Position,
}

impl<T> Listing<T> {
    pub(crate) fn new(page: PageRequest, is_filtered: bool) -> Self {
        Self {
            limit: page.limit,
            piece: if is_filtered { page.limit.max(PIECE) } else { page.limit },
            before: page.cursor.map(|cursor| EntryKey { lsn: cursor.lsn, item: cursor.item }),
            items: Vec::new(),
            looked: 0,
            decided: Position::ZERO,
        }
    }

    /// What the index is to be asked for next: entries before this one, and how many.
    pub(crate) fn wanted(&self) -> (Option<EntryKey>, usize) {
        (self.before, self.piece)
    }

    /// Takes a member as its owner saw it at `decided`, if the filter lets it through.
    pub(crate) fn take(&mut self, view: T, decided: Position, matches: bool) {
        self.decided = self.decided.max(decided);
        self.looked += 1;
        if matches {
            self.items.push(view);
        }
    }

    /// Whether nothing more is looked at.
    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.looked >= LISTED_MAX
    }

    /// Where the page ends, now that everything in `found` up to `last` was taken; `None` when the index is to be asked for
    /// more.
    pub(crate) fn end(
        &mut self,
        found: &history::Page<Entry>,
        last: Option<EntryKey>,
    ) -> Option<Option<Cursor>> {
        let is_cut = found.items.last().map(Entry::key) != last;
        let next = if is_cut { last } else { found.next };
        if next.is_none() || self.is_full() {
            return Some(next.map(|key| Cursor { lsn: key.lsn, item: key.item }));
        }
        self.before = next;
        None
    }

    /// The page, when nothing in it can be taken back by a power cut.
    pub(crate) async fn page(self, engine: &Engine, next: Option<Cursor>) -> Result<Page<T>, Refusal> {
        engine.delivered(self.decided).await?;
        Ok(Page { items: self.items, next })
    }
}
