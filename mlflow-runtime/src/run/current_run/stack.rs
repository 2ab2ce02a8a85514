//! Contexts that were entered on a thread and not left yet.
//!
//! Invariant: an entry keeps the context that was current before it, so that the contexts are a chain which
//! ends with the current one. The removal of an entry closes the chain again.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Context;
use crate::tracker::Tracker;

/// Id of one entry. Unique in the process, because the entry of a leaked guard may move to another thread
/// with its future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScopeId(u64);

static NEXT_SCOPE_ID: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub(super) struct Scopes {
    pub(super) current: Context,
    entered: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    scope: ScopeId,
    previous: Context,
}

impl ScopeId {
    /// Id that no entry has.
    pub(super) const NEVER_ENTERED: Self = Self(0);
}

impl Scopes {
    pub(super) const EMPTY: Self = Self {
        current: Context::EMPTY,
        entered: Vec::new(),
    };

    pub(super) fn enter(&mut self, context: Context) -> ScopeId {
        let scope = ScopeId(NEXT_SCOPE_ID.fetch_add(1, Ordering::Relaxed));
        let previous = mem::replace(&mut self.current, context);
        self.entered.push(Entry { scope, previous });
        scope
    }

    /// Takes everything out but the current run.
    pub(super) fn release(&mut self) -> (Vec<Entry>, Option<Arc<Tracker>>) {
        (mem::take(&mut self.entered), self.current.tracker.take())
    }

    /// Enters again the context and the inner entries that [`Scopes::leave`] returned.
    pub(super) fn reenter(&mut self, current: Context, above: Vec<Entry>) -> ScopeId {
        let scope = self.enter(current);
        self.entered.extend(above);
        scope
    }

    /// Leaves `scope` and everything that was entered in it. Returns the context that was current there, and
    /// the inner entries.
    pub(super) fn leave(&mut self, scope: ScopeId) -> Option<(Context, Vec<Entry>)> {
        let position = self.position(scope)?;
        let above = self.entered.split_off(position + 1);
        let previous = self.entered.pop()?.previous;
        Some((mem::replace(&mut self.current, previous), above))
    }

    /// Removes `scope` from among the other entries. Returns its context.
    pub(super) fn remove(&mut self, scope: ScopeId) -> Option<Context> {
        let position = self.position(scope)?;
        let previous = self.entered.remove(position).previous;
        let follower = self
            .entered
            .get_mut(position)
            .map_or(&mut self.current, |entry| &mut entry.previous);
        Some(mem::replace(follower, previous))
    }

    fn position(&self, scope: ScopeId) -> Option<usize> {
        self.entered.iter().rposition(|entry| entry.scope == scope)
    }
}
