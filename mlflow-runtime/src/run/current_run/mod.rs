//! Context of a thread or a task: the current run, and the fake that receives the values, if any.
//!
//! Invariants: when called code is left, also by unwinding, the context from before the call is current
//! again, whatever the code left entered. Guards that users hold may be dropped in any order: the current
//! context is that of the youngest guard that is alive. The contexts that a future had entered at its last
//! poll are entered again at the next poll, and are current nowhere else meanwhile. A context is two
//! reference counts, so it is cheap to capture and to carry.

mod stack;
mod suspended;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::BuildHasher as _;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxBuildHasher;

use stack::{ScopeId, Scopes};
pub(crate) use suspended::SuspendedContext;

use crate::model::metric_key::Key;
use crate::run::Run;
use crate::tracker::global::{self, COMPILED_OUT};
use crate::tracker::{Tracker, fake_scope};
use crate::warnings::warn_user;

thread_local! {
    /// Without a destructor, so that an access is one load, and values may be logged until the process has ended: in a process
    /// that exits inside a tracked function, `atexit` handlers run after the thread's locals are destroyed.
    static SCOPES: ManuallyDrop<RefCell<Scopes>> =
        const { ManuallyDrop::new(RefCell::new(Scopes::EMPTY)) };
    /// True if the current context has a run.
    static HAS_RUN: Cell<bool> = const { Cell::new(false) };
    static THREAD_END: ThreadEnd = const { ThreadEnd };
}

/// Releases the thread's contexts when the thread's locals are destroyed, except for the current run, which is leaked on purpose.
struct ThreadEnd;

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        drop(change_scopes(Scopes::release));
    }
}

/// Current run, and the tracker of new runs if that is not the process's.
#[derive(Clone, Default)]
pub(crate) struct Context {
    run: Option<Run>,
    tracker: Option<Arc<Tracker>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, tracker } = self;
        f.debug_struct("Context")
            .field("run", run)
            .field("scoped", &tracker.is_some())
            .finish()
    }
}

/// Guard of code that is called in a context. When it is dropped, the context from before is current again.
#[derive(Debug)]
pub(crate) struct ContextGuard(ThreadScope);

/// Guard of a context that a user holds. When it is dropped, its context is removed, whatever was entered
/// since.
#[derive(Debug)]
pub(crate) struct HeldContext(ThreadScope);

#[derive(Debug)]
struct ThreadScope {
    scope: ScopeId,
    /// Not `Send`, because the scope belongs to its thread, and `Sync`, because a reference can only read it.
    _thread: PhantomData<dyn Sync>,
}

impl Context {
    /// Returns the calling thread's context.
    pub(crate) fn current() -> Self {
        if COMPILED_OUT {
            return Self::EMPTY;
        }
        // A shared borrow, because a panic hook reads the context while a value is being logged.
        SCOPES
            .with(|scopes| scopes.try_borrow().map(|scopes| scopes.current.clone()))
            .unwrap_or_default()
    }

    const EMPTY: Self = Self {
        run: None,
        tracker: None,
    };

    /// Returns a context with `run` as the current run. If the run is a fake's, new runs go to that fake,
    /// else to the same tracker as before.
    pub(crate) fn with_run(&self, run: Run) -> Self {
        let fake = run.tracker().filter(|tracker| tracker.is_inline());
        if fake.is_some() {
            fake_scope::set_lookup(|| Self::current().tracker);
        }
        Self {
            tracker: fake.or(self.tracker.as_ref()).cloned(),
            run: Some(run),
        }
    }

    /// Returns a context without a run, in which new runs go to `tracker`.
    pub(crate) fn with_tracker(tracker: Arc<Tracker>) -> Self {
        fake_scope::set_lookup(|| Self::current().tracker);
        Self {
            run: None,
            tracker: Some(tracker),
        }
    }

    pub(crate) fn enter(self) -> ContextGuard {
        ContextGuard(ThreadScope::enter(self))
    }

