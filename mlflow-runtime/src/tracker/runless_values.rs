//! Values that were logged in the scope of a fake while no run was current.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::sync::lock;

/// Counts of values without a run, by kind and key. A strict fake fails its test if there are any.
#[derive(Default)]
pub(crate) struct RunlessValues(Mutex<BTreeMap<String, u64>>);

impl RunlessValues {
    /// Counts one value.
    #[cold]
    pub(crate) fn record(&self, kind: &'static str, key: &str) {
        *lock(&self.0).entry(format!("{kind} {key:?}")).or_default() += 1;
    }

    /// Returns the counts so far, by `kind "key"`.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }
}
