//! Which run a new one is: one of its own, one that is resumed, or one of several ranks.
//!
//! Invariant: of the processes that log to one run, at most one ends it.

use super::Run;
use crate::config::distributed;
use crate::model::ExperimentRef;
use crate::model::{Role, RunIdentity};
use crate::os::fork;
use crate::rank;
use crate::tracker::Tracker;

impl Tracker {
    /// `function` is that of the attribute, or nothing.
    pub(super) fn assign_identity(
        &self,
        experiment: ExperimentRef,
        resumed: Option<String>,
        has_parent: bool,
        function: &str,
    ) -> RunIdentity {
        let distributed::DistributedSettings {
            rank_info: place,
            rendezvous_id,
            metric_prefix: _,
        } = &self.settings().rank;
        let (key, role) = match (&resumed, place, rendezvous_id) {
            (Some(_), Some(place), _) if place.world_size.get() > 1 => {
                (None, Role::Member { rank: place.rank })
            }
            // A child made by `fork` has its parent's place, and is not the one that others wait for.
            (None, Some(place), Some(id)) if !has_parent && !fork::is_child() => {
                let role = match place.rank {
                    0 => Role::Leader,
                    rank => Role::Member { rank },
                };
                (Some(rank::next_run_key(id, &experiment, function)), role)
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
}

impl RunIdentity {
    /// Whether the run has the name and the automatic tags of another process.
    pub(super) fn is_resumed_or_member(&self) -> bool {
        self.resumed.is_some() || self.role.member_rank().is_some()
    }
}

impl Run {
    /// The tag that tells what of an error: of each rank for itself, where they share the run.
    pub(crate) fn error_tag(&self, what: &str) -> String {
        match self
            .identity()
            .and_then(|identity| identity.role.member_rank())
        {
            Some(rank) => format!("error.rank-{rank}.{what}"),
            None => format!("error.{what}"),
        }
    }
}
