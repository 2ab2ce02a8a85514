//! Identity of a new run: a run of this process, a resumed run, or the shared run of several ranks.
//!
//! Invariant: of the processes that log to one run, at most one ends it.

use crate::config::distributed::DistributedSettings;
use crate::distributed::next_run_key;
use crate::model::ExperimentRef;
use crate::model::{Role, RunIdentity};
use crate::os::fork;

/// Returns the identity of the run that starts now.
///
/// `function` is the name of the tracked function, or empty. All ranks with one rendezvous id return the
/// same key for their n-th run of an experiment and function.
pub(super) fn assign_identity(
    settings: &DistributedSettings,
    experiment: ExperimentRef,
    resumed: Option<String>,
    has_parent: bool,
    function: &str,
) -> RunIdentity {
    let DistributedSettings {
        rank_info,
        rendezvous_id,
        metric_prefix: _,
    } = settings;
    let (key, role) = match (&resumed, rank_info, rendezvous_id) {
        (Some(_), Some(info), _) if info.world_size.get() > 1 => {
            (None, Role::Member { rank: info.rank })
        }
        // A child made by `fork` inherits the rank, but no other rank waits for the runs of the child.
        (None, Some(info), Some(id)) if !has_parent && !fork::is_child() => {
            let role = match info.rank {
                0 => Role::Leader,
                rank => Role::Member { rank },
            };
            (Some(next_run_key(id, &experiment, function)), role)
        }
        _ => (None, Role::Owner),
    };
    RunIdentity {
        key: key.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string()),
        experiment,
        resumed,
        role,
    }
}