    pub(crate) fn hold(self) -> HeldContext {
        HeldContext(ThreadScope::enter(self))
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// Returns the tracker of a run that is started in this context; `None` if tracking is disabled.
    pub(crate) fn tracker(&self) -> Option<Arc<Tracker>> {
        self.run
            .as_ref()
            .and_then(Run::tracker)
            .or(self.tracker.as_ref())
            .cloned()
            .or_else(Tracker::global)
    }

    /// Returns the fake that records what is logged in this context: the fake of the scope, else that of the
    /// whole process.
    pub(crate) fn fake(&self) -> Option<Arc<Tracker>> {
        let scoped = self.tracker.clone();
        scoped.or_else(fake_scope::process_fake)
    }
}

/// Returns true if the calling thread has a current run. Costs one load.
#[inline(always)]
pub(crate) fn has_current_run() -> bool {
    HAS_RUN.get()
}

/// Calls `log` with the current run, if there is one. `log` must not call user code, because the thread's context is borrowed
/// meanwhile.
#[inline(always)]
pub(crate) fn with_current_run(log: impl FnOnce(&Run)) {
    // `LocalKey::with` is not inlined. An error is impossible, as nothing is destroyed.
    let _ = SCOPES.try_with(|scopes| {
        // A destructor that logs while the context is being replaced has no current run.
        if let Ok(scopes) = scopes.try_borrow()
            && let Some(run) = &scopes.current.run
        {
            log(run);
        }
    });
}

/// Reports a value that was logged without a run, where the report is of use.
#[inline]
#[track_caller]
pub(crate) fn report_outside_run(kind: &'static str, key: &str) {
    if is_report_useful(is_warned(key)) {
        record_or_warn(kind, key, Some(Location::caller()));
    }
}

/// Reports a value that was logged without a run, where the report is of use. Costs three loads where it is not.
#[inline(never)]
#[track_caller]
pub(crate) fn report_key_outside_run(kind: &'static str, key: &Key) {
    if is_report_useful(key.is_warned()) {
        record_key_or_warn(kind, key, Location::caller());
    }
}

/// Returns true if a value that was logged without a run may be recorded in a fake, or be worth a warning.
#[inline(always)]
fn is_report_useful(is_warned: bool) -> bool {
    fake_scope::has_live_fake() || !is_warned && !global::is_known_disabled()
}

#[cold]
fn record_key_or_warn(kind: &'static str, key: &Key, caller: &Location<'_>) {
    record_or_warn(kind, key.name(), Some(caller));
    if is_warned(key.name()) {
        key.set_warned();
    }
}

/// Records a value that was logged without a run in the fake of the scope, or else logs a warning that names its key and, if it
/// is known, the place of the log call.
#[cold]
fn record_or_warn(kind: &'static str, key: &str, caller: Option<&Location<'_>>) {
    match Context::current().tracker {
        Some(fake) => fake.runless_values.record(kind, key),
        None => warn_outside_run(kind, key, caller),
    }
}

/// Largest number of keys, in one process, that warnings name because they are logged without a run.
const MAX_WARNED_KEYS: u32 = 5;

/// Keys that a warning has named because they were logged without a run: a bit for each, by the key's hash.
/// If two keys share a bit, the second one is not named. The check has to cost nothing.
static WARNED_KEYS: AtomicU64 = AtomicU64::new(0);

#[inline]
fn key_bit(key: &str) -> u64 {
    1 << (FxBuildHasher.hash_one(key) % 64)
}

#[inline]
fn is_warned(key: &str) -> bool {
    let told = WARNED_KEYS.load(Ordering::Relaxed);
    told & key_bit(key) != 0 || told.count_ones() >= MAX_WARNED_KEYS
}

/// Logs a warning, once for each key, that a value was logged without a run. Must not be called while
/// [`SCOPES`] is borrowed, because a subscriber may read the context.
#[cold]
fn warn_outside_run(kind: &'static str, key: &str, caller: Option<&Location<'_>>) {
    // The caller is in the scope of no fake, but a fake that is alive elsewhere may be meant to see the
    // value.
    if let Some(fake) = fake_scope::substitute_for_global() {
        fake.runless_values.record(kind, key);
        if fake_scope::process_fake().is_some() {
            return;
        }
    }
    // No warning is needed if tracking is off.
    if is_warned(key) || !global::is_enabled() {
        return;
    }
    let is_first = WARNED_KEYS.fetch_or(key_bit(key), Ordering::Relaxed) == 0;
    let at = caller.map_or_else(String::new, |caller| {
        format!(" at {}:{}", caller.file(), caller.line())
    });
    if is_first {
        warn_user(format_args!(
            "{kind} {key:?}{at} was logged outside of any run and is not recorded, nor are later values of this key. \
             Call it inside a #[mlflow::tracked] function, or start a run before it: \
             let run = mlflow::start_run!().start(). Another thread or task has no run unless the run is taken along: \
             to a thread with mlflow::thread::spawn or carry, to a task with mlflow::thread::carry_future. Of all keys \
             {MAX_WARNED_KEYS} at most are named"
        ));
    } else {
        warn_user(format_args!(
            "{kind} {key:?}{at} was logged outside of any run and is not recorded, nor are later values of this key"
        ));
    }
}

/// Calls `log` with the current run. Returns false if there is none. `log` must not call user code, because
/// the thread's context is borrowed meanwhile.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn with_run(log: impl FnOnce(&Run)) -> bool {
    if COMPILED_OUT {
        return false;
    }
    SCOPES.with(|scopes| {
        let Ok(scopes) = scopes.try_borrow() else {
            return false;
        };
        scopes.current.run.as_ref().map(log).is_some()
    })
}

