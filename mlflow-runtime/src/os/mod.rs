//! The operating system's side of a process: its hooks, and what becomes of it in a child made by `fork`.

pub(crate) mod fork;
pub(crate) mod hooks;
