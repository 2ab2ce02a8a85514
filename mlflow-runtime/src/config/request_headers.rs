//! Headers that every request to the tracking server carries, such as those that a gateway in front of it wants.
//!
//! # Invariants
//!
//! 1. The values are wrapped in [`Secret`]: no `Debug` output and no list of settings shows one.
//! 2. An entry that cannot be sent is left out alone, with one warning for all such entries.
//! 3. What describes the connection or the body is the HTTP client's, and cannot be set.

use std::fmt::Write as _;

use mlflow_rules::is_secret_name;

use super::login::without_line_end;
use super::resolver::{Resolver, SettingValue};
use crate::config::Config;
use crate::percent_encoding::percent_decode;
use crate::secret::Secret;
use crate::warnings::UserWarning;

const VARIABLE: &str = "MLFLOW_TRACKING_HEADERS";

const AUTHORIZATION: &str = "authorization";

/// Headers that the HTTP client sets itself, and the one that has a setting of its own.
const RESERVED: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-mlflow-workspace",
];

/// Headers by their lower-case names, in the order in which they are sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHeaders(Vec<(String, Secret<String>)>);

impl RequestHeaders {
    /// Returns names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.0.iter();
        headers.map(|(name, value)| (name.as_str(), value.expose().as_str()))
    }

    /// Returns the values of those that are credentials by their names.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let headers = self.iter().filter(|(name, _)| is_secret_name(name));
        headers.map(|(_, value)| value)
    }

    /// Returns true if one of them is a credential by its name.
    pub(crate) fn hold_credential(&self) -> bool {
        self.secrets().next().is_some()
    }

    /// Removes the header that logs in.
    pub(crate) fn without_authorization(mut self) -> Self {
        self.0.retain(|(name, _)| name != AUTHORIZATION);
        self
    }

    /// Returns true if they log in by themselves.
    pub(crate) fn hold_authorization(&self) -> bool {
        self.iter().any(|(name, _)| name == AUTHORIZATION)
    }

    /// Chooses the headers: the configured ones if there are any, else those of the variable.
    pub(super) fn resolve(self, resolver: &mut Resolver<'_>) -> Self {
        let mut faults = None;
        let mut check = |headers: Vec<Result<(String, String), String>>| {
            let (headers, fault) = keep_sendable(headers);
            faults = fault;
            headers
        };
        let configured = self.0.into_iter();
        let configured: Vec<_> = configured
            .map(|(name, value)| Ok((name, value.into_inner())))
            .collect();
        let configured = (!configured.is_empty()).then_some(configured);
        let chosen = resolver
            .choose(VARIABLE)
            .configured_as(configured, |headers| Ok(check(headers)))
            .variable(|text| Ok(check(parse(&text))));
        let chosen = chosen.with_warning(faults);
        chosen.or_unset().unwrap_or_default()
    }

    fn set(&mut self, name: String, value: Secret<String>) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
    }
}

/// Names of the headers, without the values.
impl SettingValue for RequestHeaders {
    fn to_shown(&self) -> String {
        let mut shown = String::new();
        for (name, _) in &self.0 {
            let comma = if shown.is_empty() { "" } else { "," };
            let _ = write!(shown, "{comma}{name}={}", mlflow_rules::REDACTED);
        }
        shown
    }
}

