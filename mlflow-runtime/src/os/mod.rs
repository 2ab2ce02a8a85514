//! The operating system's side of a process: its hooks, its end, and what becomes of it in a
//! child made by `fork`.

pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod hooks;
