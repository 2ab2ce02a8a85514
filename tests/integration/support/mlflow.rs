//! A real MLflow: its server, its Python client, and a small reader over REST.
//!
//! - A server listens on 127.0.0.1 only.
//! - A server ends with the test process, however the process ends: a child of its shell waits at a pipe
//!   whose other end the test process holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::installed::executable;
use super::seen::{Point, Seen, SeenModel};

/// Longest time that a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(180);

/// Switches off telemetry, jobs and warnings of MLflow, which the tests do not need.
fn quiet(command: &mut Command) -> &mut Command {
    command
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        .env("PYTHONWARNINGS", "ignore")
        .env_remove("MLFLOW_TRACKING_URI")
}

/// Returns a command that starts Python in the environment in which MLflow is installed.
pub(crate) fn python_command() -> Command {
    let mut command = Command::new(executable().with_file_name("python"));
    quiet(&mut command);
    command
}

/// Runs a Python script in the environment in which MLflow is installed; returns what the script printed.
pub(crate) fn python(script: &str, arguments: &[&str]) -> String {
    let output = python_command()
        .arg("-c")
        .arg(script)
        .args(arguments)
        .output()
        .expect("python");
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Reads runs from a SQLite file with MLflow's own client, which migrates the file.
pub(crate) fn read_file(database: &Path, run_ids: &[String]) -> Vec<Seen> {
    read_database(&format!("sqlite:///{}", database.display()), run_ids)
}

/// Reads runs from a database with MLflow's own client, which migrates the database.
pub(crate) fn read_database(uri: &str, run_ids: &[String]) -> Vec<Seen> {
    const SCRIPT: &str = r#"
import json, os, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
def number(point):
    return [point.key, point.step, point.timestamp, repr(point.value)]
def number_of(metric):
    return dict(key=metric.key, value=repr(metric.value), timestamp=metric.timestamp, step=metric.step,
        dataset_name=metric.dataset_name, dataset_digest=metric.dataset_digest)
def described(output):
    model = client.get_logged_model(output.model_id)
    root = model.artifact_location
    files = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    status = {"FAILED": "UPLOAD_FAILED"}.get(model.status.value, model.status.value)
    pairs = lambda values: [dict(key=k, value=v) for k, v in values.items()]
    return dict(
        info=dict(name=model.name, status="LOGGED_MODEL_" + status, model_type=model.model_type, tags=pairs(model.tags)),
        data=dict(params=pairs(model.params), metrics=[number_of(m) for m in model.metrics or []]), step=output.step,
        files={os.path.relpath(file, root): os.path.getsize(file) for file in files})
runs = []
for run_id in sys.argv[2:]:
    run = client.get_run(run_id)
    root = run.info.artifact_uri
    files = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, root)] = open(path, "rb").read().hex()
    runs.append(dict(
        name=run.info.run_name, status=run.info.status, user=run.info.user_id,
        start=run.info.start_time, end=run.info.end_time or 0,
        params=run.data.params, tags=run.data.tags,
        latest=[number(client.get_metric_history(run_id, k)[0])[:1] + [repr(v)] for k, v in run.data.metrics.items()],
        points=[number(p) for k in run.data.metrics for p in client.get_metric_history(run_id, k)],
        inputs=[dict(dataset=dict(i.dataset), tags=[dict(t) for t in i.tags]) for i in run.inputs.dataset_inputs],
        models=[described(output) for output in run.outputs.model_outputs] if getattr(run, "outputs", None) else [],
        files=files))
print(json.dumps(runs))
"#;
    let mut arguments = vec![uri];
    arguments.extend(run_ids.iter().map(String::as_str));
    let printed = python(SCRIPT, &arguments);
    let runs: Vec<Value> = serde_json::from_str(&printed).expect("JSON");
    runs.iter().map(Seen::of_python).collect()
}

/// Returns a port on which nothing listens.
pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a free port").port()
}

/// Running `mlflow server` with one worker, a SQLite backend and proxied artifacts, unless its options
/// replace these.
pub(crate) struct Server {
    process: Child,
    port: u16,
    url: String,
    home: PathBuf,
    options: Vec<String>,
    environment: Environment,
}

/// Environment variables of a server.
pub(crate) type Environment = &'static [(&'static str, &'static str)];

