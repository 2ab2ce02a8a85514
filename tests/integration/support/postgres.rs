//! PostgreSQL server that belongs to one test, started from the programs installed on the system.
//!
//! - The server's files lie in a directory under `target/`, which is removed at the end. The server listens
//!   on 127.0.0.1 only.
//! - The server ends with the test process, however the process ends, as the MLflow server does: a shell
//!   waits at a pipe whose other end the test process holds.
//! - The server never runs as root, because PostgreSQL refuses that. If the test runs as root, the server
//!   runs as `nobody`.
//! - If PostgreSQL is not installed, the test is skipped, and a line on stderr names the package to install.
//!   If `MLFLOW_TEST_POSTGRES_BIN` names the folder of PostgreSQL's programs, as in CI, missing programs are
//!   a failure.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::mlflow::free_port;
use super::unique;

/// Longest time that PostgreSQL may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// User id of `nobody`, and group id of `nogroup`.
const NOBODY: u32 = 65_534;

/// User who needs a password, unlike all others.
pub(crate) const LOCKED_USER: &str = "locked";
/// Password of [`LOCKED_USER`].
pub(crate) const PASSWORD: &str = "hunter2";

/// Folder of the installed PostgreSQL programs.
struct Installed(PathBuf);

/// Running PostgreSQL server. Dropping the value ends the server and removes its files.
pub(crate) struct Postgres {
    process: Child,
    /// Processes that were stopped. The shell of each removes the files once its pipe is closed.
    stopped: Vec<Child>,
    installed: Installed,
    home: PathBuf,
    port: u16,
    /// Taken while a database is copied.
    copying: Mutex<()>,
}

impl Installed {
    /// Finds the installed programs. Returns `None`, with a line on stderr, if there are none.
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
        // Debian installs the programs in a folder per version. Other systems have them on the path.
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
            // `eprintln!` would not do: the test harness captures its output and hides that of a passed test.
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

