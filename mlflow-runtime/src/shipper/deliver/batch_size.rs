//! The adaptive batch size of a run: halved after a failure, grown back by 1/16 for each success (AIMD).
//!
//! Invariant: a batch that brought no answer is not sent again in the same size for ever.
//!
//! A server is given a certain time, by us or by a gateway between. What takes it longer is done and
//! never acknowledged; sent again it takes as long. Each run has a size of its own: one that fails by
//! itself makes no request of another smaller.

use crate::store::BatchLimits;

/// In parts of a full request.
const FULL_SHARE: usize = 1024;
/// What an answer adds: the way back takes some requests, or every second one would fail.
const GROWTH_STEP: usize = FULL_SHARE / 16;

/// The share of a full request that the next one holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::shipper) struct AdaptiveBatchSize(usize);

impl Default for AdaptiveBatchSize {
    fn default() -> Self {
        Self(FULL_SHARE)
    }
}

impl AdaptiveBatchSize {
    pub(in crate::shipper) fn apply_to(self, limits: BatchLimits) -> BatchLimits {
        let total = limits.total.saturating_mul(self.0).div_ceil(FULL_SHARE);
        BatchLimits { total, ..limits }
    }

    pub(in crate::shipper) fn grow(&mut self) {
        self.0 = (self.0 + GROWTH_STEP).min(FULL_SHARE);
    }

    pub(in crate::shipper) fn shrink(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_shrink_down_to_one_entry_and_grow_back() {
        let limits = |total| BatchLimits {
            total,
            metrics: total,
            params: 100,
            tags: 100,
        };
        let mut share = AdaptiveBatchSize::default();
        assert_eq!(share.apply_to(limits(1000)).total, 1000);
        share.shrink();
        assert_eq!(share.apply_to(limits(1000)).total, 500);
        for _ in 0..20 {
            share.shrink();
        }
        assert_eq!(share.apply_to(limits(1000)).total, 1);
        assert_eq!(share.apply_to(limits(1)).total, 1);
        for _ in 0..16 {
            share.grow();
        }
        assert_eq!(share.apply_to(limits(1000)).total, 1000);
    }
}
