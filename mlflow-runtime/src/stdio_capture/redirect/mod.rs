//! Redirection of stdout and stderr: the output is copied into a file, and passed on unchanged.
//!
//! # Invariants
//!
//! 1. Output that a write has handed to the kernel reaches its original destination and the file, whatever
//!    happens to this process afterwards: `SIGKILL`, `abort` and a stack overflow included.
//! 2. A write neither fails nor hangs where it would not have done so without the copy, whatever happens to
//!    the helper. This holds for subprocesses, too: as long as a subprocess has one of our pipes as its
//!    stdout, that pipe is read.
//! 3. If stdout and stderr go to one destination, the order between them is kept, at that destination and in
//!    the file. There is one exception: after a helper has ended early, new output may overtake bytes that
//!    are still in the pipe.
//! 4. A start that fails leaves everything as it was. A descriptor that other code has replaced in the
//!    meantime is not restored.
//! 5. A child made by `fork` writes into the same pipe and touches nothing else. The child keeps no read end
//!    of the pipe, so that its writes, too, fail once nobody else reads the pipe.
//!
//! Descriptors 1 and 2 become the write end of a pipe, and a helper process, `tee`, copies the bytes that
//! come out of that pipe. The helper is a process and not a thread, so that it outlives this process: it ends
//! when the last write end is closed, and the kernel closes our write ends when this process ends. The helper
//! ignores the signals that are sent to all processes of a job (Ctrl-C, a scheduler's `TERM` and `USR1`),
//! because the output that the program still prints then is worth keeping. It also ignores `TTOU`, because a
//! terminal set to `tostop` would stop it. It does not ignore `PIPE`: if nobody reads our output any more,
//! `tee` dies of that signal, the descriptors are restored, and the program meets the closed pipe as it would
//! have without the copy.
//!
//! Each `tee` has a thread that waits for its end. If `tee` ends early, that thread restores the descriptors,
//! and then reads the pipe to its end itself: a thread in the middle of a large write, or a subprocess,
//! continues to write into the pipe. Until then, that thread must not log: a logger may wait for the lock of
//! stdout, whose holder may wait for the pipe to be read. Another thread watches the length of the file, and
//! logs the reason why a helper ended early.
//!
//! Not covered: bytes in the pipe when all processes, including the helper, are killed at once. This happens
//! if this process is the first of a container and dies without [`Redirect::stop`].

mod tee_pipe;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Stat, fstat};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};

use crate::os::fork;
use crate::sync::{ignore_poison, lock};
use tee_pipe::{TeePipe, describe_exit, find_program, is_success};

/// Interval between two checks of the file's length.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time that a stop waits for a thread that holds the lock of Rust's stdout.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);
/// Longest time that a drop waits for the last bytes.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// Set while a redirection is active: a process has only one stdout and one stderr.
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);

/// Active redirection; dropping it stops the copying.
pub(crate) struct Redirect {
    shared: Arc<RedirectShared>,
    generation: u32,
    #[cfg(test)]
    tees: Vec<u32>,
}