impl Server {
    /// Starts a server for one test, with options after the usual ones. A later option replaces an earlier
    /// one of the same name.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_in(&[], options)
    }

    /// Starts a server for one test, with environment variables, and options as in
    /// [`start_with`](Self::start_with).
    pub(crate) fn start_in(environment: Environment, options: &[&str]) -> Self {
        // Another process may take the free port before the server does.
        (0..3)
            .find_map(|_| Self::try_start(free_port(), environment, options))
            .expect("a server on a free port")
    }

    /// Starts a server on a port that was free until now.
    pub(crate) fn start_on(port: u16) -> Self {
        Self::try_start(port, &[], &[]).expect("a server on this port")
    }

    fn try_start(port: u16, environment: Environment, options: &[&str]) -> Option<Self> {
        let home = tempfile::tempdir().expect("a directory").keep();
        let mut server = Self {
            process: Self::spawn(&home, port, environment, options),
            port,
            url: format!("http://127.0.0.1:{port}"),
            home,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            environment,
        };
        server.answers().then_some(server)
    }

    /// Starts the server's process, as the leader of a new process group.
    fn spawn(
        home: &Path,
        port: u16,
        environment: Environment,
        options: &[impl AsRef<OsStr>],
    ) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(home.join("log"))
            .expect("a log file");
        let mut shell = Command::new("sh");
        quiet(&mut shell)
            // The background reader waits at the pipe. When the test process closes its end of the pipe, or
            // has ended, the reader removes the directory and kills the whole process group, itself included
            // (`kill 0`).
            .args([
                "-c",
                "exec 3<&0; (read _ <&3; rm -rf \"$PWD\"; kill -KILL 0) & exec \"$@\" 3<&- </dev/null",
                "server",
            ])
            .arg(executable())
            .args([
                "server",
                "--host",
                "127.0.0.1",
                "--workers",
                "1",
                "--port",
                &port.to_string(),
            ])
            .arg("--backend-store-uri")
            .arg(format!(
                "sqlite:///{}",
                home.join("server.db").display()
            ))
            .args(options.iter().map(AsRef::as_ref))
            .envs(environment.iter().copied())
            .current_dir(home)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        let replaces_artifacts = |option: &dyn AsRef<OsStr>| {
            let option = option.as_ref();
            option == "--no-serve-artifacts" || option == "--artifacts-destination"
        };
        if !options.iter().any(|option| replaces_artifacts(option)) {
            shell
                .arg("--artifacts-destination")
                .arg(home.join("artifacts"));
        }
        shell.spawn().expect("sh")
    }

    /// Waits until the server answers. Returns false if the server's process ended instead.
    fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while ureq::get(format!("{}/health", self.url)).call().is_err() {
            if self.process.try_wait().expect("its status").is_some() {
                eprintln!("{}", self.log());
                return false;
            }
            assert!(
                begun.elapsed() < START,
                "the server does not start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Kills the server and all of its processes by SIGKILL. Data that the server had written stays.
    pub(crate) fn kill(&mut self) {
        let group = Pid::from_child(&self.process);
        kill_process_group(group, Signal::KILL).expect("a group to kill");
        self.process.wait().expect("its status");
    }

    /// Starts the server again on the same port and data, after [`kill`](Self::kill).
    pub(crate) fn restart(&mut self) {
        self.process = Self::spawn(&self.home, self.port, self.environment, &self.options);
        assert!(self.answers(), "the port is taken");
    }

    /// Returns the server shared by tests that do not disturb each other. The server ends with the test
    /// process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_with(&[]))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens the server's SQLite database directly.
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn database(&self) -> Connection {
        let database = Connection::open(self.home.join("server.db")).expect("its file");
        database.busy_timeout(START).expect("a time");
        database
    }

    /// Returns the directory of the server's artifacts.
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.home.join("artifacts")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Returns a client that reads the server's runs.
    pub(crate) fn api(&self) -> Api {
        Api {
            url: self.url.clone(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        // A server that was killed has not removed its directory.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// REST client that reads runs.
pub(crate) struct Api {
    url: String,
}

impl Api {
    fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let request = ureq::get(format!("{}{path}", self.url)).query_pairs(query.iter().copied());
        let mut answer = request
            .call()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        answer.body_mut().read_json().expect("JSON")
    }

    /// Sends a POST request and returns its JSON answer. Panics if the request fails.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let sent = ureq::post(format!("{}/api/2.0/mlflow/{path}", self.url)).send_json(body);
        sent.unwrap_or_else(|error| panic!("POST {path}: {error}"))
            .body_mut()
            .read_json()
            .expect("JSON")
    }

    /// Returns the id of the experiment `name`.
    pub(crate) fn experiment(&self, name: &str) -> String {
        let path = "/api/2.0/mlflow/experiments/get-by-name";
        let found = self.get(path, &[("experiment_name", name)]);
        let id = found["experiment"]["experiment_id"].as_str();
        id.expect("an id").to_owned()
    }

    /// Returns the runs of an experiment, deleted ones included, as (id, `lifecycle_stage`).
    pub(crate) fn runs(&self, experiment_id: &str) -> Vec<(String, String)> {
        let body = json!({"experiment_ids": [experiment_id], "run_view_type": "ALL"});
        let found = self.post("runs/search", &body);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        found["runs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|run| {
                (
                    text(&run["info"]["run_id"]),
                    text(&run["info"]["lifecycle_stage"]),
                )
            })
            .collect()
    }

    /// Returns the number of versions of a registered model.
    pub(crate) fn count_model_versions(&self, name: &str) -> usize {
        let filter = format!("name = '{name}'");
        let found = self.get(
            "/api/2.0/mlflow/model-versions/search",
            &[("filter", &filter)],
        );
        found["model_versions"].as_array().map_or(0, Vec::len)
    }

    /// Returns a run with all of its values and artifacts.
    pub(crate) fn run(&self, run_id: &str) -> Seen {
        let run = &self.get("/api/2.0/mlflow/runs/get", &[("run_id", run_id)])["run"];
        let mut seen = Seen::of_rest(run);
        for key in seen.latest.keys() {
            let query = [
                ("run_id", run_id),
                ("metric_key", key),
                ("max_results", "25000"),
            ];
            let history = self.get("/api/2.0/mlflow/metrics/get-history", &query);
            let points = history["metrics"]
                .as_array()
                .expect("points")
                .iter()
                .map(Point::of_rest)
                .collect();
            seen.points.insert(key.clone(), points);
        }
        self.collect_artifacts(run_id, "", &mut seen.artifacts);
        let outputs = run["outputs"]["model_outputs"].as_array();
        for output in outputs.map(Vec::as_slice).unwrap_or_default() {
            seen.models.push(self.model(output));
        }
        seen.sorted()
    }

    /// Returns the logged model of a run's output, with the sizes of its files.
    fn model(&self, output: &Value) -> SeenModel {
        let id = output["model_id"].as_str().expect("an id");
        let path = format!("/api/2.0/mlflow/logged-models/{id}");
        let step = output["step"].as_i64().unwrap_or(0);
        let mut seen = SeenModel::of_rest(&self.get(&path, &[])["model"], step);
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let query = [("artifact_directory_path", &*folder)];
            let query = if folder.is_empty() { &[][..] } else { &query };
            let listing = self.get(&format!("{path}/artifacts/directories"), query);
            for file in listing["files"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default()
            {
                let path = file["path"].as_str().expect("a path").to_owned();
                if file["is_dir"] == true {
                    folders.push(path);
                } else {
                    seen.files
                        .insert(path, file["file_size"].as_u64().unwrap_or(0));
                }
            }
        }
        seen
    }

    /// Downloads the run's artifacts below `folder` into `artifacts`, by path.
    fn collect_artifacts(
        &self,
        run_id: &str,
        folder: &str,
        artifacts: &mut BTreeMap<String, Vec<u8>>,
    ) {
        let listing = self.get(
            "/api/2.0/mlflow/artifacts/list",
            &[("run_id", run_id), ("path", folder)],
        );
        for file in listing["files"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            let path = file["path"].as_str().expect("a path");
            if file["is_dir"] == true {
                self.collect_artifacts(run_id, path, artifacts);
            } else {
                let query = [("run_id", run_id), ("path", path)];
                let mut answer = ureq::get(format!("{}/get-artifact", self.url))
                    .query_pairs(query)
                    .call()
                    .expect("an artifact");
                let mut bytes = Vec::new();
                answer
                    .body_mut()
                    .as_reader()
                    .read_to_end(&mut bytes)
                    .expect("its bytes");
                artifacts.insert(path.to_owned(), bytes);
            }
        }
    }
}
