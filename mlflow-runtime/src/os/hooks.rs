//! Calls to the operating system and the C library for which there is no safe interface.
//!
//! Invariant: each function makes one kind of call, and states the obligations for its safety above the call.
//! All `unsafe` of the crate is in this file and in `journal/segment/mapped.rs`.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::process;
use std::ptr;

use signal_hook::low_level;

/// Registers `hook` with the C library, which calls it when the process ends by `exit` or by returning from
/// `main`. Returns true on success.
pub(crate) fn register_exit_hook(hook: extern "C" fn()) -> bool {
    // SAFETY: `hook` is a plain function that lives as long as the program and, by its signature's
    // contract with the caller, does not unwind.
    unsafe { libc::atexit(hook) == 0 }
}

/// Hooks that the C library calls around every `fork` of this process. They may only do what is async-signal-safe.
pub(crate) struct ForkHooks {
    /// Called before the fork.
    pub(crate) prepare: extern "C" fn(),
    /// Called behind the fork, in the process that has forked.
    pub(crate) parent: extern "C" fn(),
    /// Called in the child, before `fork` returns there.
    pub(crate) child: extern "C" fn(),
}

/// Registers hooks with the C library. Returns true on success.
pub(crate) fn register_fork_hooks(hooks: &ForkHooks) -> bool {
    let ForkHooks {
        prepare,
        parent,
        child,
    } = *hooks;
    // SAFETY: as in `register_exit_hook`. The caller ensures that the hooks do only what is async-signal-safe.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0 }
}

/// Closes a descriptor in a child made by `fork`. The object that owns the descriptor must never be dropped
/// there.
pub(crate) fn close_in_child(descriptor: i32) {
    // SAFETY: closing is async-signal-safe. The caller ensures that nothing in this process uses the number
    // any more, so that no descriptor which is opened later can be closed in its stead.
    unsafe { libc::close(descriptor) };
}

/// Makes `signal` end, at once, every child that this process makes by `fork` from now on.
pub(crate) fn terminate_forked_children(signal: i32) -> io::Result<()> {
    let own = process::id();
    let action = move || {
        if process::id() != own {
            let _ = low_level::emulate_default_handler(signal);
        }
    };
    // SAFETY: the action is async-signal-safe: it reads the process's id, and the function that ends the
    // process is made for signal handlers. The action neither allocates nor panics.
    unsafe { low_level::register(signal, action) }.map(drop)
}

/// Effect of a signal on the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignored,
    /// Handler of the program or of a library.
    Handled,
}

/// Returns the current effect of `signal`.
pub(crate) fn signal_disposition(signal: i32) -> Disposition {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing is changed. The old action is written whole if the call succeeds,
    // and is not read if the call fails. Its handler is read as a number, as it was written: `sa_handler` and
    // `sa_sigaction` share it.
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

/// Blocks `signal` for the calling thread. A system call of the thread that would raise the signal then only
/// returns an error.
pub(crate) fn block_signal_on_thread(signal: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` writes the set whole, before anything reads it. The old mask is not requested.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
    }
}
