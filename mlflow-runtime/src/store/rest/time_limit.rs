//! Longest wait for a part of an answer.

use std::time::Duration;

use super::StoreError;

/// Waits for a future that reads an answer, but no longer than `timeout`: an answer may stop in the middle.
pub(super) async fn with_timeout<T, E: From<StoreError>>(
    timeout: Duration,
    asked: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = |_| {
        let reason = format!("{asked}: no answer in time");
        let retry_after = None;
        Err(StoreError::Unavailable {
            reason: reason.into(),
            retry_after,
        }
        .into())
    };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or_else(late)
}
