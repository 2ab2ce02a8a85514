//! Who is the current run: per thread, and carried along by tasks.
//!
//! Invariants: what was current when code was called is current again when it is left, also while
//! unwinding, whatever it left behind. Guards that users hold come and go in any order: the current
//! context is that of the youngest still there. What a future held at its last poll it holds at the
//! next one, and nobody else meanwhile. A context is two reference counts: cheap to capture, cheap
//! to carry.

mod stack;
mod suspended;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::BuildHasher as _;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use rustc_hash::FxBuildHasher;

use stack::{ScopeId, Scopes};
pub(crate) use suspended::SuspendedContext;

use crate::run::Run;
use crate::tracker::global::{self, COMPILED_OUT};
use crate::tracker::{Tracker, stand_in};
use crate::warnings::warn_user;

thread_local! {
    static SCOPES: RefCell<Scopes> = const { RefCell::new(Scopes::EMPTY) };
    /// The run that was current when the thread's locals went, as in a process that exits inside a
    /// tracked function: `atexit` handlers are called after that. It has no destructor, so it stays.
    static LAST_RUN: Cell<Option<&'static Run>> = const { Cell::new(None) };
}

/// The current run, and the tracker that new runs go to where it is not the process's.
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

/// Code that was called in a context: what was current before is back when this is dropped.
#[derive(Debug)]
pub(crate) struct ContextGuard(ThreadScope);

/// A context that a user holds on to: gone when this is dropped, whatever was entered since.
#[derive(Debug)]
pub(crate) struct HeldContext(ThreadScope);

#[derive(Debug)]
struct ThreadScope {
    scope: ScopeId,
    /// Not `Send`, because the scope belongs to its thread, and `Sync`, because a reference can only read it.
    _thread: PhantomData<MutexGuard<'static, ()>>,
}

impl Context {
    /// The calling thread's context.
    pub(crate) fn current() -> Self {
        if COMPILED_OUT {
            return Self::EMPTY;
        }
        // Shared: a panic hook asks while a value is being logged.
        SCOPES
            .try_with(|scopes| scopes.try_borrow().map(|scopes| scopes.current.clone()))
            .map_or_else(|_| Self::from_last_run(), Result::unwrap_or_default)
    }

    #[cold]
    fn from_last_run() -> Self {
        Self {
            run: LAST_RUN.get().cloned(),
            tracker: None,
        }
    }

    const EMPTY: Self = Self {
        run: None,
        tracker: None,
    };

    /// `run` as the current run, and with one of a fake's the fake; else the same tracker.
    pub(crate) fn with_run(&self, run: Run) -> Self {
        let fake = run.tracker().filter(|tracker| tracker.is_inline());
        if fake.is_some() {
            stand_in::set_lookup(|| Self::current().tracker);
        }
        Self {
            tracker: fake.or(self.tracker.as_ref()).cloned(),
            run: Some(run),
        }
    }

