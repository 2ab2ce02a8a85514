//! What must not be seen: values whose name says that they are secret.
//!
//! Invariant: a name is judged by whole words, so `max_tokens` and `tokenizer` are no secrets.
//! The attribute macro judges argument names by the same list when it expands.

/// Stands in for a secret value.
pub(crate) const REDACTED: &str = "[redacted]";

const SECRET_WORDS: [&[&str]; 9] = [
    &["password"],
    &["passwd"],
    &["secret"],
    &["token"],
    &["api", "key"],
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

// Input:  `dbPassword_1`
// Output: `db`, `password`, `1`
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for char in name.chars() {
        if !char.is_alphanumeric() || (after_lower && char.is_uppercase()) {
            words.push(String::new());
        }
        if char.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(char.to_lowercase());
        }
        after_lower = char.is_lowercase();
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