/// Splits a list as OpenTelemetry's exporters read it: `name=value`, separated by commas, with percent-encoded values
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). An entry that is none becomes the reason.
fn parse(text: &str) -> Vec<Result<(String, String), String>> {
    let entries = text.split(',').enumerate();
    let entries = entries.filter(|(_, entry)| !entry.trim().is_empty());
    entries
        .map(|(index, entry)| {
            let named = entry.split_once('=');
            let (name, value) = named.ok_or_else(|| format!("entry {} has no `=`", index + 1))?;
            let value = percent_decode(value.trim()).ok_or_else(|| {
                format!(
                    "the value of {:?} is not percent-encoded UTF-8",
                    name.trim()
                )
            })?;
            Ok((name.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

/// Returns the headers that can be sent, and a warning about those that cannot. The warning shows no value.
fn keep_sendable(
    headers: Vec<Result<(String, String), String>>,
) -> (RequestHeaders, Option<UserWarning>) {
    let mut kept = RequestHeaders::default();
    let mut faults = Vec::new();
    for header in headers {
        match header.and_then(|(name, value)| check(&name, &value).map(|name| (name, value))) {
            Ok((name, value)) => kept.set(name, Secret::new(value)),
            Err(fault) => faults.push(fault),
        }
    }
    let warning = (!faults.is_empty()).then(|| {
        UserWarning::new(format_args!(
            "{VARIABLE}, or Config::header: {}; what is named here is left out. Expected name=value,name=value, with `%2C` for a \
             comma in a value",
            faults.join("; ")
        ))
    });
    (kept, warning)
}

/// Returns the lower-case name of a header that can be sent, or the reason why it cannot, without its value.
fn check(name: &str, value: &str) -> Result<String, String> {
    // RFC 9110, 5.6.2.
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("{name:?} is no name of a header"));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&&*lower) {
        let by = match &*lower {
            "x-mlflow-workspace" => "MLFLOW_WORKSPACE sets it",
            _ => "the HTTP client sets it",
        };
        return Err(format!("{name} cannot be set: {by}"));
    }
    match find_unsendable(value) {
        None => Ok(lower),
        Some(bad) => Err(format!(
            "the value of {name} contains the character {bad:?}, which no HTTP header can hold"
        )),
    }
}

/// Returns the first character that no value of a header can hold.
pub(crate) fn find_unsendable(value: &str) -> Option<char> {
    let is_sendable = |c: &char| matches!(c, '\t' | ' '..='~' | '\u{80}'..);
    value.chars().find(|c| !is_sendable(c))
}

impl Config {
    /// Adds a header to every request to the tracking server (`MLFLOW_TRACKING_HEADERS`, default: none), such as one that a
    /// gateway in front of the server wants. A later header of the same name replaces an earlier one, and a header
    /// `Authorization` all credentials but those of the tracking URI. If one is configured, the variable is not looked at.
    ///
    /// The variable has the form of OpenTelemetry's `OTEL_EXPORTER_OTLP_HEADERS`: `name=value,name=value`, with percent-encoded
    /// values. Headers go where the credentials go: to the server alone, and not to a bucket or another host. Values are shown
    /// nowhere. A header that cannot be sent, or that the HTTP client sets itself, is left out, with a warning.
    ///
    /// ```
    /// # let secret = || "from a vault".to_owned();
    /// let config = mlflow::Config::new()
    ///     .header("CF-Access-Client-Id", "training")
    ///     .header("CF-Access-Client-Secret", secret());
    /// # let _ = config;
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret<String>>) -> Self {
        let name = name.into().to_ascii_lowercase();
        let value = without_line_end(value.into().into_inner());
        self.server.headers.set(name, Secret::new(value));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> (Vec<(String, String)>, String) {
        let (headers, warning) = keep_sendable(parse(text));
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let told = warning.map_or_else(String::new, UserWarning::into_text);
        (headers.collect(), told)
    }

    #[test]
    fn a_list_is_read_as_opentelemetry_reads_it() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, expected) in [
            ("", vec![]),
            (" , ", vec![]),
            ("X-Team=vision", vec![header("x-team", "vision")]),
            (
                " x-a = 1%2C2 ,x-b=a=b%20c,x-A=3",
                vec![header("x-b", "a=b c"), header("x-a", "3")],
            ),
            ("x-empty=", vec![header("x-empty", "")]),
        ] {
            assert_eq!(kept(text), (expected, String::new()), "{text}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_sent_goes_alone_and_shows_no_value() {
        for (entry, word) in [
            ("hunter2", "entry 2 has no `=`"),
            ("a b=hunter2", "\"a b\" is no name"),
            ("=hunter2", "\"\" is no name"),
            (
                "Host=hunter2",
                "Host cannot be set: the HTTP client sets it",
            ),
            ("X-MLFLOW-Workspace=hunter2", "MLFLOW_WORKSPACE sets it"),
            ("x-a=hunter2%0d%0aX: y", "contains the character '\\r'"),
            ("x-a=hunter2%00", "contains the character '\\0'"),
            ("x-a=hunter2%ff", "is not percent-encoded UTF-8"),
            ("x-a=hunter2%zz", "is not percent-encoded UTF-8"),
        ] {
            let (headers, told) = kept(&format!("x-good=1,{entry}"));
            assert_eq!(headers, [("x-good".to_owned(), "1".to_owned())], "{entry}");
            assert!(told.contains(word), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
