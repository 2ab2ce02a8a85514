//! Settings of the console log: whether stdout and stderr are captured, and how much text a run may have.
//!
//! Invariant: as in [`config`](crate::config), a value that cannot be used causes one warning, and the
//! default is used instead.

use super::resolver::Resolver;
use crate::config::Config;
use crate::env_vars::{parse_flag, parse_number};

/// Console settings as given to [`Config`]; `None` if not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsoleOptions {
    capture: Option<bool>,
    max_bytes: Option<u64>,
}

/// Resolved console settings: explicit values, then the environment, then defaults.
#[derive(Clone, Debug)]
pub(crate) struct ConsoleSettings {
    /// True if stdout and stderr are captured into the console log.
    pub(crate) capture: bool,
    /// Longest text of one run's console log, in bytes.
    pub(crate) max_bytes: u64,
}

const CAPTURE: &str = "MLFLOW_CAPTURE_CONSOLE";
const MAX_BYTES: &str = "MLFLOW_CONSOLE_MAX_BYTES";
/// Default for the longest text of a run. A week of ten lines a minute, of a hundred bytes each, takes a
/// sixth of it.
const DEFAULT_MAX_BYTES: u64 = 64 << 20;

impl Config {
    /// Sets whether the output of the process to stdout and stderr is also copied into the artifact
    /// `logs/console.log` of its runs (`MLFLOW_CAPTURE_CONSOLE`, default false). The output still reaches its
    /// original destination, unchanged.
    ///
    /// ```
    /// let config = mlflow::Config::new().capture_console(true);
    /// # let _ = config;
    /// ```
    ///
    /// - From the start of the first run until the process ends, or until [`shutdown`](crate::shutdown) is
    ///   called, stdout and stderr are pipes to a helper process, `tee`, which passes all output on and keeps
    ///   a copy. The helper outlives a process that is killed, so output written before the kill is not lost.
    ///   Capturing needs the programs `sh` and `tee`. If one of them is missing, one warning is logged, and
    ///   stdout and stderr stay as they are.
    /// - The copy contains the output of the whole process, including that of subprocesses, C libraries and
    ///   panics. Each run without a parent gets the output from its start to its end. Two such runs that are
    ///   open at the same time both get all of that output. With runs that follow one another, each byte
    ///   printed during a run is in exactly one log; output printed right at the end of a run may be in the
    ///   next run's log. Child runs get no output. With the feature `tracing`, the lines that the run logs
    ///   are in the same file, in between.
    /// - If stdout and stderr go to one destination, such as a terminal, the order between them is kept. If
    ///   they go to two destinations, a line of one may come after a later line of the other.
    /// - Credentials that can be recognised are masked in the artifact, and bytes that are not UTF-8 are
    ///   replaced. In the copy beside the journal, they are overwritten once a second. The copy does not count towards [`journal_max_bytes`](Self::journal_max_bytes).
    /// - A pipe is not a terminal: programs that check for a terminal leave out colours and progress bars.
    /// - The helper is a child of the process, so a `waitpid` for any child may return it. If the process is
    ///   the first one of a container, the helper dies together with it: output printed in the last moment
    ///   before a `SIGKILL` may be lost there.
    /// - Copying ends for good, with a warning, when the output since the start of the oldest run that is
    ///   open or not yet delivered is longer than [`console_max_bytes`](Self::console_max_bytes). The length
    ///   is checked once a second. Nothing is captured if the size of files is limited (`ulimit -f`), because
    ///   reaching that limit would end the process.
    pub fn capture_console(mut self, capture: bool) -> Self {
        self.console.capture = Some(capture);
        self
    }

    /// Sets the longest text of a run's `logs/console.log`, in bytes (`MLFLOW_CONSOLE_MAX_BYTES`, default
    /// 64 MiB). Text beyond that is left out, and the last line of the artifact notes the omission. Lines of
    /// the feature `tracing` also count towards [`journal_max_bytes`](Self::journal_max_bytes).
    ///
    /// ```
    /// let config = mlflow::Config::new().console_max_bytes(16 << 20);
    /// # let _ = config;
    /// ```
    pub fn console_max_bytes(mut self, bytes: u64) -> Self {
        self.console.max_bytes = Some(bytes);
        self
    }
}

impl ConsoleOptions {
    pub(super) fn resolve(self, resolver: &mut Resolver<'_>) -> ConsoleSettings {
        let Self { capture, max_bytes } = self;
        ConsoleSettings {
            capture: resolver
                .choose(CAPTURE)
                .configured(capture)
                .variable(|value| parse_flag(CAPTURE, &value))
                .or(false),
            max_bytes: resolver
                .choose(MAX_BYTES)
                .configured(max_bytes)
                .variable(|value| parse_number(MAX_BYTES, &value, "a number of bytes"))
                .or(DEFAULT_MAX_BYTES),
        }
    }
}
