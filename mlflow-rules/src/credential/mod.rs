//! Masking of credentials, which are recognised by their form anywhere in a text.
//!
//! Invariants:
//!
//! - The text is scanned once, in time linear in its length, whatever it holds. The scanner gives a
//!   position up after at most [`MAX_LOOKAHEAD`] bytes if no credential begins there. Two runs of
//!   bytes have no such bound: the header of a JWT, whose measured end is remembered, and the
//!   authority of a URL, inside of which no other one can begin.
//! - Nothing is allocated unless a credential is found.
//! - Only the credential is replaced. Masking a masked text again changes nothing.
//!
//! A credential begins at the start of a word, that is, not directly after an ASCII letter or
//! digit. Characters and length are those that the issuer defines. Where real credentials are much
//! longer than is needed to tell them from a name, a shorter length is enough.
//! The table lists the known kinds; [`mod@format`] implements those which begin with a prefix of their
//! own:
//!
//! | credential | looks like | source |
//! |---|---|---|
//! | AWS access key id | `AKIA`, `ASIA` + 16 upper-case letters and digits | AWS IAM, "IAM identifiers", unique ids |
//! | Google API key | `AIza` + 35 url-safe | Google Cloud, "Manage API keys" (its examples) |
//! | OpenAI key | `sk-`, `sk-proj-`, `sk-svcacct-`, `sk-admin-` + 20 and more | OpenAI, API reference, "Authentication" |
//! | Anthropic key | `sk-ant-` + 20 and more | Anthropic, Admin API, "Get API key" (its examples) |
//! | Stripe key | `sk_live_`, `rk_live_` and their `_test_` + 16 and more | Stripe, "API keys" |
//! | GitHub token | `ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_` + 36 (20 are enough); `github_pat_` | GitHub, "About authentication", token formats |
//! | GitLab token | `glpat-` + 20 and more | GitLab, "Token overview", token prefixes |
//! | Hugging Face token | `hf_` + 34 (30 are enough) | Hugging Face Hub, "User access tokens" |
//! | Slack token | `xoxa-`, `xoxb-`, `xoxe-`, `xoxp-`, `xoxr-`, `xoxs-`, then a team's number or random text | Slack, "Tokens" |
//! | npm token | `npm_` + 36 (30 are enough) | GitHub blog, "Announcing npm's new access token format" |
//! | PyPI token | `pypi-` + a macaroon (`Ag…`) | PyPI, help, "API tokens" |
//! | Databricks token | `dapi` + 32 hexadecimal | Databricks, "Personal access tokens" |
//! | W&B key | `wandb_v1_` + some 80 | W&B, `wandb login`, "API key formats"; the older 40 hexadecimal are those of a commit, too, and stay |
//! | Neptune token | base64 of `{"api_address":…` | Neptune, "API tokens" |
//! | JWT | `eyJ….eyJ….…`: two JSON objects in base64url, a signature | RFC 7519, RFC 7515 |
//! | private key | `-----BEGIN … PRIVATE KEY-----` to its `-----END …-----`, else to the end of the text | RFC 7468 |
//! | user and password in a URL | `scheme://user:password@`, with `http(s)` also `://user@` | RFC 3986, 3.2.1 |
//! | HTTP credentials | the value after `Authorization: Bearer`, `Basic`, `token`; after `Bearer` alone, if it has a digit | RFC 6750, RFC 7617 |
//!
//! A user name without a password is masked only in a URL with the scheme `http` or `https`. With
//! other schemes such a name is no secret: `ssh://git@host` has none, and
//! `abfss://container@account…` is the address of data.

mod format;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::REDACTED;
use format::{formats_starting_with, is_alphanumeric, is_b64token, is_url_safe, may_begin};

/// Number of bytes after which the scanner gives up a position where no credential begins.
const MAX_LOOKAHEAD: usize = 128;
/// Length in bytes of the shortest complete text with a credential: `a://:b@`.
const MIN_CREDENTIAL_LEN: usize = 7;
/// Minimum length in bytes of a value after `Authorization: Bearer`.
const MIN_NAMED_VALUE_LEN: usize = 8;
/// Minimum length in bytes of a value after `Bearer` alone.
const MIN_BARE_VALUE_LEN: usize = 16;

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
#[must_use]
pub fn mask(text: &str, edge: Edge) -> Option<Masked> {
    if text.len() < MIN_CREDENTIAL_LEN && edge == Edge::End {
        return None;
    }
    let mut scan = Scanner::new(text.as_bytes(), edge);
    let mut next = Some(scan.next_match()?);
    let kind = next.as_ref().map_or("", |found| found.kind);
    let mut masked = String::with_capacity(text.len());
    let mut kept = 0;
    while let Some(CredentialMatch { range: place, .. }) = next {
        // A credential begins and ends beside an ASCII character or at an end of the text, so these
        // ranges lie on character boundaries.
        masked.push_str(text.get(kept..place.start).unwrap_or_default());
        masked.push_str(REDACTED);
        kept = place.end;
        next = scan.next_match();
    }
    masked.push_str(text.get(kept..).unwrap_or_default());
    Some(Masked { text: masked, kind })
}

