//! Masking of credentials, which are recognised anywhere in a text.
//!
//! Invariants:
//!
//! - The text is scanned once, in time linear in its length, whatever it holds. The scanner gives a
//!   position up after a bounded number of bytes if no credential begins there. What has no such bound is
//!   masked (a quoted value, a private key), or remembered: the header of a JWT, whose measured end is
//!   kept, and the authority of a URL, inside of which no other one can begin.
//! - Nothing is allocated unless a credential is found, or the text holds escapes: then the text that they stand for is searched,
//!   too.
//! - Only the credential is replaced. Masking a masked text again changes nothing.
//!
//! A credential is recognised in one of these ways, each in a file of its own:
//!
//! | credential | recognised by | file |
//! |---|---|---|
//! | a provider's key or token | a prefix of its own, the length and the characters that the issuer defines | [`mod@format`] |
//! | the same, such as that of Azure, Telegram or Terraform | a mark inside | [`mod@inner_mark`] |
//! | JWT and JWE | `eyJ….eyJ….…`, or five parts: RFC 7519, RFC 7516 | here |
//! | private key | `-----BEGIN … PRIVATE KEY-----`: RFC 7468 | [`mod@private_key`] |
//! | user and password in a URL, webhook | `scheme://user:password@`: RFC 3986, 3.2.1; the hosts of webhooks | [`mod@url_secret`] |
//! | HTTP credentials | the value after `Authorization: Bearer`, `Basic`, `token`; after `Bearer` alone, if it has a digit | [`mod@http_header`] |
//! | a secret of the program's own kinds | a function that the program adds | [`mod@custom`] |
//! | any other secret | a secret's name before it: `password=…`, `"api_key": "…"`, `--token …` | [`mod@assignment`], [`mod@value`], [`mod@judgement`] |
//!
//! A credential with a format begins at the start of a word, that is, not directly after an ASCII letter
//! or digit. The older keys of W&B, 40 hexadecimal digits, are those of a commit, too, and stay unless a
//! secret's name stands before them.

mod assignment;
mod custom;
mod escape;
mod format;
mod http_header;
mod inner_mark;
mod judgement;
mod private_key;
mod terminal_style;
#[cfg(test)]
mod tests;
mod text;
mod url_secret;
mod value;

use std::ops::Range;

pub use custom::add_secret_finder;

use crate::REDACTED;
use escape::Unescaped;
use format::{Trigram, formats_starting_with, may_begin};
use text::{Text, is_alphanumeric, is_url_safe};

/// Length in bytes of the shortest complete text with a credential: `pwd=x`.
const MIN_CREDENTIAL_LEN: usize = 5;
/// Maximum number of passes over a text with credentials.
const MAX_PASSES: usize = 8;

/// Maximum number of texts inside of each other that are looked at: JSON in a string of JSON in the output of `Debug`.
const MAX_ESCAPE_LEVELS: usize = 3;

/// State of a text's end: complete or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Complete text.
    End,
    /// Text that was cut off. The last word may then be the beginning of a credential. Such a word
    /// is masked if a credential can begin like this, even if the word is too short for a whole one.
    Cut,
}

/// Result of [`mask`]: a text without its credentials.
#[derive(Debug, PartialEq)]
pub struct Masked {
    /// Text with `[redacted]` in place of each credential.
    pub text: String,
    /// Kind of the first credential, worded for a warning: "an AWS access key id".
    pub kind: &'static str,
}

/// Returns the text with `[redacted]` in place of every credential, or `None` if the text has none.
///
/// Pass [`Edge::Cut`] if the text was cut off: its end may then be the beginning of a credential.
// Input:  `cannot clone https://me:pass@host/repo`
// Output: `cannot clone https://[redacted]@host/repo`
///
/// Where colours of a terminal stand in the text, they are left out of the result: a colour between a name and its value
/// hides what they are.
#[must_use]
pub fn mask(text: &str, edge: Edge) -> Option<Masked> {
    let plain = terminal_style::without_styles(text);
    let mut masked = mask_once(&plain, edge)?;
    // Where a credential has gone, two texts stand side by side that were apart, and may look like another
    // one. In most texts the second pass finds nothing.
    for _ in 1..MAX_PASSES {
        let Some(again) = mask_once(&masked.text, Edge::End) else {
            break;
        };
        masked.text = again.text;
    }
    Some(masked)
}

/// Returns the ranges of the text in which credentials lie, in bytes and in order, with the styles of a terminal that stand in
/// them. For a text that is masked in place.
///
/// The text is looked at once: what only looks like a credential when another one is gone, [`mask`] alone finds.
#[must_use]
pub fn credential_ranges(text: &str) -> Vec<Range<usize>> {
    let plain = terminal_style::without_styles(text);
    let (found, _) = find_credentials(&plain, Edge::End, MAX_ESCAPE_LEVELS);
    if plain.len() == text.len() {
        return found;
    }
    // Where each kept range begins in the text, and in the text without styles.
    let mut kept = terminal_style::plain_ranges(text).into_iter();
    let mut current = kept.next().unwrap_or(0..0);
    let mut before = 0;
    let mut place = move |at: usize, is_end: bool| {
        while at > before + current.len() || !is_end && at == before + current.len() {
            let Some(next) = kept.next() else { break };
            before += current.len();
            current = next;
        }
        current.start + (at - before)
    };
    { found.into_iter() }
        .map(|range| place(range.start, false)..place(range.end, true))
        .collect()
}

