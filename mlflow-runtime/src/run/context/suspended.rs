//! The context of a future between its polls.
//!
//! Invariant: outside of a poll it is all here, and nothing of it is left on the thread.

use std::marker::PhantomData;
use std::mem;

use super::stack::{Entry, Scope};
use super::{Context, ContextGuard, Place, change};

/// What is current in a future, and what it entered and did not leave: a guard that it holds across
/// an `await`.
#[derive(Debug, Default)]
pub(crate) struct Suspended {
    current: Context,
    above: Vec<Entry>,
}

impl From<Context> for Suspended {
    fn from(current: Context) -> Self {
        Self {
            current,
            above: Vec::new(),
        }
    }
}

impl Suspended {
    pub(crate) fn resume(self) -> ContextGuard {
        let Self { current, above } = self;
        ContextGuard(Place {
            scope: change(|scopes| scopes.enter_again(current, above)).unwrap_or(Scope::NOWHERE),
            _thread: PhantomData,
        })
    }

    /// Resumes until the value that is returned is dropped, also by a panic.
    pub(crate) fn resume_here(&mut self) -> Resumed<'_> {
        let guard = mem::take(self).resume();
        Resumed {
            suspended: self,
            guard,
        }
    }
}

impl ContextGuard {
    /// Leaves, and keeps for the next poll what is current.
    pub(crate) fn suspend(&self) -> Suspended {
        change(|scopes| scopes.leave(self.0.scope))
            .flatten()
            .map(|(current, above)| Suspended { current, above })
            .unwrap_or_default()
    }
}

/// A future's context while it is polled.
pub(crate) struct Resumed<'a> {
    suspended: &'a mut Suspended,
    guard: ContextGuard,
}

impl Drop for Resumed<'_> {
    fn drop(&mut self) {
        *self.suspended = self.guard.suspend();
    }
}
