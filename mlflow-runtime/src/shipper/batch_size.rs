//! The adaptive batch size of a run: halved after a failure, grown back by 1/16 of a full request for each
//! success (AIMD).
//!
//! Invariant: a batch that got no answer is not sent again and again in the same size.
//!
//! A server has a limited time for a request, set by this client or by a gateway in between. A request that
//! takes longer is carried out but never acknowledged, and takes as long when it is sent again. Each run has
//! a batch size of its own, so a run that fails alone does not make the requests of other runs smaller.

use crate::store::BatchLimits;

/// Share that stands for a full request.
const FULL_SHARE: usize = 1024;
/// Growth of the share for each success. Growing back takes several requests: otherwise every second request
/// would fail.
const GROWTH_STEP: usize = FULL_SHARE / 16;

/// Share of a full request that the next request may fill, in units of 1/[`FULL_SHARE`].
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
