//! Formats of credentials that begin with a prefix of their own: rows of the parent module's table.
//!
//! Invariant: at most [`MAX_LOOKAHEAD`] bytes after a prefix are examined to decide if a
//! credential's body follows. Only the header of a JWT is examined to its end.

use super::{MAX_LOOKAHEAD, Scanner};

type ByteClass = fn(u8) -> bool;

pub(super) struct CredentialFormat {
    pub(super) prefix: &'static str,
    /// Name with its article, as a warning contains it: "a GitHub token".
    pub(super) kind: &'static str,
    pub(super) body: Body,
}

/// Form of the text that follows a prefix.
pub(super) enum Body {
    /// Exact number of bytes of the class, with no letter or digit behind them.
    Exactly(usize, ByteClass),
    /// Minimum number of bytes of the class.
    AtLeast(usize, ByteClass),
    /// Minimum number of url-safe characters, with a digit and an upper-case letter among them.
    Mixed(usize),
    /// Url-safe words separated by `-` or `_`. At least one of the words is too long for a word of
    /// a language, or is a number of at least `digits` digits.
    Random {
        digits: usize,
    },
    Jwt,
}

use Body::{AtLeast, Exactly, Jwt, Mixed, Random};

/// Value of `digits` for a format in which a number alone is no sign of a credential.
const NEVER_NUMERIC: usize = usize::MAX;
/// Minimum length of a word that counts as random. The longest words of a language are shorter.
const MIN_RANDOM_WORD_LEN: usize = 24;
/// Minimum length of a word that counts as random if it has both digits and other characters.
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
/// Body of a Slack token; the ids of teams and users are numbers of at least nine digits.
const SLACK_BODY: Body = Random { digits: 9 };

/// Formats in the order in which they are tried. A longer prefix stands before a shorter one with
/// which it begins, and the rows with the same first byte stand together.
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

/// Returns the formats whose prefix begins with this byte.
pub(super) fn formats_starting_with(byte: u8) -> &'static [CredentialFormat] {
    let (from, to) = FORMAT_RANGES[usize::from(byte)];
    FORMATS
        .get(usize::from(from)..usize::from(to))
        .unwrap_or_default()
}

/// Returns true if these two bytes may be the first of a credential, or of a mark that announces a
/// credential (such as `://`).
#[inline]
pub(super) fn may_begin(first: u8, second: u8) -> bool {
    let seconds = SECOND_BYTES[usize::from(first)];
    seconds != 0 && second < 128 && seconds >> second & 1 != 0
}

/// Ranges of rows in [`FORMATS`], by the first byte of the prefix.
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

/// Sets of the possible second bytes (one bit per ASCII byte), by the first byte.
static SECOND_BYTES: [u128; 256] = {
    let mut seconds = [0; 256];
    let mut row = 0;
    while row < FORMATS.len() {
        let prefix = FORMATS[row].prefix.as_bytes();
        seconds[prefix[0] as usize] |= 1 << prefix[1];
        row += 1;
    }
    // Marks that announce a credential: `://`, `-----BEGIN`, `Authorization` in any case, `Bearer`,
    // and the escapes `\n` and `%3D`.
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
    /// Returns the end of the body that begins at `from`, or `None` if there is no such body.
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

/// Returns true for the characters of base64 in its variant for URLs.
pub(super) fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Returns true for the characters that RFC 6750 allows in a token, among them those of all
/// variants of base64.
pub(super) fn is_b64token(byte: u8) -> bool {
    is_url_safe(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}
