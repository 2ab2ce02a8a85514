//! What the macros of this crate expand to. Not for anybody else: it changes without notice.

pub use crate::key::Key;
pub use crate::log::{MetricValue, Step, log_key};
