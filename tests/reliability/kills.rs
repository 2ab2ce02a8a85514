//! Program that sends SIGKILL to processes at random moments. No acknowledged value may be lost, none may
//! be in the store twice, and every run has to be closed.
//!
//! Victims (`programs/victim.rs`) are killed at random moments, one alone or two at once. Each victim
//! also ships the orphaned journals of earlier victims, and may be killed during that. Now and then
//! sweepers ship the rest: one alone, several that are killed on the way, or two at once. At the end
//! the store is compared with the values that the victims' calls have acknowledged
//! ([`ledger`](crate::ledger)), and the journal has to be empty.
//!
//! The stores are the default file, a server, and, as a program of its own, MLflow's database on a PostgreSQL server.
//! In the latter, connections are cut all the while, each in the middle of a commit.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::ledger::{self, Fault, Life, Verdict};
use crate::plan::{LIFE, Mark};
use crate::support::mlflow::Server;
use crate::support::postgres::Postgres;
use crate::support::program::Folder;
use crate::support::rng::Rng;
use crate::{Form, connection_cuts, mutation_check, postgres_copy};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const SWEEPER: &str = env!("CARGO_BIN_EXE_numbers");

/// Number of lives between two sweeps, small enough that the orphaned journals do not outgrow what a life can
/// ship.
const LIVES_A_SWEEP: u64 = 8;

/// Parts of warnings that must not be logged, however a process dies: warnings that a journal is damaged,
/// or that the store refused a value.
const NEVER: [&str; 5] = [
    "damaged",
    "cannot be read",
    "left out",
    "rejected for good",
    "stay in the journal",
];

/// Kind of the store of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreKind {
    /// The default file.
    File,
    Server,
    /// MLflow's database on a PostgreSQL server, without an MLflow server.
    Postgres,
}

/// Series of kills in one folder with one store, and the size of the victims' lives.
struct Campaign {
    what: &'static str,
    store: StoreKind,
    kills: u64,
    rounds: u64,
    values_a_round: u64,
    /// Longest time after which a victim is killed. The victim may have ended by itself before.
    longest: Duration,
}

const fn file(what: &'static str, kills: u64) -> Campaign {
    Campaign {
        what,
        store: StoreKind::File,
        kills,
        rounds: 4,
        values_a_round: 3_000,
        longest: Duration::from_millis(250),
    }
}

const fn server(kills: u64) -> Campaign {
    Campaign {
        what: "server",
        store: StoreKind::Server,
        kills,
        rounds: 2,
        values_a_round: 400,
        longest: Duration::from_millis(400),
    }
}

const fn postgres(kills: u64) -> Campaign {
    Campaign {
        store: StoreKind::Postgres,
        ..file("PostgreSQL", kills)
    }
}

/// Returns a campaign whose lives log so much that segments of every size are made, delivered and reused.
const fn long_lives(what: &'static str, store: StoreKind, kills: u64) -> Campaign {
    Campaign {
        store,
        values_a_round: 25_000,
        longest: Duration::from_secs(4),
        ..file(what, kills)
    }
}

/// Sums over all campaigns.
#[derive(Default)]
struct Totals {
    kills: u64,
    /// Number of lives by the moment of death: before the life's run had started, while the run was open,
    /// and after the end of the run, during delivery. [`moment`] returns the index.
    moments: [u64; 3],
    survivors: u64,
    sweeps: u64,
    killed_sweeps: u64,
    /// Number of connections that were cut in the middle of a commit.
    cuts: u64,
    warnings: u64,
    verdict: Verdict,
}

/// Runs the campaigns with the default file and with a server.
pub(crate) fn run(form: Form) {
    fight_all(&match form {
        Form::Short => vec![file("file", 10), server(3)],
        Form::Long => {
            let mut all: Vec<Campaign> = (0..8).map(|_| file("file", 105)).collect();
            all.extend([
                long_lives("file, long lives", StoreKind::File, 60),
                server(100),
            ]);
            all
        }
    });
}

/// Runs the campaigns with PostgreSQL.
pub(crate) fn run_on_postgres(form: Form) {
    fight_all(&match form {
        Form::Short => vec![postgres(4)],
        Form::Long => vec![
            postgres(100),
            postgres(100),
            long_lives("PostgreSQL, long lives", StoreKind::Postgres, 40),
        ],
    });
}

fn fight_all(campaigns: &[Campaign]) {
    let mut rng = Rng::seeded();
    let mut totals = Totals::default();
    for campaign in campaigns {
        let Some(store) = RunningStore::start(campaign.store) else {
            return;
        };
        campaign.fight(&store, &mut rng, &mut totals);
    }
    totals.print();
}

