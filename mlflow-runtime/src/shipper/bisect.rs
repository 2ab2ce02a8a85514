//! Which entries of a refused batch are to blame.
//!
//! Invariant: every other entry is logged, and the entries to blame are named with the store's words.

use std::future::Future;
use std::pin::Pin;

use super::Delivery;
use super::obstacle::Obstacle;
use super::work::{Refused, halves};
use crate::store::{Batch, StoreError, StoredRun};

/// How often a half is tried again at once when another client seems to be in the way.
const CONTESTS: u32 = 3;

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Delivery {
    /// Finds the entries of a refused batch that are to blame; the others are logged.
    pub(super) fn bisect<'a>(
        &'a self,
        run: &'a StoredRun,
        batch: Batch<'a>,
        reason: String,
    ) -> LocalFuture<'a, Result<Vec<Refused>, Obstacle>> {
        Box::pin(async move {
            let mut refused = Vec::new();
            let mut left = vec![(batch, reason)];
            while let Some((batch, reason)) = left.pop() {
                let Some(parts) = halves(&batch) else {
                    refused.extend(single(&batch, reason));
                    continue;
                };
                for half in parts {
                    let mut logged = self.store.log_batch(run, &half).await;
                    // Another client may have been in the way of this one only.
                    for _ in 0..CONTESTS {
                        if matches!(logged, Err(StoreError::Contested { .. })) {
                            logged = self.store.log_batch(run, &half).await;
                        }
                    }
                    match logged {
                        Ok(()) => {}
                        Err(StoreError::Rejected { reason } | StoreError::Contested { reason }) => {
                            left.push((half, reason));
                        }
                        Err(StoreError::TooLarge { reason }) if halves(&half).is_some() => {
                            left.push((half, reason));
                        }
                        Err(error) => return Err(self.obstacle(error).await),
                    }
                }
            }
            Ok(refused)
        })
    }
}

fn single(batch: &Batch<'_>, reason: String) -> Option<Refused> {
    let Batch {
        metrics,
        params,
        tags,
    } = batch;
    if let Some(metric) = metrics.first() {
        return Some(Refused::metric(metric.clone(), reason));
    }
    if let Some(param) = params.first() {
        return Some(Refused::param(param.clone(), 0, reason));
    }
    let tag = tags.first()?;
    Some(Refused::tag(tag.clone(), 0, reason))
}
