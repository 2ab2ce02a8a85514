//! Resending of values that a store has rejected.

use std::time::{Duration, Instant};

use crate::shipper::FlushScope;
use crate::time::saturating_deadline;
use crate::tracker::Tracker;
use crate::tracker::health::{self, FlushReport};
use crate::tracker::recover::put_back_rejected;

/// Sends the values again that the present destination has rejected, in this process and in earlier ones.
/// Waits until that is done, but no longer than `timeout`.
///
/// A value is rejected when the store refuses it for good, for example a param whose value changed or an
/// artifact that cannot be stored. A rejected value is counted in
/// [`Health::rejected`](crate::Health::rejected), and its bytes are kept in the folder `rejected-<uid>`
/// beside the journals. If the store refuses the value again, the value returns to that folder.
///
/// The report is the same as that of [`flush`](crate::flush). With a [fake](crate::testing::fake) there is
/// nothing to resend, because a fake keeps no files.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let report = mlflow::resend_rejected(std::time::Duration::from_secs(10));
/// assert!(report.complete);
/// ```
pub fn resend_rejected(timeout: Duration) -> FlushReport {
    let deadline = saturating_deadline(Instant::now(), timeout);
    let mut complete = true;
    // Make the tracker if the program has not logged anything yet: this call may be all that the program
    // does.
    let _ = Tracker::scoped_or_global();
    let trackers = health::all_trackers();
    for tracker in &trackers {
        if !tracker.is_inline() {
            put_back_rejected(tracker);
        }
        complete &= tracker.flush_until(deadline, FlushScope::All);
    }
    FlushReport::from_trackers(&trackers, complete)
}
