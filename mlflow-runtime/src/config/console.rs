//! What was asked for: how much text a run may have.
//!
//! Invariant: as in [`config`](crate::config), a value that cannot be used is one warning and the
//! default.

use crate::config::Config;
use crate::variables::read_number;

/// What [`Config`] was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsoleOptions {
    capture: Option<bool>,
    max_bytes: Option<u64>,
}

/// The same with every question answered.
#[derive(Clone, Debug)]
pub(crate) struct ConsoleSettings {
    /// Whether stdout and stderr belong to it.
    pub(crate) capture: bool,
    /// Of one run.
    pub(crate) max_bytes: u64,
}

/// A week of ten lines a minute, of a hundred bytes each, is a sixth of that.
const DEFAULT_MAX_BYTES: u64 = 64 << 20;

impl Config {
    /// Whether what the process writes to stdout and stderr is in the artifact `logs/console.log` of its
    /// runs, too (`MLFLOW_CAPTURE_CONSOLE`, default false). It goes where it went before, unchanged.
    ///
    /// ```
    /// let config = mlflow::Config::new().capture_console(true);
    /// # let _ = config;
    /// ```
    ///
    /// - From the start of the first run until the process ends, or [`shutdown`](crate::shutdown) is
    ///   called, stdout and stderr are pipes to a helper process, `tee`, which passes everything on
    ///   and keeps a copy. It outlives a process that is killed, so nothing that was written before is
    ///   lost. It takes `sh` and `tee`; where they are not there, one warning says so, and nothing changes.
    /// - It is the output of the whole process, what subprocesses, C libraries and panics write
    ///   included. Each run without a parent has what was written from its start to its end; of two at
    ///   the same time, both have all of it. Of runs one after the other every byte is in one; what is
    ///   printed right at a run's end may be in the next one's. Child runs have none. With the feature
    ///   `tracing`, the run's lines stand in between.
    /// - Where stdout and stderr go to one place, such as a terminal, the order between them is kept. Where they
    ///   go to two, a line of the one may stand behind a later line of the other.
    /// - Credentials that can be recognised are masked in the artifact, and bytes that are no UTF-8
    ///   replaced; until it is delivered the copy lies beside the journal as it was written, and does not
    ///   count as the journal's.
    /// - A pipe is no terminal: programs that ask leave out colours and progress bars.
    /// - The helper is a child of the process, which a `waitpid` for any child sees. In a container
    ///   whose first process this is, it dies with it: what was printed in the last moment before a
    ///   `SIGKILL` may be lost there.
    /// - When what is not delivered yet is longer than [`console_max_bytes`](Self::console_max_bytes), the
    ///   copying ends, with a warning; that is looked at once a second. A limit on the size of files
    ///   (`ulimit -f`) would end the process, so there nothing is captured.
    pub fn capture_console(mut self, capture: bool) -> Self {
        self.console.capture = Some(capture);
        self
    }

    /// How many bytes of text a run's `logs/console.log` may have (`MLFLOW_CONSOLE_MAX_BYTES`, default
    /// 64 MiB). What comes after that is left out, which a line at its end says. Lines of the feature
    /// `tracing` count as the journal's, too: see [`journal_max_bytes`](Self::journal_max_bytes).
    pub fn console_max_bytes(mut self, bytes: u64) -> Self {
        self.console.max_bytes = Some(bytes);
        self
    }
}

impl ConsoleOptions {
    pub(crate) fn resolve(
        self,
        text: &dyn Fn(&'static str) -> Option<String>,
        flag: &dyn Fn(&'static str) -> Option<bool>,
    ) -> ConsoleSettings {
        let Self { capture, max_bytes } = self;
        ConsoleSettings {
            capture: capture
                .or_else(|| flag("MLFLOW_CAPTURE_CONSOLE"))
                .unwrap_or(false),
            max_bytes: max_bytes
                .or_else(|| read_number(text, "MLFLOW_CONSOLE_MAX_BYTES", "a number of bytes"))
                .unwrap_or(DEFAULT_MAX_BYTES),
        }
    }
}
