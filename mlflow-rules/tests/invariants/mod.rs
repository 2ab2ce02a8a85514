//! Invariants of the masking, which hold for every text.
//!
//! The fuzz target `masking` includes this file by its path.

use mlflow_rules::{Edge, REDACTED, mask};

/// Checks what masking promises for this text.
///
/// # Panics
/// Panics if the masked text is too long, if masking it again changes the text, or if anything but
/// a replacement was added.
pub(crate) fn check(text: &str) {
    for edge in [Edge::End, Edge::Cut] {
        let Some(masked) = mask(text, edge) else {
            continue;
        };
        let masked = masked.text;
        assert!(masked.contains(REDACTED), "{text:?}, {edge:?}: {masked:?}");
        assert!(
            masked.len() <= text.len() * (1 + REDACTED.len()),
            "{text:?}, {edge:?}: {} bytes became {}",
            text.len(),
            masked.len()
        );
        assert_eq!(
            mask(&masked, Edge::End),
            None,
            "{text:?}, {edge:?}: {masked:?}"
        );
        let mut rest = text;
        for kept in masked.split(REDACTED) {
            let Some(at) = rest.find(kept) else {
                panic!("{text:?}, {edge:?}: {kept:?} of {masked:?} is new");
            };
            rest = &rest[at + kept.len()..];
        }
    }
}
