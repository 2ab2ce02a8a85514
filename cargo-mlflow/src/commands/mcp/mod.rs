//! `mcp`: runs for assistants, by the Model Context Protocol on stdin and stdout.
//!
//! Invariants:
//!
//! - Stdout carries the protocol alone, and stderr everything else.
//! - A call changes nothing, unless the server was started with `--allow-changes`.
//! - An answer is bounded in size, and says what was left out and how to get that.
//! - A call ends within [`server::CALL_TIMEOUT`], also while the store is unavailable. Its failure is an answer in
//!   one sentence, and the server goes on.
//! - Texts of the store are masked as the library masks what it logs, and hold no control characters.
//!
//! [`server::Server`] speaks the protocol, and hands each call to one of the [`tool::Tool`]s. A tool is a function
//! from its arguments and a [`tool_context::ToolContext`] to an [`answer::Answer`]. Each subject has its tools in a
//! file.

mod answer;
mod arguments;
mod artifacts;
mod changes;
mod comparison;
mod diagnosis;
mod experiments;
mod history;
mod line_transport;
mod run_record;
mod runs;
mod server;
mod session_transport;
mod state;
mod tail;
mod tool;
mod tool_context;
mod waiting;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use mlflow::Config;
use mlflow::blocking::Client;
use rmcp::ServiceExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{MIN_TIMEOUT, is_named};
use crate::arguments::Mcp;
use crate::failure::Failure;
use crate::output::Output;
use line_transport::LineTransport;
use server::Server;
use session_transport::SessionTransport;
use tool_context::ToolContext;

/// Longest time of one request to the store, where the user gives none. An assistant waits for the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves until stdin is closed, or until Ctrl-C or SIGTERM. The timeout of a request to the store is `timeout`, if
/// there is one.
pub(crate) fn run(
    config: Config,
    is_store_named: bool,
    output: Output,
    options: &Mcp,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        output.remark(
            "this waits for the messages of a client of the Model Context Protocol on stdin: README shows the lines \
             that a client needs. Ctrl-C ends it",
        );
    }
    let config = match timeout {
        Some(timeout) => config.request_timeout(timeout.max(MIN_TIMEOUT)),
        None => config,
    };
    let client = Client::with_config(with_request_timeout(config.clone()));
    let context = ToolContext {
        client,
        config,
        is_store_named,
    };
    let server = Server::new(context, options.allow_changes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Io("cannot start the server".to_owned(), error))?;
    let ended = runtime.block_on(serve(server));
    // A call may still wait for the store, and a thread for stdin. Nobody waits for them.
    runtime.shutdown_background();
    ended
}

async fn serve(server: Server) -> Result<(), Failure> {
    let cannot_listen = |error| Failure::Io("cannot listen for signals".to_owned(), error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;
    let transport = LineTransport::new(tokio::io::stdin(), tokio::io::stdout());
    let session = async {
        match server.serve(SessionTransport::new(transport)).await {
            Ok(running) => match running.waiting().await {
                Ok(_) => Ok(()),
                Err(error) => Err(Failure::Other(format!("the server has failed: {error}"))),
            },
            // The client left before it introduced itself.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(Failure::Other(format!(
                "the client does not speak the Model Context Protocol: {error}"
            ))),
        }
    };
    tokio::select! {
        ended = session => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Shortens the timeout of requests, unless the user has set one.
fn with_request_timeout(config: Config) -> Config {
    if is_named(&config, "MLFLOW_HTTP_REQUEST_TIMEOUT") {
        config
    } else {
        config.request_timeout(REQUEST_TIMEOUT)
    }
}
