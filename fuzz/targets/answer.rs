//! Fuzz target of the parser of a server's answers.
//!
//! An input is an answer as `curl --include` prints it: the status line, the headers, an empty line, and the
//! body. Lines may end without `\r`.
#![no_main]

use std::sync::LazyLock;

use http::header::{HeaderName, HeaderValue};
use libfuzzer_sys::{Corpus, fuzz_target};
use reqwest::{ResponseBuilderExt, Url};

static URL: LazyLock<Url> = LazyLock::new(|| Url::parse("http://server:5000/").expect("a URL"));

fuzz_target!(|input: &[u8]| -> Corpus {
    let (head, body) = head_and_body(input);
    let mut lines = head.split(|byte| *byte == b'\n');
    let Some(status) = lines.next().and_then(status) else {
        return Corpus::Reject;
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    mlflow::fuzz_support::answer(|| {
        let mut answer = http::Response::builder().status(status).url(URL.clone());
        for (name, value) in &headers {
            answer = answer.header(name, value);
        }
        answer
            .body(body.to_vec())
            .expect("its parts are valid")
            .into()
    });
    Corpus::Keep
});

fn head_and_body(input: &[u8]) -> (&[u8], &[u8]) {
    let mut line_ends = (0..input.len()).filter(|at| input[*at] == b'\n');
    let body = line_ends.find_map(|at| match input[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    });
    input.split_at(body.unwrap_or(input.len()))
}

/// Parses the status line.
// Input:  `HTTP/1.1 404 NOT FOUND`
// Output: 404
fn status(line: &[u8]) -> Option<http::StatusCode> {
    let number = line.split(|byte| *byte == b' ').nth(1)?;
    http::StatusCode::from_bytes(number.trim_ascii()).ok()
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}
