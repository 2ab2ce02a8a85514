//! The console logs of a journal as its reader sees them: the next upload, its result, and the end of a log.

use std::time::Duration;

use tokio::time::Instant;

use crate::journal::console_log::ConsoleLog;
use crate::shipper::journal_owner::JournalOwner;
use crate::shipper::queue::console_logs::{OpenConsole, UPLOAD_INTERVAL, with_console};
use crate::shipper::read::journal_reader::JournalReader;

/// Interval between two tries for a console log that the store does not accept until a person acts.
const BLOCKED_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Average upload rate of one console log, in bytes per second, which its upload interval keeps.
const MAX_BYTES_PER_SECOND: u64 = 100 << 10;

impl JournalReader {
    /// Returns the time at which a console log has to be uploaded next; `None` if no log has new content.
    pub(in crate::shipper) fn console_due(&self) -> Option<Instant> {
        let open = self.consoles.open.iter();
        let waiting = open.filter(|open| open.has_pending(&self.owner));
        let due = waiting.map(|open| open.due).min()?;
        let failing_until = self.consoles.failing_until;
        Some(failing_until.map_or(due, |until| until.max(due)))
    }

    pub(in crate::shipper) fn record_shipped(&mut self, index: usize, length: u64, is_held: bool) {
        let Some(open) = self.consoles.open.get_mut(index) else {
            return;
        };
        open.is_blocked = is_held;
        open.shipped_bytes = length;
        let pause = if is_held {
            BLOCKED_RETRY_INTERVAL
        } else {
            UPLOAD_INTERVAL.max(Duration::from_secs(length / MAX_BYTES_PER_SECOND))
        };
        open.due = Instant::now().checked_add(pause).unwrap_or(open.due);
        if let JournalOwner::Live { journal, .. } = &self.owner {
            with_console(journal, open.run, |console| console.set_shipped(length));
        }
    }

    /// Returns true if nobody can append to the log any more. `over`: the numbers of the runs that have ended
    /// and have no handles left.
    pub(in crate::shipper) fn is_final(&self, open: &OpenConsole, over: &[u32]) -> bool {
        let JournalOwner::Live { journal, .. } = &self.owner else {
            return true;
        };
        let is_left = || {
            self.consoles.is_exiting
                && self
                    .runs
                    .get(open.run)
                    .is_none_or(|state| state.has_ended || state.identity.role.is_forked())
        };
        (over.contains(&open.run) || is_left())
            && with_console(journal, open.run, ConsoleLog::is_final).unwrap_or(true)
    }

    /// Closes and deletes the console logs to which nobody can append any more and which the store has
    /// completely.
    pub(in crate::shipper) fn close_consoles(&mut self) {
        // The ended runs are listed before the lengths are measured: a line appended in between is then seen
        // as pending.
        let over = self.runs.closed_runs();
        let before = self.consoles.open.len();
        for index in (0..before).rev() {
            let open = &self.consoles.open[index];
            if !open.is_blocked && self.is_final(open, &over) && !open.has_pending(&self.owner) {
                let open = self.consoles.open.swap_remove(index);
                open.remove(&self.owner, self.consoles.is_exiting);
            }
        }
        if self.consoles.open.len() < before {
            self.settle();
        }
    }
}
