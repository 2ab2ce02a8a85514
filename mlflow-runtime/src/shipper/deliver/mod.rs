//! Brings what was read to the store, and decides what waits by itself.

pub(super) mod announcements;
pub(super) mod batch_size;
pub(super) mod bisect;
pub(super) mod console_logs;
pub(super) mod copy_check;
pub(super) mod create_run;
pub(super) mod deferred_artifacts;
pub(super) mod delivery;
pub(super) mod end_run;
pub(super) mod noted_steps;
pub(super) mod parked_runs;
pub(super) mod refused;