impl Redirect {
    /// Starts copying to the end of `file`, which is created if it is missing. `watch` is called with the
    /// length of the file every second; the copying stops when `watch` returns false. As long as subprocesses
    /// write after that, `watch` is still called. The calls come from a thread of their own, which
    /// [`stop`](Self::stop) waits for, so `watch` must not call `stop`.
    pub(crate) fn start(
        file: &Path,
        watch: impl FnMut(u64) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        if IS_ACTIVE.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "stdout and stderr are being copied already",
            ));
        }
        let started = Self::begin(file, Box::new(watch));
        if started.is_err() {
            IS_ACTIVE.store(false, Ordering::Release);
        }
        started
    }

    fn begin(file: &Path, watch: LengthCallback) -> io::Result<Self> {
        fork::start_counting();
        let path = std::path::absolute(file)?;
        let tee = find_program("tee")?;
        let originals = [
            duplicate_descriptor(stdout())?,
            duplicate_descriptor(stderr())?,
        ];
        let (file, made) = open_or_create(&path)?;
        let begun = Self::begin_into(&path, file, &tee, originals, watch);
        if begun.is_err() && made {
            let _ = fs::remove_file(&path);
        }
        begun
    }

    fn begin_into(
        path: &Path,
        file: File,
        tee: &Path,
        originals: [File; 2],
        watch: LengthCallback,
    ) -> io::Result<Self> {
        let [out, err] = &originals;
        let one_target = is_same_file(&fstat(out)?, &fstat(err)?);
        let (first, out_end) = TeePipe::start(tee, path, out, 0)?;
        let (second, err_end) = if one_target {
            (None, out_end.try_clone()?)
        } else {
            let (lane, end) = TeePipe::start(tee, path, err, 1)?;
            (Some(lane), end)
        };
        let shared = Arc::new(RedirectShared {
            pipes: [fstat(&out_end)?, fstat(&err_end)?],
            path: path.to_owned(),
            file,
            originals,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let lanes: Vec<TeePipe> = [Some(first), second].into_iter().flatten().collect();
        let redirect = Self {
            shared,
            generation: fork::current_generation(),
            #[cfg(test)]
            tees: lanes.iter().filter_map(TeePipe::helper_id).collect(),
        };
        let begun = redirect
            .spawn_threads(lanes, watch)
            .and_then(|()| redirect.shared.redirect_descriptors(&out_end, &err_end));
        // The write ends are dropped first: the helpers end when no write end is left, and if the start has
        // failed, the drop of `redirect` waits for the helpers.
        drop((out_end, err_end));
        begun.map(|()| redirect)
    }

    fn spawn_threads(&self, lanes: Vec<TeePipe>, watch: LengthCallback) -> io::Result<()> {
        self.shared.spawn(|shared| shared.run_watch_loop(watch))?;
        lanes
            .into_iter()
            .try_for_each(|lane| self.shared.spawn(|shared| lane.supervise(shared)))
    }

    /// Restores the descriptors, and waits, at most until `until`, for written output to reach its
    /// destinations. The output of a subprocess that writes for longer is copied all the same.
    pub(crate) fn stop(&self, until: Instant) {
        // A forked child does not have the threads. One of them may have held the lock at the fork: in the
        // child, that lock is never released.
        if self.generation != fork::current_generation() {
            return;
        }
        if self.is_on() {
            flush_stdout(until);
        }
        self.shared.end_capture();
        self.shared.wait_for_threads(until);
    }

    /// Returns true while output is copied; false in a forked child.
    pub(crate) fn is_on(&self) -> bool {
        self.generation == fork::current_generation() && self.shared.lock().phase == Phase::On
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        self.stop(Instant::now() + DROP_TIMEOUT);
    }
}

type LengthCallback = Box<dyn FnMut(u64) -> bool + Send>;

/// State that the threads of a redirection share.
struct RedirectShared {
    path: PathBuf,
    file: File,
    /// Original destinations of stdout and stderr.
    originals: [File; 2],
    /// Pipes that take the place of stdout and stderr.
    pipes: [Stat; 2],
    state: Mutex<RedirectState>,
    changed: Condvar,
}

#[derive(Default)]
struct RedirectState {
    phase: Phase,
    /// Number of threads that have not ended.
    threads: usize,
    /// Reason why a helper ended early; taken by the thread that logs it.
    early_exit_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    On,
    Off,
}

impl RedirectShared {
    fn lock(&self) -> MutexGuard<'_, RedirectState> {
        lock(&self.state)
    }

    fn spawn(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) -> io::Result<()> {
        self.lock().threads += 1;
        let counted = ThreadGuard(Arc::clone(self));
        thread::Builder::new()
            .name("mlflow-console".to_owned())
            .spawn(move || work(&counted.0))?;
        Ok(())
    }

    /// Redirects stdout and stderr into the pipes; fails if a helper has ended already.
    fn redirect_descriptors(&self, out_end: &PipeWriter, err_end: &PipeWriter) -> io::Result<()> {
        let mut state = self.lock();
        if state.phase != Phase::Starting {
            return Err(io::Error::other(
                "the helper process `tee` ended immediately",
            ));
        }
        dup2_stdout(out_end)?;
        if let Err(error) = dup2_stderr(err_end) {
            let _ = dup2_stdout(&self.originals[0]);
            return Err(error.into());
        }
        state.phase = Phase::On;
        Ok(())
    }

    fn end_capture(&self) {
        self.restore_descriptors(&mut self.lock());
    }

    /// Restores the original descriptors, except those that other code has replaced. After that, the only
    /// write ends of the pipes are those of subprocesses, and of threads in the middle of a write.
    fn restore_descriptors(&self, state: &mut RedirectState) {
        if state.phase == Phase::On {
            let [out, err] = &self.originals;
            let [out_pipe, err_pipe] = &self.pipes;
            if fstat(stdout()).is_ok_and(|now| is_same_file(&now, out_pipe)) {
                let _ = rustix::io::retry_on_intr(|| dup2_stdout(out));
            }
            if fstat(stderr()).is_ok_and(|now| is_same_file(&now, err_pipe)) {
                let _ = rustix::io::retry_on_intr(|| dup2_stderr(err));
            }
            IS_ACTIVE.store(false, Ordering::Release);
        }
        state.phase = Phase::Off;
        self.changed.notify_all();
    }

    /// Waits until all threads have ended, at most until `until`.
    fn wait_for_threads(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let ended = self
            .changed
            .wait_timeout_while(self.lock(), left, |state| state.threads > 0);
        drop(ignore_poison(ended));
    }

    /// Waits for one interval, or until the copying ends; returns false if it has ended.
    fn wait_while_active(&self) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), WATCH_INTERVAL, |state| {
                state.phase != Phase::Off
            });
        let (state, _) = ignore_poison(waited);
        state.phase != Phase::Off
    }

    fn length(&self) -> Option<u64> {
        self.file.metadata().ok().map(|file| file.len())
    }

    fn run_watch_loop(&self, mut watch: LengthCallback) {
        let mut look = || {
            let length = self.length();
            let watched = panic::catch_unwind(AssertUnwindSafe(|| length.is_none_or(&mut watch)));
            watched.unwrap_or(false)
        };
        while self.wait_while_active() {
            if !look() {
                self.end_capture();
            }
        }
        let trouble = self.lock().early_exit_reason.take();
        if let Some(trouble) = trouble {
            tracing::warn!(
                target: "mlflow",
                "stdout and stderr are no longer copied to {}, because {trouble}; output is still passed through unchanged, and \
                 the file contains the output up to now",
                self.path.display(),
            );
        }
        while self.wait_while_written() {
            look();
        }
    }

    /// Waits for one interval, or until no subprocess writes into the pipes any more; returns false if none
    /// does. The only thread that is left then is the caller.
    fn wait_while_written(&self) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), WATCH_INTERVAL, |state| state.threads > 1);
        let (state, _) = ignore_poison(waited);
        state.threads > 1
    }

    /// Restores the descriptors after the end of a helper; returns true if the helper ended early.
    fn handle_helper_exit(&self, ended: &io::Result<ExitStatus>) -> bool {
        let mut state = self.lock();
        let early = state.phase != Phase::Off;
        if early && !is_success(ended) {
            state.early_exit_reason = Some(describe_exit(ended));
        }
        self.restore_descriptors(&mut state);
        early
    }
}

