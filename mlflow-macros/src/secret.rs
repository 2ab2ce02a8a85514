//! Argument names that say their value is secret.
//!
//! Invariant: the same words as in the runtime's `redact`, which judges fields; one test of the
//! tests package goes through both.

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

// Input:  `api_token`, `max_tokens`
// Output: true, false
pub(crate) fn is_secret_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split('_').filter(|word| !word.is_empty()).collect();
    SECRET_WORDS
        .iter()
        .any(|secret| words.windows(secret.len()).any(|window| window == *secret))
}
