//! Second pass: validation of the attribute and the function, and the decisions of the expansion.

pub(crate) mod cfg_and_lints;
pub(crate) mod key;
pub(crate) mod parameters;
pub(crate) mod plan;
pub(crate) mod usage;
pub(crate) mod wrapping;
