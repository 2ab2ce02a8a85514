//! The parking of runs: the entries of a run that waits are copied to its lane, and read from there.
//!
//! Invariant: an entry is in its lane before it is acknowledged in the segment that it was read from.

use std::io;
use std::sync::Arc;

use crate::journal::entry_log::{CopySummary, EntryLog, EntryWriter};
use crate::journal::segment::Segment;
use crate::shipper::batch::RunBatch;
use crate::shipper::failure_scope::StuckReason;
use crate::shipper::queue::lane::Lane;
use crate::shipper::read::cursor::Cursor;
use crate::shipper::read::journal_reader::JournalReader;

impl JournalReader {
    /// Appends what is left of `run_batch` to its run's lane. Returns the number of records copied, and the number
    /// of metrics that were left out because the quota for copies was exhausted.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written. The entries then have to stay in the segments that they were read from.
    pub(in crate::shipper) fn park(
        &mut self,
        run_batch: &RunBatch,
        stuck: StuckReason,
        oldest_ms: Option<i64>,
    ) -> io::Result<(usize, usize)> {
        let lane = Lane::Run(run_batch.run);
        let is_new = !self.parked.holds_lane(lane);
        let keeps_metrics = self.has_copy_quota();
        let start = self.runs.get(run_batch.run).and_then(|state| {
            let is_needed = !state.is_created() || run_batch.has_params_of_start();
            state.start.clone().filter(|_| is_needed)
        });
        // If the store loses the run, the next process needs the start to create the run anew.
        let known = self
            .runs
            .get(run_batch.run)
            .and_then(|state| state.start.clone());
        let again = known.filter(|_| is_new && start.is_none());
        let copied = self.append_to_lane(lane, run_batch.run, |log| {
            if let Some(start) = again {
                log.append_delivered_start(*start)?;
            }
            run_batch.copy_remaining(log, start.as_deref(), keeps_metrics)
        });
        let copied = match copied {
            Ok(copied) => copied,
            Err(error) => {
                if is_new {
                    self.parked.remove(lane);
                }
                return Err(error);
            }
        };
        let parked = self.parked.lane_or_insert(lane);
        parked.entries += copied.records;
        parked.oldest_ms = parked.oldest_ms.into_iter().chain(oldest_ms).min();
        if is_new {
            self.parked.set_stuck(lane, stuck);
        }
        self.name_run_in(run_batch.run, &copied);
        let lost = if keeps_metrics {
            0
        } else {
            run_batch.metrics.len() - run_batch.sent.metrics.min(run_batch.metrics.len())
        };
        Ok((copied.records, lost))
    }

    /// Moves the doubtful metrics of `run_batch` to their lane.
    ///
    /// # Errors
    ///
    /// If the copy cannot be written. The metrics are then in `run_batch` again, and are no longer treated as
    /// doubtful.
    pub(in crate::shipper) fn park_doubtful(&mut self, run_batch: &mut RunBatch) -> io::Result<()> {
        let lane = Lane::Doubtful(run_batch.run);
        let is_new = !self.parked.holds_lane(lane);
        let metrics = run_batch.take_doubtful();
        let copied = self.append_to_lane(lane, run_batch.run, |log| {
            metrics
                .iter()
                .try_for_each(|metric| log.append_metric(metric))
        });
        if let Err(error) = copied {
            run_batch.put_back_doubtful(metrics);
            if is_new {
                self.parked.remove(lane);
            }
            return Err(error);
        }
        self.parked.lane_or_insert(lane).entries += metrics.len();
        if is_new {
            self.parked.set_doubtful(lane);
        }
        Ok(())
    }

    /// Appends entries of a run to a lane.
    pub(in crate::shipper) fn append_to_lane(
        &mut self,
        lane: Lane,
        run: u32,
        write: impl FnOnce(&mut EntryWriter<'_, '_>) -> io::Result<()>,
    ) -> io::Result<CopySummary> {
        let mut log = std::mem::take(&mut self.parked.lane_or_insert(lane).log);
        let copied = self.copy_to(&mut log, lane, run, write);
        self.parked.lane_or_insert(lane).log = log;
        copied
    }

    /// Records the lane's last segment as the one in which the run starts, in place of the segments in which
    /// it started, so that these can be deleted.
    pub(in crate::shipper) fn name_run_in(&mut self, run: u32, copied: &CopySummary) {
        let Some((last, _)) = copied.segments.last() else {
            return;
        };
        let mut started = false;
        for cursor in &mut self.cursors {
            let before = cursor.started_runs.len();
            cursor.started_runs.retain(|number| *number != run);
            started |= cursor.started_runs.len() < before;
        }
        let cursor = self.cursors.iter_mut();
        if let Some(cursor) = { cursor }.find(|cursor| Arc::ptr_eq(&cursor.segment, last))
            && started
        {
            cursor.started_runs.push(run);
        }
    }

    /// Removes a lane whose entries are all delivered.
    pub(in crate::shipper) fn unpark(&mut self, lane: Lane) {
        self.parked.remove(lane);
        self.release_lane(lane);
    }

    /// Makes the segments of a lane whose entries are all settled regular ones, which are deleted like all others.
    pub(in crate::shipper) fn release_lane(&mut self, lane: Lane) {
        for cursor in &mut self.cursors {
            if cursor.lane == Some(lane) {
                cursor.lane = None;
            }
        }
        self.settle();
    }
}

/// Cursors of the segments that a copy has touched.
impl JournalReader {
    /// Appends entries of `run` to `log`, whose segments belong to `lane`.
    pub(in crate::shipper) fn copy_to(
        &mut self,
        log: &mut EntryLog,
        lane: Lane,
        run: u32,
        write: impl FnOnce(&mut EntryWriter<'_, '_>) -> io::Result<()>,
    ) -> io::Result<CopySummary> {
        let Some(identity) = self.runs.get(run).map(|state| state.identity.clone()) else {
            return Err(io::Error::other("the run of these entries is unknown"));
        };
        #[cfg(test)]
        if matches!(lane, Lane::Thinned(_)) && crate::determinism::has_rare_fault() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (origin, mut open) = self.copy_target();
        log.keep_if(|segment| {
            let mut cursors = self.cursors.iter();
            cursors.any(|cursor| Arc::ptr_eq(&cursor.segment, segment))
        });
        let mut writer = log.writer(&mut *open, &origin, run, &identity);
        write(&mut writer)?;
        let copied = writer.finish()?;
        for (segment, bytes) in &copied.segments {
            self.note_copied(lane, segment, *bytes);
        }
        Ok(copied)
    }

    pub(in crate::shipper) fn note_copied(
        &mut self,
        lane: Lane,
        segment: &Arc<Segment>,
        bytes: usize,
    ) {
        self.record_copy_growth(segment, bytes);
        self.unsynced_segments.push(Arc::clone(segment));
        let known = self
            .cursors
            .iter_mut()
            .find(|cursor| Arc::ptr_eq(&cursor.segment, segment));
        match known {
            Some(cursor) => {
                cursor.is_finished = false;
                cursor.unload();
            }
            None => {
                let mut cursor = Cursor::new(Arc::clone(segment));
                cursor.lane = Some(lane);
                self.cursors.push(cursor);
            }
        }
    }
}
