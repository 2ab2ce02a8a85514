//! Meaning of the server's answers for the caller: who has to act.
//!
//! The status decides first, then MLflow's `error_code`. A body that is not MLflow's JSON was written by
//! something between this client and the server, or by a server that is not MLflow.

use std::time::{Duration, SystemTime};

use mlflow_rules::url_without_credentials;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;

use super::login::SentLogin;
use super::{StoreError, db_errors};
use crate::model::limits;

/// Largest number of characters of a server's text in an error. Longer texts are cut, as some contain whole
/// SQL statements.
const MAX_REASON_CHARS: usize = 500;

/// Reason why a request brought no result.
#[derive(Debug)]
pub(super) enum RequestError {
    /// Refusal of this very request by MLflow itself.
    Refused {
        status: u16,
        /// MLflow's `error_code`.
        code: String,
        /// Name of the request, the status and the server's error text.
        reason: String,
    },
    /// Error in the caller's terms, whose cause some calls treat in a way of their own.
    Known(Cause, StoreError),
    /// Error that is already in the caller's terms.
    Other(StoreError),
}

/// Cause of a [`RequestError::Known`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The JSON interface has no such route: this is another release of MLflow, or no MLflow at all.
    UnknownRoute,
    /// The server failed with status 500. Some releases answer so to what a later one refuses.
    ServerFault,
    /// The answer is longer than the call accepts.
    LongAnswer,
    /// The server passes no artifacts on, and signs URLs of its bucket instead.
    PresignedOnly,
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl From<RequestError> for StoreError {
    fn from(failure: RequestError) -> Self {
        match failure {
            RequestError::Refused {
                status: 404,
                reason,
                ..
            } => Self::Missing {
                reason: reason.into(),
            },
            RequestError::Refused { reason, .. } => Self::Rejected {
                reason: reason.into(),
            },
            RequestError::Known(_, error) | RequestError::Other(error) => error,
        }
    }
}

impl RequestError {
    /// Returns the error for a refusal that concerns one run or experiment.
    pub(super) fn blocked(reason: String) -> Self {
        Self::Other(StoreError::Blocked {
            reason: reason.into(),
            everything: false,
        })
    }

    /// Converts the error of a call without which the run has no destination. A refusal becomes
    /// [`StoreError::Blocked`], so that the values are kept.
    pub(super) fn into_blocked(self) -> StoreError {
        match self {
            Self::Refused { reason, .. } => StoreError::Blocked {
                reason: reason.into(),
                everything: false,
            },
            Self::Known(_, error) | Self::Other(error) => error,
        }
    }

    /// Converts the error of a lookup of a run, as [`into_blocked`](Self::into_blocked) does. Only a run that
    /// is not found becomes [`StoreError::Missing`]: the run may be on another server.
    pub(super) fn into_missing_or_blocked(self) -> StoreError {
        match self {
            Self::Refused { status: 404, .. } => self.into(),
            other => other.into_blocked(),
        }
    }

    /// Returns true if this is the answer of releases up to 3.14 to a NaN point that they already have.
    pub(super) fn is_duplicate_point(&self) -> bool {
        let Self::Refused { code, reason, .. } = self else {
            return false;
        };
        code == "BAD_REQUEST" && db_errors::is_duplicate(reason, "metric")
    }
}

/// Kind of route that a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// JSON interface.
    Api,
    /// Artifact routes: the proxy, and the signing of uploads.
    Artifacts,
}

/// Body of MLflow's errors; artifact routes may send only `detail`.
#[derive(Default, Deserialize)]
struct ErrorBody {
    error_code: Option<String>,
    message: Option<String>,
    detail: Option<serde_json::Value>,
    /// True since MLflow 3.18, if the server was started with `--artifacts-presigned-only`.
    artifacts_presigned_only: Option<serde_json::Value>,
}

