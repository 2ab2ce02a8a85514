//! The attributes, documented.

pub use mlflow_macros::{timed, tracked};
