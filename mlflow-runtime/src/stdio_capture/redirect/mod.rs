//! Copies what the process writes to stdout and stderr into a file, and passes it on unchanged.
//!
//! # Invariants
//!
//! 1. What a write has handed over gets to where it went before and into the file, whatever becomes
//!    of this process: `SIGKILL`, `abort` and a stack overflow included.
//! 2. A write neither fails nor hangs where it would not have without the copy, whatever becomes of
//!    the helper. This holds for subprocesses, too: as long as one has a pipe of ours for its stdout,
//!    the pipe is read.
//! 3. Where stdout and stderr go to one place, the order between them is kept, there and in the file;
//!    only where a helper ends before its time may what is written then overtake what is in the pipe.
//! 4. A start that fails leaves everything as it was. A descriptor that somebody else has replaced
//!    meanwhile is not given back.
//! 5. A child made by `fork` writes into the same pipe and touches nothing else; it keeps no read end
//!    of it, so that a pipe that nobody reads is met by it, too.
//!
//! Descriptors 1 and 2 become the write end of a pipe, and a `tee` of its own process copies what
//! comes out of it. A process and not a thread, since it outlives us: it ends when the last write end
//! is closed, and that is what the kernel does with ours. It ignores the signals that are sent to
//! all processes of a job (Ctrl-C, a scheduler's `TERM` and `USR1`), as what the program still prints
//! then is worth keeping; and `TTOU`, as a terminal set to `tostop` would stop it. But not `PIPE`:
//! where nobody reads our output any more, `tee` dies of it, the descriptors are given back, and the
//! program meets the closed pipe as it would have without us.
//!
//! Each `tee` has a thread that waits for its end. If it ends before its time, that thread gives the
//! descriptors back and reads the pipe itself, to its end: a thread that is in the middle of a large
//! write, or a subprocess, goes on writing into it. That thread never logs: who logs may wait for
//! the lock of stdout, held by someone who waits for the pipe to be read. Another thread has an eye
//! on the file's length, and says what went wrong.
//!
//! Not covered: what is in the pipe when all processes are killed at once, the helper with them. This
//! is what happens where this process is the first of a container and dies without [`Redirect::stop`].

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

/// How often the file's length is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for whoever holds the lock of Rust's stdout.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a drop waits for the last bytes.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// There are only one stdout and one stderr.
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);

/// A copy that is being made.
pub(crate) struct Redirect {
    shared: Arc<RedirectShared>,
    generation: u32,
    #[cfg(test)]
    tees: Vec<u32>,
}

impl Redirect {
    /// Starts copying to the end of `file`, which is made if there is none. `watch` is told the file's
    /// length every second; `false` stops the copy. As long as subprocesses go on writing after that,
    /// it is told on. It is called by a thread of its own, for which a stop waits: so it must not call
    /// one.
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
        // First these: a redirect that did not come about waits for its helpers when it is dropped.
        drop((out_end, err_end));
        begun.map(|()| redirect)
    }

    fn spawn_threads(&self, lanes: Vec<TeePipe>, watch: LengthCallback) -> io::Result<()> {
        self.shared.spawn(|shared| shared.run_watch_loop(watch))?;
        lanes
            .into_iter()
            .try_for_each(|lane| self.shared.spawn(|shared| lane.supervise(shared)))
    }

    /// Gives the descriptors back, and waits until then for what was written to be where it belongs.
    /// It waits no longer for a subprocess that goes on writing: its output goes on being copied.
    pub(crate) fn stop(&self, until: Instant) {
        // The threads are not in a forked child, and the lock may be held by one of them for ever.
        if self.generation != fork::current_generation() {
            return;
        }
        if self.is_on() {
            flush_stdout(until);
        }
        self.shared.end_capture();
        self.shared.wait_for_threads(until);
    }

    /// Whether it is still on.
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

/// What the threads of a copy know.
struct RedirectShared {
    path: PathBuf,
    file: File,
    /// Where stdout and stderr went before.
    originals: [File; 2],
    /// What they are meanwhile.
    pipes: [Stat; 2],
    state: Mutex<RedirectState>,
    changed: Condvar,
}

#[derive(Default)]
struct RedirectState {
    phase: Phase,
    /// The threads that have not ended.
    threads: usize,
    /// How a helper ended before its time.
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

    /// From here on it goes through the pipes.
    fn redirect_descriptors(&self, out_end: &PipeWriter, err_end: &PipeWriter) -> io::Result<()> {
        let mut state = self.lock();
        if state.phase != Phase::Starting {
            return Err(io::Error::other("tee ended at once"));
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

    /// After this the pipes have no write ends but those of subprocesses, and of threads that are in
    /// the middle of a write.
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

    /// Waits for all threads.
    fn wait_for_threads(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let ended = self
            .changed
            .wait_timeout_while(self.lock(), left, |state| state.threads > 0);
        drop(ignore_poison(ended));
    }

    /// Waits for the end of the copy, for an interval; false if it has come.
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
                "stdout and stderr are no longer copied to {}, as {trouble}; they go on to where they went before, and \
                 the file has what was written until now",
                self.path.display(),
            );
        }
        while self.wait_while_written() {
            look();
        }
    }

    /// Waits, for an interval, until no subprocess writes into the pipes any more; false if none does.
    fn wait_while_written(&self) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), WATCH_INTERVAL, |state| state.threads > 1);
        let (state, _) = ignore_poison(waited);
        state.threads > 1
    }

    /// A helper has ended; whether that was before its time.
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

/// A thread of a copy, until it ends or fails to start.
struct ThreadGuard(Arc<RedirectShared>);

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.changed.notify_all();
    }
}

/// Hands over what Rust's stdout has in its buffer: a line without its end. Whoever holds its lock
/// may do so for ever, so another thread waits for it.
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

/// What a descriptor stands for, under a number of our own.
fn duplicate_descriptor(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(descriptor.as_fd().try_clone_to_owned()?))
}

/// The file, and whether it was made just now.
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

/// How many bytes are on their way in the pipes. What a helper has in its hands is not seen.
pub(super) fn bytes_in_pipes() -> u64 {
    let waiting = |descriptor| rustix::io::ioctl_fionread(descriptor).unwrap_or(0);
    let one = fstat(stdout()).ok().zip(fstat(stderr()).ok());
    let is_one = one.is_some_and(|(out, err)| is_same_file(&out, &err));
    waiting(stdout()) + if is_one { 0 } else { waiting(stderr()) }
}

/// Whether both are one file, pipe or terminal.
fn is_same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
}
