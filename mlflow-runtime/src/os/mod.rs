//! The operating system's side of a process: the C library's hooks, the end of the process, tracking in a
//! child made by `fork`, and files below directories
//! in which others may write, too.

pub(crate) mod existing_file;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod hooks;
pub(crate) mod new_file;
mod relative_path;
