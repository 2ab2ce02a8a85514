//! One pipe of a redirect, and the helper process that reads it.
//!
//! Invariant: the pipe is read until nobody can write to it any more: by the helper, and by us where that
//! has ended before its time.

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

/// `XFSZ` is last, as not every shell knows it by name. Where it is ignored, a file that has reached
/// its limit is a failed write, as on a full disk: `tee` goes on without the file.
const TEE_SCRIPT: &str =
    r#"trap '' HUP INT QUIT TERM USR1 USR2 ALRM TSTP TTIN TTOU XFSZ; exec "$0" -a "$1""#;

/// A pipe, and the helper that reads it.
pub(super) struct TeePipe {
    tee: Option<Child>,
    /// Kept so that a helper's end breaks nobody's write.
    reader: CloseOnForkFile,
    /// Which of the originals it leads to.
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
        // The copy is the one that is kept: its number is never that of a standard descriptor.
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

    /// Waits for the helper's end, and does what it has left.
    pub(super) fn supervise(mut self, shared: &RedirectShared) {
        let Some(mut tee) = self.tee.take() else {
            return;
        };
        let ended = tee.wait();
        let early = shared.handle_helper_exit(&ended);
        self.forward(&shared.originals[self.stream], &shared.file);
        // Only now: until here somebody may have waited for this thread.
        if !early && !is_success(&ended) {
            tracing::warn!(
                target: "mlflow",
                "{} may lack some of what was written to stdout and stderr, as {}; is the disk full?",
                shared.path.display(),
                describe_exit(&ended),
            );
        }
    }

    /// Reads the pipe until nobody can write to it any more.
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
            // What one of them does not take is no reason to keep it from the other.
            let _ = write_all_retrying(original, &buffer[..length]);
            let _ = write_all_retrying(file, &buffer[..length]);
        }
    }
}

impl Drop for TeePipe {
    /// A copy that did not come about: nothing was written yet.
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
            // Somebody who has the terminal or pipe open, too, wants no waiting.
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
        // A program that ignores SIGCHLD, or waits for any child, has taken its status.
        Err(error) => Errno::from_io_error(error) == Some(Errno::CHILD),
    }
}

pub(super) fn describe_exit(ended: &io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) if status.signal() == Some(Signal::PIPE.as_raw()) => {
            "nobody reads them any more".to_owned()
        }
        Ok(status) => format!("the helper process `tee` ended ({status})"),
        Err(error) => format!("the helper process `tee` cannot be waited for ({error})"),
    }
}

/// Where a program is.
pub(super) fn find_program(name: &str) -> io::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    env::split_paths(&path)
        .filter_map(|folder| std::path::absolute(folder.join(name)).ok())
        .find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            let missing = format!("there is no `{name}` in PATH");
            io::Error::new(io::ErrorKind::NotFound, missing)
        })
}
