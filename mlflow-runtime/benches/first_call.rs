//! Cost of the first call of a tracked function, compared with the second. The first call finds out
//! everything that is found out once per process (host, user, compiler, build service, scheduler), here in an
//! environment that has all of these.
//!
//! ```sh
//! cargo bench --bench first_call
//! ```
//!
//! Every measurement is made in a process of its own. With the fake, the first call only collects the tags.
//! With a journal, it also creates the directory and the first segment, and starts the shipper's thread.

use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use mlflow::{Config, testing, tracked};

const CHILD: &str = "MLFLOW_BENCH_CHILD";

#[tracked]
fn train() {}

fn main() {
    match env::var(CHILD).as_deref() {
        Ok("tags") => {
            let _fake = testing::fake();
            measure();
        }
        Ok(folder) => {
            mlflow::configure(
                Config::new()
                    .tracking_uri("http://127.0.0.1:9")
                    .journal_dir(folder)
                    .exit_timeout(Duration::ZERO)
                    .quiet(true),
            );
            measure();
        }
        Err(_) => compare(),
    }
}

/// Prints the nanoseconds of the first call and of the second.
fn measure() {
    let mut took = [Duration::ZERO; 2];
    for took in &mut took {
        let started = Instant::now();
        train();
        *took = started.elapsed();
    }
    println!("{} {}", took[0].as_nanos(), took[1].as_nanos());
}

fn compare() {
    // `--test` only checks that the benchmark works.
    let quick = env::args().any(|argument| argument == "--test");
    let processes = if quick { 1 } else { 51 };
    let folder = env::temp_dir().join(format!("mlflow-runtime-bench-{}", std::process::id()));
    println!("medians of {processes} processes   first call   second call");
    for (name, child) in [
        ("tags, on the fake", "tags"),
        ("with a journal", folder.to_str().expect("UTF-8")),
    ] {
        let mut calls: Vec<[u64; 2]> = (0..processes).map(|_| in_a_process(child)).collect();
        let [first, second] = [0, 1].map(|call| {
            calls.sort_unstable_by_key(|calls| calls[call]);
            Duration::from_nanos(calls[calls.len() / 2][call])
        });
        println!(
            "{name:<24}  {:>9.1} µs  {:>9.1} µs",
            first.as_secs_f64() * 1e6,
            second.as_secs_f64() * 1e6
        );
    }
    let _ = fs::remove_dir_all(folder);
}

fn in_a_process(child: &str) -> [u64; 2] {
    let environment = [
        (CHILD, child),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_WORKFLOW", "train"),
        ("GITHUB_RUN_ID", "42"),
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_REPOSITORY", "me/net"),
        ("SLURM_JOB_ID", "77"),
        ("SLURM_JOB_NAME", "train"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("RANK", "0"),
        ("WORLD_SIZE", "2"),
        ("MLFLOW_RUN_CONTEXT", r#"{"team": "vision"}"#),
    ];
    let output = Command::new(env::current_exe().expect("this program"))
        .envs(environment)
        // Without these variables, the user's name is read from the password file.
        .env_remove("LOGNAME")
        .env_remove("USER")
        .env_remove("USERNAME")
        .output()
        .expect("a process");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut times = text
        .split_whitespace()
        .map(|time| time.parse().expect("nanoseconds"));
    [times.next(), times.next()].map(|time| time.expect("two times"))
}
