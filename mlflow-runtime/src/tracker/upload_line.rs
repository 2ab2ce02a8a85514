//! [`UploadLine`]: the progress of an upload on the terminal, while a thread waits for it.
//!
//! # Invariants
//!
//! 1. A line is drawn only while a caller waits for the delivery, and only on a terminal of a person: not in a build
//!    service, not where the terminal cannot erase a line, and not by a job in the background.
//! 2. The line is rewritten in place, and erased at its end.
//! 3. The terminal may be stopped, so nobody but the thread that draws waits for it, beyond [`ERASE_TIMEOUT`].

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::getpgrp;
use rustix::stdio::stderr;
use rustix::termios::{isatty, tcgetpgrp, tcgetwinsize};

use crate::env_vars;
use crate::stderr::write_stderr;
use crate::store::{SHOWN_AFTER, Uploads};
use crate::sync::{ignore_poison, lock};

/// Interval between two drawings.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for the end of the line.
const ERASE_TIMEOUT: Duration = Duration::from_millis(100);
/// Sequence that erases the line of the cursor.
const ERASE: &str = "\r\x1b[K";

/// Line that is shown until this value is dropped.
pub(super) struct UploadLine(Arc<LineState>);

#[derive(Default)]
struct LineState {
    stage: Mutex<LineStage>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum LineStage {
    #[default]
    Shown,
    Ending,
    Erased,
}

impl UploadLine {
    /// Begins to show the progress of uploads; `None` if there is nobody to show it to.
    pub(super) fn begin(uploads: Arc<Uploads>) -> Option<Self> {
        if !is_before_a_person() {
            return None;
        }
        let state = Arc::<LineState>::default();
        let drawn = Arc::clone(&state);
        let spawned = thread::Builder::new()
            .name("mlflow-progress".to_owned())
            .spawn(move || drawn.draw(&uploads));
        spawned.is_ok().then_some(Self(state))
    }
}

impl Drop for UploadLine {
    fn drop(&mut self) {
        let mut stage = lock(&self.0.stage);
        if *stage == LineStage::Shown {
            *stage = LineStage::Ending;
        }
        self.0.changed.notify_all();
        let is_ending = |stage: &mut LineStage| *stage != LineStage::Erased;
        let changed = &self.0.changed;
        let waited = changed.wait_timeout_while(stage, ERASE_TIMEOUT, is_ending);
        drop(ignore_poison(waited));
    }
}

impl LineState {
    /// Draws the line until its end.
    fn draw(&self, uploads: &Uploads) {
        let mut pause = SHOWN_AFTER;
        let mut is_drawn = false;
        loop {
            let stage = lock(&self.stage);
            let is_shown = |stage: &mut LineStage| *stage == LineStage::Shown;
            let waited = self.changed.wait_timeout_while(stage, pause, is_shown);
            let (stage, _) = ignore_poison(waited);
            let is_over = *stage != LineStage::Shown;
            drop(stage);
            if is_over {
                break;
            }
            pause = REDRAW_INTERVAL;
            let columns = tcgetwinsize(stderr()).map_or(80, |size| usize::from(size.ws_col));
            match uploads.progress() {
                // The cursor has a column, too.
                Some(progress) if columns > 1 => {
                    let line = progress.to_line(columns - 1);
                    write_stderr(&format!("{ERASE}{line}"));
                    is_drawn = true;
                }
                _ if is_drawn => {
                    write_stderr(ERASE);
                    is_drawn = false;
                }
                _ => {}
            }
        }
        if is_drawn {
            write_stderr(ERASE);
        }
        *lock(&self.stage) = LineStage::Erased;
        self.changed.notify_all();
    }
}

/// Returns true if stderr is a terminal on which a person sees this process, and which can erase a line.
fn is_before_a_person() -> bool {
    let is_set =
        |variable: &str| env_vars::read_description(variable).is_some_and(|value| value != "false");
    let can_erase = env_vars::read_description("TERM").is_some_and(|terminal| terminal != "dumb");
    isatty(stderr())
        && can_erase
        && !is_set("CI")
        // A terminal that does not control this process has no jobs.
        && tcgetpgrp(stderr()).map_or(true, |foreground| foreground == getpgrp())
}
