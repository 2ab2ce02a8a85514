//! Faults between a client and a server, each of which affects one request.
//!
//! Invariant: the kind of a fault determines whether the server receives the request; see [`Fault::acts`].

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Fault that affects a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is closed, and nothing listens on the port for this long.
    Refuse(Duration),
    /// The connection is reset before the server receives the request.
    Reset,
    /// No answer until the client closes the connection.
    Hang,
    /// An answer of the gateway itself with this status; the server does not receive the request.
    Status(u16),
    /// An answer from another server behind the same address, which does not know the run.
    NoSuchRun,
    /// The answer of a server that takes the request and ignores what is in it.
    Ignored,
    /// The answer that MLflow gives to a value that it never accepts.
    Refused,
    /// The answer that MLflow gives if two clients create the same row.
    Contested,
    /// Status 429 with `Retry-After`.
    Later(After),
    /// A login page with status 200.
    Html,
    Redirect(To),
    /// The answer arrives byte by byte, with this much time between two bytes.
    Drip(Duration),
    /// The server executes the request, but the connection is closed without an answer.
    DropAnswer,
    /// The server executes the request, but the connection is reset without an answer.
    ResetAnswer,
    /// The connection is closed in the middle of the answer.
    CutAnswer,
    /// The connection is closed, and the request is withheld. The server receives it after it has answered
    /// the client's retry of the same request.
    Late,
    /// The server executes the request, but the client receives this status.
    Committed(u16),
    /// Status 504: the server executes the request, but only after the gateway has timed out.
    TooLate,
    /// Half of the answer's body, with a `Content-Length` that matches the half.
    HalfBody,
    /// A `Content-Length` greater than the body.
    LengthTooLong,
    /// A `Content-Length` smaller than the body; the rest of the body stands before the next answer.
    LengthTooShort,
}

/// Form of the header `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Seconds(u64),
    /// A date, this many seconds from now.
    Date(u64),
}

/// Target of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// Status 302 to a login page on another host.
    Login,
    /// Status 307 to the URL that was requested.
    Itself,
    /// Status 307 to another URL of the proxy, which then answers: the only redirect that leads to an answer.
    Answer,
}

impl Fault {
    /// Returns the name of the fault's kind, under which the proxy counts it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::Status(500) => "500",
            Self::Status(502) => "502",
            Self::Status(503) => "503",
            Self::Status(_) => "another status",
            Self::NoSuchRun => "no such run",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Contested => "contested",
            Self::Later(After::Seconds(_)) => "429 seconds",
            Self::Later(After::Date(_)) => "429 date",
            Self::Html => "html",
            Self::Redirect(To::Login) => "redirect to a login",
            Self::Redirect(To::Itself) => "redirect to itself",
            Self::Redirect(To::Answer) => "redirect to an answer",
            Self::Drip(_) => "drip",
            Self::DropAnswer => "drop the answer",
            Self::ResetAnswer => "reset the answer",
            Self::CutAnswer => "cut the answer",
            Self::Late => "late",
            Self::Committed(_) => "committed",
            Self::TooLate => "504",
            Self::HalfBody => "half the body",
            Self::LengthTooLong => "length too long",
            Self::LengthTooShort => "length too short",
        }
    }

    /// Returns true if the server receives and executes the request before the client gets an answer.
    pub(crate) fn acts(self) -> bool {
        match self {
            Self::Refuse(_)
            | Self::Reset
            | Self::Hang
            | Self::Status(_)
            | Self::NoSuchRun
            | Self::Ignored
            | Self::Refused
            | Self::Contested
            | Self::Later(_)
            | Self::Html
            | Self::Late
            | Self::Redirect(_) => false,
            Self::Drip(_)
            | Self::DropAnswer
            | Self::ResetAnswer
            | Self::CutAnswer
            | Self::Committed(_)
            | Self::TooLate
            | Self::HalfBody
            | Self::LengthTooLong
            | Self::LengthTooShort => true,
        }
    }

    /// Returns true if the fault ends the connection without an answer, and a new connection succeeds at
    /// once.
    pub(crate) fn breaks(self) -> bool {
        matches!(
            self,
            Self::Reset | Self::DropAnswer | Self::ResetAnswer | Self::Late
        )
    }
}

/// HTTP response without `Content-Length`.
pub(crate) struct Answer {
    /// Status code and reason phrase.
    pub(crate) status: String,
    /// Header lines `name: value`, without `Content-Length` and `Connection`.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn new(status: &str, header: String, body: &str) -> Self {
        Self {
            status: status.to_owned(),
            headers: vec![header],
            body: body.as_bytes().to_vec(),
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        let page = format!("<html><body><h1>{status}</h1>a gateway speaks</body></html>");
        Self::new(
            &format!("{status} Spoiled"),
            "content-type: text/html".to_owned(),
            &page,
        )
    }

    pub(crate) fn no_such_run() -> Self {
        Self::new(
            "404 Not Found",
            "content-type: application/json".to_owned(),
            r#"{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Run with id=x not found"}"#,
        )
    }

    pub(crate) fn ignored() -> Self {
        Self::new("200 OK", "content-type: application/json".to_owned(), "{}")
    }

    pub(crate) fn refused() -> Self {
        Self::new(
            "400 Bad Request",
            "content-type: application/json".to_owned(),
            r#"{"error_code": "INVALID_PARAMETER_VALUE", "message": "not this value"}"#,
        )
    }

    pub(crate) fn contested() -> Self {
        Self::new(
            "400 Bad Request",
            "content-type: application/json".to_owned(),
            r#"{"error_code": "BAD_REQUEST", "message": "(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key, tags.run_uuid"}"#,
        )
    }

    pub(crate) fn later(after: After) -> Self {
        let value = match after {
            After::Seconds(seconds) => seconds.to_string(),
            After::Date(seconds) => {
                httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
            }
        };
        Self::new("429 Slow Down", format!("retry-after: {value}"), "")
    }

    pub(crate) fn html() -> Self {
        Self::new(
            "200 OK",
            "content-type: text/html".to_owned(),
            "<html><title>Please log in</title></html>",
        )
    }

    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::new(
            &format!("{status} Over There"),
            format!("location: {location}"),
            "",
        )
    }

    /// Parses the bytes of a response whose connection has ended. Returns `None` if they are not a whole
    /// head.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let (_version, status) = lines.next()?.split_once(' ')?;
        let ours = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default();
            !["content-length", "connection"].contains(&name.to_ascii_lowercase().as_str())
        };
        Some(Self {
            status: status.to_owned(),
            headers: lines.filter(ours).map(str::to_owned).collect(),
            body: bytes[end + 4..].to_vec(),
        })
    }

    /// Returns the response as sent over the connection, with a `Content-Length` of `length`, which may be
    /// wrong.
    pub(crate) fn bytes(&self, length: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for header in &self.headers {
            let _ = write!(head, "{header}\r\n");
        }
        let _ = write!(head, "content-length: {length}\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
