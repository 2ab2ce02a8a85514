//! Histories of metrics.
//!
//! Invariant: every request asks for a number of points. Without one, releases 3.1.4 to 3.10.1 answer with an
//! empty page whose token leads to the same page again.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::api::Api;
use super::records::HistoryAnswer;
use super::runs;
use crate::entities::MetricHistory;
use crate::store::ClientError;

/// Number of points in one answer, the most that MLflow returns.
const PAGE_POINTS: &str = "25000";

/// Largest number of histories that are requested at once.
const MAX_CONCURRENT: usize = 8;

/// Returns all points of each metric, in the order of `keys`.
pub(super) async fn get_all(
    api: Api<'_>,
    run_id: &str,
    keys: &[String],
) -> Result<Vec<MetricHistory>, ClientError> {
    let each = keys.iter().map(|key| get_one(api, run_id, key));
    let histories: Vec<MetricHistory> = stream::iter(each)
        .buffered(MAX_CONCURRENT)
        .try_collect()
        .await?;
    // The history of an unknown run is empty, too.
    if histories.iter().all(MetricHistory::is_empty) {
        runs::get(api, run_id).await?;
    }
    Ok(histories)
}

async fn get_one(api: Api<'_>, run_id: &str, key: &str) -> Result<MetricHistory, ClientError> {
    const PATH: &str = "metrics/get-history";
    let mut history = MetricHistory::new(key);
    let mut token = String::new();
    loop {
        let mut query = vec![
            ("run_id", run_id),
            ("metric_key", key),
            ("max_results", PAGE_POINTS),
        ];
        if !token.is_empty() {
            query.push(("page_token", token.as_str()));
        }
        let HistoryAnswer {
            metrics,
            next_page_token,
        } = match api.http.get_list(PATH, &query).await {
            Ok(answer) => answer,
            Err(failure) => return Err(api.explain("GET metrics/get-history", failure).await),
        };
        let is_last = metrics.is_empty() || next_page_token.is_empty() || next_page_token == token;
        for point in metrics {
            history.push(point.into());
        }
        if is_last {
            return Ok(history);
        }
        token = next_page_token;
    }
}
