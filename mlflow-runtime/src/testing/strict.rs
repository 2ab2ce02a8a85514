//! Faults for which a strict fake fails the test.

use super::recorded::RecordedRun;
use crate::model::RunStatus;
use crate::tracker::Tracker;
use crate::tracker::fake_scope::format_times;

/// Returns the faults, one line each. `runs` must have been fetched just before: that delivers what can be
/// delivered.
pub(super) fn find_faults(tracker: &Tracker, runs: &[RecordedRun]) -> Vec<String> {
    let mut faults = Vec::new();
    for (what, times) in tracker.runless_values.counts() {
        let what = format_times(&what, times);
        faults.push(format!("logged without a current run: {what}"));
    }
    let refusals = tracker.stats.refusals();
    let refused = tracker.stats.total_rejected() + tracker.stats.total_blocked();
    if refused > 0 {
        faults.push(format!("rejected: {refused} values"));
        faults.extend(refusals.into_iter().map(|refusal| format!("  {refusal}")));
    }
    let dropped = tracker.dropped().total();
    if dropped > 0 {
        faults.push(format!(
            "dropped: {dropped} values that had no space in the journal"
        ));
    }
    let queued = tracker.queued();
    if queued > 0 {
        faults.push(format!(
            "not delivered: {queued} values still wait, because the fake is offline() or fail_next() was called"
        ));
    }
    let open = runs.iter().filter(|run| run.status == RunStatus::Running);
    faults
        .extend(open.map(|run| format!("still open: run {:?} in {:?}", run.name, run.experiment)));
    faults
}

pub(super) fn format_faults(faults: &[String]) -> String {
    format!("the fake is strict:\n  {}", faults.join("\n  "))
}
