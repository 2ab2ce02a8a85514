//! Test harness that feeds an arbitrary answer to the real parser, for the tests of damaged answers and for
//! the fuzz target.
//!
//! Invariants, asserted for every answer: reading the answer waits for nothing; its error text is short; the
//! shipper never waits for longer than an hour because of the answer.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use reqwest::{Response, Url};
use serde::de::DeserializeOwned;

use super::error::{RequestError, Route};
use super::{artifact_url, duplicates, http, json, require_active_experiment};
use crate::shipper::fuzz_support::delay_after;
use crate::store::{StoreError, local_artifacts};

const REQUEST_NAME: &str = "POST x";
static SERVER: LazyLock<Url> =
    LazyLock::new(|| Url::parse("http://server:5000/prefix").expect("a URL"));

/// Parses the answer as the answer to each kind of request, and returns all results.
pub(crate) fn parse_as_every_response(
    answer: impl Fn() -> Response,
) -> Vec<Result<String, StoreError>> {
    let upload = poll_ready(http::read_success_body(
        Route::Artifacts,
        REQUEST_NAME,
        answer(),
    ))
    .map(|body| to_debug_string(&body.len()))
    .map_err(check_failure);
    let nothing = parse_and_show(answer(), |json::EmptyResponse {}| String::new());
    // A failure is a failure whatever was requested.
    if !answer().status().is_success() {
        return vec![upload, nothing];
    }
    let info = |info: json::RunInfo| {
        let stored = info.into_stored_run();
        let proxied = artifact_url::proxied_url(&SERVER, &stored.artifact_uri, "a.txt");
        let direct = local_artifacts::uri_to_directory(&stored.artifact_uri);
        to_debug_string(&(stored, proxied, direct))
    };
    let experiment = |found: json::ExperimentResponse| {
        require_active_experiment(found.experiment).map_err(StoreError::from)
    };
    vec![
        upload,
        nothing,
        parse_and_show(answer(), |found: json::ExperimentIdResponse| {
            found.experiment_id
        }),
        parse_and_show(answer(), |found| to_debug_string(&experiment(found))),
        parse_and_show(answer(), |found: json::RunResponse| info(found.run.info)),
        parse_and_show(answer(), |found: duplicates::SearchRunsResponse| {
            found.runs.into_iter().map(|run| info(run.info)).collect()
        }),
    ]
}

fn parse_and_show<T: DeserializeOwned>(
    answer: Response,
    show: impl FnOnce(T) -> String,
) -> Result<String, StoreError> {
    poll_ready(http::read_json(REQUEST_NAME, answer))
        .map(show)
        .map_err(check_failure)
}

/// Returns the error that callers see, after checking it in every way that callers do.
fn check_failure(failure: RequestError) -> StoreError {
    let already_there = failure.is_duplicate_point();
    let (is_refusal, error) = match failure {
        RequestError::Refused { .. } => (true, StoreError::from(failure)),
        RequestError::Known(_, error) | RequestError::Other(error) => (false, error),
    };
    assert!(is_refusal || !already_there);
    assert!(error.to_string().chars().count() < 2_000, "{error}");
    assert!(delay_after(error.clone()) <= Duration::from_secs(3600));
    error
}

fn to_debug_string(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// Returns the result of a future that is ready at its first poll, because the body is in memory.
fn poll_ready<T>(reading: impl Future<Output = T>) -> T {
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("nothing is waited for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all results of parsing an answer as it comes over the wire.
    fn meanings_of(status: u16, body: &[u8]) -> Vec<Result<String, StoreError>> {
        parse_as_every_response(|| {
            let answer = ::http::Response::builder()
                .status(status)
                .header("retry-after", "7")
                .body(body.to_vec());
            answer.expect("an answer").into()
        })
    }

    /// Real answers of MLflow 3.
    const SEARCH_RESPONSE: &str = concat!(
        r#"{"runs": [{"info": {"run_uuid": "f3b0", "experiment_id": "1", "run_name": "r", "#,
        r#""user_id": "u", "status": "RUNNING", "start_time": 1764004500123, "#,
        r#""artifact_uri": "mlflow-artifacts:/1/f3b0/artifacts", "lifecycle_stage": "active", "#,
        r#""run_id": "f3b0"}, "data": {"metrics": [{"key": "loss", "value": 0.5, "#,
        r#""timestamp": 1764004500124, "step": 0}], "tags": [{"key": "t", "value": "ü"}]}, "#,
        r#""inputs": {}}]}"#
    );
    const ERROR_RESPONSE: &str = concat!(
        r#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid value \"x\" for "#,
        r#"parameter 'metrics[0].value' supplied: must be a number, not “ü”"}"#
    );

    #[test]
    fn an_answer_that_ends_early_is_no_success() {
        let whole = meanings_of(200, SEARCH_RESPONSE.as_bytes());
        let found = whole.last().expect("a list of runs");
        assert!(found.as_ref().is_ok_and(|runs| runs.contains("f3b0")));
        for end in 0..SEARCH_RESPONSE.len() {
            let cut = SEARCH_RESPONSE.as_bytes().get(..end).unwrap_or_default();
            let [_upload, json @ ..] = &*meanings_of(200, cut) else {
                panic!("there are several")
            };
            for meaning in json {
                assert!(
                    matches!(meaning, Err(StoreError::Unavailable { .. })),
                    "cut at {end}: {meaning:?}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_that_ends_early_is_still_one() {
        for status in [302, 400, 401, 403, 404, 409, 413, 429, 500, 503] {
            for end in 0..=ERROR_RESPONSE.len() {
                let cut = ERROR_RESPONSE.as_bytes().get(..end).unwrap_or_default();
                for meaning in meanings_of(status, cut) {
                    assert!(meaning.is_err(), "{status}, cut at {end}: {meaning:?}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_answer_harms_nobody() {
        for text in [SEARCH_RESPONSE, ERROR_RESPONSE] {
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut damaged = text.as_bytes().to_vec();
                    damaged[at] ^= 1 << bit;
                    meanings_of(200, &damaged);
                    meanings_of(400, &damaged);
                }
            }
        }
    }
}
