//! Lines on stderr that say where runs are, and what the store does not take.
//!
//! Invariants: a process prints the pages of a few runs, however many it starts, and says once of a file that it
//! was made. That values are held or refused is one line, at the end of a short process, and also meanwhile in one that
//! lives on: a training of days is not to find it out at its end.

use std::time::{Duration, Instant};

use crate::stderr::say;
use crate::warnings::tell;

/// How long a process has to go on after the first value that is held or refused, until that is said.
const LIVES_ON: Duration = Duration::from_secs(10);

/// How many pages are printed: a service has a run for each request.
const PAGES: u32 = 5;

/// What was said of where runs are.
pub(in crate::shipper) struct Announcements {
    quiet: bool,
    /// Pages that were printed.
    pages: u32,
    refusal: Refusal,
}

/// The first value that the store has not taken.
enum Refusal {
    None,
    Seen { at: Instant, reason: String },
    Said,
}

impl Announcements {
    pub(in crate::shipper) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            pages: 0,
            refusal: Refusal::None,
        }
    }

    /// Prints the page of a run, unless enough were.
    pub(in crate::shipper) fn page(&mut self, name: &str, url: &str) {
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

    /// Notes that a value of this process's is held or refused.
    pub(in crate::shipper) fn note_refusal(&mut self, reason: &str) {
        if matches!(self.refusal, Refusal::None) {
            self.refusal = Refusal::Seen {
                at: Instant::now(),
                reason: reason.to_owned(),
            };
        }
    }

    /// Says that `held` values are held and `refused` ones are not taken, if that is so for long and was not said.
    pub(in crate::shipper) fn refusals(&mut self, held: u64, refused: u64) {
        let Refusal::Seen { at, reason } = &self.refusal else {
            return;
        };
        if held + refused == 0 {
            self.refusal = Refusal::None;
        } else if at.elapsed() >= LIVES_ON {
            if !self.quiet {
                tell(format!(
                    "so far {held} values wait and {refused} are refused (first: {reason}); all others go on. \
                     mlflow::health() counts them, and a line at the end of the process says where they are"
                ));
            }
            self.refusal = Refusal::Said;
        }
    }

    /// Says what the store has to tell of itself.
    pub(in crate::shipper) fn news(&self, news: &str) {
        if !self.quiet {
            say(&format!("mlflow: {news}"));
        }
    }
}