fn mask_once(text: &str, edge: Edge) -> Option<Masked> {
    let (found, kind) = find_credentials(text, edge, MAX_ESCAPE_LEVELS);
    if found.is_empty() {
        return None;
    }
    let mut masked = String::with_capacity(text.len());
    let mut kept = 0;
    for range in found {
        // A credential begins and ends beside an ASCII character or at an end of the text, so these
        // ranges lie on character boundaries.
        masked.push_str(text.get(kept..range.start).unwrap_or_default());
        masked.push_str(REDACTED);
        kept = range.end;
    }
    masked.push_str(text.get(kept..).unwrap_or_default());
    Some(Masked { text: masked, kind })
}

/// Returns the ranges of all credentials, in order, and the kind of the first one that is found. A text inside of the text is
/// looked at, too, through as many `levels` of escapes.
fn find_credentials(text: &str, edge: Edge, levels: usize) -> (Vec<Range<usize>>, &'static str) {
    let mut kind = "a secret of the program's own kinds";
    let mut found = Vec::new();
    if text.len() >= MIN_CREDENTIAL_LEN || edge == Edge::Cut {
        let mut scan = Scanner::new(text.as_bytes(), edge);
        while let Some(next) = scan.next_match() {
            if found.is_empty() {
                kind = next.kind;
            }
            found.push(next.range);
        }
    }
    let of_scanner = found.len();
    found.extend(custom::find(text));
    if levels > 0 && text.contains('\\') {
        for piece in escape::pieces(text) {
            let Some(plain) = text.get(piece.clone()).and_then(Unescaped::new) else {
                continue;
            };
            let is_last = piece.end == text.len();
            let edge = if is_last { edge } else { Edge::End };
            let (inner, kind_of_inner) = find_credentials(&plain.text, edge, levels - 1);
            if found.is_empty() {
                kind = kind_of_inner;
            }
            let places = inner.iter().map(|range| plain.escaped_range(range));
            found.extend(places.map(|range| piece.start + range.start..piece.start + range.end));
        }
    }
    if found.len() > of_scanner {
        found = custom::merge(found);
    }
    (found, kind)
}

struct CredentialMatch {
    range: Range<usize>,
    kind: &'static str,
}

struct Scanner<'t> {
    text: Text<'t>,
    position: usize,
    /// End of the last credential.
    floor: usize,
    /// Credential that begins behind the position: the value behind a name.
    waiting: Option<CredentialMatch>,
    /// Range of the url-safe run that was measured last, so that no run is measured twice.
    url_safe_run: Range<usize>,
    /// End of the header of a JWE that was looked at last, and the end of the JWE, if there is one.
    jwe: (usize, Option<usize>),
}

impl<'t> Scanner<'t> {
    fn new(bytes: &'t [u8], edge: Edge) -> Self {
        Self {
            text: Text::new(bytes, edge == Edge::Cut),
            position: 0,
            floor: 0,
            waiting: None,
            url_safe_run: 0..0,
            jwe: (0, None),
        }
    }

    /// Returns the next credential, and moves the position past it.
    fn next_match(&mut self) -> Option<CredentialMatch> {
        while let Some(at) = self.next_candidate() {
            if self
                .waiting
                .as_ref()
                .is_some_and(|next| next.range.start <= at)
            {
                break;
            }
            self.position = at + 1;
            // A credential with a mark inside begins before the mark, but not in the one before.
            let found = self
                .match_at(at)
                .filter(|found| found.range.start >= self.floor);
            let Some(mut found) = found else { continue };
            match self.waiting.take() {
                // A credential may stand in the name of a value that is one, too.
                None if found.range.start > at + 1 => self.waiting = Some(found),
                None => return Some(self.passed(found)),
                Some(next) if found.range.start >= next.range.start => self.waiting = Some(next),
                Some(next) if found.range.end < next.range.start => {
                    self.waiting = Some(next);
                    return Some(self.passed(found));
                }
                Some(next) => {
                    found.range.end = found.range.end.max(next.range.end);
                    return Some(self.passed(found));
                }
            }
        }
        let next = self.waiting.take()?;
        Some(self.passed(next))
    }

    /// Moves the position past a credential.
    fn passed(&mut self, found: CredentialMatch) -> CredentialMatch {
        self.position = found.range.end;
        self.floor = found.range.end;
        found
    }

    /// Returns the next position at which a credential may begin, judged by three bytes. In most
    /// texts there are few, and no other check is made.
    #[inline]
    fn next_candidate(&self) -> Option<usize> {
        let rest = self.text.rest(self.position);
        let mut bytes = Trigram::default();
        // Two bytes that are nothing stand behind the end.
        for (at, byte) in rest.iter().chain(&[0, 0]).enumerate() {
            bytes = bytes.next(*byte);
            if bytes.may_begin()
                && let Some(at) = at.checked_sub(2)
                && self.may_begin_at(self.position + at)
            {
                self.text.count(at + 3);
                return Some(self.position + at);
            }
        }
        self.text.count(rest.len());
        None
    }

