//! [`Progress`] of an import, as a person sees it.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Read};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// Bar, share of the bytes, the rest of the time, and the number of points.
const TEMPLATE: &str = "{wide_bar} {bytes}/{total_bytes}  {eta}  {msg}";

/// Bar on a terminal; nothing elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    points: Cell<u64>,
}

impl Progress {
    /// Shows the beginning of an import of files with `total_bytes`.
    pub(super) fn begin(output: Output, total_bytes: u64) -> Self {
        let is_shown = io::stderr().is_terminal() && !output.json;
        let target = if is_shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total_bytes), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self {
            bar,
            points: Cell::new(0),
        }
    }

    /// Returns a reader that moves the bar.
    pub(super) fn reader<R: Read>(&self, reader: R) -> impl Read + use<R> {
        self.bar.wrap_read(reader)
    }

    /// Counts a file that was read in another way.
    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Counts points that were written.
    pub(super) fn add_points(&self, count: u64) {
        self.points.set(self.points.get() + count);
        let points = HumanCount(self.points.get());
        self.bar.set_message(format!("{points} points"));
    }

    /// Writes to the terminal beside the bar.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
