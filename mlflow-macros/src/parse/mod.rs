//! First pass: the attribute and the function, as they were written.

pub(crate) mod arguments;
pub(crate) mod doc_comment;
pub(crate) mod item;
pub(crate) mod name_template;
