//! The run of a body that cannot be a closure, kept by a guard in the body itself.

use std::thread;

use crate::run::current_run::ContextGuard;
use crate::tracked::call::Call;

/// Run of a body that cannot be wrapped in a closure: of a function that never returns, that has
/// `#[track_caller]`, or that returns `impl Fn`.
#[derive(Debug)]
pub struct Guard {
    call: Option<Box<Call>>,
    /// True if the thread was already unwinding when the body began, as in a destructor.
    was_unwinding: bool,
    current: Option<ContextGuard>,
}

impl Guard {
    /// Starts the run of `call`, if there is one, and makes the run current until the guard is dropped.
    #[inline]
    #[must_use]
    pub fn new(mut call: Option<Box<Call>>) -> Self {
        let current = call.as_deref_mut().map(Call::enter);
        let unwinding = call.is_some() && thread::panicking();
        Self {
            call,
            was_unwinding: unwinding,
            current,
        }
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            if thread::panicking() && !self.was_unwinding {
                call.finish_unwinding();
            } else {
                call.finish_returned(&mut |_| ());
            }
        }
        self.current = None;
    }
}