/// Returns the current run. Without a run, the value is recorded in the fake of the scope, or else a warning
/// names its key and the place of the caller.
#[track_caller]
pub(crate) fn current_run_or_warn(kind: &'static str, key: &str) -> Option<Run> {
    let run = Context::current().run;
    if run.is_none() {
        record_or_warn(kind, key, Some(Location::caller()));
    }
    run
}

/// Reports a metric of an event of `tracing` that was emitted without a run.
#[cfg(feature = "tracing")]
pub(crate) fn report_event_outside_run(key: &str) {
    if Context::current().run.is_none() {
        record_or_warn("metric", key, None);
    }
}

/// Calls `change` with the thread's scopes. Returns `None` if tracking is compiled out, or if the scopes are borrowed. A context
/// that `change` takes out must be part of its result, so that the caller drops the context after the borrow: the destructor of
/// a run's last owner may use the scopes again.
fn with_scopes<R>(change: impl FnOnce(&mut Scopes) -> R) -> Option<R> {
    if COMPILED_OUT {
        return None;
    }
    // The first access registers the destructor.
    let _ = THREAD_END.try_with(|_| ());
    change_scopes(change)
}

fn change_scopes<R>(change: impl FnOnce(&mut Scopes) -> R) -> Option<R> {
    SCOPES.with(|scopes| {
        let mut scopes = scopes.try_borrow_mut().ok()?;
        let changed = change(&mut scopes);
        HAS_RUN.set(scopes.current.run.is_some());
        Some(changed)
    })
}

impl ThreadScope {
    fn enter(context: Context) -> Self {
        Self {
            scope: with_scopes(|scopes| scopes.enter(context)).unwrap_or(ScopeId::NEVER_ENTERED),
            _thread: PhantomData,
        }
    }
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        with_scopes(|scopes| scopes.leave(self.0.scope));
    }
}

impl Drop for HeldContext {
    fn drop(&mut self) {
        with_scopes(|scopes| scopes.remove(self.0.scope));
    }
}
