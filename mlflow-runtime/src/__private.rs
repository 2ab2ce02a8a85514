//! The items that the macros of this crate expand to, and the types that these items pass on without naming
//! them. Not part of the public API: everything here may change without notice.

pub use crate::capture::{Capture, Failure, Numbers, Values};
pub use crate::model::metric_key::Key;
pub use crate::run::callsite::{BuildInfo, Callsite};
pub use crate::run::logging::log_key;
pub use crate::run::metric_value::{MetricValue, Step};
pub use crate::run::start_run_at;
pub use crate::tracked::boxed_future::NotAFuture;
pub use crate::tracked::call::{AnyRunId, Call, RunId, begin};
pub use crate::tracked::closure::{call, ignore_value, invoke};
pub use crate::tracked::future::Tracked;
pub use crate::tracked::guard::Guard;
pub use crate::tracked::log_as::{InputProbe, Inputs, ModelProbe, Models};
pub use crate::tracked::name_template::Template;
pub use crate::tracked::outcome::{Inspected, ResultProbe, RunOutcome};
pub use crate::tracked::return_type::ReturnType;
pub use crate::tracked::timed::{TimedCallsite, Timer, time};
pub use crate::tracked::type_hints::{
    mark_used, none, none_future_like, none_like, with_output, with_type_of,
};

pub use mlflow_macros::build_info;

/// A trait that names the never type where a type cannot be written as `!`.
pub trait Returns {
    /// Return type of the function.
    type Value;
}

impl<T> Returns for fn() -> T {
    type Value = T;
}

/// The never type.
pub type Never = <fn() -> ! as Returns>::Value;

/// The traits of all levels of the dispatch, for a glob import that brings no names into scope.
pub mod specialization {
    pub use crate::capture::specialization::*;
    pub use crate::tracked::log_as::{NotAModel as _, NotAnInput as _, NumbersBesideModel as _};
    pub use crate::tracked::outcome::NotAResult as _;
}