/// Returns the error for an answer that is no success. `asked` names the request, and `login` the credentials that it carried.
pub(super) fn classify_response(
    route: Route,
    asked: &str,
    status: StatusCode,
    headers: &HeaderMap,
    login: Option<&SentLogin>,
    body: &[u8],
) -> RequestError {
    let parsed: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let is_json = parsed.is_some();
    let ErrorBody {
        error_code,
        message,
        detail,
        artifacts_presigned_only,
    } = parsed.unwrap_or_default();
    let is_presigned_only = artifacts_presigned_only.is_some_and(|only| only == true);
    let code = error_code.unwrap_or_default();
    let words = message
        .or_else(|| detail.map(|detail| detail.to_string()))
        .unwrap_or_else(|| extract_visible_text(body));
    let described = login.and_then(|login| Some((login.description.as_deref()?, login.remedy())));
    let hidden = |words: &str| login.map_or(words.to_owned(), |login| login.hide(words.to_owned()));
    let reason = match (hidden(&code).as_str(), hidden(&words).as_str()) {
        ("", "") => format!("{asked}: {status}"),
        ("", words) => format!("{asked}: {status}: {}", truncate_reason(words)),
        (code, words) => format!(
            "{asked}: {status}: {}: {}",
            truncate_reason(code),
            truncate_reason(words)
        ),
    };
    let unavailable = |reason: String| {
        RequestError::Other(StoreError::Unavailable {
            reason: reason.into(),
            retry_after: parse_retry_after(headers),
        })
    };
    let rejected = |reason: String| {
        RequestError::Other(StoreError::Rejected {
            reason: reason.into(),
        })
    };
    let blocked = |reason: String, everything| {
        RequestError::Other(StoreError::Blocked {
            reason: reason.into(),
            everything,
        })
    };
    let not_mlflow = |reason: String| {
        blocked(
            format!(
                "{reason}. This is not an MLflow server, or the path prefix in MLFLOW_TRACKING_URI is missing or wrong: \
                 the URI must be the part of the server's URLs before `/api/2.0/mlflow`"
            ),
            true,
        )
    };
    let number = status.as_u16();
    match number {
        300..=399 => {
            let target = headers
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or("another address");
            let target = url_without_credentials(target);
            let target = truncate_reason(&target);
            blocked(
                format!(
                    "{reason}. The server redirects to {target}: set MLFLOW_TRACKING_URI to the final address"
                ),
                true,
            )
        }
        // Two clients log something new with the same name at the same moment; at the next attempt it exists.
        400 if code == "BAD_REQUEST" && db_errors::is_race(&words) => {
            RequestError::Other(StoreError::Contested {
                reason: reason.into(),
            })
        }
        400 if code == "BAD_REQUEST" && db_errors::is_transient(&words) => unavailable(reason),
        400 if !code.is_empty() => RequestError::Refused {
            status: number,
            code,
            reason,
        },
        401 => blocked(
            match described {
                Some((login, remedy)) => {
                    format!("{reason}. The server refuses {login}: {remedy}")
                }
                None => format!(
                    "{reason}. The server requires a login: set MLFLOW_TRACKING_USERNAME and \
                     MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
                ),
            },
            true,
        ),
        403 if words.contains("Host header") => blocked(
            format!(
                "{reason}. The server does not accept this host name: start the server with --allowed-hosts including it"
            ),
            true,
        ),
        403 if is_presigned_only => RequestError::Known(
            Cause::PresignedOnly,
            StoreError::Blocked {
                reason: format!(
                    "{reason}. The server passes no artifacts on: it was started with --artifacts-presigned-only"
                )
                .into(),
                everything: false,
            },
        ),
        // An authenticating proxy in front of the server answers in HTML, and refuses everything; the server
        // itself refuses only this run.
        403 => {
            let is_of_gateway = code.is_empty() && login.is_some_and(|login| login.is_signature);
            let this_only = !is_of_gateway && (is_json || words.contains("Permission denied"));
            let told = match described {
                Some((login, remedy)) => format!(
                    "{reason}. The server does not permit this to {login}: check the permissions of the experiment. If \
                     the credentials are wrong, {remedy}"
                ),
                None => format!(
                    "{reason}. The server does not permit this without a login: set MLFLOW_TRACKING_USERNAME and \
                     MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
                ),
            };
            blocked(told, !this_only)
        }
        404 if !code.is_empty() && code != "ENDPOINT_NOT_FOUND" => RequestError::Refused {
            status: number,
            code,
            reason,
        },
        408 | 425 | 429 | 499 => unavailable(reason),
        409 if code == "ALREADY_EXISTS" => RequestError::Refused {
            status: number,
            code,
            reason,
        },
        409 => unavailable(reason),
        413 | 422 | 501 if !code.is_empty() => RequestError::Refused {
            status: number,
            code,
            reason,
        },
        // A gateway's own answer. Halving the batch helps against the 413.
        413 => RequestError::Other(StoreError::TooLarge {
            reason: reason.into(),
        }),
        422 | 501 => unavailable(reason),
        500 if db_errors::is_nul_rejection(&words) => rejected(reason),
        500 if code == "INVALID_STATE" => RequestError::Refused {
            status: number,
            code,
            reason,
        },
        500 if code == "FEATURE_DISABLED" => blocked(
            format!("{reason}. The server has workspaces disabled: unset MLFLOW_WORKSPACE"),
            true,
        ),
        503 if route == Route::Artifacts && words.contains("rtifact serving is disabled") => {
            blocked(
                format!("{reason}. Start the server with --serve-artifacts"),
                false,
            )
        }
        500 => RequestError::Known(Cause::ServerFault, unavailable(reason).into()),
        501..=599 => unavailable(reason),
        // MLflow's artifact routes refuse in JSON; an HTML page comes from something in between.
        400 if route == Route::Artifacts && is_json => rejected(reason),
        _ if route == Route::Artifacts => unavailable(reason),
        404 | 405 => RequestError::Known(Cause::UnknownRoute, not_mlflow(reason).into()),
        _ => not_mlflow(reason),
    }
}

