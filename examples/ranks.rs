//! Several processes train one model, each on its shard of the data, and log to one run.
//!
//! ```sh
//! cargo run --example ranks                     # starts four processes, as `torchrun` does
//! cargo run --example ranks -- --fail-rank 2    # one of them fails in the middle
//! ```
//!
//! Without a launcher, the example starts itself once for each rank, with the variables that `torchrun` sets and a
//! `MLFLOW_RENDEZVOUS_ID` that is new for each launch. Each rank computes the gradient on its shard of the wine data, rank 0
//! averages the gradients over TCP, and each rank takes the same step. All ranks log to the run that rank 0 creates and ends.
//! If a rank fails, rank 0 loses the connection to it and fails, too. The run is then `FAILED`, and its tags say of each rank
//! how it ended.
//!
//! Under a launcher, the example is one of its ranks. Build it first, with `cargo build --example ranks`:
//!
//! ```sh
//! # torchrun sets all variables but the one for MLflow.
//! MLFLOW_RENDEZVOUS_ID=$(uuidgen) torchrun --no-python --nproc-per-node 4 target/debug/examples/ranks
//!
//! # Open MPI sets the ranks. The host of rank 0 has to be named if there are several.
//! mpirun -n 4 -x MLFLOW_RENDEZVOUS_ID=$(uuidgen) -x MASTER_ADDR=127.0.0.1 -x MASTER_PORT=29500 target/debug/examples/ranks
//!
//! # Slurm, in a batch script. A job that is queued again continues its run.
//! export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) MASTER_PORT=29500
//! MLFLOW_RENDEZVOUS_ID=$SLURM_CLUSTER_NAME/$SLURM_JOB_ID/ranks srun --ntasks 4 target/debug/examples/ranks
//! ```
//!
//! On several hosts, set `MLFLOW_TRACKING_URI` to a server: a SQLite file is for the processes of one host.

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use mlflow::blocking::Client;
use mlflow::search::{SearchRuns, attribute};
use mlflow::{distributed, tracked};
use ndarray::{Array1, Array2, Axis};
use serde::Serialize;

type Failure = Box<dyn Error + Send + Sync>;

const EXPERIMENT: &str = "ranks";
const LEARNING_RATE: f64 = 0.1;
/// Time that the ranks have to find each other, and that one rank waits for the gradient of another.
const PATIENCE: Duration = Duration::from_secs(30);

/// Linear regression on the red-wine data, by several processes.
#[derive(Parser, Serialize)]
struct Arguments {
    /// Number of processes to start, where no launcher has started them.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(skip)]
    processes: u32,
    /// Number of epochs.
    #[arg(long, default_value_t = 20)]
    epochs: u32,
    /// Rank that fails after half of the epochs.
    #[arg(long)]
    fail_rank: Option<u32>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let (Some(rank), Some(world_size)) = (distributed::rank(), distributed::world_size()) else {
        return launch(&arguments);
    };
    // Some launchers end the other ranks by SIGTERM as soon as one has failed. Their runs then end as KILLED.
    mlflow::install_signal_handlers();
    let mut group = Group::connect(rank, world_size)?;
    train(&arguments, &mut group)
}

/// Trains on the shard of one rank. All ranks call the function, and all of their calls are one run.
///
/// The rank is no param, because a param has one value in a run. Nothing is returned, because the ranks would log the returned
/// numbers as points of one metric.
#[tracked(experiment = EXPERIMENT, run_name = "{group.world_size} ranks", skip(group), params(learning_rate = LEARNING_RATE))]
fn train(arguments: &Arguments, group: &mut Group) -> Result<(), Failure> {
    let (records, scores) = shard(group.rank, group.world_size)?;
    let shard_loss = format!("shard_loss/rank-{}", group.rank);
    let mut weights = Array1::zeros(records.ncols());
    for epoch in 0..arguments.epochs {
        if arguments.fail_rank == Some(group.rank) && epoch == arguments.epochs / 2 {
            return Err(format!("rank {} was asked to fail", group.rank).into());
        }
        let error = records.dot(&weights) - &scores;
        let loss = error.dot(&error) / error.len() as f64;
        mlflow::log_metric_at(&shard_loss, loss, epoch);

        // The gradient, and the loss behind it.
        let gradient = records.t().dot(&error) * (2.0 / error.len() as f64);
        let mut shared: Vec<f64> = gradient.into_iter().chain([loss]).collect();
        group
            .average(&mut shared)
            .map_err(|error| format!("epoch {epoch}: {error}"))?;
        let loss = shared.pop().unwrap_or(f64::NAN);
        weights.scaled_add(-LEARNING_RATE, &Array1::from(shared));
        if group.rank == 0 {
            mlflow::metric!("loss", loss, step = epoch);
        }
    }
    if group.rank == 0 {
        mlflow::log_dict(&weights.to_vec(), "weights.json");
    }
    Ok(())
}

/// Returns the wines of a rank: the measurements, scaled to mean 0 and deviation 1 over all wines, with a column of ones, and
/// the scores.
fn shard(rank: u32, world_size: u32) -> Result<(Array2<f64>, Array1<f64>), Failure> {
    let wine = linfa_datasets::winequality();
    let mean = wine
        .records()
        .mean_axis(Axis(0))
        .ok_or("the data is empty")?;
    let deviation = wine.records().std_axis(Axis(0), 0.0);
    let mut scaled: Array2<f64> = (wine.records() - &mean) / &deviation;
    scaled.push_column(Array1::ones(scaled.nrows()).view())?;
    let rows: Vec<usize> = (rank as usize..scaled.nrows())
        .step_by(world_size as usize)
        .collect();
    let scores = wine.targets().select(Axis(0), &rows);
    Ok((
        scaled.select(Axis(0), &rows),
        scores.mapv(|score| score as f64),
    ))
}

