//! Lines on stderr that show the URLs of runs, and warnings about values that the store does not accept.
//!
//! Invariants: a process prints the URLs of a few runs, however many it starts, and prints the store's notice
//! (e.g. that its file was created) once. Values that are blocked or rejected are reported by one line at the
//! end of a short process. A process that runs longer logs a warning meanwhile, so that the user of a
//! training of several days does not learn of them only at its end.

use std::time::{Duration, Instant};

use crate::stderr::write_stderr_line;
use crate::warnings::{mask_credentials, warn_without_dedup};

/// Delay from the first blocked or rejected value to the warning about it, if the process still runs then.
const REPORT_DELAY: Duration = Duration::from_secs(10);

/// Maximum number of URLs printed by one process: a service may start a run for each request.
const MAX_PRINTED_URLS: u32 = 5;

/// State of the lines and warnings that a process has emitted about its runs.
pub(in crate::shipper) struct Announcements {
    quiet: bool,
    /// Number of URLs printed so far. One more than the maximum if the closing line was printed, too.
    printed_urls: u32,
    refusal_report: RefusalReport,
}

/// State of the warning about the first value that the store did not accept.
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

    /// Prints the URL of a run, unless enough URLs were printed.
    pub(in crate::shipper) fn print_run_url(&mut self, name: &str, url: &str) {
        if self.quiet || self.printed_urls > MAX_PRINTED_URLS {
            return;
        }
        self.printed_urls += 1;
        if self.printed_urls > MAX_PRINTED_URLS {
            write_stderr_line("mlflow: the URLs of further runs of this process are not printed");
            return;
        }
        // A resumed run has no name here.
        let name = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        write_stderr_line(&format!("View run{name} at: {url}"));
    }

    /// Records that a value of this process's journal is blocked or rejected. Only the first reason is kept.
    pub(in crate::shipper) fn record_refusal(&mut self, reason: &str) {
        if matches!(self.refusal_report, RefusalReport::None) {
            self.refusal_report = RefusalReport::Pending {
                at: Instant::now(),
                reason: mask_credentials(reason.to_owned()),
            };
        }
    }

    /// Logs a warning, once, that `blocked` values are blocked and `refused` ones rejected, when the first of
    /// them was recorded [`REPORT_DELAY`] ago. Starts anew if no such value is left.
    pub(in crate::shipper) fn report_refusals(&mut self, blocked: u64, refused: u64) {
        let RefusalReport::Pending { at, reason } = &self.refusal_report else {
            return;
        };
        if blocked + refused == 0 {
            self.refusal_report = RefusalReport::None;
        } else if at.elapsed() >= REPORT_DELAY {
            if !self.quiet {
                warn_without_dedup(format!(
                    "so far {blocked} values are blocked and {refused} were rejected (first reason: {reason}); all other values are delivered. \
                     mlflow::health() counts them, and a line at the end of the process names the directories that hold them"
                ));
            }
            self.refusal_report = RefusalReport::Reported;
        }
    }

    /// Prints a notice of the store, see [`Store::news`](crate::store::Store::news).
    pub(in crate::shipper) fn print_notice(&self, news: &str) {
        if !self.quiet {
            write_stderr_line(&format!("mlflow: {news}"));
        }
    }
}
