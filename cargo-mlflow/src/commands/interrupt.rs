//! [`Interrupt`]: Ctrl-C, or the signal by which a service is stopped.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// Exit code after a second signal, as a shell has it after a first one.
const FORCED_EXIT_CODE: i32 = 130;

/// Signals that ask the program to end.
const SIGNALS: [c_int; 2] = [SIGINT, SIGTERM];

/// First signal that asks the program to end. A second one ends it at once.
pub(crate) struct Interrupt {
    has_come: Arc<AtomicBool>,
    signals: Receiver<()>,
}

impl Interrupt {
    /// Begins to listen for the signals.
    pub(crate) fn listen() -> io::Result<Self> {
        let has_come = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            // Registered first, it finds the flag unset at the first signal.
            flag::register_conditional_shutdown(signal, FORCED_EXIT_CODE, Arc::clone(&has_come))?;
        }
        for signal in SIGNALS {
            flag::register(signal, Arc::clone(&has_come))?;
        }
        let mut incoming = Signals::new(SIGNALS)?;
        let (sender, signals) = mpsc::channel();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for _ in incoming.forever() {
                    if sender.send(()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { has_come, signals })
    }

    /// Returns true if a signal has come.
    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }

    /// Waits for a signal, but no longer than `timeout`. Returns true if one has come.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.signals.recv_timeout(timeout).is_ok() || self.has_come()
    }
}
