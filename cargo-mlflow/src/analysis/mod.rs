//! Computations on the curves of metrics: no input, no output.

pub(crate) mod diagnosis;
pub(crate) mod thinning;
mod trend;
