//! Output of lines on stderr.

use rustix::io::Errno;
use rustix::stdio::stderr;

/// Writes a line to stderr, as [`write_stderr`] does.
pub(crate) fn write_stderr_line(line: &str) {
    write_stderr(&format!("{line}\n"));
}

/// Writes a text to stderr. Errors are ignored, for example if stderr is closed: `eprint!` would panic.
/// `eprint!` would also take a lock, which in a child made by `fork` may be held for ever.
pub(crate) fn write_stderr(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(stderr(), rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