/// Connections of one rank: from rank 0 to all others, and from each other rank to rank 0.
struct Group {
    rank: u32,
    world_size: u32,
    /// Connections, by the rank at the other end.
    peers: Vec<(u32, TcpStream)>,
}

impl Group {
    /// Connects the ranks through `MASTER_ADDR` and `MASTER_PORT`.
    fn connect(rank: u32, world_size: u32) -> Result<Self, Failure> {
        let host = env::var("MASTER_ADDR").unwrap_or_else(|_| "127.0.0.1".to_owned());
        let mut port: u16 = env::var("MASTER_PORT").map_or(Ok(29500), |port| port.parse())?;
        // torchrun itself listens at the port, for its own store.
        if env::var("TORCHELASTIC_USE_AGENT_STORE").is_ok_and(|value| value == "True") {
            port += 1;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut peers = Vec::new();
        if rank == 0 {
            let listener = TcpListener::bind((&*host, port))?;
            listener.set_nonblocking(true)?;
            while peers.len() + 1 < world_size as usize {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        stream.set_nonblocking(false)?;
                        stream.set_read_timeout(Some(PATIENCE))?;
                        let mut number = [0; 4];
                        stream.read_exact(&mut number)?;
                        peers.push((u32::from_le_bytes(number), stream));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => wait(deadline)?,
                    Err(error) => return Err(error.into()),
                }
            }
            // Sums of floats depend on the order, which should be the same each time.
            peers.sort_by_key(|(rank, _)| *rank);
        } else {
            let mut stream = loop {
                match TcpStream::connect((&*host, port)) {
                    Ok(stream) => break stream,
                    Err(_) => wait(deadline)?,
                }
            };
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&rank.to_le_bytes())?;
            peers.push((0, stream));
        }
        Ok(Self {
            rank,
            world_size,
            peers,
        })
    }

    /// Replaces the values by their average over all ranks.
    fn average(&mut self, values: &mut [f64]) -> Result<(), Failure> {
        if self.rank == 0 {
            let mut received = vec![0.0; values.len()];
            for (rank, stream) in &mut self.peers {
                receive(stream, &mut received).map_err(|error| lost(*rank, &error))?;
                for (sum, value) in values.iter_mut().zip(&received) {
                    *sum += value;
                }
            }
            for value in values.iter_mut() {
                *value /= f64::from(self.world_size);
            }
            for (rank, stream) in &mut self.peers {
                send(stream, values).map_err(|error| lost(*rank, &error))?;
            }
        } else {
            for (rank, stream) in &mut self.peers {
                send(stream, values).map_err(|error| lost(*rank, &error))?;
                receive(stream, values).map_err(|error| lost(*rank, &error))?;
            }
        }
        Ok(())
    }
}

/// Waits for a moment; an error if the deadline has passed.
fn wait(deadline: Instant) -> Result<(), Failure> {
    if Instant::now() >= deadline {
        return Err("the ranks have not found each other".into());
    }
    thread::sleep(Duration::from_millis(20));
    Ok(())
}

fn send(stream: &mut TcpStream, values: &[f64]) -> io::Result<()> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    stream.write_all(&bytes)
}

fn receive(stream: &mut TcpStream, values: &mut [f64]) -> io::Result<()> {
    for value in values {
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes)?;
        *value = f64::from_le_bytes(bytes);
    }
    Ok(())
}

fn lost(rank: u32, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => format!("rank {rank} has closed its connection"),
        _ => format!("rank {rank} is lost: {error}"),
    }
}

/// Starts this program once for each rank, waits for all, and shows the run.
fn launch(arguments: &Arguments) -> Result<(), Failure> {
    let this_program = env::current_exe()?;
    // A port that is free now.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let started = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos();
    let rendezvous = format!("ranks-{}-{started}", process::id());
    let mut ranks = Vec::new();
    for rank in 0..arguments.processes {
        let mut command = Command::new(&this_program);
        command
            .args(env::args_os().skip(1))
            .env("RANK", rank.to_string())
            .env("WORLD_SIZE", arguments.processes.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", port.to_string())
            .env("MLFLOW_RENDEZVOUS_ID", &rendezvous);
        ranks.push(command.spawn()?);
    }
    let mut failed = 0;
    for (rank, process) in ranks.iter_mut().enumerate() {
        let status = process.wait()?;
        println!("rank {rank} ended with {status}");
        failed += usize::from(!status.success());
    }
    // A rank waits for a slow server for a few seconds. What is left then is delivered here.
    mlflow::recover(Duration::from_secs(60));
    show_newest_run()?;
    if failed > 0 {
        return Err(format!("{failed} of {} ranks have failed", arguments.processes).into());
    }
    Ok(())
}

/// Prints the run of the ranks, as it is in the store.
fn show_newest_run() -> Result<(), Failure> {
    let client = Client::new();
    let newest = SearchRuns::new()
        .experiment(EXPERIMENT)
        .order_by(attribute::start_time().desc())
        .limit(1);
    let run = client.search_runs(newest).next();
    let run = run.ok_or("the run has not arrived")??;
    println!("the run `{}` is {}", run.name, run.status);
    for key in run.metrics.keys() {
        let history = client.metric_history(&run.run_id, key)?;
        let last = history.values().last().copied().unwrap_or(f64::NAN);
        println!("  {key}: {} points, the last is {last:.4}", history.len());
    }
    for (key, value) in &run.tags {
        if key.starts_with("error.") && (key.ends_with(".message") || key.ends_with(".status")) {
            println!("  {key}: {value}");
        }
    }
    Ok(())
}
