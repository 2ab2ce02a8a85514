//! Difference between the server's clock and this machine's, from the header `Date` of an answer.
//!
//! The header holds whole seconds, which are cut off, not rounded. The server has taken its time at some moment
//! between the sending of the request and the answer. So the difference is exact to half a second and half of the
//! time that the answer took.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap};

/// Mean of the part of a second that the header leaves out.
const MEAN_LEFT_OUT_MS: i64 = 500;

/// Returns the time at which the server answered, by its own clock, in ms since the Unix epoch.
pub(super) fn server_time_ms(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Returns how far the server's clock is ahead, in ms; a negative number if it is behind. The request was sent at
/// `sent_ms`, and the answer took `latency`.
pub(super) fn difference_ms(server_ms: i64, sent_ms: i64, latency: Duration) -> i64 {
    let half_ms = i64::try_from(latency.as_millis() / 2).unwrap_or(i64::MAX);
    let taken_ms = server_ms.saturating_add(MEAN_LEFT_OUT_MS);
    taken_ms.saturating_sub(sent_ms.saturating_add(half_ms))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn read(date: &str) -> Option<i64> {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_str(date).expect("a header"));
        server_time_ms(&headers)
    }

    #[test]
    fn the_header_is_read_in_every_form_of_a_date() {
        let ms = Some(784_111_777_000);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), ms);
        assert_eq!(read("Sunday, 06-Nov-94 08:49:37 GMT"), ms);
        assert_eq!(read("Sun Nov  6 08:49:37 1994"), ms);
        for none in ["", "soon", "Sun, 06 Nov 1066 08:49:37 GMT"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(server_time_ms(&HeaderMap::new()), None);
    }

    #[test]
    fn the_answer_was_given_halfway_and_its_second_had_begun() {
        let latency = Duration::from_millis(200);
        assert_eq!(difference_ms(10_000, 10_400, latency), 0);
        assert_eq!(difference_ms(70_000, 10_400, latency), 60_000);
        assert_eq!(difference_ms(10_000, 70_400, latency), -60_000);
        assert_eq!(difference_ms(i64::MAX, i64::MIN, Duration::MAX), i64::MAX);
    }
}
