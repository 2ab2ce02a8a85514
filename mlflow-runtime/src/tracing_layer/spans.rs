//! The layer's data about a span.

use std::sync::Mutex;
use std::time::Instant;

use rustc_hash::FxHashMap;
use tracing::Metadata;
use tracing::callsite::Identifier;

use crate::os::fork::PerProcess;
use crate::run::Run;
use crate::sync::lock;

/// Run that was current where the span was created.
pub(super) struct SpanRun(pub(super) Run);

/// Time at which the span was created.
pub(super) struct SpanStart(Instant);

impl SpanStart {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    pub(super) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Number of spans that have closed, by callsite.
#[derive(Debug, Default)]
pub(super) struct SpanCounts(PerProcess<Mutex<FxHashMap<Identifier, i64>>>);

impl SpanCounts {
    /// Counts a closed span. Returns the key of its metric, and the span's number among those of its
    /// callsite, from 1.
    pub(super) fn next_point(&self, metadata: &Metadata<'_>) -> (String, i64) {
        let key = format!("time/{}", metadata.name());
        let mut counts = lock(self.0.get());
        let count = counts.entry(metadata.callsite()).or_default();
        *count += 1;
        (key, *count)
    }
}
