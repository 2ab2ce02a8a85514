//! Handlers for SIGINT and SIGTERM, which end the open runs as KILLED.
//!
//! Invariants:
//!
//! - Nothing is done inside a signal handler but what signal-hook does there.
//! - A signal that the process ignores is left alone.
//! - If the program has a handler of its own for a signal, that handler runs first, and the program decides
//!   what becomes of the process.
//! - If a signal would have ended the process, it still does, after the exit timeout at the latest. A second
//!   signal ends the process at once.
//! - A child made by `fork` has no thread that would end its runs. There the first signal does what the
//!   second does here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::flush;
use crate::journal::{self};
use crate::os::exit;
use crate::os::hooks::{self, Disposition, signal_disposition};
use crate::run;
use crate::tracker::exit_report;
use crate::tracker::global;
use crate::warnings::warn_user;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Installs handlers for SIGINT (Ctrl-C) and SIGTERM that end the open runs as
/// [`KILLED`](crate::RunStatus::Killed).
///
/// Afterwards the handlers deliver what was logged, for at most `MLFLOW_EXIT_TIMEOUT`. Then the signal has
/// the effect that it has without them: the process ends, with the signal as its status. A second signal ends
/// the process at once.
///
/// Without these handlers a signal ends the process as it always does. Nothing is lost then either: the next
/// tracked program delivers what was logged, and closes the runs as KILLED.
///
/// A signal that is ignored, as SIGINT is in a shell's background, stays ignored. If the program has a
/// handler of its own, installed before this call, that handler is called as before: the runs end and are
/// delivered all the same, and the program decides whether it continues or ends. A program that finishes its
/// work after a Ctrl-C should not call this function.
///
/// Call this function once, at the beginning of `main`; later calls do nothing. The first call starts a
/// thread, which sleeps until a signal comes. A child made by `fork` that continues without `exec` does not
/// have that thread. There the first signal ends the child at once, even if the child has since registered a
/// handler through `signal-hook` or `tokio`, and the next tracked program delivers what the child has logged.
///
/// ```
/// mlflow::install_signal_handlers();
/// ```
pub fn install_signal_handlers() {
    // Not a `Once`: a child made by `fork` meanwhile would wait for it.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::Relaxed)
        && global::is_enabled()
        && let Err(error) = install_handlers()
    {
        warn_user(format_args!(
            "no signal handlers could be installed; runs that a signal ends are closed by the next tracked program: {error}"
        ));
    }
}

fn install_handlers() -> io::Result<()> {
    let watched = SIGNALS.map(|signal| (signal, signal_disposition(signal)));
    let mut fatal = Vec::new();
    let mut signals = Signals::new([0_i32; 0])?;
    // Set by the first signal. A second signal then ends the process, if it would have done so without the
    // handlers.
    let again = Arc::new(AtomicBool::new(false));
    for (signal, before) in watched {
        match before {
            Disposition::Ignored => continue,
            Disposition::Handled => {}
            Disposition::Default => {
                hooks::terminate_forked_children(signal)?;
                flag::register_conditional_default(signal, Arc::clone(&again))?;
                flag::register(signal, Arc::clone(&again))?;
                fatal.push(signal);
            }
        }
        flag::register(signal, run::signal_flag())?;
        signals.add_signal(signal)?;
    }
    thread::Builder::new()
        .name("mlflow-signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                run::kill_open_runs();
                journal::release_all();
                if fatal.contains(&signal) {
                    exit::run_exit_stages();
                    // Ends the process.
                    let _ = low_level::emulate_default_handler(signal);
                } else {
                    flush(exit_report::longest_timeout());
                }
            }
        })?;
    Ok(())
}
