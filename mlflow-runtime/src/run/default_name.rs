//! The name of a run that was given none.
//!
//! Invariant: names of runs that start in the same second end in six characters of the run's own key, so they differ in
//! all but one of 16 million cases, in one process or in several.

use crate::model::RunIdentity;
use crate::run::callsite::Callsite;
use crate::time;

/// Returns the name of a run that was given none. The last six characters distinguish runs of the same
/// second. The name is empty for a run that another process names.
// Output: `train-20261126-134101-1f0c3b`
pub(super) fn default_run_name(
    callsite: Option<&'static Callsite>,
    start_time_ms: i64,
    identity: &RunIdentity,
) -> String {
    const SUFFIX_CHARS: usize = 6;
    if identity.is_resumed_or_member() {
        return String::new();
    }
    let function = callsite.map_or("run", Callsite::name);
    let key = &identity.key;
    let suffix = key.get(..SUFFIX_CHARS).unwrap_or(key);
    let time = time::format_compact_utc(start_time_ms);
    format!("{function}-{time}-{suffix}")
}
