//! Programs that log a lot while the store is unavailable. They print the memory and disk space which that
//! takes and the time of the process's end, and check that the store has every value afterwards.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::Form;
use crate::support::mlflow::{Server, free_port};
use crate::support::program::Folder;

const BACKLOG: &str = env!("CARGO_BIN_EXE_backlog");
const SWEEPER: &str = env!("CARGO_BIN_EXE_numbers");

/// The library's default exit timeout. The folder of a test sets a longer one.
const LEAVES: (&str, &str) = ("MLFLOW_EXIT_TIMEOUT", "5");

/// Largest allowed growth of resident memory, in KiB.
const GROWTH: u64 = 64 << 10;

/// Call of the program `backlog`: folder, number of values and of threads, and environment.
struct Backlog<'a> {
    folder: &'a Folder,
    values: u64,
    threads: u64,
    environment: &'a [(&'a str, &'a str)],
}

/// Logs values while no server listens, and while the default file is locked: 10 million in the long form.
/// The values for the file, and a smaller number for a server that starts later, have to arrive. The server
/// gets fewer because a real server takes some 5,000 values a second.
pub(crate) fn run(form: Form) {
    let (many, to_server) = match form {
        Form::Short => (200_000, 20_000),
        Form::Long => (10_000_000, 1_000_000),
    };
    {
        println!("-- {many} values, nothing listens");
        let folder = Folder::for_hours();
        let url = format!("http://127.0.0.1:{}", free_port());
        let backlog = Backlog {
            folder: &folder,
            values: many,
            threads: 4,
            environment: &[("MLFLOW_TRACKING_URI", &url), LEAVES],
        };
        assert!(backlog.log() <= GROWTH);
    }
    {
        println!("-- {many} values, the default file is locked");
        let folder = Folder::for_hours();
        assert!(away_and_back(&folder, many, 4) <= GROWTH);
    }
    println!("-- {to_server} values, nothing listens, then a server does");
    let folder = Folder::for_hours();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let environment = [("MLFLOW_TRACKING_URI", url.as_str()), LEAVES];
    let backlog = Backlog {
        folder: &folder,
        values: to_server,
        threads: 4,
        environment: &environment,
    };
    assert!(backlog.log() <= GROWTH);
    let server = Server::start_on(port);
    backlog.ship();
    backlog.must_be_in(&server.database());
}

/// Logs one value on each of many short-lived threads.
pub(crate) fn threads(form: Form) {
    let threads = match form {
        Form::Short => 200,
        Form::Long => 2_000,
    };
    println!("-- {threads} threads with a value each, the default file is locked");
    away_and_back(&Folder::for_hours(), threads, threads);
}

/// Logs while another connection locks the default file, and ships when the file is unlocked. Returns the
/// growth of memory, in KiB.
fn away_and_back(folder: &Folder, values: u64, threads: u64) -> u64 {
    let backlog = Backlog {
        folder,
        values,
        threads,
        environment: &[("MLFLOW_EXIT_TIMEOUT", "1")],
    };
    let lock = folder.database();
    lock.execute_batch("begin exclusive").unwrap();
    let grown = backlog.log();
    lock.execute_batch("rollback").unwrap();
    backlog.ship();
    backlog.must_be_in(&lock);
    grown
}

impl Backlog<'_> {
    /// Runs the program to its end and prints its output. Returns the growth of its memory, in KiB.
    fn log(&self) -> u64 {
        let mut child = self
            .folder
            .command(BACKLOG)
            .args([self.values, self.threads, 4].map(|number| number.to_string()))
            .envs(self.environment.iter().copied())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut start = 0;
        let mut peak = 0;
        let mut left = Instant::now();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            println!("{line}");
            let count = |name: &str| -> Option<u64> {
                line.split(' ')
                    .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            };
            if line.starts_with("memory start") {
                start = count("VmRSS").unwrap();
            }
            peak = count("VmHWM").unwrap_or(peak);
            if line.contains("dropped") {
                assert!(line.contains("dropped 0,"));
            }
            if line == "leaving" {
                left = Instant::now();
            }
        }
        assert!(child.wait().unwrap().success());
        println!(
            "memory grew by {:.1} MiB at most; the end took {:.3} s; {} bytes in {} files of the journal",
            (peak - start) as f64 / 1024.0,
            left.elapsed().as_secs_f64(),
            on_disk(&self.folder.journal()).0,
            on_disk(&self.folder.journal()).1,
        );
        assert!(start > 0);
        peak - start
    }

    /// Runs a next process with the same destination, which has to ship everything that is left.
    fn ship(&self) {
        let started = Instant::now();
        let ended = self
            .folder
            .command(SWEEPER)
            .args(["next", "0", "0"])
            .envs(self.environment.iter().copied())
            .env("MLFLOW_EXIT_TIMEOUT", "7200")
            .output()
            .unwrap();
        assert!(ended.status.success());
        let took = started.elapsed();
        println!(
            "shipped by the next process in {:.1} s, {:.0} a second",
            took.as_secs_f64(),
            self.values as f64 / took.max(Duration::from_millis(1)).as_secs_f64()
        );
        assert_eq!(
            self.folder.journals_left(),
            0,
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }

    /// Checks that the database has every value once, and nothing else.
    fn must_be_in(&self, database: &Connection) {
        let share = (self.values / self.threads) as usize;
        let mut seen = vec![0_u8; share * self.threads as usize];
        let mut strange = 0_u64;
        let mut query = database
            .prepare("select key, step, value from metrics join runs using (run_uuid) where name = 'backlog'")
            .unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let key = row.get_ref(0).unwrap().as_str().unwrap();
            let (step, value): (i64, f64) = (row.get(1).unwrap(), row.get(2).unwrap());
            let thread = key
                .strip_prefix("thread/")
                .and_then(|thread| thread.parse::<usize>().ok());
            match (thread, usize::try_from(step)) {
                (Some(thread), Ok(at)) if at < share && value == step as f64 => {
                    seen[thread * share + at] += 1;
                }
                _ => strange += 1,
            }
        }
        let count = |is: fn(&u8) -> bool| seen.iter().filter(|times| is(times)).count();
        let (lost, doubled) = (count(|times| *times == 0), count(|times| *times > 1));
        let open: i64 = database
            .query_row(
                "select count(*) from runs where status != 'FINISHED'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        println!(
            "in the store: {} of {}, lost {lost}, doubled {doubled}, strange {strange}, runs not FINISHED {open}",
            seen.len() - lost,
            self.values
        );
        assert_eq!((lost, doubled, strange, open), (0, 0, 0, 0));
    }
}

/// Returns the bytes on disk of the files in a directory and its subdirectories, and the number of files.
fn on_disk(directory: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let metadata = entry.metadata().unwrap();
        let (bytes, files) = if metadata.is_dir() {
            on_disk(&entry.path())
        } else {
            (metadata.blocks() * 512, 1)
        };
        sum = (sum.0 + bytes, sum.1 + files);
    }
    sum
}
