//! The thinning of batches: points that are left out of the metrics are copied to their run's lane, and read from there.
//!
//! Invariant: a point is in its lane before it is taken out of its batch.

use crate::shipper::batch::{ReadBatch, RunBatch};
use crate::shipper::queue::lane::Lane;
use crate::shipper::read::journal_reader::JournalReader;

impl JournalReader {
    /// Takes points out of `run_batch`, so that those of a metric that are left come at most one in `interval_ms`, after the
    /// first ones. Returns the number of points that were taken out. Does this only in the first call.
    ///
    /// All points stay in the batch if they cannot be copied to the lane, if the quota for copies is exhausted, and if the
    /// run has ended, as its file is written already.
    pub(in crate::shipper) fn thin(&mut self, run_batch: &mut RunBatch, interval_ms: i64) -> usize {
        if !run_batch.begin_thinning() {
            return 0;
        }
        let number = run_batch.run;
        let is_open = self.runs.get(number).is_some_and(|state| !state.has_ended);
        if !is_open || !self.has_copy_quota() || run_batch.metrics.is_empty() {
            return 0;
        }
        let thinned = self.thinned.run_or_insert(number);
        let kept = thinned.choose(&run_batch.metrics, interval_ms);
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
            left_out().for_each(|point| thinned.forget_greatest(point));
            return 0;
        }
        thinned.points += count;
        run_batch.leave_out(&kept);
        count
    }

    /// Reads the points in the lane of a run.
    pub(in crate::shipper) fn read_thinned(&mut self, run: u32) -> ReadBatch {
        self.read_lane(Lane::Thinned(run), usize::MAX)
    }

    /// Goes back to the beginning of the lane of a run.
    pub(in crate::shipper) fn rewind_thinned(&mut self, run: u32) {
        self.rewind(Lane::Thinned(run));
    }

    /// Acknowledges the points that were read from the lane of a run, which are all that it holds.
    pub(in crate::shipper) fn acknowledge_thinned(&mut self, run: u32, read_batch: &ReadBatch) {
        self.thinned.run_or_insert(run).empty();
        self.acknowledge_lane(Lane::Thinned(run), read_batch);
        self.release_lane(Lane::Thinned(run));
    }
}
