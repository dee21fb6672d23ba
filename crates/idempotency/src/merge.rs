//! Joining neighbouring runs into one: streams of pages, the smallest name first, the younger record of two with one name.

use crate::Error;
use crate::entry::{Entry, Name};
use crate::run::Run;

/// The entries of several runs in order. The runs are given in the order of the log.
pub(crate) struct Merge<'a> {
    streams: Vec<Stream<'a>>,
}

struct Stream<'a> {
    run: &'a Run,
    next_page: u64,
    /// The present page from its end, so that taking the next entry is a pop.
    page: Vec<Entry>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(runs: &'a [Run]) -> Result<Merge<'a>, Error> {
        let mut streams: Vec<_> =
            runs.iter().map(|run| Stream { run, next_page: 0, page: Vec::new() }).collect();
        for stream in &mut streams {
            stream.fill()?;
        }
        Ok(Merge { streams })
    }

    /// The next entry, of the youngest record among those with its name.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        let Some(name) = self.streams.iter().filter_map(Stream::name).min() else { return Ok(None) };
        let mut found: Option<Entry> = None;
        for stream in self.streams.iter_mut().filter(|stream| stream.name() == Some(name)) {
            let entry = stream.page.pop().expect("its name was seen");
            if found.is_none_or(|found| found.place < entry.place) {
                found = Some(entry);
            }
            stream.fill()?;
        }
        Ok(found)
    }
}

impl Stream<'_> {
    fn name(&self) -> Option<Name> {
        self.page.last().map(Entry::name)
    }

    fn fill(&mut self) -> Result<(), Error> {
        if self.page.is_empty() && self.next_page < self.run.foot.entry_pages() {
            self.page = self.run.entries(self.next_page)?;
            self.page.reverse();
            self.next_page += 1;
        }
        Ok(())
    }
}
