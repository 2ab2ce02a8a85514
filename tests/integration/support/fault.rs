//! What can go wrong between a client and a server, one request at a time.
//!
//! Invariant: a fault says by itself whether the server heard of the request; see [`Fault::acts`].

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// One way to spoil a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is closed, and for this long nobody listens.
    Refuse(Duration),
    /// The connection is reset.
    Reset,
    /// Silence, until the client has had enough.
    Hang,
    /// A gateway's own answer: the server is not asked.
    Status(u16),
    /// Another server behind the same address: it does not know the run.
    NoSuchRun,
    /// 429 with `Retry-After`.
    Later(After),
    /// A login page, with status 200.
    Html,
    Redirect(To),
    /// The answer comes byte by byte, with this much time between two.
    Drip(Duration),
    /// The server did what was asked and nobody hears of it.
    DropAnswer,
    /// The same, and the connection is reset.
    ResetAnswer,
    /// The connection ends in the middle of the answer.
    CutAnswer,
    /// The connection is closed, and the server hears of the request when it has answered the same
    /// one, sent again.
    Late,
    /// The server did what was asked, and answers with this status all the same.
    Committed(u16),
    /// 504: the server did it, but after the gateway's patience had ended.
    TooLate,
    /// Half the answer's body, and the length says so.
    HalfBody,
    /// The length promises more than there is.
    LengthTooLong,
    /// The length promises less than there is; the rest stands before the next answer.
    LengthTooShort,
}

/// How `Retry-After` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Seconds(u64),
    /// As a date, this many seconds from now.
    Date(u64),
}

/// Where a redirect leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// 302 to a page that is none of ours.
    Login,
    /// 307 to the very URL that was asked for.
    Itself,
    /// 307 to the server behind the proxy: the one redirect that helps.
    Server,
}

impl Fault {
    /// The kind, for counting.
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
            Self::Later(After::Seconds(_)) => "429 seconds",
            Self::Later(After::Date(_)) => "429 date",
            Self::Html => "html",
            Self::Redirect(To::Login) => "redirect to a login",
            Self::Redirect(To::Itself) => "redirect to itself",
            Self::Redirect(To::Server) => "redirect to the server",
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

    /// Whether the server gets the request at once, and does what it asks for.
    pub(crate) fn acts(self) -> bool {
        match self {
            Self::Refuse(_)
            | Self::Reset
            | Self::Hang
            | Self::Status(_)
            | Self::NoSuchRun
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

    /// Whether it ends the connection before there was an answer.
    pub(crate) fn breaks(self) -> bool {
        matches!(
            self,
            Self::Reset | Self::DropAnswer | Self::ResetAnswer | Self::Late
        )
    }
}

/// An answer, apart from its length.
pub(crate) struct Answer {
    /// Code and words.
    pub(crate) status: String,
    /// `name: value`, without length and connection.
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

    /// From all that a server sent.
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

    /// As it goes over the wire, with a length that may be wrong.
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