impl Campaign {
    fn fight(&self, store: &RunningStore, rng: &mut Rng, totals: &mut Totals) {
        let started = Instant::now();
        let folder = Folder::for_hours();
        let place = Battlefield {
            folder: &folder,
            store,
        };
        let before = totals.kills;
        let is_over = AtomicBool::new(false);
        let lives = thread::scope(|scope| {
            let cutting = match store {
                RunningStore::Postgres(server) => {
                    let (rng, is_over) = (rng.split(), &is_over);
                    Some(scope.spawn(move || connection_cuts::cut(server, rng, is_over)))
                }
                RunningStore::File | RunningStore::Server(_) => None,
            };
            let lives = {
                let _end = EndOnDrop(&is_over);
                self.kill_lives(&place, rng, totals)
            };
            totals.cuts += cutting.map_or(0, |cutting| cutting.join().unwrap());
            lives
        });
        place.sweep_alone(totals);
        place.must_be_swept();
        totals.warnings += place.warnings();

        let database = place.database();
        let verdict = ledger::compare(&database, &lives, &|uri| place.artifacts(uri));
        let Verdict {
            acknowledged,
            stored,
            runs,
            ..
        } = verdict;
        println!(
            "{}: {} kills, {} lives, {runs} runs, {acknowledged} values acknowledged, {stored} stored, faults {:?}, {:.1} s",
            self.what,
            totals.kills - before,
            lives.len(),
            verdict.faults,
            started.elapsed().as_secs_f64(),
        );
        assert!(verdict.faults.is_empty(), "{:?}", verdict.examples);
        if totals.verdict.runs == 0 {
            mutation_check::all(database, &lives, &|uri| place.artifacts(uri));
        }
        totals.verdict.add(verdict);
    }

    /// Starts victims, kills them, and ships what they have left. Returns their lives.
    fn kill_lives(&self, place: &Battlefield<'_>, rng: &mut Rng, totals: &mut Totals) -> Vec<Life> {
        let before = totals.kills;
        let mut lives = Vec::new();
        while totals.kills - before < self.kills {
            let mut since_sweep = 0;
            while since_sweep < LIVES_A_SWEEP && totals.kills - before < self.kills {
                let together = 1 + rng.below(2);
                let first = lives.len() as u64;
                let mut running: Vec<_> = (first..first + together)
                    .map(|number| {
                        let until = Instant::now() + moment_within(rng, self.longest);
                        (until, number, place.victim(self, number))
                    })
                    .collect();
                running.sort_by_key(|(until, ..)| *until);
                for (until, _, victim) in &mut running {
                    thread::sleep(until.saturating_duration_since(Instant::now()));
                    let killed = kill(victim);
                    totals.kills += u64::from(killed);
                    totals.survivors += u64::from(!killed);
                }
                running.sort_by_key(|(_, number, _)| *number);
                for (_, number, _) in running {
                    let life = Life::read(number, self.values_a_round, &place.marks(number));
                    totals.moments[moment(&life)] += 1;
                    lives.push(life);
                }
                since_sweep += together;
            }
            place.sweep(rng, totals);
        }
        lives
    }
}

/// Sets a flag when it is dropped, also by a panic: the thread that waits for the flag ends.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Store of a campaign, with the server that it needs.
enum RunningStore {
    File,
    Server(Server),
    Postgres(Postgres),
}

impl RunningStore {
    /// Starts the server of a store. Returns `None`, with a line on stderr, if PostgreSQL is needed and not installed.
    fn start(kind: StoreKind) -> Option<Self> {
        Some(match kind {
            StoreKind::File => Self::File,
            StoreKind::Server => Self::Server(Server::start_with(&[])),
            StoreKind::Postgres => {
                let server = Postgres::start()?;
                connection_cuts::prepare(&server);
                Self::Postgres(server)
            }
        })
    }
}

/// Folder and store of a campaign.
struct Battlefield<'a> {
    folder: &'a Folder,
    store: &'a RunningStore,
}

