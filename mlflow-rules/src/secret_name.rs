//! Names of secret values, such as `password` or `api_key`.
//!
//! Invariants:
//!
//! - A name is split into words, and only whole words are compared. So `tokenizer` and `author` are not
//!   names of secrets. Upper and lower case count as the same. Characters such as `_` or `-`, camel case
//!   and digits separate words.
//! - A word beside the secret's word may say that the value is something else: a property of the
//!   secret (`password_length`, `token_file`), a number of secrets (`num_secrets`), or the token of a
//!   language model (`eos_token`, `token_accuracy`). Such a name is not a secret's.
//! - Nothing is allocated.
//!
//! Where only the name decides, as for an argument or a field, every secret's name counts. In the middle
//! of a text, some names (`token`, `session`) are words of prose, too; [`Certainty`] says how much
//! the name proves there.

/// Strength of a name as a proof that its value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    /// Word of prose and of machine learning, too, such as `token`.
    Possible,
    /// Name for a credential, which is used for little else, such as `access_token`.
    Likely,
    /// Name for a secret and nothing else, such as `password`.
    Certain,
}

use Certainty::{Certain, Likely, Possible};

/// Words before `key` that make it a secret key.
#[rustfmt::skip]
const KEY_OWNERS: &[&str] = &[
    "api", "access", "private", "account", "signing", "encryption", "decryption", "subscription",
    "shared", "ssh", "license", "licence", "master", "storage", "hmac", "deploy", "admin", "consumer",
    "app", "application", "service", "auth", "session", "webhook", "secret", "kaggle", "openai", "azure", "speech",
    "cosmos", "wandb", "rapidapi", "serpapi", "functions",
];

/// Words before `pass` that make it a password.
#[rustfmt::skip]
const PASS_OWNERS: &[&str] = &[
    "db", "database", "smtp", "mail", "email", "mysql", "redis", "postgres", "pg", "mongo", "user",
    "root", "admin", "ftp", "http", "proxy", "ssh", "sudo",
];

/// Words before `token` that make it a credential.
#[rustfmt::skip]
const TOKEN_ISSUERS: &[&str] = &[
    "access", "api", "auth", "refresh", "id", "bearer", "session", "client", "bot", "hf", "face", "hub",
    "github", "gh", "gitlab", "gl", "ci", "job", "slack", "oauth", "oauth2", "csrf", "xsrf", "jwt",
    "personal", "deploy", "admin", "user", "service", "account", "registry", "npm", "pypi", "wandb",
    "mlflow", "tracking", "databricks", "vault", "secret", "private", "security", "device", "push",
    "app", "login", "sso", "sas", "aws", "azure", "gcp", "google", "hmac", "x", "telegram", "discord",
    "docker", "upload",
];

/// Words before `token` in the language of models: a piece of text, not a credential.
#[rustfmt::skip]
const TEXT_TOKENS: &[&str] = &[
    "bos", "eos", "pad", "padding", "unk", "unknown", "sep", "separator", "cls", "class", "mask",
    "masked", "sos", "begin", "start", "end", "stop", "special", "image", "video", "audio", "text",
    "vision", "visual", "speech", "decoder", "forced", "first", "next", "last", "previous", "prev",
    "current", "new", "input", "output", "target", "source", "predicted", "generated", "sampled",
    "prompt", "completion", "draft", "reserved", "oov", "eot", "eom", "eod", "fim", "prefix", "suffix",
    "infix", "word", "patch", "register", "to", "in", "nl", "newline", "timestamp", "byte", "initializer", "placeholder",
    "delimiter", "trigger", "blank", "multi", "per", "dist", "distillation", "soft", "virtual",
];

/// Words before a secret's word that count secrets or limit their number.
#[rustfmt::skip]
const COUNTS: &[&str] = &[
    "num", "n", "number", "count", "max", "min", "total", "avg", "average", "mean", "per",
];

/// Words after a secret's word that name a property of the secret, which is none itself.
#[rustfmt::skip]
const PROPERTIES: &[&str] = &[
    "accuracy", "acc", "alg", "algorithm", "allowed", "attempts", "budget", "bytes", "cache", "class",
    "classes", "classification", "classifier", "cost", "count", "counts", "dim", "dimension", "dir",
    "directory", "distribution", "dropout", "duration", "embed", "embedding", "embeddings", "enabled",
    "encoding", "endpoint", "entropy", "env", "error", "errors", "expiration", "expires", "expiry",
    "file", "files", "filename", "folder", "format", "freq", "frequency", "idx", "index", "indices",
    "issuer", "kind", "latency", "len", "length", "lengths", "level", "limit", "logits", "logprob",
    "logprobs", "loss", "manager", "mask", "masks", "max", "merging", "method", "min", "mixing", "mode",
    "name", "names", "num", "path", "paths", "per", "perplexity", "policy", "position", "positions",
    "price", "prob", "probability", "probs", "provider", "rate", "ratio", "rec", "required", "score", "scores",
    "size", "stats", "strategy", "throughput", "timeout", "ttl", "type", "types",
];

