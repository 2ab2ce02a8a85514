//! [`Waiting`]: a line for a person who waits for a store that does not answer.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::Output;

/// Time after which the line is written.
const SILENCE: Duration = Duration::from_secs(2);

/// True if a command has written something, or has asked a question: nobody wonders then.
static HAS_SPOKEN: AtomicBool = AtomicBool::new(false);

/// Watch over a command. It writes one line to the terminal if the command has written nothing for
/// [`SILENCE`]. Ends when it is dropped.
pub(crate) struct Waiting {
    /// Sender whose drop ends the watching thread; `None` if nobody sees a terminal.
    _ended: Option<Sender<()>>,
}

impl Waiting {
    /// Begins to watch a command that asks the store at `uri`.
    pub(crate) fn watch(output: Output, uri: String) -> Self {
        if output.json || !io::stderr().is_terminal() {
            return Self { _ended: None };
        }
        let (ended, end) = mpsc::channel::<()>();
        thread::spawn(move || {
            let is_over = end.recv_timeout(SILENCE) != Err(RecvTimeoutError::Timeout);
            if !is_over && !HAS_SPOKEN.load(Ordering::Relaxed) {
                output.remark(format_args!("waiting for {uri} (--timeout sets how long)"));
            }
        });
        Self {
            _ended: Some(ended),
        }
    }
}

/// Notes that the command has written something.
pub(crate) fn note_words() {
    HAS_SPOKEN.store(true, Ordering::Relaxed);
}
