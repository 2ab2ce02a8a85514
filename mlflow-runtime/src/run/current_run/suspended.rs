//! Context of a future between its polls.
//!
//! Invariant: outside of a poll, the whole context of the future is stored here, and none of it is left on a
//! thread.

use std::marker::PhantomData;
use std::mem;

use super::stack::{Entry, ScopeId};
use super::{Context, ContextGuard, ThreadScope, with_scopes};

/// Context that is current in a future, with the entries that the future made and did not leave, such as a
/// guard that it holds across an `await`.
#[derive(Debug, Default)]
pub(crate) struct SuspendedContext {
    current: Context,
    inner_entries: Vec<Entry>,
}

impl From<Context> for SuspendedContext {
    fn from(current: Context) -> Self {
        Self {
            current,
            inner_entries: Vec::new(),
        }
    }
}

impl SuspendedContext {
    pub(crate) fn resume(self) -> ContextGuard {
        let Self {
            current,
            inner_entries: above,
        } = self;
        ContextGuard(ThreadScope {
            scope: with_scopes(|scopes| scopes.reenter(current, above))
                .unwrap_or(ScopeId::NEVER_ENTERED),
            _thread: PhantomData,
        })
    }

    /// Resumes the context until the returned value is dropped, also by a panic.
    pub(crate) fn resume_scoped(&mut self) -> ResumedContext<'_> {
        let guard = mem::take(self).resume();
        ResumedContext {
            suspended: self,
            guard,
        }
    }
}

impl ContextGuard {
    /// Leaves the context, and returns what was current there for the next poll.
    pub(crate) fn suspend(&self) -> SuspendedContext {
        with_scopes(|scopes| scopes.leave(self.0.scope))
            .flatten()
            .map(|(current, above)| SuspendedContext {
                current,
                inner_entries: above,
            })
            .unwrap_or_default()
    }
}

/// Context of a future while the future is polled.
pub(crate) struct ResumedContext<'a> {
    suspended: &'a mut SuspendedContext,
    guard: ContextGuard,
}

impl Drop for ResumedContext<'_> {
    fn drop(&mut self) {
        *self.suspended = self.guard.suspend();
    }
}
