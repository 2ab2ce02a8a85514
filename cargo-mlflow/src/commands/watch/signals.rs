//! [`Signals`] from outside while the screen is full: those that end the program, stop it, and continue it.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

/// Signals that end the program.
const FATAL: [c_int; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Signals that have come. Each does what it does to any program, but only after the terminal is as it was.
pub(super) struct Signals {
    /// Last signal that ends the program; 0 before one has come.
    fatal: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    continuation: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to listen.
    pub(super) fn listen() -> io::Result<Self> {
        let signals = Self {
            fatal: Arc::default(),
            stop: Arc::default(),
            continuation: Arc::default(),
        };
        for signal in FATAL {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&signals.fatal), number)?;
        }
        flag::register(SIGTSTP, Arc::clone(&signals.stop))?;
        flag::register(SIGCONT, Arc::clone(&signals.continuation))?;
        Ok(signals)
    }

    /// Returns the signal that ends the program, if one has come.
    pub(super) fn fatal(&self) -> Option<c_int> {
        let signal = self.fatal.load(Ordering::Relaxed);
        c_int::try_from(signal).ok().filter(|signal| *signal != 0)
    }

    /// Returns true if the program is to stop. The next call returns false.
    pub(super) fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::Relaxed)
    }

    /// Returns true if the program was continued. The next call returns false.
    pub(super) fn take_continuation(&self) -> bool {
        self.continuation.swap(false, Ordering::Relaxed)
    }

    /// Stops the program until it is continued.
    pub(super) fn stop(&self) -> io::Result<()> {
        emulate_default_handler(SIGTSTP)?;
        self.take_continuation();
        Ok(())
    }
}

/// Ends the program as a signal does that nobody handles, so that the shell knows of it.
pub(super) fn end_by(signal: c_int) -> io::Result<()> {
    emulate_default_handler(signal)
}
