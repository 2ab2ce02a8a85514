//! What the tests stand on.

pub(crate) mod program;
pub(crate) mod warnings;
