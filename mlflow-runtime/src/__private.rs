//! What the macros of this crate expand to, and the types they pass on without naming. Not for
//! anybody else: it changes without notice.

pub use crate::capture::{Capture, Failure, Numbers, Values, by_bounds};
pub use crate::model::metric_key::Key;
pub use crate::run::callsite::{Built, Site};
pub use crate::run::current::{MetricValue, Step, log_key};
pub use crate::run::start_run_at;
pub use crate::tracked::boxed_future::{OtherType, Returned};
pub use crate::tracked::call::{AnyRunId, Call, RunId, begin};
pub use crate::tracked::name_template::Template;
pub use crate::tracked::outcome::{Ending, Probe, Split, Whole};
pub use crate::tracked::timed::{TimedSite, Timer, time};
pub use crate::tracked::{
    Guard, Tracked, any_value, call, future_like, future_of, invoke, keep, nothing, nothing_like,
    value_like,
};

pub use mlflow_macros::built;

/// Names the never type where a type cannot be written as `!`.
pub trait Returns {
    /// What the function returns.
    type Value;
}

impl<T> Returns for fn() -> T {
    type Value = T;
}

/// The never type.
pub type Never = <fn() -> ! as Returns>::Value;
