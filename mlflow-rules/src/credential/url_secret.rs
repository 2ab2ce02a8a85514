//! Secrets in the authority and the path of a URL: user and password, and the path of a webhook.
//!
//! Invariants:
//!
//! - Of a URL with a user and a password both go, and the `@` stays. A user without a password goes
//!   only in a URL with the scheme `http` or `https`. With other schemes such a name is no secret:
//!   `ssh://git@host` has none, and `abfss://container@account…` is the address of data.
//! - A password may contain characters that should have been percent-encoded (`/`, `?`, `#`, `'`), and
//!   a few blanks. Such a password is recognised by a `:` that no number of a port follows, and by an
//!   `@` within [`MAX_RAW_PASSWORD_LEN`] bytes on the same line. A password with such characters whose
//!   first part is a number of at most five digits looks like a port, and stays.
//! - A webhook is a URL that lets everybody who knows the URL write. Only the part of the path that is
//!   secret goes.

use std::ops::Range;

use super::text::{Text, is_alphanumeric};
use crate::REDACTED;

/// Maximum length of user and password that contain characters which end an authority.
const MAX_RAW_PASSWORD_LEN: usize = 128;
/// Maximum number of blanks in a password.
const MAX_BLANKS: usize = 2;
/// Maximum number of digits of a port.
const PORT_DIGITS: usize = 5;

const USERINFO: &str = "the user or password of a URL";

/// Hosts and paths behind which the secret of a webhook stands. The secret ends where the URL ends.
/// In `/**`, the first segment is the public number of the webhook.
const WEBHOOKS: [(&str, &str, bool); 8] = [
    ("hooks.slack.com", "/services/", false), // Slack, "Sending messages using incoming webhooks"
    ("hooks.slack.com", "/workflows/", false), // Slack, "Build a workflow: webhooks"
    ("hooks.slack.com", "/triggers/", false), // Slack, the same
    ("discord.com", "/api/webhooks/", true),  // Discord, "Webhook resource"
    ("discordapp.com", "/api/webhooks/", true), // Discord, the same, older host
    (".webhook.office.com", "/webhookb2/", false), // Microsoft Teams, "Create incoming webhooks"
    ("hooks.zapier.com", "/hooks/catch/", false), // Zapier, "Trigger Zaps from webhooks"
    ("maker.ifttt.com", "/use/", false),      // IFTTT, "Webhooks FAQ"
];

/// Finds the secret of the URL whose `://` begins at `at`.
pub(super) fn find_url_secret(text: &Text<'_>, at: usize) -> Option<(Range<usize>, &'static str)> {
    if !text.byte_before(at).is_some_and(is_alphanumeric) {
        return None;
    }
    let start = ["://", ":\\/\\/"]
        .iter()
        .find(|mark| text.starts_with(at, mark))
        .map(|mark| at + mark.len())?;
    let end = text.run_end(start, is_authority_byte);
    userinfo(text, at, start..end)
        .map(|range| (range, USERINFO))
        .or_else(|| webhook(text, start..end).map(|range| (range, "a webhook's URL")))
}

fn userinfo(text: &Text<'_>, at: usize, authority: Range<usize>) -> Option<Range<usize>> {
    let start = authority.start;
    let bytes = text.slice(authority.clone());
    let is_http = ["http", "https"]
        .iter()
        .any(|scheme| text.ends_with_any_case(at, scheme));
    let user_end = if authority.end == text.len() && text.is_cut() {
        authority.end
    } else {
        match bytes.iter().rposition(|byte| *byte == b'@') {
            Some(end) => at_of_host(text, &authority, start + end),
            None => raw_password_end(text, &authority, bytes)?,
        }
    };
    let user = text.slice(start..user_end);
    // `image:tag@sha256:…` names a container image by its digest; there is no user and no host.
    let is_secret = !user.is_empty()
        && (is_http || user.contains(&b':'))
        && !user
            .windows(REDACTED.len())
            .any(|part| part == REDACTED.as_bytes())
        && !text.starts_with(user_end, "@sha256:");
    is_secret.then_some(start..user_end)
}

