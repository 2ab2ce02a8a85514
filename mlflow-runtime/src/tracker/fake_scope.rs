//! Substitutes for the process's tracker while a test has a fake, and the reach of fakes beyond the threads
//! that have them.
//!
//! Invariants: while a fake is alive, no run that the process starts gets to a store, except children of a
//! run that existed before the fake. A call in the scope of no fake gets to the fake of the whole process, if
//! there is one. Otherwise the call gets to a store in memory that belongs to no fake, and every live fake
//! reports the call. Calls on the thread of another test that has no fake are not reported.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;

use super::Tracker;
use crate::config::Config;
use crate::shipper::FlushScope;
use crate::store::MemoryStore;
use crate::sync::{ignore_poison, lock};
use crate::warnings::warn_without_dedup;

/// Time that a wait for the process's fake may take before a warning is logged.
const SILENT_WAIT: Duration = Duration::from_secs(10);

/// Number of fakes that are alive.
static LIVE_FAKES: AtomicUsize = AtomicUsize::new(0);
/// Fake of the whole process, and the thread that made it.
static PROCESS_FAKE: Mutex<Option<(ThreadId, Arc<Tracker>)>> = Mutex::new(None);
/// Condition that is notified when the process has no fake any more.
static PROCESS_FAKE_ENDED: Condvar = Condvar::new();
/// Trackers for what is logged outside of all scopes. Made at the first use, and dropped with the last fake.
static UNSCOPED: Mutex<Option<UnscopedTrackers>> = Mutex::new(None);

thread_local! {
    /// True if the thread runs a test function. Determined at the first access.
    static RUNS_A_TEST: bool = is_test_backtrace(&Backtrace::force_capture());
}

/// Trackers for what is logged outside of all scopes.
struct UnscopedTrackers {
    /// Tracker and store for threads of unknown origin. Live fakes report the contents of this store.
    untraced: (Arc<Tracker>, MemoryStore),
    /// Tracker for the threads of tests that have no fake. No fake reports what these tests log, because no
    /// other test's fake is meant to see it.
    for_tests: Arc<Tracker>,
}

/// Guard of a live fake. Remembers what had been tracked outside of all scopes before the fake began.
pub(crate) struct FakeGuard {
    escaped_before: usize,
    outside_before: BTreeMap<String, u64>,
}

/// Guard that makes a fake the one of the whole process until the guard is dropped.
pub(crate) struct ProcessFakeGuard(());

/// Makes the tracker of a fake, which delivers to `store`.
pub(crate) fn fake_tracker(store: &MemoryStore) -> Arc<Tracker> {
    let settings = Config::new()
        .enabled(true)
        .quiet(true)
        .tracking_uri("sqlite:///fake.db")
        .experiment("Default")
        .resolve_from(&|_| None, None);
    Arc::new(Tracker::inline(settings, store))
}

/// Function that returns the tracker of the scope that the calling thread is in.
type ScopeLookup = fn() -> Option<Arc<Tracker>>;

/// Lookup of the calling thread's scope, set with the first scope of the process. Scopes are kept by the
/// module `run`, which lies above this one and cannot be imported here.
static SCOPE_LOOKUP: OnceBox<ScopeLookup> = OnceBox::new();

/// Sets the lookup that [`scoped_fake`] calls. Only the first call has an effect.
pub(crate) fn set_lookup(lookup: ScopeLookup) {
    if SCOPE_LOOKUP.get().is_none() {
        let _ = SCOPE_LOOKUP.set(Box::new(lookup));
    }
}

/// Returns the fake that receives the calling thread's values, if there is one.
pub(crate) fn scoped_fake() -> Option<Arc<Tracker>> {
    let scoped = SCOPE_LOOKUP.get().and_then(|lookup| lookup());
    scoped.or_else(process_fake)
}

impl FakeGuard {
    pub(crate) fn begin() -> Self {
        // Count under the lock: the last other fake may be ending, which drops the trackers.
        let nobodys = lock(&UNSCOPED);
        LIVE_FAKES.fetch_add(1, Ordering::SeqCst);
        Self {
            escaped_before: list_escaped_runs(nobodys.as_ref()).len(),
            outside_before: list_unscoped_values(nobodys.as_ref()),
        }
    }

    /// Returns a hint for a failed assertion: what was tracked outside of all scopes since the fake began,
    /// which may be what the assertion misses. Returns an empty text if there is nothing.
    pub(crate) fn hint(&self) -> String {
        let runs = self.escaped_runs().into_iter();
        let runs = runs.map(|(name, experiment)| format!("run {name:?} in {experiment:?}"));
        let values = self.unscoped_values().into_iter();
        let values =
            values.map(|(what, times)| format!("{} without a run", format_times(&what, times)));
        let seen: Vec<String> = runs.chain(values).collect();
        if seen.is_empty() {
            return String::new();
        }
        format!(
            "\n  tracked meanwhile on a thread or in a task that does not know the fake: {}; see \
             mlflow::thread::carry_future",
            seen.join(", ")
        )
    }

    /// Returns the values that were logged without a run outside of all scopes since this fake began, with
    /// the number of times.
    fn unscoped_values(&self) -> BTreeMap<String, u64> {
        let mut noted = list_unscoped_values(lock(&UNSCOPED).as_ref());
        for (what, times) in &mut noted {
            *times -= self.outside_before.get(what).copied().unwrap_or(0);
        }
        noted.retain(|_, times| *times > 0);
        noted
    }

