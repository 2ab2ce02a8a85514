//! The queues of what cannot be delivered now.
//!
//! A queue holds state and decides what is due. [`read`](super::read) fills the queues from the journal, and
//! [`deliver`](super::deliver) sends what is due.
//!
//! | module | content |
//! |---|---|
//! | [`lane`] | the name of a queue of copied entries |
//! | [`parked_runs`] | runs whose entries wait |
//! | [`deferred_artifacts`] | artifacts that wait |
//! | [`thinned_points`] | points that are left out of the metrics, on request |
//! | [`console_logs`] | console logs that grow or are not uploaded completely |
//! | [`rejected_entries`] | entries that the store has rejected for good, kept in a folder of their own |

pub(super) mod console_logs;
pub(super) mod deferred_artifacts;
pub(super) mod lane;
pub(super) mod parked_runs;
pub(super) mod rejected_entries;
pub(super) mod thinned_points;
