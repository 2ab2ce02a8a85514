//! Finding the entries of a refused batch that the store refuses.
//!
//! Invariants: every other entry is logged, in the order of the batch, since of two values of a tag the
//! last one stays; the entries to blame are named with the store's words.

use std::future::Future;
use std::pin::Pin;

use crate::shipper::Delivery;
use crate::shipper::obstacle::Obstacle;
use crate::shipper::read::batch::{Rejection, split_batch};
use crate::store::{Batch, StoreError, StoredRun};

/// How often a half is tried again at once when another client seems to be in the way.
const MAX_CONTESTED_RETRIES: u32 = 3;

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Delivery {
    /// Finds the entries of a refused batch that are to blame; the others are logged.
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
            // The first half down to its last entry, and only then the second.
            let mut left = vec![second, first];
            while let Some(half) = left.pop() {
                let mut logged = self.store.log_batch(run, &half).await;
                // Another client may have been in the way of this one only.
                for _ in 0..MAX_CONTESTED_RETRIES {
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
                    ) => refused.extend(refuse_single_entry(&half, reason)),
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
