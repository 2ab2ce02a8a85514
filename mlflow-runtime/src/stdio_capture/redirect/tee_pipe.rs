//! Pipe of a redirection, and the helper process that reads it.
//!
//! Invariant: the pipe is read until nobody can write to it any more: by the helper, or by this process after
//! the helper has ended early.

use std::env;
use std::fs::File;
use std::io::{self, PipeWriter, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Signal;

use super::RedirectShared;
use crate::os::fork::CloseOnForkFile;

/// Shell script that runs `tee` with signals ignored. `XFSZ` comes last, as not every shell knows this signal
/// by name. With `XFSZ` ignored, a write beyond the size limit of the file fails, as on a full disk, and
/// `tee` continues without the file.
const TEE_SCRIPT: &str =
    r#"trap '' HUP INT QUIT TERM USR1 USR2 ALRM TSTP TTIN TTOU XFSZ; exec "$0" -a "$1""#;

/// Pipe, and the helper that reads it.
pub(super) struct TeePipe {
    tee: Option<Child>,
    /// Read end, kept open so that writes do not fail when the helper ends.
    reader: CloseOnForkFile,
    /// Index of the original destination: 0 for stdout, 1 for stderr.
    stream: usize,
}

impl TeePipe {
    pub(super) fn start(
        tee: &Path,
        file: &Path,
        original: &File,
        stream: usize,
    ) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        // The duplicate is kept, because its number is never that of a standard descriptor.
        let kept = CloseOnForkFile::new(File::from(OwnedFd::from(reader.try_clone()?)));
        let tee = Command::new("sh")
            .arg("-c")
            .args([TEE_SCRIPT.as_ref(), tee.as_os_str(), file.as_os_str()])
            .stdin(Stdio::from(reader))
            .stdout(Stdio::from(original.try_clone()?))
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let lane = Self {
            tee: Some(tee),
            reader: kept,
            stream,
        };
        Ok((lane, writer))
    }

    #[cfg(test)]
    pub(super) fn helper_id(&self) -> Option<u32> {
        self.tee.as_ref().map(Child::id)
    }

    /// Waits for the end of the helper, and forwards the bytes that it has left in the pipe.
    pub(super) fn supervise(mut self, shared: &RedirectShared) {
        let Some(mut tee) = self.tee.take() else {
            return;
        };
        let ended = tee.wait();
        let early = shared.handle_helper_exit(&ended);
        self.forward(&shared.originals[self.stream], &shared.file);
        // The warning comes last: until the pipe was read, the holder of the lock of stdout may have waited
        // for this thread.
        if !early && !is_success(&ended) {
            tracing::warn!(
                target: "mlflow",
                "{} may lack some output of stdout and stderr, because {}; is the disk full?",
                shared.path.display(),
                describe_exit(&ended),
            );
        }
    }

    /// Forwards the bytes in the pipe until nobody can write to it any more.
    fn forward(&self, original: &File, file: &File) {
        let Some(mut reader) = self.reader.file() else {
            return;
        };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            // A destination that fails does not keep the bytes from the other.
            let _ = write_all_retrying(original, &buffer[..length]);
            let _ = write_all_retrying(file, &buffer[..length]);
        }
    }
}

impl Drop for TeePipe {
    /// Ends the helper of a redirection that failed to start: nothing was written yet.
    fn drop(&mut self) {
        if let Some(tee) = &mut self.tee {
            let _ = tee.kill();
            let _ = tee.wait();
        }
    }
}

fn write_all_retrying(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the terminal or pipe has made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn is_success(ended: &io::Result<ExitStatus>) -> bool {
    match ended {
        Ok(status) => status.success(),
        // The status is already taken if the program ignores SIGCHLD or waits for any child; it counts as a
        // success.
        Err(error) => Errno::from_io_error(error) == Some(Errno::CHILD),
    }
}

pub(super) fn describe_exit(ended: &io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) if status.signal() == Some(Signal::PIPE.as_raw()) => {
            "nothing reads the process's output any more (SIGPIPE)".to_owned()
        }
        Ok(status) => format!("the helper process `tee` ended ({status})"),
        Err(error) => format!("the helper process `tee` cannot be waited for ({error})"),
    }
}

/// Returns the path of a program that is in `PATH`.
pub(super) fn find_program(name: &str) -> io::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    env::split_paths(&path)
        .filter_map(|folder| std::path::absolute(folder.join(name)).ok())
        .find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            let missing = format!("the program `{name}` was not found in PATH");
            io::Error::new(io::ErrorKind::NotFound, missing)
        })
}
