//! Requests that are in flight at once.
//!
//! # Invariants
//!
//! 1. No more jobs are in flight than [`Concurrency`] allows at that moment. A job sends one request at a time.
//! 2. The jobs begin in their order. After a failure that concerns all of them no further job begins, and those in flight are
//!    waited for, so that nothing that has arrived is sent again.

use std::future::Future;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::shipper::concurrency::Concurrency;
use crate::store::StoreError;

/// End of a job.
pub(in crate::shipper) enum JobEnd {
    /// Everything was carried out, this amount of work.
    Done { work: usize },
    /// The store refuses something of this job, and may accept that of others.
    Refused,
    /// The store refuses what all jobs have in common.
    AllRefused,
    /// The store has too much to do, or gave no answer.
    Overloaded,
}

impl JobEnd {
    /// Returns the end of a job that has failed with this error, if all jobs are about one run.
    pub(in crate::shipper) fn of_error(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. }
            | StoreError::Busy { .. }
            | StoreError::Contested { .. } => Self::Overloaded,
            StoreError::Rejected { .. } => Self::Refused,
            StoreError::TooLarge { .. }
            | StoreError::Missing { .. }
            | StoreError::Blocked { .. } => Self::AllRefused,
        }
    }
}

/// Carries out jobs, several at once, and passes each result to `settle`, in the order in which they end. A job begins
/// only if the one before it has begun, and if `may_begin` returns true, which the first job does not need. No more than
/// `most` are in flight, whatever `concurrency` allows.
pub(in crate::shipper) async fn carry_out<J, R, F>(
    concurrency: &mut Concurrency,
    most: usize,
    jobs: impl Iterator<Item = J>,
    may_begin: &dyn Fn() -> bool,
    begin: impl Fn(J) -> F,
    mut settle: impl FnMut(R),
) where
    F: Future<Output = (R, JobEnd)>,
{
    let mut waiting = jobs.peekable();
    let mut running = FuturesUnordered::new();
    let (mut is_stopped, mut is_overloaded, mut is_first) = (false, false, true);
    concurrency.begin_series();
    loop {
        while !is_stopped
            && running.len() < concurrency.level().min(most.max(1))
            && (is_first || may_begin())
            && let Some(job) = waiting.next()
        {
            is_first = false;
            running.push(begin(job));
        }
        let is_full = running.len() >= concurrency.level();
        let Some((result, end)) = running.next().await else {
            return;
        };
        match end {
            JobEnd::Done { work } => {
                let is_full = is_full && !is_stopped && waiting.peek().is_some();
                concurrency.record_answer(work, Instant::now(), is_full);
            }
            JobEnd::Refused => {}
            JobEnd::AllRefused => is_stopped = true,
            JobEnd::Overloaded => {
                // Requests that were in flight together fail together, and count once.
                if !is_overloaded {
                    concurrency.back_off();
                }
                (is_stopped, is_overloaded) = (true, true);
            }
        }
        settle(result);
    }
}
