//! [`LineTransport`]: messages of the protocol, a line of JSON each.
//!
//! Invariants: each line that holds something is received, ignored because it is a notification that nobody knows, or
//! answered by an error. An answer is written as a whole. Reading can be interrupted at any place, and goes on there.

use std::future::Future;
use std::io;
use std::mem;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ErrorData, JsonRpcError, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Greatest length of a line. The rest of a longer one is skipped.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Transport whose messages are lines.
pub(super) struct LineTransport<R, W> {
    input: BufReader<R>,
    /// Beginning of the line that is being read.
    line: Vec<u8>,
    /// True if the line that is being read is too long.
    is_too_long: bool,
    /// Output; `None` after it was closed.
    output: Arc<Mutex<Option<W>>>,
    /// Writing of the answer to the last line that was no message.
    refusal: Option<JoinHandle<io::Result<()>>>,
}

/// Line that was read.
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Content of a line.
enum Parsed {
    Message(Box<RxJsonRpcMessage<RoleServer>>),
    /// Notification that is not known, or nothing.
    Ignored,
    Refused(JsonRpcError),
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> LineTransport<R, W> {
    pub(super) fn new(input: R, output: W) -> Self {
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
            is_too_long: false,
            output: Arc::new(Mutex::new(Some(output))),
            refusal: None,
        }
    }

    /// Reads a line; `None` at the end of the input. A line without its end is no message.
    async fn read_line(&mut self) -> Option<Line> {
        loop {
            // Nothing is lost if the reading is interrupted here.
            let available = self.input.fill_buf().await.ok()?;
            if available.is_empty() {
                return None;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let (part, used) = match end {
                Some(end) => (available.get(..end).unwrap_or_default(), end + 1),
                None => (available, available.len()),
            };
            self.is_too_long |= self.line.len() + part.len() > MAX_LINE_BYTES;
            if self.is_too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(part);
            }
            self.input.consume(used);
            if end.is_some() {
                let line = mem::take(&mut self.line);
                return Some(if mem::take(&mut self.is_too_long) {
                    Line::TooLong
                } else {
                    Line::Whole(line)
                });
            }
        }
    }
}

/// Writes a message as a line.
async fn write<W: AsyncWrite + Unpin>(
    output: Arc<Mutex<Option<W>>>,
    encoded: serde_json::Result<Vec<u8>>,
) -> io::Result<()> {
    let mut line = encoded?;
    line.push(b'\n');
    let mut output = output.lock().await;
    let output = output.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    output.write_all(&line).await?;
    output.flush().await
}

/// Reads the content of a line.
fn parse(line: &[u8]) -> Parsed {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Parsed::Ignored;
    }
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        let error = ErrorData::parse_error("the line is not JSON", None);
        return Parsed::Refused(JsonRpcError::new(None, error));
    };
    let id = value.get("id").and_then(|id| match id {
        Value::Number(_) | Value::String(_) => serde_json::from_value::<RequestId>(id.clone()).ok(),
        _ => None,
    });
    let is_notification =
        value.get("method").is_some_and(Value::is_string) && value.get("id").is_none();
    match serde_json::from_value(value) {
        Ok(message) => Parsed::Message(Box::new(message)),
        // Nobody waits for an answer.
        Err(_) if is_notification => Parsed::Ignored,
        Err(_) => {
            let reason = "the line is no JSON-RPC 2.0 request: expected an object with `jsonrpc`, `id`, `method` and `params`";
            Parsed::Refused(JsonRpcError::new(
                id,
                ErrorData::invalid_request(reason, None),
            ))
        }
    }
}

impl<R, W> Transport<RoleServer> for LineTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        write(Arc::clone(&self.output), serde_json::to_vec(&item))
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if let Some(refusal) = &mut self.refusal {
                // A client that does not read is noticed by the next answer.
                let _ = refusal.await;
                self.refusal = None;
            }
            let parsed = match self.read_line().await? {
                Line::Whole(line) => parse(&line),
                Line::TooLong => {
                    let reason = format!("the line is longer than {MAX_LINE_BYTES} bytes");
                    let error = ErrorData::invalid_request(reason, None);
                    Parsed::Refused(JsonRpcError::new(None, error))
                }
            };
            match parsed {
                Parsed::Message(message) => return Some(*message),
                Parsed::Ignored => {}
                // Written on a task of its own, as this future may be dropped in the middle.
                Parsed::Refused(error) => {
                    let writing = write(Arc::clone(&self.output), serde_json::to_vec(&error));
                    self.refusal = Some(tokio::spawn(writing));
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.lock().await.take();
        Ok(())
    }
}