/// Returns the error for a successful answer that does not hold what was requested.
pub(super) fn unexpected_response_error(asked: &str, body: &[u8]) -> StoreError {
    StoreError::Unavailable {
        reason: format!(
            "{asked}: the answer does not come from MLflow (a proxy or a login page?): {}",
            truncate_reason(&extract_visible_text(body))
        )
        .into(),
        retry_after: None,
    }
}

/// Returns the error for an answer that is longer than `max_bytes`.
pub(super) fn long_answer_error(asked: &str, max_bytes: usize) -> RequestError {
    RequestError::Known(
        Cause::LongAnswer,
        StoreError::Unavailable {
            reason: format!(
                "{asked}: the answer is longer than {} MiB, which is more than MLflow sends (a proxy or a login page?)",
                max_bytes >> 20
            )
            .into(),
            retry_after: None,
        },
    )
}

/// Returns the text of a body, without HTML tags and with single spaces. Reads only the beginning of the
/// body.
fn extract_visible_text(body: &[u8]) -> String {
    let body = body
        .get(..body.len().min(8 * MAX_REASON_CHARS))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let mut inside_tag = false;
    let visible: String = text
        .chars()
        .filter_map(|c| {
            match c {
                '<' => inside_tag = true,
                '>' if inside_tag => {
                    inside_tag = false;
                    return Some(' ');
                }
                _ if !inside_tag => return Some(c),
                _ => {}
            }
            None
        })
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the beginning of a server's words, as one line: a line break in them could forge a line of a log.
fn truncate_reason(words: &str) -> String {
    let (words, _) = limits::truncate_chars(words.into(), MAX_REASON_CHARS);
    words.replace(char::is_control, " ")
}

/// Parses the header `Retry-After`: seconds, or a date.
fn parse_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(route: Route, status: u16, body: &str) -> StoreError {
        let status = StatusCode::from_u16(status).expect("a status");
        classify_response(
            route,
            "POST x",
            status,
            &HeaderMap::new(),
            None,
            body.as_bytes(),
        )
        .into()
    }

    fn kind(error: &StoreError) -> &'static str {
        match error {
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::Busy { .. } => "busy",
            StoreError::Contested { .. } => "contested",
            StoreError::Rejected { .. } => "rejected",
            StoreError::TooLarge { .. } => "too large",
            StoreError::Missing { .. } => "missing",
            StoreError::Blocked {
                everything: false, ..
            } => "blocked",
            StoreError::Blocked {
                everything: true, ..
            } => "all blocked",
        }
    }

    #[test]
    fn a_servers_words_are_one_line() {
        let body = r#"{"error_code": "BAD\nERROR mlflow: x", "message": "no\r\nERROR mlflow: 9 values are lost\u001b[2J"}"#;
        let text = of(Route::Api, 400, body).to_string();
        assert!(text.contains("9 values are lost"), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }

    #[test]
    fn statuses_and_codes_say_who_has_to_act() {
        let html = "<!doctype html><title>t</title><h1>Not Found</h1>";
        let taken = |row| {
            format!(r#"{{"error_code":"BAD_REQUEST","message":"UNIQUE constraint failed: {row}"}}"#)
        };
        let param = &taken("params.key, params.run_uuid");
        let latest = &taken("latest_metrics.key, latest_metrics.run_uuid");
        let point = &taken("metrics.key, metrics.run_uuid");
        let pool = r#"{"error_code":"BAD_REQUEST","message":"QueuePool limit of size 5 overflow 10 reached"}"#;
        // Regression test: this answer was taken for an unavailable server, and everything else waited behind
        // the text.
        let nul = r#"{"error_code":"INTERNAL_ERROR","message":"A string literal cannot contain NUL (0x00) characters."}"#;
        for (status, body, expected) in [
            (302, "", "all blocked"),
            (
                400,
                r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"m"}"#,
                "rejected",
            ),
            (400, param, "contested"),
            (400, latest, "contested"),
            (400, point, "rejected"),
            (400, pool, "unavailable"),
            (400, html, "all blocked"),
            (401, "You are not authenticated", "all blocked"),
            (403, "Permission denied", "blocked"),
            (
                403,
                "Invalid Host header - possible DNS rebinding attack detected",
                "all blocked",
            ),
            (403, html, "all blocked"),
            (
                404,
                r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"m"}"#,
                "missing",
            ),
            (404, html, "all blocked"),
            (404, r#"{"detail":"Not Found"}"#, "all blocked"),
            (405, html, "all blocked"),
            (408, "", "unavailable"),
            (413, html, "too large"),
            (501, html, "unavailable"),
            (422, html, "unavailable"),
            (429, "", "unavailable"),
            (500, html, "unavailable"),
            (500, r#"{"error_code":"INTERNAL_ERROR"}"#, "unavailable"),
            (500, nul, "rejected"),
            (
                500,
                r#"{"error_code":"FEATURE_DISABLED","message":"m"}"#,
                "all blocked",
            ),
            (
                500,
                r#"{"error_code":"INVALID_STATE","message":"m"}"#,
                "rejected",
            ),
            (501, r#"{"error_code":"NOT_IMPLEMENTED"}"#, "rejected"),
            (502, html, "unavailable"),
            (
                503,
                r#"{"error_code":"TEMPORARILY_UNAVAILABLE"}"#,
                "unavailable",
            ),
        ] {
            let error = of(Route::Api, status, body);
            assert_eq!(kind(&error), expected, "{status} {body}: {error}");
        }
        for (status, body, expected) in [
            (
                400,
                r#"{"detail":"Artifact path must include a filename"}"#,
                "rejected",
            ),
            // Regression test: because of a gateway's page during a roll-out, the artifact was lost.
            (404, html, "unavailable"),
            (405, html, "unavailable"),
            (413, html, "too large"),
            (501, html, "unavailable"),
            (
                503,
                r#"{"detail":"Artifact serving is disabled. Run …"}"#,
                "blocked",
            ),
            (503, "upstream connect error", "unavailable"),
            (401, "", "all blocked"),
        ] {
            let error = of(Route::Artifacts, status, body);
            assert_eq!(kind(&error), expected, "{status} {body}: {error}");
        }
    }

    #[test]
    fn the_servers_words_are_readable_and_short() {
        let error = of(
            Route::Api,
            502,
            "<html><body>\n<h1>Bad  Gateway</h1></body></html>",
        );
        assert_eq!(error.to_string(), "POST x: 502 Bad Gateway: Bad Gateway");
        let long = of(Route::Api, 500, &"ü".repeat(100_000)).to_string();
        assert!(long.chars().count() < 600);
        let code = format!(r#"{{"error_code":"{}"}}"#, "X".repeat(100_000));
        assert!(of(Route::Api, 500, &code).to_string().len() < 1_100);
        let mut headers = HeaderMap::new();
        let to = format!("https://login.example/{}", "x".repeat(100_000));
        headers.insert(LOCATION, to.parse().expect("a header"));
        let moved = classify_response(Route::Api, "POST x", StatusCode::FOUND, &headers, None, b"");
        assert!(StoreError::from(moved).to_string().len() < 1_000);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parsed = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a header"));
            parse_retry_after(&headers)
        };
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            parsed("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert!(
            parsed("Tue, 31 Dec 2199 23:59:59 GMT")
                .is_some_and(|wait| wait > Duration::from_secs(86_400))
        );
        assert_eq!(parsed("soon"), None);
        assert_eq!(parsed("-1"), None);
    }
}
