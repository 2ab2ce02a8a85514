//! Delivery of read batches to the store, and the queues of what has to wait.
//!
//! [`delivery`] sends a batch. What the store does not accept now waits outside of the batch, so that
//! everything else continues: a run is [parked](parked_runs), an artifact [deferred](deferred_artifacts), and
//! an entry that the store will never accept is [kept](refused).

pub(super) mod batch_size;
pub(super) mod bisect;
pub(super) mod console_logs;
pub(super) mod copy_check;
pub(super) mod create_run;
pub(super) mod deferred_artifacts;
pub(super) mod delivery;
pub(super) mod end_run;
pub(super) mod parked_runs;
pub(super) mod rejected_entries;
pub(super) mod step_notes;
pub(super) mod user_messages;
