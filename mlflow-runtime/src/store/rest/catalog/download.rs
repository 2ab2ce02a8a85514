//! Downloads, i.e. answers that are handed on while they are received.
//!
//! - A download may take as long as it needs, while it makes progress.
//! - A download that ends before its announced length is an error. Its first part has been handed on by then,
//!   so the caller must drop it.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::CONTENT_LENGTH;

use crate::store::rest::{http, time_limit};
use crate::store::{ByteSink, ClientError, StoreError};

/// Hands the body of a successful answer to `sink`. `timeout` is the longest time without progress.
pub(super) async fn stream_body(
    mut response: Response,
    timeout: Duration,
    asked: &str,
    sink: &mut ByteSink<'_>,
) -> Result<(), ClientError> {
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let mut received: u64 = 0;
    loop {
        let next = async {
            let chunk = response.chunk().await;
            chunk.map_err(|error| http::classify_send_error(asked, error))
        };
        let Some(chunk) = time_limit::with_timeout(timeout, asked, next).await? else {
            break;
        };
        received += chunk.len() as u64;
        sink(&chunk).map_err(|error| sink_error(asked, error))?;
    }
    match announced {
        Some(announced) if announced != received => Err(StoreError::Unavailable {
            reason: format!("{asked}: the answer ended after {received} of {announced} bytes")
                .into(),
            retry_after: None,
        }
        .into()),
        _ => Ok(()),
    }
}

/// Returns the error for an artifact that is a folder.
pub(super) fn folder_error(asked: &str) -> ClientError {
    ClientError::invalid(format!(
        "{asked}: this is a folder: list it, and read its files one by one"
    ))
}

fn sink_error(asked: &str, error: std::io::Error) -> ClientError {
    let reason = format!("{asked}: the content cannot be written on this machine: {error}");
    ClientError::local_file(reason, error)
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn stream(response: Response, sink: &mut ByteSink<'_>) -> Result<(), ClientError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(stream_body(response, TIMEOUT, "GET x", sink))
    }

    fn response(announced: Option<&str>) -> Response {
        let mut answer = ::http::Response::builder();
        if let Some(announced) = announced {
            answer = answer.header("content-length", announced);
        }
        answer.body("hello").expect("an answer").into()
    }

    #[test]
    fn a_short_body_is_an_error() {
        for (announced, is_whole) in [(None, true), (Some("5"), true), (Some("6"), false)] {
            let mut received = Vec::new();
            let sent = stream(response(announced), &mut |bytes| {
                received.extend_from_slice(bytes);
                Ok(())
            });
            assert_eq!(received, b"hello");
            assert_eq!(sent.is_ok(), is_whole, "{announced:?}: {sent:?}");
            if let Err(error) = sent {
                assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error_of_this_machine() {
        let full = stream(response(None), &mut |_| {
            Err(io::Error::from(ErrorKind::StorageFull))
        });
        assert!(matches!(full, Err(ClientError::LocalFile { .. })));
    }
}