    /// Returns true if a word or a mark begins at `at` with which a credential may begin.
    fn may_begin_at(&self, at: usize) -> bool {
        let Some(first) = self.text.byte(at) else {
            return false;
        };
        let is_inside =
            is_alphanumeric(first) && self.text.byte_before(at).is_some_and(is_alphanumeric);
        !is_inside && may_begin(first, self.text.byte(at + 1).unwrap_or(0))
    }

    fn match_at(&mut self, at: usize) -> Option<CredentialMatch> {
        let text = &self.text;
        let named = |range| CredentialMatch {
            range,
            kind: "a value with a secret's name",
        };
        let of_kind = |(range, kind)| CredentialMatch { range, kind };
        match text.byte(at)? {
            b':' => match text.byte(at + 1)? {
                b'/' | b'\\' => url_secret::find_url_secret(text, at).map(of_kind),
                b'A' => inner_mark::find_marked(text, at).map(of_kind),
                _ => None,
            }
            .or_else(|| assignment::find_assigned(text, at).map(named)),
            b'=' | b'>' => assignment::find_assigned(text, at).map(named),
            b'(' => assignment::find_pair_value(text, at).map(named),
            b'~' | b'.' | b'_' => inner_mark::find_marked(text, at).map(of_kind),
            b'-' => private_key::find_private_key(text, at)
                .map(|range| (range, "a private key"))
                .or_else(|| inner_mark::find_marked(text, at))
                .map(of_kind)
                .or_else(|| assignment::find_option_value(text, at).map(named)),
            // A word may directly follow an escape: `\n` as `Debug` writes it, or `%3D` in a URL.
            b'\\' => self.credential(at + 2),
            b'%' if text.starts_with_any_case(at, "%3d")
                || text.starts_with_any_case(at, "%3a") =>
            {
                assignment::find_assigned(text, at)
                    .map(named)
                    .or_else(|| self.credential(at + 3))
            }
            b'%' => self.credential(at + 3),
            _ => self.credential(at),
        }
    }

    /// Finds a credential whose first word begins at `at`.
    fn credential(&mut self, at: usize) -> Option<CredentialMatch> {
        let first = self.text.byte(at)?;
        if matches!(first, b'A' | b'a' | b'B')
            && let Some(range) = http_header::find_http_credentials(&self.text, at)
        {
            return Some(CredentialMatch {
                range,
                kind: "HTTP credentials",
            });
        }
        let second = self.text.byte(at + 1);
        formats_starting_with(first).iter().find_map(|format| {
            if format.prefix.as_bytes().get(1).copied() != second
                || !self.text.starts_with(at, format.prefix)
            {
                return None;
            }
            let body = at + format.prefix.len();
            let end = if format::is_cut_body(&self.text, format.prefix, body) {
                self.text.len()
            } else if matches!(format.body, format::Body::Jwt) {
                self.jwt_end(body)?
            } else {
                format::body_end(&self.text, body, &format.body)?
            };
            Some(CredentialMatch {
                range: at..end,
                kind: format.kind,
            })
        })
    }

    /// Returns the end of a JWT or JWE whose first `eyJ` stands directly before `from`, or `None` if
    /// there is neither.
    fn jwt_end(&mut self, from: usize) -> Option<usize> {
        const PART: usize = 7;
        if !self.url_safe_run.contains(&from) {
            self.url_safe_run = from..self.text.run_end(from, is_url_safe);
        }
        let text = &self.text;
        let header = self.url_safe_run.end;
        if header < from + PART || text.byte(header) != Some(b'.') {
            return None;
        }
        if !text.starts_with(header, ".eyJ") {
            if self.jwe.0 != header {
                self.jwe = (header, jwe_end(text, header));
            }
            return self.jwe.1;
        }
        let payload = header + 1 + "eyJ".len();
        if text.class_end(payload, PART, is_url_safe) < payload + PART {
            return None;
        }
        let mut end = text.run_end(payload, is_url_safe);
        while text.byte(end) == Some(b'.') && text.byte(end + 1).is_some_and(is_url_safe) {
            end = text.run_end(end + 1, is_url_safe);
        }
        Some(end)
    }
}

/// Returns the end of a JWE whose header ends at `header`: an encrypted key, which may be empty, an
/// initialization vector of 96 or 128 bits, the text, and a tag of at least 128 bits.
fn jwe_end(text: &Text<'_>, header: usize) -> Option<usize> {
    const MAX_KEY_LEN: usize = 1400;
    let mut end = header;
    for (least, most) in [(0, MAX_KEY_LEN), (16, 24), (1, usize::MAX), (21, 90)] {
        if text.byte(end) != Some(b'.') {
            return None;
        }
        let start = end + 1;
        end = text.class_end(start, most, is_url_safe);
        if end - start < least {
            return None;
        }
    }
    Some(end)
}
