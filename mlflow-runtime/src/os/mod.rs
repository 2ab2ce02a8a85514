//! The operating system's side of a process: the C library's hooks, the end of the process, and tracking in a
//! child made by `fork`.

pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod hooks;
