//! Panic hook that records the location and the message of a thread's last panic.
//!
//! Invariants: the hook that was installed before is called first, and unchanged. Outside a run nothing is
//! recorded. A record is used only for the panic that it belongs to, by every run that this panic unwinds
//! through.
//!
//! A hook that the program installs later replaces this one, unless the program's hook calls the hook that it
//! replaced. The loss is noticed only when a panic is caught that this hook has not seen. The location of
//! that panic is lost, and the next call of an annotated function installs the hook again.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::capture::{Text, payload_text, truncate_to_text};
use crate::model::RunStatus;
use crate::model::limits::TAG_VALUE_CHARS;
use crate::os::fork::PerProcess;
use crate::run::Run;
use crate::run::current_run::Context;
use crate::sync::lock;

thread_local!(static LAST_PANIC: RefCell<Option<PanicRecord>> = const { RefCell::new(None) });

/// Set while the hook has to be installed: at the start, and after a panic that the hook has not seen.
static NEEDS_INSTALL: AtomicBool = AtomicBool::new(true);

/// Address of this hook in memory, by which the hook is recognized; 0 before it is installed.
static HOOK_ADDRESS: AtomicUsize = AtomicUsize::new(0);
/// Lock held while the hook is installed.
static INSTALL_LOCK: PerProcess<Mutex<()>> = PerProcess::new();

/// Record of a panic inside a run.
#[derive(Clone, Debug)]
pub(crate) struct PanicRecord {
    /// Address of the payload, known since the panic was first caught. The address stays the same while the
    /// panic continues to unwind.
    payload_address: Option<usize>,
    message: Option<Text>,
    location: Option<String>,
    backtrace: Option<Text>,
}

/// Installs the hook, if it is not installed: from now on, panics inside a run are recorded.
pub(crate) fn install_hook() {
    // A thread that panics cannot change the hook; a later call does so.
    if !NEEDS_INSTALL.load(Ordering::Acquire) || std::thread::panicking() {
        return;
    }
    let _setting = lock(INSTALL_LOCK.get());
    if !NEEDS_INSTALL.load(Ordering::Relaxed) {
        return;
    }
    let previous = std::panic::take_hook();
    if HOOK_ADDRESS.load(Ordering::Relaxed) == thin_address(&*previous) {
        // The hook is still installed: the unseen panic was one that calls no hook.
        std::panic::set_hook(previous);
    } else {
        let hook = Box::new(move |info: &PanicHookInfo<'_>| {
            previous(info);
            record_panic(info);
        });
        HOOK_ADDRESS.store(thin_address(&*hook), Ordering::Relaxed);
        std::panic::set_hook(hook);
    }
    NEEDS_INSTALL.store(false, Ordering::Release);
}

fn thin_address<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<()>().addr()
}

/// Forgets the last panic of this thread, which is over when a new run starts. Does nothing while the thread
/// panics.
pub(crate) fn clear_last_panic() {
    if !std::thread::panicking() {
        let _ = LAST_PANIC.try_with(RefCell::take);
    }
}

fn record_panic(info: &PanicHookInfo<'_>) {
    let context = Context::current();
    let Some(run) = context.run() else { return };
    let backtrace = Backtrace::capture();
    let panic = PanicRecord {
        payload_address: None,
        message: payload_text(info.payload()),
        location: info
            .location()
            .map(|location| format!("{}:{}", location.file(), location.line())),
        backtrace: (backtrace.status() == BacktraceStatus::Captured)
            // No user wrote the backtrace, so no warning is needed that the tag holds only its beginning.
            .then(|| {
                truncate_to_text(TAG_VALUE_CHARS, &backtrace.to_string())
                    .text
                    .into()
            }),
    };
    if cfg!(panic = "abort") || panic.is_abort_message() {
        // The process aborts, so no other code will end the run.
        let cause = PanicRecord::last_seen().unwrap_or(panic);
        cause.report(run);
        run.end(RunStatus::Failed);
        return;
    }
    let _ = LAST_PANIC.try_with(|last| last.replace(Some(panic)));
}

impl PanicRecord {
    /// Returns the record of the panic that carries `payload`. The location is known if the hook saw the
    /// panic on this thread. Otherwise the next call installs the hook again.
    pub(crate) fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let message = payload_text(payload);
        let address = thin_address(payload);
        let seen = LAST_PANIC.try_with(|last| {
            let mut last = last.try_borrow_mut().ok()?;
            let last = last.as_mut().filter(|last| {
                last.message == message
                    && last
                        .payload_address
                        .is_none_or(|payload| payload == address)
            })?;
            last.payload_address = Some(address);
            Some(last.clone())
        });
        seen.ok().flatten().unwrap_or_else(|| {
            NEEDS_INSTALL.store(true, Ordering::Release);
            Self {
                payload_address: Some(address),
                message,
                location: None,
                backtrace: None,
            }
        })
    }

    /// Returns true if the standard library uses this message when it cannot unwind any further and aborts.
    fn is_abort_message(&self) -> bool {
        // `PanicHookInfo::can_unwind` is not stable. If the messages change, the run ends as KILLED instead
        // of FAILED.
        const WORDS: [&str; 2] = [
            "panic in a function that cannot unwind",
            "panic in a destructor during cleanup",
        ];
        self.message
            .as_ref()
            .is_some_and(|message| WORDS.contains(&message.text.as_str()))
    }

    /// Returns the last panic that the hook saw on this thread.
    pub(crate) fn last_seen() -> Option<Self> {
        LAST_PANIC
            .try_with(|last| last.try_borrow().ok()?.clone())
            .ok()
            .flatten()
    }

    /// Record of a panic of which nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        payload_address: None,
        message: None,
        location: None,
        backtrace: None,
    };

    /// Sets the tags of `run` that describe the panic.
    pub(crate) fn report(&self, run: &Run) {
        let tag = |what| run.error_tag(what);
        run.set_tag(&tag("type"), "panic");
        match &self.message {
            Some(message) => run.tag_text(&tag("message"), message.clone()),
            None => run.set_tag(&tag("message"), "a panic without a message"),
        }
        if let Some(location) = &self.location {
            run.set_tag(&tag("location"), location);
        }
        if let Some(backtrace) = &self.backtrace {
            run.tag_text(&tag("stacktrace"), backtrace.clone());
        }
    }
}
