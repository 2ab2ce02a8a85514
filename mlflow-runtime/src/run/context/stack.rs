//! What was entered on a thread and not left yet.
//!
//! Invariant: an entry keeps what was current before it, so the contexts are a chain that ends with
//! the current one. Whoever takes an entry out mends the chain.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Context, LAST_RUN};

/// One entry; unique in the process, since a guard that is leaked may move on with its future.
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

/// The thread's locals go.
impl Drop for Scopes {
    fn drop(&mut self) {
        if let Some(run) = self.current.run.take() {
            // Never freed: somebody may log until the process is gone.
            LAST_RUN.set(Some(Box::leak(Box::new(run))));
        }
    }
}

impl ScopeId {
    /// Never entered.
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

    /// Enters what [`Scopes::leave`] gave.
    pub(super) fn reenter(&mut self, current: Context, above: Vec<Entry>) -> ScopeId {
        let scope = self.enter(current);
        self.entered.extend(above);
        scope
    }

    /// Leaves `scope` and all that was entered in it: what was current there, and the entries above it.
    pub(super) fn leave(&mut self, scope: ScopeId) -> Option<(Context, Vec<Entry>)> {
        let position = self.position(scope)?;
        let above = self.entered.split_off(position + 1);
        let previous = self.entered.pop()?.previous;
        Some((mem::replace(&mut self.current, previous), above))
    }

    /// Takes `scope` out from among the others.
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
