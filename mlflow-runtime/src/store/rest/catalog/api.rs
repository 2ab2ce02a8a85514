//! [`Api`]: calls of the JSON interface, whose failures are in the client's terms.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::ClientError;
use crate::store::rest::error::{Cause, RequestError};
use crate::store::rest::http::{HttpClient, Idempotency};
use crate::store::rest::json::{self, EmptyResponse};

/// JSON interface of one tracking server.
#[derive(Clone, Copy)]
pub(super) struct Api<'h> {
    pub(super) http: &'h HttpClient,
}

impl Api<'_> {
    /// Sends a GET request, and reads the answer.
    pub(super) async fn get<T: DeserializeOwned>(
        self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        match self.http.get(path, query).await {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(self.explain(&format!("GET {path}"), failure).await),
        }
    }

    /// Sends a request with a JSON body, and reads the answer.
    pub(super) async fn call<T: DeserializeOwned>(
        self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        repeat: Idempotency,
    ) -> Result<T, ClientError> {
        let asked = format!("{method} {path}");
        match self.call_raw(method, path, body, repeat).await {
            Ok(answer) => Ok(answer),
            Err(failure) => Err(self.explain(&asked, failure).await),
        }
    }

    /// Sends a request with a JSON body of which the answer holds nothing that is needed.
    pub(super) async fn command(
        self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        repeat: Idempotency,
    ) -> Result<(), ClientError> {
        let EmptyResponse {} = self.call(method, path, body, repeat).await?;
        Ok(())
    }

    /// Sends a request with a JSON body, for a call that treats some failures in a way of its own.
    pub(super) async fn call_raw<T: DeserializeOwned>(
        self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        repeat: Idempotency,
    ) -> Result<T, RequestError> {
        self.http
            .call(method, path, json::to_json(body), repeat)
            .await
    }

    /// Converts the failure of the call `asked`. If the server does not have the route, the server is asked
    /// for its version: either it is an MLflow that lacks the call, or no MLflow at all.
    pub(super) async fn explain(self, asked: &str, failure: RequestError) -> ClientError {
        match failure {
            RequestError::Known(Cause::UnknownRoute, error) => match self.version().await {
                Some(version) => ClientError::unsupported(format!(
                    "{asked}: the server {} runs MLflow {version}, which does not offer this call: upgrade the server",
                    self.http.base()
                )),
                None => error.into(),
            },
            other => other.into(),
        }
    }

    /// Returns the version of the server, if it reports one.
    pub(super) async fn version(self) -> Option<String> {
        self.http.version().await.ok().flatten()
    }
}

/// Returns true if the code means that a record with this name exists.
pub(super) fn is_already_exists(code: &str) -> bool {
    matches!(code, "RESOURCE_ALREADY_EXISTS" | "ALREADY_EXISTS")
}

impl From<RequestError> for ClientError {
    fn from(failure: RequestError) -> Self {
        match failure {
            RequestError::Refused {
                status,
                code,
                reason,
            } => match code.as_str() {
                _ if status == 404 => Self::not_found(reason),
                code if is_already_exists(code) => Self::already_exists(reason),
                "NOT_IMPLEMENTED" => Self::unsupported(reason),
                _ => Self::invalid(reason),
            },
            RequestError::Known(_, error) | RequestError::Other(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::store::rest::error::{Route, classify_response};

    fn kind(error: &ClientError) -> &'static str {
        match error {
            ClientError::Search(_) => "search",
            ClientError::NotFound { .. } => "not found",
            ClientError::AlreadyExists { .. } => "already exists",
            ClientError::Invalid { .. } => "invalid",
            ClientError::Blocked { .. } => "blocked",
            ClientError::Unavailable { .. } => "unavailable",
            ClientError::Unsupported { .. } => "unsupported",
            ClientError::LocalFile { .. } => "local file",
        }
    }

    #[test]
    fn each_answer_has_one_meaning_for_a_client() {
        let json = |code: &str| format!(r#"{{"error_code":"{code}","message":"m"}}"#);
        let html = "<!doctype html><title>t</title><h1>Not Found</h1>";
        let presigned_only =
            r#"{"error_code":"PERMISSION_DENIED","message":"m","artifacts_presigned_only":true}"#;
        for (status, body, expected) in [
            (404, json("RESOURCE_DOES_NOT_EXIST"), "not found"),
            (404, json("NOT_FOUND"), "not found"),
            (400, json("RESOURCE_ALREADY_EXISTS"), "already exists"),
            (409, json("ALREADY_EXISTS"), "already exists"),
            (409, json("RESOURCE_CONFLICT"), "unavailable"),
            (400, json("INVALID_PARAMETER_VALUE"), "invalid"),
            (400, json("BAD_REQUEST"), "invalid"),
            (500, json("INVALID_STATE"), "invalid"),
            (501, json("NOT_IMPLEMENTED"), "unsupported"),
            (401, "You are not authenticated".to_owned(), "blocked"),
            (403, "Permission denied".to_owned(), "blocked"),
            (403, presigned_only.to_owned(), "blocked"),
            (404, html.to_owned(), "blocked"),
            (429, String::new(), "unavailable"),
            (500, html.to_owned(), "unavailable"),
            (500, json("INTERNAL_ERROR"), "unavailable"),
            (503, json("TEMPORARILY_UNAVAILABLE"), "unavailable"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let headers = HeaderMap::new();
            let failure =
                classify_response(Route::Api, "GET x", status, &headers, None, body.as_bytes());
            let error = ClientError::from(failure);
            assert_eq!(kind(&error), expected, "{status} {body}: {error}");
        }
    }
}
