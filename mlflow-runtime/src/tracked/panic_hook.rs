//! Remembers where and why the thread panicked last.
//!
//! Invariants: the hook that was there is called first and unchanged; outside a run nothing is
//! remembered; what is remembered is used only for the panic it belongs to, by every run that it
//! unwinds through.
//!
//! A hook that the program sets later takes ours away, unless it calls the one that was there.
//! That shows only when a panic is caught that the hook has not seen: its place is lost, and the
//! next call of an annotated function sets the hook again.

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
use crate::run::context::Context;
use crate::sync::lock;

thread_local!(static LAST_PANIC: RefCell<Option<PanicRecord>> = const { RefCell::new(None) });

/// Whether the hook has to be set: it never was, or a panic went by it.
static NEEDS_INSTALL: AtomicBool = AtomicBool::new(true);

/// Where our hook is in memory, as which it is known again; 0 before it is set.
static HOOK_ADDRESS: AtomicUsize = AtomicUsize::new(0);
/// Held while the hook is set.
static INSTALL_LOCK: PerProcess<Mutex<()>> = PerProcess::new();

/// A panic inside a run.
#[derive(Clone, Debug)]
pub(crate) struct PanicRecord {
    /// Where its payload is, since it was first caught; it stays there while it goes on.
    payload_address: Option<usize>,
    message: Option<Text>,
    location: Option<String>,
    backtrace: Option<Text>,
}

/// From now on panics inside a run are remembered.
pub(crate) fn install_hook() {
    // The hook cannot be changed by a thread that panics; a later call does it.
    if !NEEDS_INSTALL.load(Ordering::Acquire) || std::thread::panicking() {
        return;
    }
    let _setting = lock(INSTALL_LOCK.get());
    if !NEEDS_INSTALL.load(Ordering::Relaxed) {
        return;
    }
    let previous = std::panic::take_hook();
    if HOOK_ADDRESS.load(Ordering::Relaxed) == thin_address(&*previous) {
        // The panic was one that no hook is called for.
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

/// Whatever panicked before on this thread has come to its end.
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
            // Nobody wrote it, so nobody has to hear that the tag holds its beginning only.
            .then(|| {
                truncate_to_text(TAG_VALUE_CHARS, &backtrace.to_string())
                    .text
                    .into()
            }),
    };
    if cfg!(panic = "abort") || panic.is_abort_message() {
        // Nobody will come by again to end the run.
        let cause = PanicRecord::last_seen().unwrap_or(panic);
        cause.report(run);
        run.end(RunStatus::Failed);
        return;
    }
    let _ = LAST_PANIC.try_with(|last| last.replace(Some(panic)));
}

impl PanicRecord {
    /// The panic that carries `payload`; its place is known if the hook saw it on this thread.
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

    /// Whether the standard library says with it that it cannot unwind any further, and aborts.
    fn is_abort_message(&self) -> bool {
        // `PanicHookInfo::can_unwind` is not stable. Should the words change, the run ends as
        // KILLED instead of FAILED.
        const WORDS: [&str; 2] = [
            "panic in a function that cannot unwind",
            "panic in a destructor during cleanup",
        ];
        self.message
            .as_ref()
            .is_some_and(|message| WORDS.contains(&message.text.as_str()))
    }

    /// The last panic the hook saw on this thread.
    pub(crate) fn last_seen() -> Option<Self> {
        LAST_PANIC
            .try_with(|last| last.try_borrow().ok()?.clone())
            .ok()
            .flatten()
    }

    /// A panic nothing is known of.
    pub(crate) const UNKNOWN: Self = Self {
        payload_address: None,
        message: None,
        location: None,
        backtrace: None,
    };

    /// Sets the tags that tell of it.
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
