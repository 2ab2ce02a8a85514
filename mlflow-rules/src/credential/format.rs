//! Credentials that begin with a prefix of their own: the rows of the module's table.
//!
//! Invariant: whether a body is one is decided within [`MAX_LOOKAHEAD`] bytes, a JWT's header excepted.

use super::{MAX_LOOKAHEAD, Scanner};

type ByteClass = fn(u8) -> bool;

pub(super) struct CredentialFormat {
    pub(super) prefix: &'static str,
    /// With its article, as a warning names it.
    pub(super) kind: &'static str,
    pub(super) body: Body,
}

/// What follows a prefix.
pub(super) enum Body {
    /// So many, and then no letter or digit.
    Exactly(usize, ByteClass),
    /// So many and more.
    AtLeast(usize, ByteClass),
    /// So many url-safe characters and more, with a digit and an upper-case letter among them.
    Mixed(usize),
    /// Url-safe words, one of them too long to be a word, or a number of so many digits.
    Random {
        digits: usize,
    },
    Jwt,
}

use Body::{AtLeast, Exactly, Jwt, Mixed, Random};

const NEVER_NUMERIC: usize = usize::MAX;
/// The longest words of a language are shorter.
const MIN_RANDOM_WORD_LEN: usize = 24;
/// With digits inside, less is enough.
const MIN_MIXED_WORD_LEN: usize = 20;

const fn format_row(prefix: &'static str, kind: &'static str, body: Body) -> CredentialFormat {
    CredentialFormat { prefix, kind, body }
}

const AWS: &str = "an AWS access key id";
const OPENAI: &str = "an OpenAI key";
const STRIPE: &str = "a Stripe key";
const GITHUB: &str = "a GitHub token";
const SLACK: &str = "a Slack token";
const PYPI: &str = "a PyPI token";
/// Slack's numbers of teams and users.
const SLACK_BODY: Body = Random { digits: 9 };

/// A longer prefix stands before one that it begins with, and those of one first byte together.
pub(super) const FORMATS: &[CredentialFormat] = &[
    format_row("AKIA", AWS, Exactly(16, is_upper_alphanumeric)),
    format_row("ASIA", AWS, Exactly(16, is_upper_alphanumeric)),
    format_row("AIza", "a Google API key", Exactly(35, is_url_safe)),
    format_row("sk-ant-", "an Anthropic key", Mixed(20)),
    format_row("sk-proj-", OPENAI, Mixed(20)),
    format_row("sk-svcacct-", OPENAI, Mixed(20)),
    format_row("sk-admin-", OPENAI, Mixed(20)),
    format_row(
        "sk-",
        "a key that begins with `sk-`",
        Random {
            digits: NEVER_NUMERIC,
        },
    ),
    format_row("sk_live_", STRIPE, AtLeast(16, is_alphanumeric)),
    format_row("sk_test_", STRIPE, AtLeast(16, is_alphanumeric)),
    format_row("rk_live_", STRIPE, AtLeast(16, is_alphanumeric)),
    format_row("rk_test_", STRIPE, AtLeast(16, is_alphanumeric)),
    format_row("ghp_", GITHUB, AtLeast(20, is_alphanumeric)),
    format_row("gho_", GITHUB, AtLeast(20, is_alphanumeric)),
    format_row("ghu_", GITHUB, AtLeast(20, is_alphanumeric)),
    format_row("ghs_", GITHUB, AtLeast(20, is_alphanumeric)),
    format_row("ghr_", GITHUB, AtLeast(20, is_alphanumeric)),
    format_row(
        "github_pat_",
        GITHUB,
        Random {
            digits: NEVER_NUMERIC,
        },
    ),
    format_row("glpat-", "a GitLab token", AtLeast(20, is_url_safe)),
    format_row("hf_", "a Hugging Face token", AtLeast(30, is_alphanumeric)),
    format_row("xoxa-", SLACK, SLACK_BODY),
    format_row("xoxb-", SLACK, SLACK_BODY),
    format_row("xoxe-", SLACK, SLACK_BODY),
    format_row("xoxp-", SLACK, SLACK_BODY),
    format_row("xoxr-", SLACK, SLACK_BODY),
    format_row("xoxs-", SLACK, SLACK_BODY),
    format_row("npm_", "an npm token", AtLeast(30, is_alphanumeric)),
    format_row("pypi-Ag", PYPI, Mixed(30)),
    format_row(
        "pypi-",
        PYPI,
        Random {
            digits: NEVER_NUMERIC,
        },
    ),
    format_row("dapi", "a Databricks token", Exactly(32, is_hexadecimal)),
    format_row("wandb_v1_", "a W&B key", Mixed(40)),
    format_row(
        "eyJhcGlfYWRkcmVzcyI6",
        "a Neptune token",
        AtLeast(40, is_b64token),
    ),
    format_row("eyJ", "a JWT", Jwt),
];

