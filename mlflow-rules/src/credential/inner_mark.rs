//! Formats of credentials whose fixed part does not stand at their beginning.
//!
//! Invariant: a mark is rare, and both its sides are bounded, so that a position costs little.

use std::ops::Range;

use super::text::{Text, is_alphanumeric, is_url_safe};

/// Finds the credential whose mark begins at `at`.
pub(super) fn find_marked(text: &Text<'_>, at: usize) -> Option<(Range<usize>, &'static str)> {
    match text.byte(at)? {
        b':' => telegram(text, at).map(|range| (range, "a Telegram token")),
        b'~' => azure(text, at).map(|range| (range, "an Azure secret")),
        b'.' => terraform(text, at).map(|range| (range, "a Terraform token")),
        b'_' => maxmind(text, at).map(|range| (range, "a MaxMind key")),
        b'-' => mailchimp(text, at).map(|range| (range, "a Mailchimp key")),
        _ => None,
    }
}

/// Finds `123456789:AA` and 33 url-safe characters. Source: Telegram, "Bot API", authorizing your bot;
/// gitleaks telegram-bot-api-token.
fn telegram(text: &Text<'_>, colon: usize) -> Option<Range<usize>> {
    if text.byte(colon + 1) != Some(b'A') {
        return None;
    }
    let start = text.class_start(colon, 16, |byte| byte.is_ascii_digit());
    if colon - start < 8 {
        return None;
    }
    let end = text.class_end(colon + 1, 40, is_url_safe);
    let is_whole = (34..=36).contains(&(end - colon - 1)) && !follows(text, end);
    (is_whole || is_cut(text, end)).then_some(start..end)
}

/// Finds three characters, a digit, `Q~` and 31 to 34 characters. Source: gitleaks
/// azure-ad-client-secret; trufflehog `azure_entra`.
fn azure(text: &Text<'_>, tilde: usize) -> Option<Range<usize>> {
    let start = tilde.checked_sub(5)?;
    let begins = text.slice(start..tilde);
    let is_begun = begins[..3].iter().all(|byte| is_azure(*byte))
        && begins[3].is_ascii_digit()
        && begins[4] == b'Q';
    if !is_begun || !begins_word(text, start) {
        return None;
    }
    let end = text.class_end(tilde + 1, 40, is_azure);
    let is_whole = (31..=35).contains(&(end - tilde - 1));
    (is_whole || is_cut(text, end)).then_some(start..end)
}

/// Finds 14 letters and digits, `.atlasv1.` and 60 or more characters. Source: Terraform,
/// "API tokens"; gitleaks hashicorp-tf-api-token.
fn terraform(text: &Text<'_>, dot: usize) -> Option<Range<usize>> {
    const MARK: &str = ".atlasv1.";
    if !text.starts_with(dot, MARK) {
        return None;
    }
    let start = dot.checked_sub(14)?;
    if text.class_start(dot, 14, is_alphanumeric) != start || !begins_word(text, start) {
        return None;
    }
    let body = dot + MARK.len();
    let end = text.class_end(body, 80, is_url_safe_or_equals);
    (end - body >= 60 || is_cut(text, end)).then_some(start..end)
}

/// Finds six letters and digits, `_`, 29 more and `_mmk`. Source: gitleaks maxmind-license-key.
fn maxmind(text: &Text<'_>, mark: usize) -> Option<Range<usize>> {
    if !text.starts_with(mark, "_mmk") || follows(text, mark + 4) {
        return None;
    }
    let second = mark.checked_sub(29)?;
    let start = second.checked_sub(7)?;
    let is_whole = text.class_start(mark, 29, is_alphanumeric) == second
        && text.byte_before(second) == Some(b'_')
        && text.class_start(second - 1, 6, is_alphanumeric) == start
        && begins_word(text, start);
    is_whole.then_some(start..mark + 4)
}

/// Finds 32 hexadecimal digits and `-us12`. Source: Mailchimp, "About API keys"; gitleaks
/// mailchimp-api-key.
fn mailchimp(text: &Text<'_>, dash: usize) -> Option<Range<usize>> {
    if !text.starts_with(dash, "-us") {
        return None;
    }
    let end = text.class_end(dash + 3, 3, |byte| byte.is_ascii_digit());
    let start = dash.checked_sub(32)?;
    let is_whole = end > dash + 3
        && !follows(text, end)
        && text.class_start(dash, 32, |byte| byte.is_ascii_hexdigit()) == start
        && begins_word(text, start);
    is_whole.then_some(start..end)
}

/// Returns true if no letter or digit stands before `start`, but that of an escape such as `\n`.
fn begins_word(text: &Text<'_>, start: usize) -> bool {
    match text.byte_before(start) {
        Some(b'n' | b'r' | b't') => start > 1 && text.byte(start - 2) == Some(b'\\'),
        before => !before.is_some_and(is_alphanumeric),
    }
}

fn follows(text: &Text<'_>, end: usize) -> bool {
    text.byte(end).is_some_and(is_alphanumeric)
}

fn is_cut(text: &Text<'_>, end: usize) -> bool {
    text.is_cut() && end == text.len()
}

fn is_url_safe_or_equals(byte: u8) -> bool {
    is_url_safe(byte) || byte == b'='
}

fn is_azure(byte: u8) -> bool {
    is_url_safe(byte) || matches!(byte, b'.' | b'~')
}
