//! Third pass: the tokens that are emitted.

pub(crate) mod body;
pub(crate) mod captures;
pub(crate) mod timed;
pub(crate) mod tracked;
pub(crate) mod unexpanded;