/// The formats that begin with this byte.
pub(super) fn formats_starting_with(byte: u8) -> &'static [CredentialFormat] {
    let (from, to) = FORMAT_RANGES[usize::from(byte)];
    FORMATS
        .get(usize::from(from)..usize::from(to))
        .unwrap_or_default()
}

/// Whether these two bytes may be the first of a credential, or of what announces one.
#[inline]
pub(super) fn may_begin(first: u8, second: u8) -> bool {
    let seconds = SECOND_BYTES[usize::from(first)];
    seconds != 0 && second < 128 && seconds >> second & 1 != 0
}

/// Rows of [`FORMATS`] by first byte: those of one byte stand together.
static FORMAT_RANGES: [(u8, u8); 256] = {
    let mut rows = [(0, 0); 256];
    let mut row = 0;
    while row < FORMATS.len() {
        let first = FORMATS[row].prefix.as_bytes()[0] as usize;
        #[expect(clippy::cast_possible_truncation, reason = "there are few rows")]
        let here = row as u8;
        let (from, to) = rows[first];
        assert!(
            to == 0 || to == here,
            "rows of one first byte stand together"
        );
        rows[first] = (if to == 0 { here } else { from }, here + 1);
        row += 1;
    }
    rows
};

/// By first byte, a bit for each second byte (ASCII).
static SECOND_BYTES: [u128; 256] = {
    let mut seconds = [0; 256];
    let mut row = 0;
    while row < FORMATS.len() {
        let prefix = FORMATS[row].prefix.as_bytes();
        seconds[prefix[0] as usize] |= 1 << prefix[1];
        row += 1;
    }
    // `://`, `-----BEGIN`, `Authorization` in any case, `Bearer`, `\n`, `%3D`.
    let others: [(u8, &[u8]); 7] = [
        (b':', b"/"),
        (b'-', b"-"),
        (b'A', b"Uu"),
        (b'a', b"Uu"),
        (b'B', b"e"),
        (b'\\', b"nrt"),
        (b'%', b"0123456789ABCDEFabcdef"),
    ];
    let mut other = 0;
    while other < others.len() {
        let (first, all) = others[other];
        let mut second = 0;
        while second < all.len() {
            seconds[first as usize] |= 1 << all[second];
            second += 1;
        }
        other += 1;
    }
    seconds
};

impl Scanner<'_> {
    /// The end of the body that begins at `from`, if there is one.
    pub(super) fn body_end(&mut self, from: usize, body: &Body) -> Option<usize> {
        match *body {
            Exactly(count, class) => {
                let end = self.class_end(from, count, class);
                let goes_on = self.byte(end).is_some_and(is_alphanumeric);
                (end == from + count && !goes_on).then_some(end)
            }
            AtLeast(count, class) => (self.class_end(from, count, class) == from + count)
                .then(|| self.run_end(from, class)),
            Mixed(count) => {
                let seen = self.lookahead(from);
                let is_mixed = seen.len() >= count
                    && seen.iter().any(u8::is_ascii_digit)
                    && seen.iter().any(u8::is_ascii_uppercase);
                is_mixed.then(|| self.run_end(from, is_url_safe))
            }
            Random { digits } => self
                .lookahead(from)
                .split(|byte| matches!(byte, b'-' | b'_'))
                .any(|word| is_random(word, digits))
                .then(|| self.run_end(from, is_url_safe)),
            Jwt => self.jwt_end(from),
        }
    }

    fn lookahead(&self, from: usize) -> &[u8] {
        let end = self.class_end(from, MAX_LOOKAHEAD, is_url_safe);
        self.bytes.get(from..end).unwrap_or_default()
    }
}

fn is_random(word: &[u8], digits: usize) -> bool {
    let numbers = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    match word.len() {
        MIN_RANDOM_WORD_LEN.. => true,
        MIN_MIXED_WORD_LEN.. => numbers > 0 && numbers < word.len(),
        len => numbers == len && len >= digits,
    }
}

pub(super) fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_upper_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_hexadecimal(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// Base64 in its variant for URLs.
pub(super) fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// What RFC 6750 allows in a token; base64 in all its variants is of these.
pub(super) fn is_b64token(byte: u8) -> bool {
    is_url_safe(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}