struct CredentialMatch {
    range: Range<usize>,
    kind: &'static str,
}

struct Scanner<'t> {
    bytes: &'t [u8],
    position: usize,
    /// Range of the url-safe run that was measured last, so that no run is measured twice.
    url_safe_run: Range<usize>,
    /// Start of the last word of a text that was cut off; `usize::MAX` for a complete text.
    cut_word_start: usize,
    #[cfg(test)]
    steps: std::cell::Cell<usize>,
}

impl<'t> Scanner<'t> {
    fn new(bytes: &'t [u8], edge: Edge) -> Self {
        let tail = match edge {
            Edge::End => usize::MAX,
            Edge::Cut => bytes
                .iter()
                .rposition(|byte| !is_b64token(*byte))
                .map_or(0, |last| last + 1),
        };
        Self {
            bytes,
            position: 0,
            url_safe_run: 0..0,
            cut_word_start: tail,
            #[cfg(test)]
            steps: std::cell::Cell::default(),
        }
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        self.bytes.get(at).copied()
    }

    /// Returns the end of the run of `class` bytes that begins at `from`; at most `most` bytes are
    /// examined.
    fn class_end(&self, from: usize, most: usize, class: fn(u8) -> bool) -> usize {
        let mut end = from;
        while end - from < most && self.byte(end).is_some_and(class) {
            end += 1;
        }
        end
    }

    fn run_end(&self, from: usize, class: fn(u8) -> bool) -> usize {
        self.class_end(from, usize::MAX, class)
    }

    fn matches_at(&self, at: usize, expected: &[u8], same: fn(&u8, &u8) -> bool) -> bool {
        expected
            .iter()
            .zip(at..)
            .all(|(expected, at)| self.byte(at).is_some_and(|byte| same(&byte, expected)))
    }

    fn starts_with(&self, at: usize, expected: &str) -> bool {
        self.matches_at(at, expected.as_bytes(), u8::eq)
    }

    fn starts_with_any_case(&self, at: usize, expected: &str) -> bool {
        self.matches_at(at, expected.as_bytes(), u8::eq_ignore_ascii_case)
    }

