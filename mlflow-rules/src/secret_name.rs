//! Names of secret values, such as `password` or `api_key`.
//!
//! Invariant: a name is split into words, and only whole words are compared. So `max_tokens` and
//! `tokenizer` are not names of secrets.

const SECRET_WORDS: [&[&str]; 12] = [
    &["password"],
    &["passwd"],
    &["pwd"],
    &["passphrase"],
    &["secret"],
    &["token"],
    &["api", "key"],
    &["apikey"],
    &["access", "key"],
    &["private", "key"],
    &["credential"],
    &["auth"],
];

/// Returns true if an argument, a field or a key of this name holds a secret.
///
/// Upper and lower case count as the same. Words are separated by characters such as `_` or `-`, by
/// camel case, and by digits.
// Input:  `apiToken`, `db-password`, `api_key`, `max_tokens`
// Output: true, true, true, false
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    // Fast path without an allocation: nearly every name contains none of these words.
    let last_words = SECRET_WORDS.iter().filter_map(|secret| secret.last());
    if !last_words
        .into_iter()
        .any(|word| contains_ignore_case(name, word))
    {
        return false;
    }
    let words = split_words(name);
    SECRET_WORDS
        .iter()
        .any(|secret| words.windows(secret.len()).any(|window| window == *secret))
}

fn contains_ignore_case(name: &str, word: &str) -> bool {
    name.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

// Input:  `dbPassword1`, `APIKey`, `hf-token`
// Output: `db`, `password`, `1`; `api`, `key`; `hf`, `token`
fn split_words(name: &str) -> Vec<String> {
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
