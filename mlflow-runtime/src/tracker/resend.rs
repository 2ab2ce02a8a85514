//! Sending again what a store has refused.

use std::time::{Duration, Instant};

use crate::journal::directory::RejectedFolder;
use crate::shipper::FlushScope;
use crate::time::saturating_deadline;
use crate::tracker::Tracker;
use crate::tracker::health::{self, FlushReport};

/// Sends again what the present destination has refused for good, in this process and in earlier
/// ones, and waits until that is done, but not longer than `timeout`.
///
/// A refused value (a param that changed, an artifact that cannot be stored) is set aside: it is counted in [`Health::rejected`](crate::Health::rejected), and its bytes
/// are kept in the folder `rejected-<uid>` beside the journals. What is refused again is set aside again.
///
/// The report is that of [`flush`](crate::flush). With a [fake](crate::testing::fake) there is nothing to
/// be sent: a fake keeps no file.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let report = mlflow::resend_rejected(std::time::Duration::from_secs(10));
/// assert!(report.complete);
/// ```
pub fn resend_rejected(timeout: Duration) -> FlushReport {
    let deadline = saturating_deadline(Instant::now(), timeout);
    let mut complete = true;
    // One is made where the program has not logged anything yet: it may have come for this call only.
    let _ = Tracker::scoped_or_global();
    let trackers = health::all_trackers();
    for tracker in &trackers {
        if !tracker.is_inline() {
            let destination = &tracker.journal().origin().destination;
            for root in tracker.settings().journal_roots(tracker.journal()) {
                RejectedFolder::put_back(&root, destination);
            }
        }
        complete &= tracker.flush_until(deadline, FlushScope::All);
    }
    FlushReport::from_trackers(&trackers, complete)
}