/// Words after `token` that name a property of a piece of text.
#[rustfmt::skip]
const TEXT_PROPERTIES: &[&str] = &[
    "id", "ids", "ratio", "reduction", "shift", "to", "usage", "vocab", "weight", "weights", "window", "drop", "mixer",
    "healing", "prediction", "label", "labels", "labeling", "pruning", "merge", "selection",
];

/// Returns true if an argument, a field or a key of this name holds a secret.
///
/// Upper and lower case count as the same. Words are separated by characters such as `_` or `-`, by
/// camel case, and by digits.
// Input:  `apiToken`, `db-password`, `api_key`, `max_tokens`, `eos_token`
// Output: true, true, true, false, false
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    certainty(name.as_bytes()).is_some()
}

/// Returns true if this value of an argument, a field or a key holds a secret, by the name. Names such as `token` and `session`
/// have other meanings, too: numbers and truth values of such a name are none.
// Input:  `session` and `3`, `session` and `a1f…`, `password` and `1234`
// Output: false, true, true
#[must_use]
pub fn is_secret_value(name: &str, value: &str) -> bool {
    let value = value.trim();
    let is_plain = || {
        let is_word = ["true", "false", "none", "null"]
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word));
        is_word || value.parse::<f64>().is_ok()
    };
    match certainty(name.as_bytes()) {
        Some(Possible) => !is_plain(),
        Some(Likely | Certain) => true,
        None => false,
    }
}

/// Returns how certainly a value of this name is a secret, or `None` if the name is not a secret's.
pub(crate) fn certainty(name: &[u8]) -> Option<Certainty> {
    // Fast path: nearly every name contains none of these words.
    if !may_be_secret(name) {
        return None;
    }
    let mut words = Words { name, at: 0 };
    let (mut before, mut word) = (None, words.next());
    let mut next = words.next();
    let mut found = None;
    while let Some(this) = word {
        let after_next = words.next();
        found = found.max(word_certainty(before, this, next));
        (before, word, next) = (Some(this), next, after_next);
    }
    found
}

/// Returns how certainly this word, which stands between two others, makes the name a secret's.
fn word_certainty(before: Option<Word>, word: Word, after: Option<Word>) -> Option<Certainty> {
    let is_before = |words: &[&str]| before.is_some_and(|before| before.is_one_of(words));
    let is_after = |words: &[&str]| after.is_some_and(|after| after.is_one_of(words));
    let certainty = match word.as_bytes() {
        b"password" | b"passwords" | b"passwd" | b"pwd" | b"passphrase" | b"passcode"
        | b"secret" | b"secrets" | b"credential" | b"credentials" | b"apikey" | b"apikeys"
        | b"accesskey" | b"secretkey" | b"privatekey" | b"accountkey" | b"authkey" | b"sshpass" => {
            Certain
        }
        b"key" | b"keys" if is_before(KEY_OWNERS) => Certain,
        b"pass" | b"pw" if is_before(PASS_OWNERS) => Certain,
        b"accesstoken" | b"authtoken" | b"apitoken" => Likely,
        b"token" if is_before(TOKEN_ISSUERS) => Likely,
        b"token" if is_before(TEXT_TOKENS) || is_after(TEXT_PROPERTIES) => return None,
        b"token" => Possible,
        b"auth" | b"authorization" | b"session" | b"cookie" | b"cookies" | b"pat" | b"sas"
        | b"dsn" | b"bearer" => Possible,
        bytes if has_secret_ending(bytes) => Certain,
        _ => return None,
    };
    (!is_before(COUNTS) && !is_after(PROPERTIES)).then_some(certainty)
}

/// Returns true for the words that are written together, such as `pgpassword`.
fn has_secret_ending(word: &[u8]) -> bool {
    [
        "password",
        "passwd",
        "passphrase",
        "secretkey",
        "apikey",
        "accesskey",
        "privatekey",
        "clientsecret",
        "appsecret",
    ]
    .iter()
    .any(|ending| word.ends_with(ending.as_bytes()))
}

/// Returns false if no word of the name can be a secret's, judged by three letters in a row.
#[inline]
pub(crate) fn may_be_secret(name: &[u8]) -> bool {
    let mut letters = 0;
    let has_letters = name.iter().any(|byte| {
        letters = next_letters(letters, *byte);
        SECRET_LETTERS[letters >> 6] >> (letters & 63) & 1 != 0
    });
    has_letters || matches!(name, [.., p, w] if p | 32 == b'p' && w | 32 == b'w')
}

/// Returns the last three letters, in five bits each, after one more letter.
const fn next_letters(letters: usize, byte: u8) -> usize {
    (letters << 5 | (byte & 31) as usize) & 0x7fff
}

/// Set of three letters in a row, of which one stands in each secret's word.
static SECRET_LETTERS: [u64; 512] = {
    let all = [
        b"pas", b"pat", b"pwd", b"sec", b"ses", b"cre", b"key", b"tok", b"aut", b"coo", b"sas",
        b"dsn", b"bea",
    ];
    let mut set = [0; 512];
    let mut at = 0;
    while at < all.len() {
        let mut letters = 0;
        let mut letter = 0;
        while letter < 3 {
            letters = next_letters(letters, all[at][letter]);
            letter += 1;
        }
        set[letters >> 6] |= 1 << (letters & 63);
        at += 1;
    }
    set
};

