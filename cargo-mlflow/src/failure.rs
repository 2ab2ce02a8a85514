//! [`Failure`] of a command, and the exit code that names its kind.

use std::fmt::{self, Display};
use std::io;

use mlflow::ClientError;

/// Failure of a command. Each kind has an exit code of its own, which README documents.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Arguments that cannot be understood, e.g. a filter.
    Usage(String),
    /// Run, experiment or artifact that does not exist.
    NotFound(String),
    /// Selection that more than one run matches.
    Ambiguous(String),
    /// Store that does not answer.
    Unavailable(String),
    /// Store that refuses the client until somebody changes something.
    Blocked(String),
    /// Run that has ended in another way than `FINISHED`, where that was asked for.
    NotFinished(String),
    /// Run that has logged nothing for too long.
    Idle(String),
    /// Output or local file that cannot be written.
    Io(String, io::Error),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Returns the exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) | Self::Io(..) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Ambiguous(_) => 4,
            Self::Unavailable(_) => 5,
            Self::Blocked(_) => 6,
            Self::NotFinished(_) => 7,
            Self::Idle(_) => 8,
        }
    }

    /// Returns the failure with a further sentence.
    pub(crate) fn with_remark(mut self, remark: &str) -> Self {
        match &mut self {
            Self::Usage(text)
            | Self::NotFound(text)
            | Self::Ambiguous(text)
            | Self::Unavailable(text)
            | Self::Blocked(text)
            | Self::NotFinished(text)
            | Self::Idle(text)
            | Self::Io(text, _)
            | Self::Other(text) => *text = format!("{text}. {remark}"),
        }
        self
    }

    /// Returns true if the reader of stdout has left.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(_, error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text)
            | Self::NotFound(text)
            | Self::Ambiguous(text)
            | Self::Unavailable(text)
            | Self::Blocked(text)
            | Self::NotFinished(text)
            | Self::Idle(text)
            | Self::Other(text) => f.write_str(text),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Search(_) | ClientError::Invalid { .. } => Self::Usage(text),
            ClientError::NotFound { .. } => Self::NotFound(text),
            ClientError::Unavailable { .. } => Self::Unavailable(text),
            ClientError::Blocked { .. } => Self::Blocked(text),
            _ => Self::Other(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io("cannot write the output".to_owned(), error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => Self::from(io::Error::from(kind)),
            None => Self::Other(format!("cannot write JSON: {error}")),
        }
    }
}