/// Registration of a thread, until the thread ends or fails to start.
struct ThreadGuard(Arc<RedirectShared>);

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.changed.notify_all();
    }
}

/// Flushes the buffer of Rust's stdout, which may hold a line without its end. Another thread does this,
/// because the lock of stdout may be held for ever.
fn flush_stdout(until: Instant) {
    let (done, flushed) = mpsc::channel();
    let spawned = thread::Builder::new()
        .name("mlflow-console".to_owned())
        .spawn(move || {
            let _ = io::stdout().flush();
            let _ = done.send(());
        });
    if spawned.is_ok() {
        let left = until.saturating_duration_since(Instant::now());
        let _ = flushed.recv_timeout(left.min(FLUSH_TIMEOUT));
    }
}

/// Returns a duplicate of the descriptor, under a number of its own.
fn duplicate_descriptor(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(descriptor.as_fd().try_clone_to_owned()?))
}

/// Opens the file for appending; returns the file, and true if the file was created.
fn open_or_create(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok((options.open(path)?, false))
        }
        Err(error) => Err(error),
    }
}

/// Returns the number of bytes in the pipes. Bytes that a helper has read and not written yet are not
/// included.
pub(super) fn bytes_in_pipes() -> u64 {
    let waiting = |descriptor| rustix::io::ioctl_fionread(descriptor).unwrap_or(0);
    let one = fstat(stdout()).ok().zip(fstat(stderr()).ok());
    let is_one = one.is_some_and(|(out, err)| is_same_file(&out, &err));
    waiting(stdout()) + if is_one { 0 } else { waiting(stderr()) }
}

/// Returns true if both are the same file, pipe or terminal.
fn is_same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
}
