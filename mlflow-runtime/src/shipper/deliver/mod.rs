//! Delivery of read batches to the store.
//!
//! [`delivery`] sends a batch: [many metrics](metric_requests), [small runs](concurrent_runs) and
//! [artifacts](artifact_uploads) in several [requests at once](request_window). What the store does not accept now waits in a [queue](super::queue), so that
//! everything else continues: a run is [parked](parked_runs), an artifact [deferred](deferred_artifacts), and
//! an entry that the store will never accept is [kept](super::queue::rejected_entries). Points that are left out on
//! request go into [files](thinned_points).

pub(super) mod artifact_uploads;
pub(super) mod bisect;
mod checkpoints;
pub(super) mod concurrent_runs;
pub(super) mod console_logs;
pub(super) mod copy_check;
pub(super) mod create_run;
mod datasets;
pub(super) mod deferred_artifacts;
pub(super) mod delivery;
pub(super) mod end_run;
pub(super) mod images;
pub(super) mod metric_requests;
mod models;
pub(super) mod parked_runs;
pub(super) mod points_file;
pub(super) mod request_window;
pub(super) mod run_groups;
pub(super) mod table_rows;
mod thinned_points;
pub(super) mod user_messages;