    /// Returns the next credential, and moves the position past it.
    fn next_match(&mut self) -> Option<CredentialMatch> {
        while let Some(at) = self.next_candidate() {
            let found = match self.byte(at)? {
                b':' => self.userinfo(at),
                b'-' => self.private_key(at),
                // A word may directly follow an escape: `\n` as `Debug` writes it, or `%3D` in a
                // URL.
                b'\\' => self.credential(at + 2),
                b'%' => self.credential(at + 3),
                _ => self.credential(at),
            };
            self.position = found.as_ref().map_or(at + 1, |found| found.range.end);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Returns the next position at which a credential may begin, judged by two bytes. In most
    /// texts there is none, and no other check is made.
    #[inline]
    fn next_candidate(&self) -> Option<usize> {
        let mut inside = self
            .position
            .checked_sub(1)
            .and_then(|before| self.byte(before))
            .is_some_and(is_alphanumeric);
        let rest = self.bytes.get(self.position..)?;
        for (at, &first) in rest.iter().enumerate() {
            #[cfg(test)]
            self.steps.set(self.steps.get() + 1);
            let in_word = is_alphanumeric(first);
            let begins = !(inside && in_word);
            inside = in_word;
            if begins
                && let Some(&second) = rest.get(at + 1)
                && may_begin(first, second)
            {
                return Some(self.position + at);
            }
        }
        None
    }

    fn credential(&mut self, at: usize) -> Option<CredentialMatch> {
        let first = self.byte(at)?;
        if matches!(first, b'A' | b'a' | b'B')
            && let Some(found) = self.http_value(at)
        {
            return Some(found);
        }
        formats_starting_with(first).iter().find_map(|format| {
            if !self.starts_with(at, format.prefix) {
                return None;
            }
            let body = at + format.prefix.len();
            let end = if self.is_cut_off(body) {
                self.bytes.len()
            } else {
                self.body_end(body, &format.body)?
            };
            Some(CredentialMatch {
                range: at..end,
                kind: format.kind,
            })
        })
    }

    /// Returns true if the text from `from` on is not empty and is a part of the last word of a
    /// text that was cut off.
    fn is_cut_off(&self, from: usize) -> bool {
        from >= self.cut_word_start && from < self.bytes.len()
    }

    /// Returns the end of a JWT whose first `eyJ` stands directly before `from`, or `None` if there
    /// is no JWT.
    fn jwt_end(&mut self, from: usize) -> Option<usize> {
        const PART: usize = 7;
        if !self.url_safe_run.contains(&from) {
            self.url_safe_run = from..self.run_end(from, is_url_safe);
        }
        let header = self.url_safe_run.end;
        let payload = header + 1 + "eyJ".len();
        if header < from + PART
            || !self.starts_with(header, ".eyJ")
            || self.class_end(payload, PART, is_url_safe) < payload + PART
        {
            return None;
        }
        let mut end = self.run_end(payload, is_url_safe);
        while self.byte(end) == Some(b'.') && self.byte(end + 1).is_some_and(is_url_safe) {
            end = self.run_end(end + 1, is_url_safe);
        }
        Some(end)
    }

    /// Finds the user and password of a URL, `://user:password@`, whose `://` begins at `at`.
    fn userinfo(&self, at: usize) -> Option<CredentialMatch> {
        let has_scheme = at
            .checked_sub(1)
            .and_then(|before| self.byte(before))
            .is_some_and(is_alphanumeric);
        if !has_scheme || !self.starts_with(at, "://") {
            return None;
        }
        let start = at + "://".len();
        let end = self.run_end(start, is_authority_byte);
        let authority = self.bytes.get(start..end).unwrap_or_default();
        let cut_off = end == self.bytes.len() && self.cut_word_start != usize::MAX;
        let user_end = if cut_off {
            authority.len()
        } else {
            authority.iter().rposition(|byte| *byte == b'@')?
        };
        let (user, host) = authority.split_at_checked(user_end)?;
        let is_http = ["http", "https"].iter().any(|scheme| {
            at.checked_sub(scheme.len())
                .is_some_and(|at| self.starts_with_any_case(at, scheme))
        });
        // `image:tag@sha256:…` names a container image by its digest; there is no user and no host.
        let is_secret = !user.is_empty()
            && (is_http || user.contains(&b':'))
            && user != REDACTED.as_bytes()
            && !host.starts_with(b"@sha256:");
        is_secret.then(|| CredentialMatch {
            range: start..start + user_end,
            kind: "the user or password of a URL",
        })
    }

    /// Finds a private key whose `-----BEGIN … PRIVATE KEY-----` begins at `at`. A key without an
    /// end reaches to the end of the text.
    fn private_key(&self, at: usize) -> Option<CredentialMatch> {
        if !self.starts_with(at, "-----BEGIN ") {
            return None;
        }
        let (label, begun) = self.label(at + "-----BEGIN".len())?;
        if !label
            .windows("PRIVATE KEY".len())
            .any(|window| window == b"PRIVATE KEY")
        {
            return None;
        }
        let end = (begun..self.bytes.len())
            .find(|at| self.starts_with(*at, "-----END"))
            .and_then(|end| self.label(end + "-----END".len()))
            .map_or(self.bytes.len(), |(_, ended)| ended);
        Some(CredentialMatch {
            range: at..end,
            kind: "a private key",
        })
    }

    /// Returns the label of a PEM line that begins at `from`, and the end of the dashes behind the
    /// label.
    fn label(&self, from: usize) -> Option<(&[u8], usize)> {
        let end = self.class_end(from, MAX_LOOKAHEAD, |byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
        });
        let label = self.bytes.get(from..end)?;
        self.starts_with(end, "-----")
            .then_some((label, end + "-----".len()))
    }

    /// Finds the value in `Authorization: Bearer value` and in `Bearer value`, whose first word
    /// begins at `at`.
    fn http_value(&self, at: usize) -> Option<CredentialMatch> {
        let kind = "HTTP credentials";
        let (value, least, needs_digit) = if self.starts_with(at, "Bearer ") {
            (at + "Bearer ".len(), MIN_BARE_VALUE_LEN, true)
        } else if self.starts_with_any_case(at, "authorization") {
            (
                self.named_value(at + "authorization".len())?,
                MIN_NAMED_VALUE_LEN,
                false,
            )
        } else {
            return None;
        };
        if self.is_cut_off(value) {
            return Some(CredentialMatch {
                range: value..self.bytes.len(),
                kind,
            });
        }
        let seen = self.class_end(value, MAX_LOOKAHEAD, is_b64token);
        let seen = self.bytes.get(value..seen)?;
        if seen.len() < least || (needs_digit && !seen.iter().any(u8::is_ascii_digit)) {
            return None;
        }
        Some(CredentialMatch {
            range: value..self.run_end(value, is_b64token),
            kind,
        })
    }

    /// Returns the start of the value that follows on `: Bearer `, `": "Basic ` or something
    /// similar.
    fn named_value(&self, from: usize) -> Option<usize> {
        const SEPARATORS: usize = 8;
        let scheme = self.class_end(from, SEPARATORS, |byte| {
            matches!(byte, b' ' | b'"' | b'\'' | b'\\' | b':' | b'=' | b'>')
        });
        let separators = self.bytes.get(from..scheme)?;
        if !separators.iter().any(|byte| matches!(byte, b':' | b'=')) {
            return None;
        }
        let name = ["bearer", "basic", "token"]
            .into_iter()
            .find(|name| self.starts_with_any_case(scheme, name))?;
        let blank = scheme + name.len();
        let value = self.class_end(blank, SEPARATORS, |byte| byte == b' ');
        (value > blank).then_some(value)
    }
}

/// Returns true for the bytes that may stand between the `://` and the path of a URL.
fn is_authority_byte(byte: u8) -> bool {
    !byte.is_ascii_whitespace()
        && !matches!(
            byte,
            b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\'
        )
}
