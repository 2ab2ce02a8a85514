//! The way of [points that are left out](crate::shipper::queue::thinned_points) of the metrics of a run: into a file, which
//! is an artifact of the run.
//!
//! # Invariants
//!
//! 1. The file is among the [deferred artifacts](crate::shipper::queue::deferred_artifacts), with its bytes in the journal,
//!    before its points are acknowledged. From then on, it is dealt with as every other artifact.
//! 2. The file of the last points of a run is tried before the run's end is sent, so that it is there for whoever sees the
//!    run ended. If the artifact store does not take it, the end is sent all the same.

use tokio::time::Instant;

use crate::model::{ArtifactKind, Metric};
use crate::shipper::Delivery;
use crate::shipper::backoff::Backoff;
use crate::shipper::batch::{Artifact, ArtifactBytes, ReadBatch};
use crate::shipper::deliver::points_file;
use crate::shipper::failure_scope::{Halt, Obstacle};
use crate::shipper::queue::deferred_artifacts::DeferredArtifact;
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::{Batch, StoreError, StoredRun};

impl Delivery {
    /// Leaves points out of what is left of `read_batch`, if that is asked for.
    pub(in crate::shipper) fn thin(&self, reader: &mut JournalReader, read_batch: &mut ReadBatch) {
        let Some(rate) = self.point_rate else {
            return;
        };
        let interval_ms = rate.interval_ms();
        for run_batch in read_batch.remaining_works_mut() {
            let left_out = reader.thin(run_batch, interval_ms);
            if reader.is_live() {
                self.stats().thinned.add(left_out);
            }
        }
    }

    /// Sends the greatest point that was left out of each metric of a run, and writes all that were left out to a file, which
    /// waits as an artifact.
    ///
    /// # Errors
    /// Fails if the run has to wait. Nothing is written then.
    pub(in crate::shipper) async fn write_points_file(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        number: u32,
    ) -> Result<(), Obstacle> {
        if !reader.thinned.has_run(number) {
            return Ok(());
        }
        self.send_greatest(reader, run, number).await?;
        self.defer_points_file(reader, run, number);
        Ok(())
    }

    async fn send_greatest(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        number: u32,
    ) -> Result<(), Obstacle> {
        let thinned = reader.thinned.run_or_insert(number);
        let limits = self.store.limits();
        let size = limits.metrics.min(limits.total).max(1);
        let greatest = thinned.all_greatest();
        for metrics in greatest.chunks(size) {
            let batch = Batch {
                metrics,
                ..Batch::default()
            };
            match self.store.log_batch(run, &batch).await {
                Ok(()) => {}
                // The points to blame are in the file.
                Err(StoreError::Rejected { reason } | StoreError::TooLarge { reason }) => {
                    self.bisect(run, batch, reason.to_string()).await?;
                }
                Err(error) => return Err(self.classify_error(error).await),
            }
        }
        reader.thinned.run_or_insert(number).note_greatest_sent();
        Ok(())
    }

    fn defer_points_file(&mut self, reader: &mut JournalReader, run: &StoredRun, number: u32) {
        let thinned = reader.thinned.run_or_insert(number);
        let counted = thinned.points;
        let read_batch = reader.read_thinned(number);
        let works = read_batch.remaining_works().iter();
        let mut points: Vec<&Metric> = works.flat_map(|work| &work.metrics).collect();
        if !points.is_empty() {
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
                    return;
                }
            };
            let artifact = Artifact {
                sequence: 0,
                kind: ArtifactKind::File,
                path: points_file::artifact_path(&points, &file),
                bytes: ArtifactBytes::Memory(file),
                fingerprint: None,
            };
            // The file counts as one value until it is delivered: as the last one of its points.
            self.count_delivered(reader, counted - 1);
            let deferred = DeferredArtifact {
                run_number: number,
                run: run.clone(),
                artifact,
                stuck: None,
                backoff: Backoff::default(),
                due: Instant::now(),
                segments: Vec::new(),
            };
            reader.defer(deferred, &[], false);
        }
        reader.acknowledge_thinned(number, &read_batch);
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
        for number in reader.thinned.waiting_runs() {
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
        self.write_points_file(reader, &run, number).await
    }
}
