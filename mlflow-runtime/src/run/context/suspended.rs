//! The context of a future between its polls.
//!
//! Invariant: outside of a poll it is all here, and nothing of it is left on the thread.

use std::marker::PhantomData;
use std::mem;

use super::stack::{Entry, ScopeId};
use super::{Context, ContextGuard, ThreadScope, with_scopes};

/// What is current in a future, and what it entered and did not leave: a guard that it holds across
/// an `await`.
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

    /// Resumes until the value that is returned is dropped, also by a panic.
    pub(crate) fn resume_scoped(&mut self) -> ResumedContext<'_> {
        let guard = mem::take(self).resume();
        ResumedContext {
            suspended: self,
            guard,
        }
    }
}

impl ContextGuard {
    /// Leaves, and keeps for the next poll what is current.
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

/// A future's context while it is polled.
pub(crate) struct ResumedContext<'a> {
    suspended: &'a mut SuspendedContext,
    guard: ContextGuard,
}

impl Drop for ResumedContext<'_> {
    fn drop(&mut self) {
        *self.suspended = self.guard.suspend();
    }
}
