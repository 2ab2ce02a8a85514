//! Proxy between the library and a real server that injects faults chosen by the test.
//!
//! - The proxy reads every request in full, then calls the test's schedule, which returns a [`Fault`] or
//!   none. A request without a fault passes unchanged, on a connection that stays open as the server's own
//!   would.
//! - Every request and every fault is counted.
//! - The proxy's threads end with the process.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use super::fake_server::{Request, read_request};
use super::fault::{Answer, Fault, To};

/// Beginning of the paths to which [`To::Answer`] redirects.
const REDIRECTED: &str = "/redirected";

/// Longest time to retry binding the port after [`Fault::Refuse`].
const BIND: Duration = Duration::from_secs(30);

/// Proxy on a free port of 127.0.0.1.
pub(crate) struct Proxy(Arc<Shared>);

/// Requests that the proxy received and faults that it injected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: usize,
    /// Number of faults by [`Fault::name`].
    pub(crate) faults: BTreeMap<&'static str, usize>,
}

/// Function that chooses the fault for a request; `None` lets the request pass.
type Schedule = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

struct Shared {
    address: SocketAddr,
    /// Host and port of the real server.
    server: String,
    schedule: Mutex<Schedule>,
    counts: Mutex<Counts>,
    /// Requests withheld by [`Fault::Late`]. Each is sent to the server after the server has answered the
    /// client's retry of the same request.
    late: Mutex<Vec<Request>>,
    /// Duration of a [`Fault::Refuse`] that is due; from the next connection on, nothing listens for this
    /// long.
    refuse: Mutex<Option<Duration>>,
}

impl Proxy {
    /// Starts a proxy in front of the server at the URL `server`.
    pub(crate) fn start(
        server: &str,
        schedule: impl FnMut(&Request) -> Option<Fault> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("its address"),
            server: server.trim_start_matches("http://").to_owned(),
            schedule: Mutex::new(Box::new(schedule)),
            counts: Mutex::default(),
            late: Mutex::default(),
            refuse: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(listener));
        Self(shared)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.counts.lock().expect("no panic here").clone()
    }

    /// Replaces the schedule.
    pub(crate) fn schedule(
        &self,
        schedule: impl FnMut(&Request) -> Option<Fault> + Send + 'static,
    ) {
        *self.0.schedule.lock().expect("no panic in a schedule") = Box::new(schedule);
    }

    /// Replaces the schedule by one without faults.
    pub(crate) fn heal(&self) {
        self.schedule(|_| None);
    }
}

impl Shared {
    /// Accepts connections and serves each on a thread of its own. Closes the listener while a refusal lasts.
    fn accept(self: Arc<Self>, mut listener: TcpListener) {
        loop {
            let Ok((connection, _)) = listener.accept() else {
                continue;
            };
            let refuse = self.refuse.lock().expect("no panic here").take();
            if let Some(duration) = refuse {
                drop(listener);
                thread::sleep(duration);
                listener = bind(self.address);
                continue;
            }
            let shared = Arc::clone(&self);
            thread::spawn(move || shared.serve(connection));
        }
    }

