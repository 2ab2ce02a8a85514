//! A PostgreSQL of the test's own, from what the system has installed.
//!
//! - Its files lie in a directory under `target/`, removed after; it listens on 127.0.0.1 only.
//! - It ends with the test process however that ends, as the server does: a shell waits at a pipe
//!   whose other end we hold.
//! - It never runs as root, which it refuses: where the test is root, it is `nobody`.
//! - Where it is not installed there is none, and a line on stderr says what to install. Where
//!   `MLFLOW_TEST_POSTGRES_BIN` says where it is, as in CI, that is a failure.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::mlflow::free_port;

/// How long it may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// What is installed, and where.
struct Installed(PathBuf);

pub(crate) struct Postgres {
    process: Child,
    installed: Installed,
    home: PathBuf,
    port: u16,
}

impl Installed {
    fn find() -> Option<Self> {
        if let Some(named) = env::var_os("MLFLOW_TEST_POSTGRES_BIN") {
            let named = Self(PathBuf::from(named));
            assert!(
                named.is_there(),
                "no initdb and postgres in MLFLOW_TEST_POSTGRES_BIN, {:?}",
                named.0
            );
            return Some(named);
        }
        // Where Debian has them, by version; else on the path.
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut places: Vec<PathBuf> = versions
            .flatten()
            .map(|version| version.path().join("bin"))
            .collect();
        places.sort();
        places.reverse();
        let path = env::var_os("PATH").unwrap_or_default();
        places.extend(env::split_paths(&path));
        let found = places.into_iter().map(Self).find(Self::is_there);
        if found.is_none() {
            // Not by a macro: what those print of a test that passes is shown to nobody.
            let _ = writeln!(
                io::stderr(),
                "not tested: there is no PostgreSQL here (on Debian: apt-get install postgresql)"
            );
        }
        found
    }

    fn is_there(&self) -> bool {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| self.0.join(program).is_file())
    }

    /// Adds a program of it to a command line, to be run by somebody who is not root.
    fn add(&self, program: &str, command: &mut Command) {
        if is_root() {
            let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
            command.args(["setpriv", &user, &group, "--clear-groups"]);
        }
        command.arg(self.0.join(program));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Postgres {
    /// One with an empty database `mlflow`, if it is installed.
    pub(crate) fn start() -> Option<Self> {
        let installed = Installed::find()?;
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("postgres-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&home).expect("a directory under target/");
        if is_root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).expect("a directory of nobody's");
        }
        let mut create = Command::new("env");
        installed.add("initdb", &mut create);
        let created = create
            .args(["--username=mlflow", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata=data"])
            .current_dir(&home)
            .output()
            .expect("initdb");
        assert!(
            created.status.success(),
            "{create:?} (every folder down to {home:?} has to be open to it): {}",
            String::from_utf8_lossy(&created.stderr)
        );
        let port = free_port();
        let mut postgres = Self {
            process: Self::spawn(&installed, &home, port),
            installed,
            home,
            port,
        };
        postgres.wait();
        postgres.query("postgres", "create database mlflow");
        Some(postgres)
    }

    fn spawn(installed: &Installed, home: &Path, port: u16) -> Child {
        let log = File::create(home.join("log")).expect("a log file");
        let mut shell = Command::new("sh");
        shell
            // Its processes are in groups of their own: it has to end them itself, which takes it a
            // moment. SIGQUIT: at once, the files are not needed any more.
            .args([
                "-c",
                "exec 3<&0; (read _ <&3; kill -QUIT $$; \
                 while [ -e data/postmaster.pid ] && kill -0 $$; do sleep 0.05; done; rm -rf \"$PWD\") \
                 2>/dev/null & exec \"$@\" 3<&- </dev/null",
                "postgres",
            ]);
        installed.add("postgres", &mut shell);
        shell
            .args(["-D", "data", "-c", "listen_addresses=127.0.0.1"])
            .args([
                "-c",
                "unix_socket_directories=",
                "-c",
                "max_connections=250",
            ])
            .arg("-c")
            .arg(format!("port={port}"))
            .current_dir(home)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        shell.spawn().expect("sh")
    }

    /// Waits until it takes connections.
    fn wait(&mut self) {
        let begun = Instant::now();
        let log = self.home.join("log");
        let log = || fs::read_to_string(&log).unwrap_or_default();
        while !self.asked("postgres", "select 1").status.success() {
            let ended = self.process.try_wait().expect("its status");
            assert!(
                ended.is_none() && begun.elapsed() < START,
                "PostgreSQL does not start:\n{}",
                log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// As MLflow is told of its database. The driver is named: without it, it depends on the
    /// release of `SQLAlchemy`.
    pub(crate) fn uri(&self) -> String {
        format!(
            "postgresql+psycopg2://mlflow@127.0.0.1:{}/mlflow",
            self.port
        )
    }

    fn asked(&self, database: &str, query: &str) -> Output {
        Command::new(self.installed.0.join("psql"))
            .args(["--host=127.0.0.1", "--username=mlflow", "--no-psqlrc"])
            .args(["--quiet", "--tuples-only", "--no-align"])
            .arg(format!("--port={}", self.port))
            .args(["--set=ON_ERROR_STOP=1", "--command", query, database])
            .output()
            .expect("psql")
    }

    fn query(&self, database: &str, query: &str) -> String {
        let output = self.asked(database, query);
        assert!(
            output.status.success(),
            "{query}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim()
            .to_owned()
    }

    /// What a query of MLflow's database gives: a line a row, columns separated by `|`.
    pub(crate) fn ask(&self, query: &str) -> String {
        self.query("mlflow", query)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}
