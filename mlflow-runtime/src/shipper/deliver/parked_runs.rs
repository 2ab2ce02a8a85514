//! The delivery of [parked runs](crate::shipper::queue::parked_runs) that are due.

use tokio::time::Instant;

use crate::shipper::Delivery;
use crate::shipper::batch::ReadBatch;
use crate::shipper::deliver::delivery::WorkOrigin;
use crate::shipper::failure_scope::{Halt, Obstacle, StuckReason};
use crate::shipper::queue::lane::Lane;
use crate::shipper::read::journal_reader::JournalReader;

/// Maximum number of lanes tried in one step; the others follow in the next steps.
const MAX_LANE_TRIES_PER_STEP: usize = 10;

/// Maximum number of points of a doubtful lane in one request: MLflow 2.10 refuses a repeated batch with more
/// than 100 keys.
#[cfg(not(test))]
const DOUBTFUL_BATCH: usize = 100;

/// Small limit in tests, so that even a short simulation sends several parts.
#[cfg(test)]
const DOUBTFUL_BATCH: usize = 2;

impl Delivery {
    /// Tries the parked runs that are due.
    pub(in crate::shipper) async fn deliver_parked(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<(), Halt> {
        let now = Instant::now();
        for _ in 0..MAX_LANE_TRIES_PER_STEP {
            let Some(lane) = reader.parked.take_due_lane(now, Lane::is_run) else {
                break;
            };
            self.try_lane(reader, lane, usize::MAX).await?;
        }
        Ok(())
    }

    /// Tries the doubtful lanes that are due, until one part of one of them is delivered: everything else is
    /// delivered before the next part. Returns true if there may be a next part.
    pub(in crate::shipper) async fn deliver_doubtful(
        &mut self,
        reader: &mut JournalReader,
    ) -> Result<bool, Halt> {
        let now = Instant::now();
        for _ in 0..MAX_LANE_TRIES_PER_STEP {
            let Some(lane) = reader.parked.take_due_lane(now, Lane::is_doubtful) else {
                break;
            };
            if self.try_lane(reader, lane, 1).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Delivers up to `parts` parts of a lane. Returns true if that succeeded; otherwise the lane waits for
    /// its next try.
    async fn try_lane(
        &mut self,
        reader: &mut JournalReader,
        lane: Lane,
        parts: usize,
    ) -> Result<bool, Halt> {
        let before = std::mem::take(&mut self.has_progress);
        let delivered = self.deliver_lane(reader, lane, parts).await;
        let has_progress = self.has_progress;
        self.has_progress |= before;
        if has_progress {
            reader.parked.reset_backoff(lane);
        }
        match delivered {
            Ok(()) => Ok(true),
            Err(Obstacle::Stuck(stuck)) => {
                self.stats().retried.add(1);
                reader.parked.set_stuck(lane, stuck.clone());
                let parked = reader.parked.lanes.get(&lane);
                let failures = parked.map_or(0, |parked| parked.backoff.failures());
                self.warn_stuck(reader, &stuck, failures);
                Ok(false)
            }
            Err(Obstacle::Halt(halt)) => Err(halt),
        }
    }

    async fn deliver_lane(
        &mut self,
        reader: &mut JournalReader,
        lane: Lane,
        parts: usize,
    ) -> Result<(), Obstacle> {
        let Some(run) = lane.run() else {
            return Ok(());
        };
        if let Some(parent) = reader.parked.blocking_run(&reader.runs, run)
            && parent != run
        {
            return Err(StuckReason::BehindRun(parent).into());
        }
        if let Some(parked) = reader.parked.lanes.get(&lane)
            && matches!(parked.stuck, StuckReason::Missing(_))
        {
            let since = parked.parked_at;
            self.relocate_run(reader, run, since.elapsed()).await?;
        }
        for _ in 0..parts {
            let parked = reader.parked.lanes.get(&lane);
            let is_doubtful = lane.is_doubtful() || parked.is_some_and(|parked| parked.is_doubtful);
            let most = self.read_budget().min(self.batch_entries());
            let (entries, largest) = if is_doubtful {
                (most.min(DOUBTFUL_BATCH), DOUBTFUL_BATCH)
            } else {
                (most, usize::MAX)
            };
            let mut read_batch = reader.read_lane(lane, entries);
            if read_batch.is_empty() {
                reader.unpark(lane);
                return Ok(());
            }
            let part = WorkOrigin::Parked { largest };
            if let Err(obstacle) = self.deliver_batch(reader, &mut read_batch, part).await {
                reader.rewind(lane);
                return Err(obstacle);
            }
            reader.acknowledge_lane(lane, &read_batch);
            self.has_progress = true;
            if let Some(parked) = reader.parked.lanes.get_mut(&lane) {
                parked.entries = parked.entries.saturating_sub(read_batch.entries);
                parked.is_doubtful = false;
            }
            // Updated before the next request, which may take long.
            self.update_blocked_counts(reader);
        }
        Ok(())
    }

    async fn deliver_batch(
        &mut self,
        reader: &mut JournalReader,
        read_batch: &mut ReadBatch,
        part: WorkOrigin,
    ) -> Result<(), Obstacle> {
        while let Some(run_batch) = read_batch.current() {
            self.deliver_run_batch(reader, run_batch, part).await?;
            read_batch.finish_current();
        }
        Ok(())
    }
}
