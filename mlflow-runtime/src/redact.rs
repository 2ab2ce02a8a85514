//! What must not be seen: values whose name says that they are secret.
//!
//! Invariant: a name is judged by whole words, so `max_tokens` and `tokenizer` are no secrets.
//! The attribute macro judges the names of arguments by the same rule when it expands; one test of
//! the tests package puts the same names to both.

/// Stands in for a secret value.
pub(crate) const REDACTED: &str = "[redacted]";

const SECRET_WORDS: [&[&str]; 10] = [
    &["password"],
    &["passwd"],
    &["secret"],
    &["token"],
    &["api", "key"],
    &["apikey"],
    &["access", "key"],
    &["private", "key"],
    &["credential"],
    &["auth"],
];

/// Whether a field or key of this name holds a secret.
// Input:  `apiToken`, `db-password`, `api_key`, `max_tokens`
// Output: true, true, true, false
pub(crate) fn is_secret_name(name: &str) -> bool {
    // Nearly every name is sorted out here, without an allocation.
    let last_words = SECRET_WORDS.iter().filter_map(|secret| secret.last());
    if !last_words.into_iter().any(|word| contains(name, word)) {
        return false;
    }
    let words = words(name);
    SECRET_WORDS
        .iter()
        .any(|secret| words.windows(secret.len()).any(|window| window == *secret))
}

fn contains(name: &str, word: &str) -> bool {
    name.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

// Input:  `dbPassword1`, `APIKey`, `hf-token`
// Output: `db`, `password`, `1`; `api`, `key`; `hf`, `token`
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, char) in chars.iter().enumerate() {
        let (before, after) = (
            index.checked_sub(1).map(|before| chars[before]),
            chars.get(index + 1),
        );
        let begins = before.is_some_and(|before| {
            before.is_numeric() != char.is_numeric()
                || char.is_uppercase()
                    && (before.is_lowercase() || after.is_some_and(|after| after.is_lowercase()))
        });
        if begins || !char.is_alphanumeric() {
            words.push(String::new());
        }
        if char.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(char.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
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
        ] {
            assert!(!is_secret_name(plain), "{plain}");
        }
    }
}