    /// Adds one of PostgreSQL's programs to a command line. The program runs as `nobody` if the test runs as
    /// root.
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
    /// Starts a PostgreSQL with an empty database `mlflow`. Returns `None` if PostgreSQL is not installed.
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
        let rules = home.join("data/pg_hba.conf");
        let others = fs::read_to_string(&rules).expect("the rules of access");
        let rule = format!("host all {LOCKED_USER} 127.0.0.1/32 scram-sha-256\n");
        fs::write(&rules, rule + &others).expect("the rules of access");
        let port = free_port();
        let mut postgres = Self {
            process: Self::spawn(&installed, &home, port),
            stopped: Vec::new(),
            installed,
            home,
            port,
            copying: Mutex::new(()),
        };
        postgres.wait();
        postgres.query("postgres", "create database mlflow");
        let create = format!("create role {LOCKED_USER} login password '{PASSWORD}'");
        postgres.query("postgres", &create);
        Some(postgres)
    }

    /// Starts the server in the directory `home`, and the shell that ends it with the test process.
    fn spawn(installed: &Installed, home: &Path, port: u16) -> Child {
        let log = File::create(home.join("log")).expect("a log file");
        let mut shell = Command::new("sh");
        shell
            // PostgreSQL's processes are in groups of their own, so PostgreSQL has to end them itself, which
            // takes a moment. SIGQUIT shuts down at once: the files are not needed any more.
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

    /// Waits until PostgreSQL accepts connections.
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

    /// Returns the server that is shared by tests with databases of their own. It ends with the test process.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Creates an empty database. Returns its name.
    pub(crate) fn create_database(&self) -> String {
        let name = format!("d{}", unique());
        self.query("postgres", &format!("create database {name}"));
        name
    }

    /// Creates a copy of a database, which loses its connections. Returns the copy's name.
    pub(crate) fn copy_database(&self, name: &str) -> String {
        let copy = format!("d{}", unique());
        // Tests copy at once, and whoever asks the original meanwhile would be in the way.
        let _guard = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        self.query(
            "postgres",
            &format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
            ),
        );
        self.query(
            "postgres",
            &format!("create database {copy} template {name}"),
        );
        copy
    }

    /// Ends the server as `pg_ctl stop -m fast` does: all connections are lost.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends the server as `pg_ctl stop -m immediate` does: nothing is written any more, and the next start recovers
    /// the data from the log of transactions, as after a crash.
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("a process to end");
        // To wait for a process closes the pipe to it, and with the pipe the files would go.
        while self.process.try_wait().expect("its status").is_none() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the server again on the same port and data, after it was stopped.
    pub(crate) fn restart(&mut self) {
        let next = Self::spawn(&self.installed, &self.home, self.port);
        self.stopped
            .push(std::mem::replace(&mut self.process, next));
        self.wait();
    }

    /// Writes a file that the server can read, and nobody else. Returns its path.
    pub(crate) fn write_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.join(name);
        fs::write(&path, text).expect("a file of the server");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("a file of nobody's");
        }
        path
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URI of a database.
    pub(crate) fn uri_of(&self, database: &str) -> String {
        format!(
            "postgresql+psycopg2://mlflow@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Returns the URI by which MLflow connects to the database. The URI names the driver because the default
    /// driver depends on the release of `SQLAlchemy`.
    pub(crate) fn uri(&self) -> String {
        self.uri_of("mlflow")
    }

    /// Returns the command line of `psql`, which runs a query on a database.
    fn psql(&self, database: &str, query: &str) -> Command {
        let mut psql = Command::new(self.installed.0.join("psql"));
        psql.args(["--host=127.0.0.1", "--username=mlflow", "--no-psqlrc"])
            .args(["--quiet", "--tuples-only", "--no-align"])
            .arg(format!("--port={}", self.port))
            .args(["--set=ON_ERROR_STOP=1", "--command", query])
            .arg(database);
        psql
    }

    /// Runs a query on a database by `psql`; returns the output of `psql`.
    fn asked(&self, database: &str, query: &str) -> Output {
        self.psql(database, query).output().expect("psql")
    }

    /// Runs a query on MLflow's database, and hands each row on as a JSON array. The rows are not kept, so there may be
    /// very many.
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn for_each_row(&self, columns: &str, table: &str, mut each: impl FnMut(&str)) {
        // Without quotes and delimiters that a text could have, each line is the JSON text as it is.
        let copy = format!(
            "copy (select json_build_array({columns}) from {table}) \
             to stdout (format csv, quote e'\\x01', delimiter e'\\x02')"
        );
        let mut psql = self.psql("mlflow", &copy);
        let mut running = psql.stdout(Stdio::piped()).spawn().expect("psql");
        let rows = BufReader::new(running.stdout.take().expect("a pipe"));
        for row in rows.lines() {
            each(&row.expect("UTF-8"));
        }
        assert!(running.wait().expect("psql").success(), "{copy}");
    }

    /// Starts a `psql` that runs statements on MLflow's database, each in a transaction of its own.
    #[allow(dead_code, reason = "for the reliability programs")]
    pub(crate) fn start_psql(&self, statements: &[&str]) -> Child {
        let (first, others) = statements.split_first().expect("a statement");
        let mut psql = self.psql("mlflow", first);
        for statement in others {
            psql.args(["--command", statement]);
        }
        psql.spawn().expect("psql")
    }

    /// Runs a query on a database. Returns one line per row, with columns separated by `|`.
    pub(crate) fn query(&self, database: &str, query: &str) -> String {
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

    /// Runs a query on MLflow's database. Returns one line per row, with columns separated by `|`.
    pub(crate) fn ask(&self, query: &str) -> String {
        self.query("mlflow", query)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        self.stopped.clear();
        let _ = fs::remove_dir_all(&self.home);
    }
}
