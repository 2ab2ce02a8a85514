//! Names of arguments and fields that say their value is secret.
//!
//! Invariant: the same rule as in the runtime's `redact`, which judges fields; one test of the
//! tests package puts the same names to both.

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

// Input:  `api_token`, `apiKey`, `max_tokens`
// Output: true, true, false
pub(crate) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    SECRET_WORDS
        .iter()
        .any(|secret| words.windows(secret.len()).any(|window| window == *secret))
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
