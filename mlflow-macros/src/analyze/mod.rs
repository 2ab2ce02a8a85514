//! The second pass: what it means, and what is wrong with it.

pub(crate) mod cfg_and_lints;
pub(crate) mod key;
pub(crate) mod parameters;
pub(crate) mod plan;
pub(crate) mod usage;
pub(crate) mod wrapping;
