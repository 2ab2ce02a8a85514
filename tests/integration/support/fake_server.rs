//! HTTP server that answers whatever a test wants, and keeps the requests that it received.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// HTTP request received by a server.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and path, separated by a space.
    pub(crate) line: String,
    /// Header values by lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Reaction of the server to a request.
pub(crate) enum Reply {
    /// Response with this status, these further header lines and this body; the connection stays open.
    Answer(u16, String, String),
    /// Exactly these bytes; then the connection is closed.
    Raw(Vec<u8>),
    /// No response: the connection is closed.
    Close,
    /// No response: the connection stays open until the client closes it.
    Hang,
    /// Exactly these bytes; then the connection stays open until the client closes it.
    Stall(Vec<u8>),
    /// These bytes, and then others again and again, with a pause before each time, until the client closes the connection.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

impl Reply {
    pub(crate) fn json(body: &str) -> Self {
        Self::Answer(
            200,
            "Content-Type: application/json\r\n".to_owned(),
            body.to_owned(),
        )
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Answer(status, String::new(), body.to_owned())
    }
}

/// HTTP server on a free port of 127.0.0.1. Its threads end with the process.
pub(crate) struct FakeServer {
    address: SocketAddr,
    is_encrypted: bool,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeServer {
    /// Starts a server that answers each request with the result of `reply`. The second argument of `reply`
    /// is the number of requests received before, on all connections.
    pub(crate) fn start(reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_as(None, reply)
    }

    /// Starts a server like [`start`](Self::start) that speaks TLS, as `localhost`.
    pub(crate) fn start_encrypted(
        tls: Arc<ServerConfig>,
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_as(Some(tls), reply)
    }

    fn start_as(
        tls: Option<Arc<ServerConfig>>,
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let is_encrypted = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (reply, kept) = (Arc::new(reply), requests.clone());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (reply, kept, tls) = (reply.clone(), kept.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(connection, &*reply, &kept),
                    Some(tls) => {
                        let session = ServerConnection::new(tls).expect("a session");
                        serve(StreamOwned::new(session, connection), &*reply, &kept);
                    }
                });
            }
        });
        Self {
            address,
            is_encrypted,
            requests,
        }
    }

    /// Starts a server that accepts connections, but never reads from them and never answers.
    pub(crate) fn start_deaf() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
        Self {
            address,
            is_encrypted: false,
            requests: Arc::default(),
        }
    }

    pub(crate) fn url(&self) -> String {
        if self.is_encrypted {
            format!("https://localhost:{}", self.address.port())
        } else {
            format!("http://{}", self.address)
        }
    }

    /// Returns the requests received so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .expect("no panic in the server")
            .clone()
    }
}

/// Answers the requests of one connection, and keeps them in `kept`.
fn serve(
    connection: impl Read + Write,
    reply: &dyn Fn(&Request, usize) -> Reply,
    kept: &Mutex<Vec<Request>>,
) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read_request(&mut reader) {
        let before = {
            let mut kept = kept.lock().expect("no panic in the server");
            kept.push(request.clone());
            kept.len() - 1
        };
        let bytes = match reply(&request, before) {
            Reply::Answer(status, headers, body) => {
                let length = body.len();
                format!("HTTP/1.1 {status} Some Words\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
            }
            Reply::Raw(bytes) => {
                let _ = reader.get_mut().write_all(&bytes);
                return;
            }
            Reply::Close => return,
            Reply::Stall(bytes) => {
                let _ = reader.get_mut().write_all(&bytes);
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Reply::Endless(first, again, pause) => {
                let mut sent = reader.get_mut().write_all(&first);
                while sent.is_ok() {
                    thread::sleep(pause);
                    sent = reader.get_mut().write_all(&again);
                }
                return;
            }
            Reply::Hang => {
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
        };
        if reader.get_mut().write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Reads one request with its body. Returns `None` at the end of the connection.
pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let line = next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let header = next()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line,
        headers,
        body,
    })
}
