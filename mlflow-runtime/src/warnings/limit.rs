//! A limit on how often one kind of warning is issued.
//!
//! Invariant: a warning that is due with every value fills neither the program's log nor its memory.

use std::sync::atomic::{AtomicU32, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

/// Maximum number of warnings of one kind in a process.
const MAX_WARNINGS_PER_KIND: u32 = 20;

/// Record of the warnings about keys. Each is issued once, and of each kind at most
/// [`MAX_WARNINGS_PER_KIND`].
#[derive(Debug, Default)]
pub(crate) struct WarningLog {
    keys: FxHashSet<(&'static str, String)>,
    kinds: FxHashMap<&'static str, WarningLimit>,
}

impl WarningLog {
    /// Returns the text to append to the warning; `None` if the warning was issued before, or its kind has
    /// reached the limit.
    pub(crate) fn admit(&mut self, kind: &'static str, key: &str) -> Option<&'static str> {
        let limit = self.kinds.entry(kind).or_default();
        if limit.is_reached() || !self.keys.insert((kind, key.to_owned())) {
            return None;
        }
        limit.admit()
    }
}

/// A counter for one kind of warning.
#[derive(Debug, Default)]
pub(crate) struct WarningLimit(AtomicU32);

impl WarningLimit {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn is_reached(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MAX_WARNINGS_PER_KIND
    }

    /// Returns the text to append to the warning; `None` if the limit is reached.
    pub(crate) fn admit(&self) -> Option<&'static str> {
        // The count stays at the limit, however long the process lives, and never wraps around.
        let counted = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < MAX_WARNINGS_PER_KIND).then_some(count + 1)
            });
        match counted {
            Ok(before) if before + 1 == MAX_WARNINGS_PER_KIND => Some(
                ". This is the last warning of its kind, though there may be more such cases; see mlflow::health()",
            ),
            Ok(_) => Some(""),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_says_that_it_is_the_last() {
        let limit = WarningLimit::new();
        for _ in 1..MAX_WARNINGS_PER_KIND {
            assert_eq!(limit.admit(), Some(""));
        }
        assert!(
            limit
                .admit()
                .is_some_and(|end| end.contains("last warning of its kind"))
        );
        assert_eq!(limit.admit(), None);
        assert_eq!(limit.admit(), None);
    }

    #[test]
    fn a_million_bad_keys_are_few_warnings_and_little_memory() {
        let mut said = WarningLog::default();
        let told = (0..1_000_000)
            .filter(|key| said.admit("metric", &key.to_string()).is_some())
            .count();
        assert_eq!(told, MAX_WARNINGS_PER_KIND as usize);
        assert_eq!(said.keys.len(), MAX_WARNINGS_PER_KIND as usize);
        assert_eq!(said.admit("param", "1"), Some(""), "another kind");
        assert_eq!(said.admit("param", "1"), None, "the same again");
    }
}