    /// Handles the requests of one connection until a fault or the client ends it.
    fn serve(&self, connection: TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().expect("a handle"));
        let mut writer = connection;
        while let Some(request) = read_request(&mut reader) {
            match self.handle(&request, &mut writer) {
                Ok(After::Next) => {}
                Ok(After::Close) | Err(_) => return,
                Ok(After::Reset) => {
                    // The reset is sent once `reader`, the other handle of the connection, is dropped as
                    // well.
                    let _ = TcpSocket::from_std_stream(writer).set_zero_linger();
                    return;
                }
                Ok(After::Hang) => {
                    let _ = reader.read_to_end(&mut Vec::new());
                    return;
                }
            }
        }
    }

    /// Forwards one request, unless its fault withholds it, and writes the answer that the fault leaves.
    fn handle(&self, request: &Request, writer: &mut TcpStream) -> io::Result<After> {
        if let Some(request) = before_redirect(request) {
            return pass(writer, &self.answer(&request));
        }
        let fault = self.choose(request);
        let answer = match fault {
            Some(fault) if !fault.acts() => None,
            _ => Some(self.answer(request)),
        };
        let Some(fault) = fault else {
            return pass(writer, &answer.unwrap_or_else(|| Answer::status(502)));
        };
        // A fault that lets the server act spoils the server's answer, so there is one.
        let answer = answer.unwrap_or_else(|| Answer::status(502));
        let len = answer.body.len();
        match fault {
            Fault::Refuse(duration) => {
                *self.refuse.lock().expect("no panic here") = Some(duration);
                // A connection wakes the accepting thread, which then closes its listener.
                let _ = TcpStream::connect(self.address);
                Ok(After::Close)
            }
            Fault::Reset | Fault::ResetAnswer => Ok(After::Reset),
            Fault::Hang => Ok(After::Hang),
            Fault::DropAnswer => Ok(After::Close),
            Fault::Late => {
                let mut late = self.late.lock().expect("no panic here");
                late.push(request.clone());
                Ok(After::Close)
            }
            Fault::Status(status) => pass(writer, &Answer::status(status)),
            Fault::NoSuchRun => pass(writer, &Answer::no_such_run()),
            Fault::Ignored => pass(writer, &Answer::ignored()),
            Fault::Refused => pass(writer, &Answer::refused()),
            Fault::Contested => pass(writer, &Answer::contested()),
            Fault::Committed(status) => pass(writer, &Answer::status(status)),
            Fault::TooLate => pass(writer, &Answer::status(504)),
            Fault::Later(after) => pass(writer, &Answer::later(after)),
            Fault::Html => pass(writer, &Answer::html()),
            Fault::Redirect(to) => {
                let path = request.line.split(' ').nth(1).unwrap_or("/");
                pass(
                    writer,
                    &match to {
                        To::Login => Answer::redirect(302, "https://login.invalid/?back=x"),
                        To::Itself => Answer::redirect(307, path),
                        To::Answer => Answer::redirect(307, &format!("{REDIRECTED}{path}")),
                    },
                )
            }
            Fault::Drip(gap) => {
                for byte in answer.bytes(len) {
                    writer.write_all(&[byte])?;
                    thread::sleep(gap);
                }
                Ok(After::Next)
            }
            Fault::CutAnswer => {
                let bytes = answer.bytes(len);
                writer.write_all(&bytes[..bytes.len() / 2])?;
                Ok(After::Close)
            }
            Fault::HalfBody => {
                let body = answer.body[..len / 2].to_vec();
                pass(writer, &Answer { body, ..answer })
            }
            Fault::LengthTooLong => {
                writer.write_all(&answer.bytes(len + 10))?;
                Ok(After::Close)
            }
            Fault::LengthTooShort => {
                writer.write_all(&answer.bytes(len / 2))?;
                Ok(After::Next)
            }
        }
    }

    /// Returns the fault for a request, from the schedule, and counts both.
    fn choose(&self, request: &Request) -> Option<Fault> {
        let fault = (self.schedule.lock().expect("no panic in a schedule"))(request);
        let mut counts = self.counts.lock().expect("no panic here");
        counts.requests += 1;
        if let Some(fault) = fault {
            *counts.faults.entry(fault.name()).or_default() += 1;
        }
        fault
    }

    /// Forwards a request and returns the server's answer. Withheld requests equal to this one are forwarded
    /// after it.
    fn answer(&self, request: &Request) -> Answer {
        let answer = self.ask(request);
        let is_the_same =
            |late: &mut Request| late.line == request.line && late.body == request.body;
        let mut late = self.late.lock().expect("no panic here");
        for request in late.extract_if(.., is_the_same) {
            self.ask(&request);
        }
        answer
    }

    /// Forwards a request and returns the server's answer; status 502 if there is none, as from any gateway.
    fn ask(&self, request: &Request) -> Answer {
        let asked = || -> io::Result<Vec<u8>> {
            let mut server = TcpStream::connect(&self.server)?;
            // In HTTP/1.0 the end of the connection marks the end of the answer.
            let mut head = format!("{} HTTP/1.0\r\n", request.line);
            for (name, value) in &request.headers {
                if name != "connection" {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
            }
            server.write_all(format!("{head}\r\n").as_bytes())?;
            server.write_all(&request.body)?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer)?;
            Ok(answer)
        };
        asked()
            .ok()
            .and_then(|bytes| Answer::parse(&bytes))
            .unwrap_or_else(|| Answer::status(502))
    }
}

/// Fate of the client's connection after a request.
enum After {
    Next,
    Close,
    Reset,
    Hang,
}

/// Returns the request as it was before it was redirected; `None` if it was not.
fn before_redirect(request: &Request) -> Option<Request> {
    let (method, path) = request.line.split_once(' ')?;
    let line = format!("{method} {}", path.strip_prefix(REDIRECTED)?);
    Some(Request {
        line,
        ..request.clone()
    })
}

/// Writes an answer unchanged.
fn pass(writer: &mut TcpStream, answer: &Answer) -> io::Result<After> {
    writer.write_all(&answer.bytes(answer.body.len()))?;
    Ok(After::Next)
}

/// Binds the port again, and retries while another socket has it.
fn bind(address: SocketAddr) -> TcpListener {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            // The system may have given the port to an outgoing connection meanwhile.
            Err(error) => assert!(begun.elapsed() < BIND, "{address}: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}
