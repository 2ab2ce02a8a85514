//! Execution of the body of an annotated function.
//!
//! Invariants: the body runs once, from one place in the code, tracked or not. The value that the body
//! returns, or the payload that it panics with, is passed on unchanged. Everything that the run records about
//! the outcome is recorded before the caller receives the outcome.

pub(crate) mod boxed_future;
pub(crate) mod call;
pub(crate) mod closure;
pub(crate) mod docs;
pub(crate) mod future;
pub(crate) mod guard;
pub(crate) mod log_as;
pub(crate) mod name_template;
pub(crate) mod outcome;
pub(crate) mod panic_hook;
pub(crate) mod return_type;
pub(crate) mod timed;
pub(crate) mod type_hints;
