//! Kinds of secrets that a program adds, in a process of their own, as they hold for the whole process.

use std::ops::Range;

use mlflow_rules::{Edge, add_secret_finder, credential_ranges, mask};

/// Finds `ACME-` with the digits behind it.
fn find_acme(text: &str) -> Vec<Range<usize>> {
    let found = text.match_indices("ACME-");
    let found = found.map(|(at, prefix)| {
        let digits = &text[at + prefix.len()..];
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        at..at + prefix.len() + length
    });
    found.collect()
}

#[test]
fn they_are_masked_beside_the_known_ones() {
    let text = "a ACME-123, password=hunter2 and ACME-4";
    assert!(mask("ACME-123", Edge::End).is_none());
    assert!(add_secret_finder("acme", find_acme));
    assert!(add_secret_finder("acme", |_| panic!("its name is known")));
    // Ranges that are none are left out.
    let added = add_secret_finder("unusable", |text| {
        let unusable = [(3, 2), (0, 0), (0, text.len() + 1), (1, 2)];
        let ranges = unusable.map(|(start, end)| Range { start, end });
        let is_asked = text.starts_with('é');
        ranges.into_iter().filter(|_| is_asked).collect()
    });
    assert!(added);
    for (text, masked) in [
        (text, "a [redacted], password=[redacted] and [redacted]"),
        ("ACME-1ACME-2", "[redacted]"),
        ("\u{1b}[1mACME\u{1b}[0m-12", "[redacted]"),
        ("token: ACME-123", "token: [redacted]"),
        // The rest of a known secret goes, too.
        ("password=ACME-0123ABCDrest x", "password=[redacted] x"),
        ("a [redacted] ACME-1", "a [redacted] [redacted]"),
    ] {
        let found = mask(text, Edge::End).expect(text);
        assert_eq!(found.text, masked);
        assert_eq!(mask(&found.text, Edge::End), None, "again");
    }
    assert_eq!(mask("é stays", Edge::End), None);
    // Regression: the time doubled with each mark. A finder that takes all leaves the marks.
    let marks = "a [redacted] ".repeat(10_000);
    assert_eq!(mask(&marks, Edge::End), None);
    assert!(add_secret_finder("all", |text| {
        let all = text.starts_with("all ").then_some(0..text.len());
        all.into_iter().collect()
    }));
    let masked = mask(&format!("all {marks}"), Edge::End)
        .expect("all of it")
        .text;
    assert_eq!(masked, "[redacted]".repeat(20_001));
    let found: Vec<_> = credential_ranges(text)
        .into_iter()
        .map(|range| &text[range])
        .collect();
    assert_eq!(found, ["ACME-123", "hunter2", "ACME-4"]);
}
