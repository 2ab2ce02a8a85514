//! Lines on stderr that say where runs are.
//!
//! Invariant: a process prints the pages of a few runs, however many it starts, and says once of a file that it
//! was made.

use crate::exit::say;

/// How many pages are printed: a service has a run for each request.
const PAGES: u32 = 5;

/// What was said of where runs are.
pub(super) struct Announcements {
    quiet: bool,
    /// Pages that were printed.
    pages: u32,
}

impl Announcements {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, pages: 0 }
    }

    /// Prints the page of a run, unless enough were.
    pub(super) fn page(&mut self, name: &str, url: &str) {
        if self.quiet || self.pages > PAGES {
            return;
        }
        self.pages += 1;
        if self.pages > PAGES {
            say("mlflow: the pages of further runs of this process are not printed");
            return;
        }
        // One that is resumed has no name here.
        let name = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        say(&format!("View run{name} at: {url}"));
    }

    /// Says what the store has to tell of itself.
    pub(super) fn news(&self, news: &str) {
        if !self.quiet {
            say(&format!("mlflow: {news}"));
        }
    }
}
