//! SIGINT and SIGTERM: the runs that are open end as KILLED.
//!
//! Invariants: nothing is done inside a signal handler but what signal-hook does there; a signal
//! that the process ignores is left alone; one for which the program has a handler of its own goes
//! there first, and what then becomes of the process is for the program to decide; where the signal
//! would have ended the process, it does, after the exit timeout at the latest, and a second one
//! ends it at once. A child made by `fork` has no thread that would end its runs: the first signal
//! does there what the second does here.

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
use crate::tracker::global;
use crate::tracker::last_words;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// From now on SIGINT (Ctrl-C) and SIGTERM end the runs that are open as
/// [`KILLED`](crate::RunStatus::Killed), deliver what was logged, for at most
/// `MLFLOW_EXIT_TIMEOUT`, and then do what they would have done without it: end the process, with
/// the signal as its status. A second signal ends it at once.
///
/// Without this a signal ends the process as it always does. Nothing is lost then either: the next
/// tracked program delivers what was logged, and closes the runs as KILLED.
///
/// A signal that is ignored, as SIGINT is in a shell's background, stays ignored. Where the program
/// has a handler of its own, installed before this is called, that is called as before: the runs end
/// and are delivered all the same, and the program goes on, ends, or not, as it sees fit. A program
/// that finishes its work after a Ctrl-C should not call this.
///
/// Call it once, at the beginning of `main`; later calls do nothing. It starts a thread, which
/// sleeps until a signal comes. A child made by `fork` that goes on without `exec` does not have that
/// thread: the first signal ends it at once, also where it has since registered a handler through
/// `signal-hook` or `tokio`, and the next tracked program delivers what it has logged.
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
        tracing::warn!(
            target: "mlflow", %error,
            "no signal handlers could be installed; runs that a signal ends are closed by the next tracked program"
        );
    }
}

fn install_handlers() -> io::Result<()> {
    let watched = SIGNALS.map(|signal| (signal, signal_disposition(signal)));
    let mut fatal = Vec::new();
    let mut signals = Signals::new([0_i32; 0])?;
    // Set by the first signal: the second one ends the process where it would have done so before.
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
                    flush(last_words::longest_timeout());
                }
            }
        })?;
    Ok(())
}
