//! Which entries of a refused batch are to blame.
//!
//! Invariant: every other entry is logged, and the entries to blame are named with the store's words.

use std::future::Future;
use std::pin::Pin;

use super::Delivery;
use super::delivery::{Halt, halt};
use super::work::{Refused, halves};
use crate::store::{Batch, StoreError, StoredRun};

/// How often a half is tried again at once when another client seems to be in the way.
const CONTESTS: u32 = 3;

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Delivery {
    /// Finds the entries of a refused batch that are to blame; the others are logged. The inner
    /// error says why the run takes nothing any more.
    pub(super) fn isolate<'a>(
        &'a self,
        run: &'a StoredRun,
        batch: Batch<'a>,
        reason: String,
    ) -> LocalFuture<'a, Result<Result<Vec<Refused>, String>, Halt>> {
        Box::pin(async move {
            let mut refused = Vec::new();
            let mut left = vec![(batch, reason)];
            while let Some((batch, reason)) = left.pop() {
                let Some(halves) = halves(&batch) else {
                    refused.extend(single(&batch, reason));
                    continue;
                };
                for half in halves {
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
                        Err(StoreError::Blocked {
                            reason,
                            everything: false,
                        }) => {
                            return Ok(Err(reason));
                        }
                        Err(error) => return Err(halt(error)),
                    }
                }
            }
            Ok(Ok(refused))
        })
    }
}

fn single(batch: &Batch<'_>, reason: String) -> Option<Refused> {
    let Batch {
        metrics,
        params,
        tags,
    } = batch;
    let metric = metrics
        .first()
        .map(|metric| ("metric", metric.key.to_string()));
    let param = || params.first().map(|param| ("param", param.key.clone()));
    let tag = || tags.first().map(|tag| ("tag", tag.key.clone()));
    let (kind, key) = metric.or_else(param).or_else(tag)?;
    Some(Refused { kind, key, reason })
}
