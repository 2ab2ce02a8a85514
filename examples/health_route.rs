//! Health route for an axum service that trains models. The route reports the state of tracking, and whether
//! the tracking server answers.
//!
//! ```sh
//! cargo run --example health_route
//! ```
//!
//! The example requests its own route once, prints the answer, and ends. To keep the service running, pass an
//! address: `cargo run --example health_route 127.0.0.1:8080`, then `curl http://127.0.0.1:8080/health`.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use mlflow::{Client, TrackingState, tracked};
use serde::Serialize;
use tokio::net::TcpListener;

#[derive(Serialize)]
struct Report {
    state: String,
    queued: u64,
    delivered: u64,
    dropped: u64,
    oldest_seconds: Option<u64>,
    server: Server,
}

#[derive(Serialize)]
struct Server {
    uri: String,
    reachable: bool,
    version: Option<String>,
    latency_ms: Option<u128>,
    authenticated: Option<bool>,
    error: Option<String>,
}

/// Returns 200 while tracking works, and 503 if values were lost or a person has to act. A tracking server
/// that is unavailable for a while is no fault of the service, because values wait, so the status stays 200.
///
/// After a long outage (more than `MLFLOW_HTTP_REQUEST_MAX_RETRIES` failures in a row, 7 by default), the state is `Degraded`,
/// and the status is 503 until the server answers again. Once values were lost, the status is 503 until the process ends. So
/// alert on this route, and use it for no liveness probe or other restart policy: a restart brings no server back, and it
/// interrupts the work. A probe that leads to a restart asks a route of its own, which knows nothing of tracking.
async fn health() -> (StatusCode, Json<Report>) {
    let health = mlflow::health();
    let server = Client::new().server_info().await;
    let well = health.state != TrackingState::Degraded
        && health.dropped.total() == 0
        && server.authenticated != Some(false);
    let report = Report {
        state: format!("{:?}", health.state),
        queued: health.queued,
        delivered: health.delivered,
        dropped: health.dropped.total(),
        oldest_seconds: health.oldest.map(|age| age.as_secs()),
        server: Server {
            uri: server.uri,
            reachable: server.reachable,
            version: server.version,
            latency_ms: server.latency.map(|latency| latency.as_millis()),
            authenticated: server.authenticated,
            error: server.error,
        },
    };
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report))
}

/// Returns the router of the health route, which any service can mount: `Router::new().merge(tracking())`.
fn tracking() -> Router {
    Router::new().route("/health", get(health))
}

/// Trains, as the work of the service.
#[tracked(experiment = "health-route")]
fn train(epochs: u32) -> f64 {
    for epoch in 0..epochs {
        mlflow::metric!("loss", 1.0 / f64::from(epoch + 1), step = epoch);
    }
    f64::from(epochs)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let given = env::args().nth(1);
    let listener = TcpListener::bind(given.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    let service = axum::serve(listener, tracking());
    train(3);
    if given.is_some() {
        return service.await;
    }
    mlflow::flush(Duration::from_secs(10));
    let answer = tokio::select! {
        ended = service => return ended,
        answer = tokio::task::spawn_blocking(move || ask(address)) => answer??,
    };
    println!("{answer}");
    Ok(())
}

/// Requests the health route, and returns the answer as `curl --include` shows it.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
