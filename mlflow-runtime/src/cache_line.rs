//! Values that share their cache line with no other value.
//!
//! Invariant: of the fields that a metric's log call reads, none lies in a cache line that another thread writes while values are
//! logged. A thread that writes a cache line takes it away from the caches of all others, who then wait for it: the call would
//! cost several times as much.
//!
//! The threads of a program share the run, the tracker, the journal and the key of a call site, and write none of them when they
//! log a metric. Each thread has its own segment and its own [`Writer`](crate::journal) in a thread-local. What a log call reads
//! of the tracker, the journal and the segment is wrapped in [`CacheLine`], and so is what other calls write often, such as the
//! number of the next event. A run's reference count is written only where a handle of the run is cloned.

use std::ops::Deref;

/// Value in cache lines of its own. Aligned to 128 bytes: processors have lines of 64 or 128 bytes, and those with lines of 64
/// bytes often fetch two at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CacheLine<T>(pub(crate) T);

impl<T> Deref for CacheLine<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::CacheLine;

    #[test]
    fn a_value_shares_its_line_with_no_other() {
        assert_eq!(align_of::<CacheLine<AtomicU64>>(), 128);
        assert_eq!(size_of::<CacheLine<AtomicU64>>(), 128);
        assert_eq!(size_of::<CacheLine<[u8; 129]>>(), 256);
    }
}
