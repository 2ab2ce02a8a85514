//! What is asked of the operating system and the C library without a safe interface.
//!
//! Invariant: each function is one call, whose obligations stand above it. All `unsafe` of the crate is here and in
//! `journal/segment/mapped.rs`.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::process;
use std::ptr;

use signal_hook::low_level;

/// Has the C library call `hook` when the process ends by `exit` or by returning from `main`.
pub(crate) fn register_exit_hook(hook: extern "C" fn()) -> bool {
    // SAFETY: `hook` is a plain function that lives as long as the program and, by its signature's
    // contract with the caller, does not unwind.
    unsafe { libc::atexit(hook) == 0 }
}

/// Has the C library call `hook` in every child that this process makes by `fork`, before `fork`
/// returns there. `hook` may do what is async-signal-safe only.
pub(crate) fn register_fork_child_hook(hook: extern "C" fn()) -> bool {
    // SAFETY: as above; what `hook` may do is for the caller to keep to.
    unsafe { libc::pthread_atfork(None, None, Some(hook)) == 0 }
}

/// Closes a descriptor in a child made by `fork`. Its owner there must never be dropped.
pub(crate) fn close_in_child(descriptor: i32) {
    // SAFETY: closing is async-signal-safe. By the caller's word nobody in this process uses the
    // number any more, so none that is opened later can be closed in its stead.
    unsafe { libc::close(descriptor) };
}

/// Has `signal` end every child that this process makes by `fork` from now on, at once.
pub(crate) fn terminate_forked_children(signal: i32) -> io::Result<()> {
    let own = process::id();
    let action = move || {
        if process::id() != own {
            let _ = low_level::emulate_default_handler(signal);
        }
    };
    // SAFETY: the action is async-signal-safe: it asks for the process's id, and what ends the process
    // is made for signal handlers. It neither allocates nor panics.
    unsafe { low_level::register(signal, action) }.map(drop)
}

/// What happens when a signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignored,
    /// Somebody has a handler for it.
    Handled,
}

/// What happens at this moment when `signal` comes.
pub(crate) fn signal_disposition(signal: i32) -> Disposition {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing is changed; the old one is written whole where the call
    // succeeds, and not looked at where it does not. Its handler is read as a number, as it was
    // written: `sa_handler` and `sa_sigaction` share it.
    let handler = unsafe {
        if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
            return Disposition::Handled;
        }
        action.assume_init().sa_sigaction
    };
    match handler {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    }
}

/// Has the calling thread's own faults with `signal` come back as errors of its system calls.
pub(crate) fn block_signal_on_thread(signal: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` writes the set whole, before anything reads it; the old mask is not
    // asked for.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
    }
}
