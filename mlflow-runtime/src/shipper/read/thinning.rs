//! The thinning of batches: points that are left out of the metrics are copied to their run's lane, and read from there.
//!
//! Invariant: a point is in its lane before it is taken out of its batch.

use crate::shipper::batch::{ReadBatch, RunBatch};
use crate::shipper::queue::lane::Lane;
use crate::shipper::queue::thinned_points::MAX_POINTS_PER_FILE;
use crate::shipper::read::journal_reader::JournalReader;
use crate::warnings::WarningLimit;

impl JournalReader {
    /// Takes points out of `run_batch`, so that those of a metric that are left come at most one in `interval_us`, after the
    /// first ones. Returns the number of points that were taken out. Does this only in the first call.
    ///
    /// All points stay in the batch if they cannot be copied to the lane, if the quota for copies is exhausted, if the journal
    /// is in memory, whose space is small, and if the run has ended, as its last file is written already.
    pub(in crate::shipper) fn thin(&mut self, run_batch: &mut RunBatch, interval_us: i64) -> usize {
        if !run_batch.begin_thinning() || run_batch.metrics.is_empty() || !self.may_thin(run_batch)
        {
            return 0;
        }
        let number = run_batch.run;
        let thinned = self.thinned.run_or_insert(number);
        let kept = thinned.choose_kept(&run_batch.metrics, interval_us);
        let left_out = || {
            let chosen = run_batch.metrics.iter().zip(&kept);
            chosen
                .filter(|(_, is_kept)| !**is_kept)
                .map(|(point, _)| point)
        };
        let count = left_out().count();
        if count == 0 {
            return 0;
        }
        let mut log = std::mem::take(&mut thinned.log);
        let copied = self.copy_to(&mut log, Lane::Thinned(number), number, |log| {
            left_out().try_for_each(|point| log.append_metric(point))
        });
        let thinned = self.thinned.run_or_insert(number);
        thinned.log = log;
        if copied.is_err() {
            left_out().for_each(|point| thinned.note_kept(point));
            return 0;
        }
        self.thinned.add_waiting(number, count);
        run_batch.leave_out(&kept);
        count
    }

    fn may_thin(&self, run_batch: &RunBatch) -> bool {
        let Some(state) = self.runs.get(run_batch.run) else {
            return false;
        };
        // An orphaned journal is read after its runs have ended, and what is left out of it is written at its end.
        let is_over = self.is_live() && state.has_ended;
        if is_over || self.spool_directory().is_none() {
            return false;
        }
        let fits = self.has_copy_quota();
        if !fits {
            static SUSPENDED: WarningLimit = WarningLimit::new();
            if let Some(end) = SUSPENDED.admit() {
                tracing::warn!(
                    target: "mlflow",
                    "the journal has no space for metric points that are to be left out (MLFLOW_JOURNAL_MAX_BYTES); all points go to \
                     the store{end}"
                );
            }
        }
        fits
    }

    /// Reads as many points from the lane of a run as a file takes.
    pub(in crate::shipper) fn read_thinned(&mut self, run: u32) -> ReadBatch {
        self.read_lane(Lane::Thinned(run), MAX_POINTS_PER_FILE)
    }

    /// Goes back to the first point in the lane of a run that is not in a file.
    pub(in crate::shipper) fn rewind_thinned(&mut self, run: u32) {
        self.rewind(Lane::Thinned(run));
    }

    /// Acknowledges the points that were read from the lane of a run last.
    pub(in crate::shipper) fn acknowledge_thinned(&mut self, run: u32, read_batch: &ReadBatch) {
        self.acknowledge_lane(Lane::Thinned(run), read_batch);
    }

    /// Ends the lane of a run, which was read to its end. Returns the number of points that should have been in it still.
    pub(in crate::shipper) fn end_thinned(&mut self, run: u32) -> usize {
        self.release_lane(Lane::Thinned(run));
        self.thinned.clear_lane(run)
    }
}
