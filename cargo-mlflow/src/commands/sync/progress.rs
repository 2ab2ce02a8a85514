//! [`Progress`] of what is shipped, as a person sees it.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mlflow::RecoverProgress;

use crate::output::{Output, format};

/// Interval between two lines where no terminal shows a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// Bar, count, share of the time, and the reason why nothing moves.
const TEMPLATE: &str = "{wide_bar} {human_pos}/{human_len} values  {eta}  {msg}";

/// Bar on a terminal; a line now and then elsewhere.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    output: Output,
    values: u64,
    line_due: Instant,
    /// Values that were delivered or refused before.
    start: u64,
}

impl Progress {
    /// Shows the beginning of a shipment of `values`, of which `before` tells what was done earlier.
    pub(crate) fn begin(output: Output, values: u64, before: &RecoverProgress) -> Self {
        let has_bar = io::stderr().is_terminal() && !output.json;
        let bar = has_bar.then(|| {
            let bar = ProgressBar::with_draw_target(Some(values), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            output,
            values,
            line_due: Instant::now() + LINE_INTERVAL,
            start: before.delivered + before.rejected,
        }
    }

    /// Shows how far the shipment is.
    pub(crate) fn show(&mut self, now: &RecoverProgress) {
        let done = (now.delivered + now.rejected).saturating_sub(self.start);
        let reason = now.reason.as_deref().unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_position(done.min(self.values));
            bar.set_message(match &now.upload {
                Some(upload) => upload.to_string(),
                None => reason.to_owned(),
            });
        } else if self.line_due <= Instant::now() {
            self.line_due = Instant::now() + LINE_INTERVAL;
            let (done, values) = (format::count(done), format::count(self.values));
            let separator = if reason.is_empty() { "" } else { ": " };
            self.output
                .remark(format_args!("{done} of {values} values{separator}{reason}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
