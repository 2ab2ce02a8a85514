//! The way of [points that are left out](crate::shipper::queue::thinned_points) of the metrics of a run: into files, which
//! are artifacts of the run.
//!
//! # Invariants
//!
//! 1. A file is among the [deferred artifacts](crate::shipper::queue::deferred_artifacts), with its bytes in the journal,
//!    before its points are acknowledged, or else the lane that holds the points stays. From then on, the file is dealt with
//!    as every other artifact, but counts as all of its points.
//! 2. The files of a run are tried before the run's end is sent, so that they are there for whoever sees the run ended. If
//!    the artifact store does not take them, the end is sent all the same.

use tokio::time::Instant;

use crate::model::Metric;
use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::{ReadBatch, RunBatch};
use crate::shipper::deliver::delivery::WorkOrigin;
use crate::shipper::deliver::points_file;
use crate::shipper::failure_scope::{Halt, Obstacle};
use crate::shipper::journal_owner::JournalOwner;
use crate::shipper::queue::deferred_artifacts::DeferredArtifact;
use crate::shipper::queue::thinned_points::ThinnedRun;
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::StoredRun;

impl Delivery {
    /// Leaves points out of what is left of `read_batch`, if that is asked for.
    pub(in crate::shipper) fn thin(&self, reader: &mut JournalReader, read_batch: &mut ReadBatch) {
        let Some(rate) = self.point_rate else {
            return;
        };
        let interval_us = rate.interval_us();
        for run_batch in read_batch.remaining_works_mut() {
            let left_out = reader.thin(run_batch, interval_us);
            self.stats().thinned.add(left_out);
        }
    }

    /// Sends the greatest point that was left out of each metric of a run, writes all that were left out to files, which wait
    /// as artifacts, and tries these.
    ///
    /// # Errors
    /// Fails if the run, or everything, has to wait. What is in no file then stays where it is.
    pub(in crate::shipper) async fn write_points_files(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        number: u32,
    ) -> Result<(), Obstacle> {
        if !reader.thinned.has_waiting(number) {
            return Ok(());
        }
        self.send_greatest(reader, run, number).await?;
        let mut files = 0;
        while self.defer_points_file(reader, run, number) {
            files += 1;
        }
        self.update_blocked_counts(reader);
        self.deliver_last_deferred(reader, files).await?;
        Ok(())
    }

    async fn send_greatest(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        number: u32,
    ) -> Result<(), Obstacle> {
        let metrics = { reader.thinned.get(number) }.map(ThinnedRun::all_greatest);
        let mut run_batch = RunBatch::of_metrics(number, metrics.unwrap_or_default());
        // The points are in the lane, too, so none of them is in doubt, and one that the store rejects is not lost.
        let origin = WorkOrigin::Parked {
            largest: usize::MAX,
        };
        let sent = self
            .deliver_batches(reader, run, &mut run_batch, origin)
            .await;
        let thinned = reader.thinned.run_or_insert(number);
        run_batch
            .sent_metrics()
            .iter()
            .for_each(|point| thinned.note_kept(point));
        sent
    }

    /// Makes a file of the next points that are left out of a run. Returns false if none are left, or if they have to stay
    /// where they are.
    fn defer_points_file(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        number: u32,
    ) -> bool {
        let read_batch = reader.read_thinned(number);
        let works = read_batch.remaining_works();
        let mut points: Vec<&Metric> = works.iter().flat_map(|work| &work.metrics).collect();
        if points.is_empty() {
            // A segment that cannot be read now is tried again.
            if !read_batch.has_more {
                self.end_lane(reader, number);
            }
            return false;
        }
        let file = match points_file::encode(&mut points) {
            Ok(file) => file,
            Err(error) => {
                reader.rewind_thinned(number);
                if let Some(end) = self.warning_log.admit("points file", "") {
                    tracing::warn!(
                        target: "mlflow", %error,
                        "metric points that were left out cannot be written to a file; they stay in the journal{end}"
                    );
                }
                return false;
            }
        };
        let deferred = DeferredArtifact {
            run_number: number,
            run: run.clone(),
            artifact: points_file::into_artifact(file, &points),
            values: reader.thinned.subtract_waiting(number, points.len()),
            stuck: None,
            backoff: Backoff::default(),
            due: Instant::now(),
            segments: Vec::new(),
        };
        let cursors: Vec<usize> = works
            .iter()
            .flat_map(|work| &work.cursors)
            .copied()
            .collect();
        reader.defer(deferred, &cursors, false);
        reader.acknowledge_thinned(number, &read_batch);
        true
    }

    /// Ends the lane of a run. Points that are missing in it were removed by somebody else.
    fn end_lane(&mut self, reader: &mut JournalReader, number: u32) {
        let missing = reader.end_thinned(number);
        if missing > 0
            && let JournalOwner::Live { journal, .. } = &reader.owner
        {
            self.stats().lost.add(missing);
            journal.count_removed_copies(missing as u64);
        }
    }

    /// Writes files of all points that are left out of runs whose end is not to be expected: their process is about to
    /// end, or has died.
    ///
    /// # Errors
    /// Fails if the whole delivery has to wait.
    pub(in crate::shipper) async fn finish_thinned_runs(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<(), Halt> {
        for (number, _) in reader.thinned.waiting() {
            if reader.parked.blocking_run(&reader.runs, number).is_some() {
                continue;
            }
            match self.finish_thinned_run(reader, number).await {
                Ok(()) => {}
                Err(Obstacle::Halt(halt)) => return Err(halt),
                Err(Obstacle::Stuck(stuck)) => self.warn_stuck(reader, &stuck, 1),
            }
        }
        Ok(())
    }

    async fn finish_thinned_run(
        &mut self,
        reader: &mut JournalReader,
        number: u32,
    ) -> Result<(), Obstacle> {
        let run = self.ensure_run(reader, number).await?;
        self.write_points_files(reader, &run, number).await
    }
}
