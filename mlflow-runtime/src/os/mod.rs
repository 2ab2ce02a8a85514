//! The operating system's side of a process: the C library's hooks, the end of the process, tracking in a
//! child made by `fork`, and files that are written for others.

pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod hooks;
pub(crate) mod new_file;
