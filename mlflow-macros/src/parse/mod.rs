//! The first pass: what was written, as it was written.

pub(crate) mod arguments;
pub(crate) mod doc_comment;
pub(crate) mod item;
pub(crate) mod name_template;
