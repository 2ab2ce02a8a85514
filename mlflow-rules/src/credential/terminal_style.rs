//! Colours and other styles that a program writes for a terminal: control sequences of ECMA-48, section 5.4.
//!
//! Invariant: only whole sequences are removed, so what is left is text of the program.

use std::borrow::Cow;

/// Returns the text without control sequences, such as colours.
// Input:  `\u{1b}[3mtoken\u{1b}[0m=x`
// Output: `token=x`
pub(super) fn without_styles(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find("\u{1b}[") else {
        return Cow::Borrowed(text);
    };
    let mut plain = String::with_capacity(text.len());
    let (before, mut rest) = text.split_at(first);
    plain.push_str(before);
    while let Some(sequence) = rest.strip_prefix("\u{1b}[") {
        let behind = sequence.trim_start_matches(|c: char| matches!(c, '\u{20}'..='\u{3f}'));
        let mut chars = behind.chars();
        let is_whole = chars
            .next()
            .is_some_and(|last| matches!(last, '\u{40}'..='\u{7e}'));
        let behind = if is_whole {
            chars.as_str()
        } else {
            plain.push_str("\u{1b}[");
            sequence
        };
        let next = behind.find("\u{1b}[").unwrap_or(behind.len());
        let (kept, others) = behind.split_at(next);
        plain.push_str(kept);
        rest = others;
    }
    Cow::Owned(plain)
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
