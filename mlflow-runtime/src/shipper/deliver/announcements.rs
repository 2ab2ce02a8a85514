//! Lines on stderr that say where runs are, and what the store does not take.
//!
//! Invariants: a process prints the pages of a few runs, however many it starts, and says once of a file that it
//! was made. That values are held or refused is one line, at the end of a short process, and also meanwhile in one that
//! lives on: a training of days is not to find it out at its end.

use std::time::{Duration, Instant};

use crate::stderr::write_stderr_line;
use crate::warnings::warn_without_dedup;

/// How long a process has to go on after the first value that is held or refused, until that is said.
const REPORT_DELAY: Duration = Duration::from_secs(10);

/// How many pages are printed: a service has a run for each request.
const MAX_PRINTED_URLS: u32 = 5;

/// What was said of where runs are.
pub(in crate::shipper) struct Announcements {
    quiet: bool,
    /// Pages that were printed.
    printed_urls: u32,
    refusal_report: RefusalReport,
}

/// The first value that the store has not taken.
enum RefusalReport {
    None,
    Pending { at: Instant, reason: String },
    Reported,
}

impl Announcements {
    pub(in crate::shipper) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            printed_urls: 0,
            refusal_report: RefusalReport::None,
        }
    }

    /// Prints the page of a run, unless enough were.
    pub(in crate::shipper) fn print_run_url(&mut self, name: &str, url: &str) {
        if self.quiet || self.printed_urls > MAX_PRINTED_URLS {
            return;
        }
        self.printed_urls += 1;
        if self.printed_urls > MAX_PRINTED_URLS {
            write_stderr_line("mlflow: the pages of further runs of this process are not printed");
            return;
        }
        // One that is resumed has no name here.
        let name = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        write_stderr_line(&format!("View run{name} at: {url}"));
    }

    /// Notes that a value of this process's is held or refused.
    pub(in crate::shipper) fn record_refusal(&mut self, reason: &str) {
        if matches!(self.refusal_report, RefusalReport::None) {
            self.refusal_report = RefusalReport::Pending {
                at: Instant::now(),
                reason: reason.to_owned(),
            };
        }
    }

    /// Says that `held` values are held and `refused` ones are not taken, if that is so for long and was not said.
    pub(in crate::shipper) fn report_refusals(&mut self, held: u64, refused: u64) {
        let RefusalReport::Pending { at, reason } = &self.refusal_report else {
            return;
        };
        if held + refused == 0 {
            self.refusal_report = RefusalReport::None;
        } else if at.elapsed() >= REPORT_DELAY {
            if !self.quiet {
                warn_without_dedup(format!(
                    "so far {held} values wait and {refused} are refused (first: {reason}); all others go on. \
                     mlflow::health() counts them, and a line at the end of the process says where they are"
                ));
            }
            self.refusal_report = RefusalReport::Reported;
        }
    }

    /// Says what the store has to tell of itself.
    pub(in crate::shipper) fn print_notice(&self, news: &str) {
        if !self.quiet {
            write_stderr_line(&format!("mlflow: {news}"));
        }
    }
}