/// Longest word that is compared; longer ones are compared by their last letters.
const MAX_WORD_LEN: usize = 24;

/// A word in lower case.
#[derive(Clone, Copy)]
struct Word {
    letters: [u8; MAX_WORD_LEN],
    len: usize,
}

impl Word {
    fn new(word: &[u8]) -> Self {
        let tail = word.get(word.len().saturating_sub(MAX_WORD_LEN)..);
        let tail = tail.unwrap_or_default();
        let mut letters = [0; MAX_WORD_LEN];
        for (letter, byte) in letters.iter_mut().zip(tail) {
            *letter = byte.to_ascii_lowercase();
        }
        Self {
            letters,
            len: tail.len(),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.letters.get(..self.len).unwrap_or_default()
    }

    fn is_one_of(&self, words: &[&str]) -> bool {
        is_one_of(self.as_bytes(), words)
    }
}

/// Returns true if the list contains the word.
pub(crate) fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|other| other.as_bytes() == word)
}

/// Words of a name, from its start.
// Input:  `dbPassword1`, `APIKey`, `hf-token`
// Output: `db`, `password`, `1`; `api`, `key`; `hf`, `token`
struct Words<'n> {
    name: &'n [u8],
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let name = self.name;
        let is_part = |at: usize| name.get(at).is_some_and(|byte| is_word_byte(*byte));
        while self.at < name.len() && !is_part(self.at) {
            self.at += 1;
        }
        let start = self.at;
        if start == name.len() {
            return None;
        }
        self.at += 1;
        while is_part(self.at) && !begins_word(name, self.at) {
            self.at += 1;
        }
        Some(Word::new(name.get(start..self.at)?))
    }
}

/// Returns true for letters and digits. Every character outside of ASCII counts as a letter.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Returns true if a new word begins at a letter or digit that follows on another one.
fn begins_word(name: &[u8], at: usize) -> bool {
    let (Some(before), Some(byte)) = (name.get(at - 1), name.get(at)) else {
        return false;
    };
    let is_lower = |byte: &u8| byte.is_ascii_lowercase() || !byte.is_ascii();
    before.is_ascii_digit() != byte.is_ascii_digit()
        || byte.is_ascii_uppercase() && (is_lower(before) || name.get(at + 1).is_some_and(is_lower))
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;

    #[test]
    fn whole_words_decide() {
        for secret in [
            "password",
            "db_password",
            "API_KEY",
            "apiKey",
            "access-key",
            "hf.token",
            "auth",
            "r_secret_x",
            "Token",
            "password1",
            "APIKey",
            "apikey",
            "db2Token",
            "DB_PWD",
            "ssh-passphrase",
            "myPat",
            "azure.sas",
            "sentry_dsn",
            "cookie",
            "userSession",
            "PGPASSWORD",
            "AccountKey",
            "smtp_pass",
            "credentials",
            "authorization",
        ] {
            assert!(is_secret_name(secret), "{secret}");
        }
        for plain in [
            "max_tokens",
            "tokenizer",
            "author",
            "key",
            "api",
            "secretary",
            "alpha",
            "",
            "authentic",
            "primary_key",
            "monkey",
            "eos_token",
            "pad_token_id",
            "bosToken",
            "token_accuracy",
            "num_tokens",
            "tokens_per_second",
            "token_type_ids",
            "session_length",
            "token_dropout",
            "max_token_length",
            "password_length",
            "api_key_file",
            "SharedAccessKeyName",
            "passed",
            "path",
            "pattern",
            "compat",
            "num_secrets",
            "forward_pass",
            "keys",
            "SASRec",
        ] {
            assert!(!is_secret_name(plain), "{plain}");
        }
    }

    /// Covers the ways in which words are joined into a name, with and without digits.
    #[test]
    fn camel_case_was_secret_as_a_field_only() {
        let words = [
            "password",
            "token",
            "api key",
            "access key",
            "auth",
            "max tokens",
            "author",
            "rate",
        ];
        let mut secret = 0;
        for text in words {
            let words: Vec<&str> = ["my"]
                .into_iter()
                .chain(text.split(' '))
                .chain(["x"])
                .collect();
            let capitals: Vec<String> = words
                .iter()
                .map(|word| word[..1].to_uppercase() + &word[1..])
                .collect();
            for name in [
                words.join("_"),
                words.join("-"),
                words.join("."),
                words.join("_").to_uppercase(),
                capitals.join(""),
                format!("m{}", &capitals.join("")[1..]),
                format!("HTTP{}", capitals.join("")),
                text.replace(' ', "_") + "9",
                "9".to_owned() + text,
            ] {
                let judged = is_secret_name(&name);
                let expected = !["max tokens", "author", "rate"].contains(&text);
                assert_eq!(judged, expected, "{name}");
                secret += usize::from(judged);
            }
        }
        assert_eq!(secret, 5 * 9);
    }
}
