//! What is made of an answer, whatever it is: what the tests of damage and the fuzz target ask of
//! the real parser.
//!
//! Invariants, asserted for every answer: reading it waits for nothing; its words are short; the
//! shipper never waits for longer than an hour because of it.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use reqwest::{Response, Url};
use serde::de::DeserializeOwned;

use super::error::{Failure, Route};
use super::{active, artifact, duplicates, http, json};
use crate::shipper::recovery::delay_after;
use crate::store::{StoreError, local_artifacts};

const ASKED: &str = "POST x";
static SERVER: LazyLock<Url> =
    LazyLock::new(|| Url::parse("http://server:5000/prefix").expect("a URL"));

/// Reads the answer as one to each kind of request; says what each made of it.
pub(crate) fn meanings(answer: impl Fn() -> Response) -> Vec<Result<String, StoreError>> {
    let upload = at_once(http::read(Route::Artifacts, ASKED, answer()))
        .map(|body| shown(&body.len()))
        .map_err(judged);
    let nothing = read(answer(), |json::Empty {}| String::new());
    // A failure is one whatever was asked for.
    if !answer().status().is_success() {
        return vec![upload, nothing];
    }
    let info = |info: json::RunInfo| {
        let stored = info.into_stored();
        let proxied = artifact::proxied(&SERVER, &stored.artifact_uri, "a.txt");
        let direct = local_artifacts::of_uri(&stored.artifact_uri);
        shown(&(stored, proxied, direct))
    };
    let experiment =
        |found: json::GetExperiment| active(found.experiment).map_err(StoreError::from);
    vec![
        upload,
        nothing,
        read(answer(), |found: json::ExperimentId| found.experiment_id),
        read(answer(), |found| shown(&experiment(found))),
        read(answer(), |found: json::GetRun| info(found.run.info)),
        read(answer(), |found: duplicates::FoundRuns| {
            found.runs.into_iter().map(|run| info(run.info)).collect()
        }),
    ]
}

fn read<T: DeserializeOwned>(
    answer: Response,
    show: impl FnOnce(T) -> String,
) -> Result<String, StoreError> {
    at_once(http::read_json(ASKED, answer))
        .map(show)
        .map_err(judged)
}

/// The error that callers see, having looked at it in every way that they do.
fn judged(failure: Failure) -> StoreError {
    let already_there = failure.is_point_already_there();
    let (is_refusal, error) = match failure {
        Failure::Refused { .. } => (true, StoreError::from(failure)),
        Failure::Other(error) => (false, error),
    };
    assert!(is_refusal || !already_there);
    assert!(error.to_string().chars().count() < 2_000, "{error}");
    assert!(delay_after(error.clone()) <= Duration::from_secs(3600));
    error
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// The body is in memory.
fn at_once<T>(reading: impl Future<Output = T>) -> T {
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("nothing is waited for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as it comes over the wire.
    fn meanings_of(status: u16, body: &[u8]) -> Vec<Result<String, StoreError>> {
        meanings(|| {
            let answer = ::http::Response::builder()
                .status(status)
                .header("retry-after", "7")
                .body(body.to_vec());
            answer.expect("an answer").into()
        })
    }

    /// Real ones, of MLflow 3.
    const FOUND: &str = concat!(
        r#"{"runs": [{"info": {"run_uuid": "f3b0", "experiment_id": "1", "run_name": "r", "#,
        r#""user_id": "u", "status": "RUNNING", "start_time": 1764004500123, "#,
        r#""artifact_uri": "mlflow-artifacts:/1/f3b0/artifacts", "lifecycle_stage": "active", "#,
        r#""run_id": "f3b0"}, "data": {"metrics": [{"key": "loss", "value": 0.5, "#,
        r#""timestamp": 1764004500124, "step": 0}], "tags": [{"key": "t", "value": "ü"}]}, "#,
        r#""inputs": {}}]}"#
    );
    const REFUSED: &str = concat!(
        r#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid value \"x\" for "#,
        r#"parameter 'metrics[0].value' supplied: must be a number, not “ü”"}"#
    );

    #[test]
    fn an_answer_that_ends_early_is_no_success() {
        let whole = meanings_of(200, FOUND.as_bytes());
        let found = whole.last().expect("a list of runs");
        assert!(found.as_ref().is_ok_and(|runs| runs.contains("f3b0")));
        for end in 0..FOUND.len() {
            let cut = FOUND.as_bytes().get(..end).unwrap_or_default();
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
            for end in 0..=REFUSED.len() {
                let cut = REFUSED.as_bytes().get(..end).unwrap_or_default();
                for meaning in meanings_of(status, cut) {
                    assert!(meaning.is_err(), "{status}, cut at {end}: {meaning:?}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_answer_harms_nobody() {
        for text in [FOUND, REFUSED] {
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
