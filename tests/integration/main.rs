//! The one integration binary: a module per topic, against the real thing.

mod bad_input;
mod fake;
mod macros;
mod support;
