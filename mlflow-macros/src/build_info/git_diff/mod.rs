//! Expansion of `git_diff!()`: the difference between the code that is built and its commit.
//!
//! Invariants: the size is bounded. Secrets are masked before the difference gets into the program:
//! credentials anywhere in the text, and values that are assigned to a secret's name (see
//! [`redaction`]).

mod redaction;

use mlflow_rules::git::Repository;
use mlflow_rules::{Edge, mask};
use proc_macro2::TokenStream;
use quote::quote;

use super::{BuildInfo, package_directory, quote_option};
use crate::paths;
use redaction::{Language, LineMasker};

/// Maximum size of the difference in bytes: more than anybody reads, and little compared with a
/// program.
const MAX_DIFF_BYTES: u64 = 256 * 1024;

/// Beginning of the first line of each file in the diff.
const FILE_HEADER: &str = "diff --git ";

/// Expands `git_diff!()`.
// Output: `{ const _: &[u8] = include_bytes!("…/.git/HEAD");
//            const DIFF: Option<&'static str> = Some("diff --git a/…"); DIFF }`
pub(crate) fn git_diff(arguments: &TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return syn::Error::new_spanned(arguments, "`git_diff!()` takes no arguments")
            .into_compile_error();
    }
    let repository = package_directory()
        .as_deref()
        .and_then(Repository::discover);
    let (watched, diff) = match repository {
        Some(repository) if !cfg!(feature = "disabled") => {
            (repository.files_to_watch(), repository.diff(MAX_DIFF_BYTES))
        }
        _ => (Vec::new(), None),
    };
    let diff = diff
        .map(|(diff, is_all)| mask_diff(&diff, is_all))
        .filter(|diff| !diff.is_empty());
    let diff = quote_option(diff.as_ref());
    let watch = BuildInfo {
        watched_files: Some(watched),
        ..BuildInfo::default()
    }
    .rebuild_triggers();
    let core = paths::core_path();
    quote!({ #watch const DIFF: #core::option::Option<&'static #core::primitive::str> = #diff; DIFF })
}

/// Returns the diff with its secrets masked. A diff that was cut ends with a whole line, and a note
/// that it was cut.
fn mask_diff(diff: &str, is_all: bool) -> String {
    let whole = match diff.rfind('\n') {
        Some(last) if !is_all => &diff[..=last],
        _ => diff,
    };
    let mut masked = String::with_capacity(whole.len());
    let mut lines = LineMasker::new(Language::Other);
    let mut left = Hunk::default();
    for line in whole.split_inclusive('\n') {
        if left.consume_line(line) {
            lines.push(line, &mut masked);
            continue;
        }
        if let Some(file) = line.strip_prefix(FILE_HEADER) {
            remove_untouched_file(&mut masked);
            lines = LineMasker::new(Language::from_path(file.trim_end()));
        }
        match Hunk::parse_header(line) {
            // Git repeats an earlier line of the file behind the line numbers. That line is not
            // masked, so it is dropped.
            Some((hunk, places)) => {
                left = hunk;
                lines = lines.restarted();
                masked.push_str(places);
                masked.push('\n');
            }
            None => masked.push_str(line),
        }
    }
    if is_all {
        remove_untouched_file(&mut masked);
    }
    let edge = if is_all { Edge::End } else { Edge::Cut };
    let mut masked = mask(&masked, edge).map_or(masked, |masked| masked.text);
    if !is_all {
        masked.push_str(&format!(
            "[the diff is longer than {MAX_DIFF_BYTES} bytes and was cut off here]\n"
        ));
    }
    masked
}

/// Removes a file from the end of the diff if no change follows its header. Only the modification
/// time of such a file differs from the index, and git, which runs without permission to update the
/// index, cannot record the new time.
fn remove_untouched_file(masked: &mut String) {
    let last = masked
        .trim_end_matches('\n')
        .rfind('\n')
        .map_or(0, |end| end + 1);
    if masked[last..].starts_with(FILE_HEADER) {
        masked.truncate(last);
    }
}

/// Numbers of the lines of the old and the new file that are still to come in a hunk. A line that
/// looks like a header may be one of them.
#[derive(Default)]
struct Hunk {
    old: usize,
    new: usize,
}

impl Hunk {
    // Input:  `@@ -8,4 +8,5 @@ DB_PASSWORD=hunter2`
    // Output: 4 old lines and 5 new ones; `@@ -8,4 +8,5 @@`
    fn parse_header(line: &str) -> Option<(Self, &str)> {
        let places = line.strip_prefix("@@ -")?;
        let (places, _) = places.split_once(" @@")?;
        let (old, new) = places.split_once(" +")?;
        let lines = |place: &str| match place.split_once(',') {
            Some((_, lines)) => lines.parse().ok(),
            None => Some(1),
        };
        let hunk = Self {
            old: lines(old)?,
            new: lines(new)?,
        };
        Some((hunk, &line[..places.len() + "@@ - @@".len()]))
    }

    fn consume_line(&mut self, line: &str) -> bool {
        if self.old == 0 && self.new == 0 {
            return false;
        }
        let (old, new) = match line.as_bytes().first() {
            Some(b' ') => (1, 1),
            Some(b'-') => (1, 0),
            Some(b'+') => (0, 1),
            // `\ No newline at end of file`
            Some(b'\\') => return false,
            _ => {
                *self = Self::default();
                return false;
            }
        };
        self.old = self.old.saturating_sub(old);
        self.new = self.new.saturating_sub(new);
        true
    }
}

#[cfg(test)]
mod tests {
    use mlflow_rules::REDACTED;

    use super::*;

    fn diff(file: &str, lines: &[&str]) -> String {
        let count = |other: char| lines.iter().filter(|line| !line.starts_with(other)).count();
        format!(
            "diff --git a/{file} b/{file}\n--- a/{file}\n+++ b/{file}\n@@ -1,{} +1,{} @@\n{}\n",
            count('+'),
            count('-'),
            lines.join("\n")
        )
    }

    #[test]
    fn credentials_wherever_they_stand() {
        let key = format!("ghp_{}", "0aA".repeat(12));
        let diff = diff("token.rs", &[&format!("-a(\"{key}\")"), "+b(7)"]);
        assert_eq!(mask_diff(&diff, true), diff.replace(&key, REDACTED));
    }

    /// Covers the line that git repeats in a hunk's header: the nearest earlier line that looks
    /// like the beginning of a function, changed or not.
    #[test]
    fn the_line_behind_the_places_of_a_hunk_was_not_masked() {
        let header = "@@ -8,1 +8,1 @@ DB_PASSWORD=hunter2\n";
        let diff = format!("diff --git a/app.env b/app.env\n{header}-a=1\n+a=2\n");
        let expected = "diff --git a/app.env b/app.env\n@@ -8,1 +8,1 @@\n-a=1\n+a=2\n";
        assert_eq!(mask_diff(&diff, true), expected);
    }

    #[test]
    fn a_line_that_looks_like_a_header_was_not_masked() {
        let diff = diff(
            "a.sql",
            &["--- password: hunter2", "+++ password: hunter3", " x"],
        );
        let masked = mask_diff(&diff, true);
        assert!(!masked.contains("hunter"), "{masked}");
        assert!(masked.contains("--- a/a.sql\n+++ b/a.sql\n"), "{masked}");
    }

    #[test]
    fn a_file_with_another_time_only_is_left_out() {
        let touched = "diff --git a/x b/x\n";
        let changed = diff("y", &["+one"]);
        let moded = "diff --git a/z b/z\nold mode 100644\nnew mode 100755\n";
        let all = format!("{touched}{changed}{touched}{moded}{touched}");
        assert_eq!(mask_diff(&all, true), format!("{changed}{moded}"));
    }

    #[test]
    fn a_diff_that_is_cut_says_so_and_keeps_whole_lines() {
        let cut = mask_diff("diff --git a/x b/x\n@@ -0,0 +1,9 @@\n+one\n+tw", false);
        assert_eq!(
            cut,
            "diff --git a/x b/x\n@@ -0,0 +1,9 @@\n+one\n[the diff is longer than 262144 bytes and was cut off here]\n"
        );
    }
}
