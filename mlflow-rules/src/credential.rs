//! What looks like a known credential, wherever in a text it stands.
//!
//! Invariants: one pass, linear in the text, whatever it holds: a start that leads nowhere is left
//! after [`MAX_LOOKAHEAD`] bytes at most, and the one run without such a bound, a JWT's header, is
//! remembered. Nothing is allocated unless something is found. Only the credential is replaced,
//! and what has been masked stays as it is.
//!
//! A credential begins where a word does (not after an ASCII letter or digit) and is of the
//! characters and length its issuer gives it; where real ones are much longer than needed to tell
//! them from a name, less is enough. [`format`] holds the rows:
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
//! A user's name alone stays with other schemes than `http(s)`: `ssh://git@host` has no secret, and
//! `abfss://container@account…` is the address of data.

mod format;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::REDACTED;
use format::{formats_starting_with, is_alphanumeric, is_b64token, is_url_safe, may_begin};

/// Bytes that are looked at before a start is given up.
const MAX_LOOKAHEAD: usize = 128;
/// No credential is shorter: `a://:b@`.
const MIN_CREDENTIAL_LEN: usize = 7;
/// Of the values after `Authorization: Bearer`, and after `Bearer` alone.
const MIN_NAMED_VALUE_LEN: usize = 8;
const MIN_BARE_VALUE_LEN: usize = 16;

/// What is at the end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Its own end.
    End,
    /// More, that was not kept: the last word may be the first piece of a credential, and counts as one.
    Cut,
}

/// A text without the credentials that were in it.
#[derive(Debug, PartialEq)]
pub struct Masked {
    /// The text, with `[redacted]` in place of each.
    pub text: String,
    /// The kind of the first one, as a warning names it.
    pub kind: &'static str,
}

/// The text with its credentials masked; `None` if it has none.
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
        // A credential begins and ends beside an ASCII character or an end of the text.
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
    /// The last run of url-safe characters that was measured.
    url_safe_run: Range<usize>,
    /// From here on a word goes on to a cut; beyond the text where there is none.
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

    /// The end of the run of such bytes that begins at `from`, no further than `most` bytes away.
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

    /// The next credential.
    fn next_match(&mut self) -> Option<CredentialMatch> {
        while let Some(at) = self.next_candidate() {
            let found = match self.byte(at)? {
                b':' => self.userinfo(at),
                b'-' => self.private_key(at),
                // `\n` as `Debug` shows it, and `%3D` of a URL, stand before a word.
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

    /// The next place where one may begin, judged by two bytes; this is all that most texts see.
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

    /// Whether what begins here, and is not nothing, goes on to a cut.
    fn is_cut_off(&self, from: usize) -> bool {
        from >= self.cut_word_start && from < self.bytes.len()
    }

    /// A JWT whose `eyJ` stands before `from`.
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

    /// `://user:password@`, at its `:`.
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
        // A digest of an image is no host.
        let is_secret = !user.is_empty()
            && (is_http || user.contains(&b':'))
            && user != REDACTED.as_bytes()
            && !host.starts_with(b"@sha256:");
        is_secret.then(|| CredentialMatch {
            range: start..start + user_end,
            kind: "the user or password of a URL",
        })
    }

    /// `-----BEGIN … PRIVATE KEY-----`, at its first `-`.
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

    /// A label, and where the dashes behind it end.
    fn label(&self, from: usize) -> Option<(&[u8], usize)> {
        let end = self.class_end(from, MAX_LOOKAHEAD, |byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
        });
        let label = self.bytes.get(from..end)?;
        self.starts_with(end, "-----")
            .then_some((label, end + "-----".len()))
    }

    /// The value in `Authorization: Bearer value` and in `Bearer value`.
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

    /// Where the value begins, behind `: Bearer `, `": "Basic ` and their like.
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

/// What may stand between `://` and the path.
fn is_authority_byte(byte: u8) -> bool {
    !byte.is_ascii_whitespace()
        && !matches!(
            byte,
            b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\'
        )
}
