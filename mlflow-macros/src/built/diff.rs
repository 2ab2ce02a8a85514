//! `git_diff!()`: how the code that is built differs from its commit.
//!
//! Invariants: bounded; what is secret is masked before it gets into the program: credentials
//! wherever they stand, and what a line gives to a secret's name.

use std::borrow::Cow;

use mlflow_redact::{Edge, REDACTED, is_secret_name, mask};
use proc_macro2::TokenStream;
use quote::quote;

use super::git::Repository;
use super::{Built, option, package};

/// More than anybody reads, and little beside a program.
const MOST_BYTES: u64 = 256 * 1024;

/// `git_diff!()`
// Output: `{ const _: &[u8] = include_bytes!("…/.git/HEAD"); const DIFF: Option<&'static str> = Some("diff --git a/…"); DIFF }`
pub(crate) fn git_diff(arguments: &TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return syn::Error::new_spanned(arguments, "`git_diff!()` takes no arguments")
            .into_compile_error();
    }
    let repository = package().as_deref().and_then(Repository::around);
    let (watched, diff) = match repository {
        Some(repository) if !cfg!(feature = "disabled") => {
            (repository.watched(), repository.diff(MOST_BYTES))
        }
        _ => (Vec::new(), None),
    };
    let diff = diff
        .filter(|(diff, _)| !diff.is_empty())
        .map(|(diff, is_all)| masked(&diff, is_all));
    let diff = option(diff.as_ref());
    let watch = Built {
        watched: Some(watched),
        ..Built::default()
    }
    .watch();
    quote!({ #watch const DIFF: ::core::option::Option<&'static str> = #diff; DIFF })
}

/// The diff without its secrets; one that was cut ends with a whole line and says so.
fn masked(diff: &str, is_all: bool) -> String {
    let whole = match diff.rfind('\n') {
        Some(last) if !is_all => &diff[..=last],
        _ => diff,
    };
    let mut is_rust = false;
    let mut masked = String::with_capacity(whole.len());
    for line in whole.split_inclusive('\n') {
        if let Some(file) = line.strip_prefix("diff --git ") {
            is_rust = file.trim_end().ends_with(".rs");
        }
        let is_content = line.starts_with(['+', '-', ' '])
            && !line.starts_with("+++ ")
            && !line.starts_with("--- ");
        if is_content {
            masked.push_str(&without_named(line, is_rust));
        } else {
            masked.push_str(line);
        }
    }
    let edge = if is_all { Edge::End } else { Edge::Cut };
    let mut masked = mask(&masked, edge).map_or(masked, |masked| masked.text);
    if !is_all {
        masked.push_str(&format!(
            "[the diff is longer than {MOST_BYTES} bytes, and cut here]\n"
        ));
    }
    masked
}

/// The line without what it gives to a secret's name: in Rust the texts behind it, elsewhere all that
/// stands behind `=` or `:`.
// Input:  `+    login("me", password = "hunter2");` of Rust, `+API_KEY=abc` of another file
// Output: `+    login("me", password = "[redacted]");`, `+API_KEY=[redacted]`
fn without_named(line: &str, is_rust: bool) -> Cow<'_, str> {
    let Some(end) = end_of_secret_name(line) else {
        return Cow::Borrowed(line);
    };
    let (before, behind) = line.split_at(end);
    // The end of a name that stands in quotes itself.
    let quote = behind
        .chars()
        .next()
        .filter(|char| matches!(char, '"' | '\''));
    let (closing, behind) = behind.split_at(quote.map_or(0, char::len_utf8));
    if is_rust {
        return Cow::Owned(format!("{before}{closing}{}", without_texts(behind)));
    }
    match behind.find(['=', ':']) {
        Some(sign) if !behind[sign + 1..].trim().is_empty() => {
            let value = behind[sign + 1..].trim_start();
            let start = behind.len() - value.len();
            let line_end = if line.ends_with('\n') { "\n" } else { "" };
            Cow::Owned(format!(
                "{before}{closing}{}{REDACTED}{line_end}",
                &behind[..start]
            ))
        }
        _ => Cow::Borrowed(line),
    }
}

/// Where the first name of a secret ends.
fn end_of_secret_name(line: &str) -> Option<usize> {
    let is_part = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
    let mut start = None;
    for (at, char) in line.char_indices().skip(1).chain([(line.len(), ' ')]) {
        match (start, is_part(char)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if is_secret_name(&line[from..at]) {
                    return Some(at);
                }
                start = None;
            }
            _ => {}
        }
    }
    None
}

// Input:  ` = env("X").unwrap_or("hunter2");`
// Output: ` = env("[redacted]").unwrap_or("[redacted]");`
fn without_texts(code: &str) -> String {
    let mut masked = String::with_capacity(code.len());
    let mut inside = false;
    let mut escaped = false;
    for char in code.chars() {
        match char {
            '"' if !escaped => {
                if !inside {
                    masked.push('"');
                    masked.push_str(REDACTED);
                } else {
                    masked.push('"');
                }
                inside = !inside;
            }
            '\n' => masked.push('\n'),
            _ if inside => {}
            _ => masked.push(char),
        }
        escaped = inside && char == '\\' && !escaped;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_gives_to_a_secrets_name_is_masked() {
        let cases = [
            (
                true,
                "+    let password = \"hunter2\";\n",
                "+    let password = \"[redacted]\";\n",
            ),
            (
                true,
                "+    login(\"me\", &api_key, \"a\\\"b\", 7);\n",
                "+    login(\"me\", &api_key, \"[redacted]\", 7);\n",
            ),
            (
                true,
                "+    let max_tokens = \"7\";\n",
                "+    let max_tokens = \"7\";\n",
            ),
            (
                true,
                "-    auth: \"not closed\n",
                "-    auth: \"[redacted]\n",
            ),
            (
                true,
                " fn token(&self) -> &'a str {\n",
                " fn token(&self) -> &'a str {\n",
            ),
            (false, "+API_KEY=abc def\n", "+API_KEY=[redacted]\n"),
            (
                false,
                "+  \"db_password\": \"x\",\n",
                "+  \"db_password\": [redacted]\n",
            ),
            (false, "+token = 'x' # note", "+token = [redacted]"),
            (false, " The token is a word.\n", " The token is a word.\n"),
            (false, "-password:\n", "-password:\n"),
        ];
        for (is_rust, line, expected) in cases {
            assert_eq!(without_named(line, is_rust), expected);
        }
    }

    #[test]
    fn credentials_and_headers_of_a_diff() {
        let key = format!("ghp_{}", "0aA".repeat(12));
        let diff = format!(
            "diff --git a/token.rs b/token.rs\n--- a/token.rs\n+++ b/token.rs\n@@ -1 +1 @@ fn auth() {{\n-a(\"{key}\")\n+b(7)\n"
        );
        assert_eq!(masked(&diff, true), diff.replace(&key, REDACTED));
    }

    #[test]
    fn a_diff_that_is_cut_says_so_and_keeps_whole_lines() {
        let cut = masked("diff --git a/x b/x\n+one\n+tw", false);
        assert_eq!(
            cut,
            "diff --git a/x b/x\n+one\n[the diff is longer than 262144 bytes, and cut here]\n"
        );
    }
}