/// Returns the `@` before the host. The one in the authority is a part of the password if no host follows
/// on it, but one with a dot follows on the next: `me:p@ss/word@host.net`.
fn at_of_host(text: &Text<'_>, authority: &Range<usize>, at: usize) -> usize {
    let host = text.slice(at + 1..authority.end);
    if !host.iter().all(u8::is_ascii_alphanumeric) || host == b"localhost" {
        return at;
    }
    let most = MAX_RAW_PASSWORD_LEN.saturating_sub(authority.len());
    let next = text.class_end(authority.end, most, |byte| {
        !byte.is_ascii_whitespace() && !matches!(byte, b'@' | b'"' | b'`' | b'<' | b'>' | b'\\')
    });
    let domain = text.class_end(next + 1, 64, |byte| is_alphanumeric(byte) || byte == b'-');
    let has_host = text.byte(next) == Some(b'@')
        && domain > next + 1
        && text.byte(domain) == Some(b'.')
        && text.slice(authority.start..at).contains(&b':');
    let is_cut = text.is_cut() && next == text.len();
    if has_host || is_cut { next } else { at }
}

/// Returns the end of user and password if the password goes on behind the end of the authority.
fn raw_password_end(text: &Text<'_>, authority: &Range<usize>, bytes: &[u8]) -> Option<usize> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let port = bytes.get(colon + 1..)?;
    let is_port = port.len() <= PORT_DIGITS && port.iter().all(u8::is_ascii_digit);
    if bytes.starts_with(b"[") || (is_port && !port.is_empty()) {
        return None;
    }
    // Nothing but a quote behind `host:` is the end of a quoted text.
    let first = text.byte(authority.end)?;
    let quotes = matches!(first, b'\'' | b'"' | b'`' | b'<' | b'>');
    if port.is_empty() && quotes {
        return None;
    }
    let most = MAX_RAW_PASSWORD_LEN.saturating_sub(authority.len());
    let (mut blanks, mut last) = (0, None);
    for at in authority.end..authority.end + most {
        let Some(byte) = text.byte(at) else {
            // A password that is cut off has no `@` yet.
            return last.or(text.is_cut().then_some(text.len()));
        };
        match byte {
            b'\n' | b'\r' | b'"' | b'`' | b'<' | b'>' | b'\\' => break,
            b' ' | b'\t' => {
                blanks += 1;
                if blanks > MAX_BLANKS || last.is_some() {
                    break;
                }
            }
            b':' if text.starts_with(at, "://") => break,
            b'@' if text
                .byte(at + 1)
                .is_some_and(|byte| is_alphanumeric(byte) || byte == b'[') =>
            {
                last = Some(at);
            }
            _ => {}
        }
    }
    last
}

fn webhook(text: &Text<'_>, authority: Range<usize>) -> Option<Range<usize>> {
    let path = authority.end;
    let (_, prefix, has_number) = WEBHOOKS.iter().find(|(host, path_prefix, _)| {
        text.ends_with_any_case(path, host) && text.starts_with(path, path_prefix)
    })?;
    let mut start = path + prefix.len();
    if *has_number {
        let number = text.class_end(start, 24, |byte| byte.is_ascii_digit());
        if text.byte(number) == Some(b'/') {
            start = number + 1;
        }
    }
    let end = text.run_end(start, |byte| {
        is_alphanumeric(byte) || b"-_/@+=.".contains(&byte)
    });
    (end > start).then_some(start..end)
}

/// Returns true for the bytes that may stand between the `://` and the path of a URL.
fn is_authority_byte(byte: u8) -> bool {
    !byte.is_ascii_whitespace()
        && !matches!(
            byte,
            b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\'
        )
}
