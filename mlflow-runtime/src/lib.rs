//! Experiment tracking.
pub mod store;