    /// No run; new ones go to `tracker`.
    pub(crate) fn with_tracker(tracker: Arc<Tracker>) -> Self {
        stand_in::set_lookup(|| Self::current().tracker);
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

    /// Where a run started in this context goes; `None` where tracking is disabled.
    pub(crate) fn tracker(&self) -> Option<Arc<Tracker>> {
        self.run
            .as_ref()
            .and_then(Run::tracker)
            .or(self.tracker.as_ref())
            .cloned()
            .or_else(Tracker::global)
    }

    /// Returns the fake that records what is logged here: that of the scope, else that of the whole process.
    pub(crate) fn fake(&self) -> Option<Arc<Tracker>> {
        let scoped = self.tracker.clone();
        scoped.or_else(stand_in::process_fake)
    }
}

/// Calls `log` with the current run, if there is one; a fake is told of a value without. `log` must
/// not call code of the user's: the context cannot change meanwhile.
#[inline]
pub(crate) fn with_current_run(kind: &'static str, key: &str, log: impl Fn(&Run)) {
    if COMPILED_OUT {
        return;
    }
    let mut is_untold = false;
    // A destructor that logs while the context is being replaced has no current run.
    let known = SCOPES.try_with(|scopes| {
        let Ok(scopes) = scopes.try_borrow() else {
            return;
        };
        match &scopes.current {
            Context { run: Some(run), .. } => log(run),
            Context {
                tracker: Some(fake),
                ..
            } => fake.runless_values.record(kind, key),
            _ => is_untold = !is_warned(key) || stand_in::has_live_fake(),
        }
    });
    if known.is_err() {
        with_last_run(log);
    } else if is_untold {
        warn_outside_run(kind, key);
    }
}

/// How many keys are named in a process of those that are logged without a run.
const MAX_WARNED_KEYS: u32 = 5;

/// A bit for each key, by its hash, of which it was said that it is logged without a run. Two may share a bit, and
/// then the second is not named: a look has to cost nothing.
static WARNED_KEYS: AtomicU64 = AtomicU64::new(0);

fn key_bit(key: &str) -> u64 {
    1 << (FxBuildHasher.hash_one(key) % 64)
}

fn is_warned(key: &str) -> bool {
    let told = WARNED_KEYS.load(Ordering::Relaxed);
    told & key_bit(key) != 0 || told.count_ones() >= MAX_WARNED_KEYS
}

/// Says, once for a key, that it was logged without a run. Elsewhere than in [`SCOPES`]: a
/// subscriber may look there.
#[cold]
fn warn_outside_run(kind: &'static str, key: &str) {
    // It does not know a fake that is alive elsewhere, but what it logs may be what that fake is to see.
    if let Some(fake) = stand_in::substitute_for_global() {
        fake.runless_values.record(kind, key);
        if stand_in::process_fake().is_some() {
            return;
        }
    }
    // Where tracking is off nothing is to be said either.
    if is_warned(key) || !global::is_enabled() {
        return;
    }
    WARNED_KEYS.fetch_or(key_bit(key), Ordering::Relaxed);
    warn_user(format_args!(
        "{kind} {key:?} is logged outside of any run and is not recorded, and so is what is logged to it later; \
         {MAX_WARNED_KEYS} keys at most are named. Start a \
         run: #[mlflow::tracked] or mlflow::start_run!().start(). Take it along to another thread with \
         mlflow::thread::spawn or carry, to another task with mlflow::thread::carry_future"
    ));
}

/// Calls `log` with the run that was current when the thread's locals went.
#[cold]
fn with_last_run(log: impl Fn(&Run)) {
    if let Some(run) = LAST_RUN.get() {
        log(run);
    }
}

/// Calls `log` with the current run; false if there is none. As above, `log` must not call code of the
/// user's.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn with_run(log: impl FnOnce(&Run)) -> bool {
    if COMPILED_OUT {
        return false;
    }
    SCOPES
        .try_with(|scopes| {
            let scopes = scopes.try_borrow().ok()?;
            scopes.current.run.as_ref().map(log)
        })
        .ok()
        .flatten()
        .is_some()
}

/// The current run; a fake is told of a value without.
pub(crate) fn current_run_or_warn(kind: &'static str, key: &str) -> Option<Run> {
    let Context { run, tracker } = Context::current();
    match (&run, tracker) {
        (Some(_), _) => {}
        (None, Some(fake)) => fake.runless_values.record(kind, key),
        (None, None) => warn_outside_run(kind, key),
    }
    run
}

/// `None` where tracking is compiled out, and where the thread's locals are gone. What `change` takes
/// out it returns, to be dropped by the caller: a run's last owner may come back here.
fn with_scopes<R>(change: impl FnOnce(&mut Scopes) -> R) -> Option<R> {
    if COMPILED_OUT {
        return None;
    }
    SCOPES
        .try_with(|scopes| {
            scopes
                .try_borrow_mut()
                .ok()
                .map(|mut scopes| change(&mut scopes))
        })
        .ok()
        .flatten()
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