    /// Returns the runs that were started outside of all scopes since this fake began, as pairs of name and
    /// experiment.
    pub(crate) fn escaped_runs(&self) -> Vec<(String, String)> {
        list_escaped_runs(lock(&UNSCOPED).as_ref()).split_off(self.escaped_before)
    }
}

impl Drop for FakeGuard {
    fn drop(&mut self) {
        let mut nobodys = lock(&UNSCOPED);
        if LIVE_FAKES.fetch_sub(1, Ordering::SeqCst) == 1 {
            *nobodys = None;
        }
    }
}

impl ProcessFakeGuard {
    /// Waits until the process has no other fake, and gives it this one.
    ///
    /// # Panics
    ///
    /// Panics if the calling thread already has the process's fake, because the wait would never end.
    pub(crate) fn begin(tracker: &Arc<Tracker>) -> Self {
        let caller = thread::current().id();
        let is_own = lock(&PROCESS_FAKE)
            .as_ref()
            .is_some_and(|(owner, _)| *owner == caller);
        assert!(
            !is_own,
            "this thread already has a global_fake(), and only one can exist at a time: drop the first one before making another"
        );
        let is_taken = |present: &mut Option<_>| present.is_some();
        let first =
            PROCESS_FAKE_ENDED.wait_timeout_while(lock(&PROCESS_FAKE), SILENT_WAIT, is_taken);
        let (mut present, waited) = ignore_poison(first);
        if waited.timed_out() {
            warn_without_dedup(format!(
                "global_fake() has waited {} s so far: another thread of this process has one, and there is one at a time",
                SILENT_WAIT.as_secs()
            ));
            present = ignore_poison(PROCESS_FAKE_ENDED.wait_while(present, is_taken));
        }
        *present = Some((caller, Arc::clone(tracker)));
        Self(())
    }
}

impl Drop for ProcessFakeGuard {
    fn drop(&mut self) {
        let ended = lock(&PROCESS_FAKE).take();
        drop(ended);
        PROCESS_FAKE_ENDED.notify_one();
    }
}

/// Returns true if any fake is alive.
#[inline]
pub(crate) fn has_live_fake() -> bool {
    LIVE_FAKES.load(Ordering::Relaxed) > 0
}

/// Returns the fake of the whole process, if there is one.
pub(crate) fn process_fake() -> Option<Arc<Tracker>> {
    if has_live_fake() {
        let present = lock(&PROCESS_FAKE);
        present.as_ref().map(|(_, tracker)| Arc::clone(tracker))
    } else {
        None
    }
}

/// Returns the substitute for the process's tracker; `None` if no fake is alive.
pub(crate) fn substitute_for_global() -> Option<Arc<Tracker>> {
    if !has_live_fake() {
        return None;
    }
    process_fake().or_else(|| Some(unscoped_tracker()))
}

fn unscoped_tracker() -> Arc<Tracker> {
    let is_test = RUNS_A_TEST.try_with(|is_test| *is_test).unwrap_or(false);
    let mut nobodys = lock(&UNSCOPED);
    let nobodys = nobodys.get_or_insert_with(|| {
        let store = MemoryStore::adopting();
        UnscopedTrackers {
            untraced: (fake_tracker(&store), store),
            for_tests: fake_tracker(&MemoryStore::adopting()),
        }
    });
    Arc::clone(if is_test {
        &nobodys.for_tests
    } else {
        &nobodys.untraced.0
    })
}

/// Returns true if the backtrace contains a call by the standard test harness. Without symbols the call
/// cannot be recognized, and the result is false.
// Input: `  20: test::run_test_in_process`
fn is_test_backtrace(backtrace: &Backtrace) -> bool {
    let backtrace = backtrace.to_string();
    let mut frames = backtrace.lines().filter_map(|line| line.split_once(": "));
    frames.any(|(_, function)| function.starts_with("test::run_test"))
}

/// Returns the runs that were started outside of all scopes since the oldest live fake began, as pairs of
/// name and experiment.
fn list_escaped_runs(nobodys: Option<&UnscopedTrackers>) -> Vec<(String, String)> {
    nobodys.map_or_else(Vec::new, |nobodys| {
        let (tracker, store) = &nobodys.untraced;
        tracker.flush_until(Instant::now(), FlushScope::Own);
        let runs = store.runs().into_iter();
        runs.map(|run| (run.name, run.experiment)).collect()
    })
}

/// Returns `what` with the number of times that it was logged.
pub(crate) fn format_times(what: &str, times: u64) -> String {
    if times == 1 {
        what.to_owned()
    } else {
        format!("{what} ({times} times)")
    }
}

/// Returns the values that were logged without a run outside of all scopes since the oldest live fake began,
/// with the number of times.
fn list_unscoped_values(nobodys: Option<&UnscopedTrackers>) -> BTreeMap<String, u64> {
    nobodys.map_or_else(BTreeMap::new, |nobodys| {
        nobodys.untraced.0.runless_values.counts()
    })
}

/// Returns the failure message for runs that were started outside of all scopes.
pub(crate) fn describe_escaped_runs(escaped: &[(String, String)]) -> String {
    let runs = escaped
        .iter()
        .map(|(name, experiment)| format!("\n  run {name:?} in {experiment:?}"));
    let runs: String = runs.collect();
    format!(
        "tracked code ran in the scope of no fake, and would have logged to the store that the process is configured \
         for:{runs}\n\
         To carry the fake to a thread or a task, use mlflow::thread::carry_future, mlflow::thread::carry, \
         Run::instrument. For a server or a pool take mlflow::testing::global_fake(). A thread of another test that \
         logs meanwhile needs a fake, too"
    )
}
