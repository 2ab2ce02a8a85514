//! The lane: a queue of entries that wait separately from all others.

/// A queue of entries that wait by themselves. A cursor names the lane that its segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::shipper) enum Lane {
    /// Entries of a parked run, in order.
    Run(u32),
    /// Metrics of a run that the store may already have.
    Doubtful(u32),
    /// [Points that are left out](crate::shipper::queue::thinned_points) of a run's metrics.
    Thinned(u32),
    /// Waiting [artifacts](crate::shipper::queue::deferred_artifacts) of all runs.
    Artifacts,
}

impl Lane {
    pub(in crate::shipper) fn run(self) -> Option<u32> {
        match self {
            Self::Run(run) | Self::Doubtful(run) | Self::Thinned(run) => Some(run),
            Self::Artifacts => None,
        }
    }

    pub(in crate::shipper) fn is_run(self) -> bool {
        matches!(self, Self::Run(_))
    }

    pub(in crate::shipper) fn is_doubtful(self) -> bool {
        matches!(self, Self::Doubtful(_))
    }
}