impl Battlefield<'_> {
    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut command = self.folder.command(program);
        match self.store {
            RunningStore::File => {}
            RunningStore::Server(server) => {
                command.env("MLFLOW_TRACKING_URI", server.url());
            }
            RunningStore::Postgres(server) => {
                command.env("MLFLOW_TRACKING_URI", server.uri());
            }
        }
        command
            .args(arguments)
            .env("MLFLOW_EXIT_TIMEOUT", "1800")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn victim(&self, campaign: &Campaign, number: u64) -> Child {
        let marks = self.marks(number);
        let arguments = [number, campaign.rounds, campaign.values_a_round].map(|n| n.to_string());
        let [number, rounds, values] = &arguments;
        self.spawn(VICTIM, &[number, rounds, values, marks.to_str().unwrap()])
    }

    fn sweeper(&self, totals: &mut Totals) -> Child {
        totals.sweeps += 1;
        self.spawn(SWEEPER, &[&format!("sweep-{}", totals.sweeps), "0", "0"])
    }

    /// Sweeps in a random way: one sweeper, three that are killed, or two at once. Nothing may be left of a sweep that
    /// ends by itself, unless connections are cut meanwhile: a journal that two cuts hit is left to the next sweep.
    fn sweep(&self, rng: &mut Rng, totals: &mut Totals) {
        match rng.below(3) {
            0 => self.sweep_alone(totals),
            1 => {
                for _ in 0..3 {
                    let mut sweeper = self.sweeper(totals);
                    thread::sleep(moment_within(rng, Duration::from_secs(1)));
                    totals.killed_sweeps += u64::from(kill(&mut sweeper));
                }
                return;
            }
            _ => {
                let both = [self.sweeper(totals), self.sweeper(totals)];
                both.into_iter().for_each(must_succeed);
            }
        }
        if !matches!(self.store, RunningStore::Postgres(_)) {
            self.must_be_swept();
        }
    }

    fn sweep_alone(&self, totals: &mut Totals) {
        must_succeed(self.sweeper(totals));
    }

    fn must_be_swept(&self) {
        let entries = |path: &Path| -> Vec<PathBuf> {
            fs::read_dir(path).map_or_else(
                |_| Vec::new(),
                |all| all.flatten().map(|one| one.path()).collect(),
            )
        };
        let left = entries(&self.folder.journal());
        let inside: Vec<_> = left.iter().map(|path| entries(path)).collect();
        assert!(
            left.is_empty(),
            "{left:?} {inside:?}\n{}",
            fs::read_to_string(self.log()).unwrap()
        );
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn marks(&self, number: u64) -> PathBuf {
        self.folder.path().join(format!("marks-{number}"))
    }

    /// Returns the number of warnings. Panics if one is of the kinds in [`NEVER`], or if a process panicked.
    fn warnings(&self) -> u64 {
        let log = fs::read_to_string(self.log()).unwrap();
        for line in log.lines() {
            let bad = NEVER.iter().any(|never| line.contains(never)) || line.contains("panicked");
            assert!(!bad, "{line}");
        }
        log.lines()
            .filter(|line| line.contains("WARN mlflow"))
            .count() as u64
    }

    fn database(&self) -> Connection {
        match self.store {
            RunningStore::File => self.folder.database(),
            RunningStore::Server(server) => server.database(),
            RunningStore::Postgres(server) => postgres_copy::copy(server),
        }
    }

    fn artifacts(&self, uri: &str) -> PathBuf {
        match (self.store, uri.strip_prefix("mlflow-artifacts:/")) {
            (RunningStore::Server(server), Some(path)) => server.artifacts().join(path),
            _ => Path::new(uri).to_owned(),
        }
    }
}

/// Kills a process by SIGKILL. Returns false if the process had ended before.
fn kill(child: &mut Child) -> bool {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(
        status.signal() == Some(9) || status.success(),
        "it died in another way: {status}"
    );
    !status.success()
}

fn must_succeed(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// Returns the index, in [`Totals::moments`], of the moment at which a life died.
fn moment(life: &Life) -> usize {
    if life.acknowledged(Mark::Ended, LIFE) > 0 {
        2
    } else {
        usize::from(life.acknowledged(Mark::Started, LIFE) > 0)
    }
}

impl Totals {
    fn print(&self) {
        let Self {
            kills,
            moments: [starting, logging, shipping],
            survivors,
            sweeps,
            killed_sweeps,
            cuts,
            warnings,
            verdict,
        } = self;
        println!(
            "SIGKILLs of victims: {kills} (lives that died before their run started {starting}, while they \
             logged {logging}, after it ended {shipping}, {survivors} of them by themselves)"
        );
        println!(
            "sweepers: {sweeps}, of which killed: {killed_sweeps}; connections cut during a commit: {cuts}"
        );
        println!(
            "runs: {}, FINISHED {}, closed as KILLED {}, left open {}, doubled {}, lost {}",
            verdict.runs,
            verdict.finished,
            verdict.runs - verdict.finished,
            verdict.count(Fault::RunOpen),
            verdict.count(Fault::RunDoubled),
            verdict.count(Fault::RunLost),
        );
        println!(
            "values: acknowledged {}, in the store {}, lost {}, doubled {}, strange {}",
            verdict.acknowledged,
            verdict.stored,
            verdict.count(Fault::ValueLost),
            verdict.count(Fault::ValueDoubled),
            verdict.count(Fault::ValueStrange),
        );
        println!(
            "artifacts: acknowledged {}, lost {}; tags set back {}; warnings of the library: {warnings}",
            verdict.notes,
            verdict.count(Fault::NotesLost),
            verdict.count(Fault::TagWrong),
        );
    }
}

/// Returns a random duration up to `longest`, evenly distributed, in whole microseconds.
pub(crate) fn moment_within(rng: &mut Rng, longest: Duration) -> Duration {
    let longest = u64::try_from(longest.as_micros()).unwrap();
    Duration::from_micros(rng.below(longest + 1))
}
