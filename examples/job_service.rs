//! Service of axum that trains on request, and ends without losing a job or a value.
//!
//! ```sh
//! cargo run --example job_service
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! Each request for a job starts a task, which is a run of its own. On SIGTERM or Ctrl-C the service takes no more requests, lets
//! the jobs end, cancels those that take too long (their runs are `KILLED`), and delivers what was logged.
//!
//! The example requests jobs of itself, and then sends itself SIGTERM. To keep the service running, pass an address:
//! `cargo run --example job_service 127.0.0.1:8080`, then
//! `curl -i -H 'Content-Type: application/json' -d '{"alpha": 0.5, "epochs": 10}' http://127.0.0.1:8080/jobs`.

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{self, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use mlflow::tracked;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Time that the jobs have to end after the signal. A scheduler sends SIGKILL some time after SIGTERM, in Kubernetes after 30
/// seconds: this and [`DELIVERY`] have to fit in.
const DRAIN: Duration = Duration::from_secs(2);
/// Time for which what was logged is delivered. What is left waits on the disk until a later process with the same destination
/// starts a run, such as the next start of the service at its first job, or calls `mlflow::recover`.
const DELIVERY: Duration = Duration::from_secs(10);

/// Jobs that run.
type Jobs = Arc<Mutex<JoinSet<()>>>;

#[derive(Deserialize, Serialize)]
struct Job {
    alpha: f64,
    epochs: u32,
}

/// Trains one job. The fields of the job are the params of the run.
#[tracked(
    experiment = "job-service",
    run_name = "job alpha={job.alpha}",
    metric = "final_loss"
)]
async fn train(job: Job) -> Result<f64, String> {
    if job.alpha <= 0.0 {
        return Err(format!("alpha is {}, and has to be above 0", job.alpha));
    }
    let mut loss = 1.0;
    for epoch in 0..job.epochs {
        tokio::time::sleep(Duration::from_millis(20)).await;
        loss /= 1.0 + job.alpha;
        mlflow::metric!("loss", loss, step = epoch);
    }
    Ok(loss)
}

/// Starts a job, and answers at once.
async fn submit(State(jobs): State<Jobs>, Json(job): Json<Job>) -> StatusCode {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    // Jobs that have ended give their memory back.
    while jobs.try_join_next().is_some() {}
    jobs.spawn(async {
        if let Err(error) = train(job).await {
            eprintln!("a job has failed: {error}");
        }
    });
    StatusCode::ACCEPTED
}

/// Watches for SIGTERM and Ctrl-C from now on. The future ends with the first of them.
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = env::args().nth(1);
    let listener = TcpListener::bind(given.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let jobs = Jobs::default();
    let router = Router::new()
        .route("/jobs", post(submit))
        .with_state(Arc::clone(&jobs));

    // `mlflow::install_signal_handlers` is for programs that end at once, and this one has work to end.
    let told = told_to_end()?;
    let client = given
        .is_none()
        .then(|| tokio::task::spawn_blocking(move || request_jobs(address)));

    // 1. No more requests: those that are being answered are answered.
    axum::serve(listener, router)
        .with_graceful_shutdown(told)
        .await?;
    if let Some(client) = client {
        client.await??;
    }

    // 2. The jobs end, or are cancelled. A future that is dropped ends its run as KILLED.
    let mut left = std::mem::take(&mut *jobs.lock().unwrap_or_else(PoisonError::into_inner));
    let drained = async { while left.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        println!("cancelling {} jobs", left.len());
        left.shutdown().await;
    }

    // 3. Everything is delivered. The call blocks, so it gets a thread of its own.
    let report = tokio::task::spawn_blocking(|| mlflow::shutdown(DELIVERY)).await?;
    println!("everything is delivered: {}", report.complete);
    Ok(())
}

/// Requests a good job, one that fails and one that takes too long, and then ends the service.
fn request_jobs(address: SocketAddr) -> io::Result<()> {
    for (alpha, epochs) in [(0.5, 10), (-1.0, 10), (0.1, 100_000)] {
        let job = serde_json::to_string(&Job { alpha, epochs })?;
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "POST /jobs HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{job}",
            job.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        println!("{job}: {}", answer.lines().next().unwrap_or_default());
    }
    let process = process::id().to_string();
    Command::new("kill").args(["-TERM", &process]).status()?;
    Ok(())
}
