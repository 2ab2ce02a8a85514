//! Colours and other styles that a program writes for a terminal: control sequences of ECMA-48, section 5.4.
//!
//! Invariant: only whole sequences are removed, so what is left is text of the program.

use std::borrow::Cow;
use std::ops::Range;

/// Beginning of a control sequence.
const INTRODUCER: &str = "\u{1b}[";

/// Returns the text without control sequences, such as colours.
// Input:  `\u{1b}[3mtoken\u{1b}[0m=x`
// Output: `token=x`
pub(super) fn without_styles(text: &str) -> Cow<'_, str> {
    if !text.contains(INTRODUCER) {
        return Cow::Borrowed(text);
    }
    let kept = plain_ranges(text).into_iter();
    let kept = kept.map(|range| text.get(range).unwrap_or_default());
    Cow::Owned(kept.collect())
}

/// Returns the ranges of the text that are no control sequences, in order.
pub(super) fn plain_ranges(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    let mut searched = 0;
    while let Some(found) = text.get(searched..).and_then(|rest| rest.find(INTRODUCER)) {
        let start = searched + found;
        let sequence = text.get(start + INTRODUCER.len()..).unwrap_or_default();
        let behind = sequence.trim_start_matches(|c: char| matches!(c, '\u{20}'..='\u{3f}'));
        let last = behind.chars().next();
        let is_whole = last.is_some_and(|last| matches!(last, '\u{40}'..='\u{7e}'));
        searched = start + INTRODUCER.len();
        if is_whole {
            ranges.push(from..start);
            searched += sequence.len() - behind.len() + 1;
            from = searched;
        }
    }
    ranges.push(from..text.len());
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_removed_and_all_else_stays() {
        for (text, plain) in [
            ("a\u{1b}[0mb", "ab"),
            (
                "\u{1b}[1;31mred\u{1b}[m and \u{1b}[38;5;200mpink\u{1b}[0m",
                "red and pink",
            ),
            ("\u{1b}[2K\u{1b}[1G50 %", "50 %"),
            ("日\u{1b}[3m本\u{1b}[0m", "日本"),
            ("ends \u{1b}[", "ends \u{1b}["),
            ("ends \u{1b}[31", "ends \u{1b}[31"),
            ("\u{1b}[\u{1b}[0mx", "\u{1b}[x"),
            ("\u{1b}]8;;x", "\u{1b}]8;;x"),
            ("no style", "no style"),
        ] {
            assert_eq!(without_styles(text), plain, "{text:?}");
        }
    }
}
