//! The search for the entries of a rejected batch that the store does not accept.
//!
//! Invariants: every other entry is logged, in the order of the batch, because the last of several values of
//! a tag has to win; each rejected entry is returned with the store's own reason.

use std::future::Future;
use std::pin::Pin;

use crate::shipper::Delivery;
use crate::shipper::batch::{Rejection, split_batch};
use crate::shipper::failure_scope::Obstacle;
use crate::store::{Batch, StoreError, StoredRun};

/// Number of immediate retries of a half for which the store reports that another client interferes.
const MAX_CONTESTED_RETRIES_OF_PART: u32 = 3;

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Delivery {
    /// Logs a rejected batch in halves until only the entries remain that the store rejects, and returns
    /// these. `reason` is the store's reason for the whole batch.
    pub(in crate::shipper) fn bisect<'a>(
        &'a self,
        run: &'a StoredRun,
        batch: Batch<'a>,
        reason: String,
    ) -> LocalFuture<'a, Result<Vec<Rejection>, Obstacle>> {
        Box::pin(async move {
            let Some([first, second]) = split_batch(&batch) else {
                return Ok(refuse_single_entry(&batch, reason).into_iter().collect());
            };
            let mut refused = Vec::new();
            // The first half is processed down to its last entry before the second half.
            let mut left = vec![second, first];
            while let Some(half) = left.pop() {
                let mut logged = self.store.log_batch(run, &half).await;
                // The conflict with another client may concern this half only.
                for _ in 0..MAX_CONTESTED_RETRIES_OF_PART {
                    if matches!(logged, Err(StoreError::Contested { .. })) {
                        logged = self.store.log_batch(run, &half).await;
                    }
                }
                let parts = split_batch(&half);
                match (logged, parts) {
                    (Ok(()), _) => {}
                    (
                        Err(
                            StoreError::Rejected { .. }
                            | StoreError::Contested { .. }
                            | StoreError::TooLarge { .. },
                        ),
                        Some([first, second]),
                    ) => left.extend([second, first]),
                    (
                        Err(StoreError::Rejected { reason } | StoreError::Contested { reason }),
                        None,
                    ) => refused.extend(refuse_single_entry(&half, reason.to_string())),
                    (Err(error), _) => return Err(self.classify_error(error).await),
                }
            }
            Ok(refused)
        })
    }
}

fn refuse_single_entry(batch: &Batch<'_>, reason: String) -> Option<Rejection> {
    let Batch {
        metrics,
        params,
        tags,
    } = batch;
    if let Some(metric) = metrics.first() {
        return Some(Rejection::metric(metric.clone(), reason));
    }
    if let Some(param) = params.first() {
        return Some(Rejection::param(param.clone(), 0, reason));
    }
    let tag = tags.first()?;
    Some(Rejection::tag(tag.clone(), 0, reason))
}
