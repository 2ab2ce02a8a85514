//! Metrics of one run, in several requests at once.
//!
//! # Invariants
//!
//! 1. Metrics of a run have no order among themselves, so their requests are in flight at once. Params and tags are sent
//!    before, one request after the other.
//! 2. What the store has acknowledged is not sent again, whatever became of the other requests: the metrics are put in
//!    such an order that those that are sent come first, and then those that the store may have.
//! 3. A request that the store refuses is sent once more by itself, and costs only the entries that are to blame.

use std::cell::Cell;
use std::iter;
use std::ops::Range;

use crate::shipper::Delivery;
use crate::shipper::batch::RunBatch;
use crate::shipper::batch_size::AdaptiveBatchSize;
use crate::shipper::deliver::request_window::{JobEnd, carry_out};
use crate::shipper::failure_scope::Obstacle;
use crate::shipper::read::journal_reader::JournalReader;
use crate::store::{Batch, StoreError, StoredRun};

/// Fate of the metrics of a request, in the order in which they stand in their batch afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Sent,
    /// The store gave no answer, and may have them.
    Doubtful,
    /// Nothing can be sent to the run, or to the store, now.
    HeldUp,
    /// The store refuses the request for one of its entries, or for its size.
    Refused,
}

impl Fate {
    fn of(answer: &Result<(), StoreError>) -> Self {
        match answer {
            Ok(()) => Self::Sent,
            Err(error) if error.is_unanswered() => Self::Doubtful,
            Err(
                StoreError::Unavailable { .. }
                | StoreError::Busy { .. }
                | StoreError::Missing { .. }
                | StoreError::Blocked { .. },
            ) => Self::HeldUp,
            Err(
                StoreError::Rejected { .. }
                | StoreError::Contested { .. }
                | StoreError::TooLarge { .. },
            ) => Self::Refused,
        }
    }
}

/// A request and its answer.
struct Answered {
    /// Positions of its metrics among those that were not sent before.
    range: Range<usize>,
    answer: Result<(), StoreError>,
}

impl Delivery {
    /// Sends metrics of a run that are not sent. Returns the number of requests that the store has refused; their metrics
    /// are the next ones. If that number is 0, all metrics are sent.
    pub(in crate::shipper) async fn send_metrics(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        run_batch: &mut RunBatch,
    ) -> Result<usize, Obstacle> {
        let mut answered = self.request_metrics(reader, run, run_batch).await;
        answered.sort_by_key(|one| (Fate::of(&one.answer), one.range.start));
        let ranges: Vec<Range<usize>> = answered.iter().map(|one| one.range.clone()).collect();
        run_batch.reorder_unsent_metrics(&ranges);
        let count = |fate| {
            let with_fate = answered.iter().filter(|one| Fate::of(&one.answer) == fate);
            with_fate.fold((0, 0), |(requests, metrics), one| {
                (requests + 1, metrics + one.range.len())
            })
        };
        let ((acknowledged, sent), (unanswered, doubtful)) =
            (count(Fate::Sent), count(Fate::Doubtful));
        let (refused, _) = count(Fate::Refused);
        run_batch.sent.metrics += sent;
        if acknowledged > 0 {
            self.has_progress = true;
            self.contested_in_row = 0;
        }
        if unanswered > 0 && !self.store.absorbs_repeats() {
            run_batch.doubtful_count = run_batch.doubtful_count.max(doubtful);
        }
        let is_unavailable =
            |one: &Answered| matches!(one.answer, Err(StoreError::Unavailable { .. }));
        if answered.iter().any(is_unavailable) {
            reader.change_batch_size(run_batch.run, AdaptiveBatchSize::shrink);
        }
        let held_up = { answered.into_iter() }.filter_map(|one| match Fate::of(&one.answer) {
            Fate::Doubtful | Fate::HeldUp => one.answer.err(),
            Fate::Sent | Fate::Refused => None,
        });
        let Some(error) = held_up.max_by_key(StoreError::retry_after) else {
            return Ok(refused);
        };
        let obstacle = self.classify_error(error).await;
        if matches!(obstacle, Obstacle::Stuck(_)) {
            self.separate_doubtful(reader, run_batch);
        }
        Err(obstacle)
    }

    /// Requests that the store takes the metrics that are not sent, until a request fails for all of them.
    async fn request_metrics(
        &mut self,
        reader: &mut JournalReader,
        run: &StoredRun,
        run_batch: &RunBatch,
    ) -> Vec<Answered> {
        let this = &*self;
        let number = run_batch.run;
        let metrics = run_batch.unsent_metrics();
        let batch_size = Cell::new(reader.batch_size(number));
        let mut from = 0;
        let ranges = iter::from_fn(|| {
            let limits = this.request_limits(reader, batch_size.get());
            let to = (from + limits.total.min(limits.metrics)).min(metrics.len());
            let range = from..to;
            from = to;
            Some(range).filter(|range| !range.is_empty())
        });
        let request = |range: Range<usize>| async move {
            let batch = Batch::of_metrics(metrics.get(range.clone()).unwrap_or_default());
            let answer = this.store.log_batch(run, &batch).await;
            let end = match &answer {
                Ok(()) => JobEnd::Done { work: range.len() },
                Err(error) => JobEnd::of_error(error),
            };
            (Answered { range, answer }, end)
        };
        let mut answered = Vec::new();
        let settle = |one: Answered| {
            if one.answer.is_ok() {
                let mut size = batch_size.get();
                size.grow();
                batch_size.set(size);
            }
            answered.push(one);
        };
        let mut concurrency = this.metric_requests.clone();
        carry_out(
            &mut concurrency,
            usize::MAX,
            ranges,
            &|| true,
            request,
            settle,
        )
        .await;
        self.metric_requests = concurrency;
        self.show_concurrency();
        reader.change_batch_size(number, |size| *size = batch_size.get());
        answered
    }
}
