//! Program that sends SIGKILL to processes at random moments. No acknowledged value may be lost, none may
//! be in the store twice, and every run has to be closed.
//!
//! Victims (`programs/victim.rs`) are killed at random moments, one alone or two at once. Each victim
//! also ships the orphaned journals of earlier victims, and may be killed during that. Now and then
//! sweepers ship the rest: one alone, several that are killed on the way, or two at once. At the end
//! the store is compared with the values that the victims' calls have acknowledged
//! ([`ledger`](crate::ledger)), and the journal has to be empty.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::Form;
use crate::ledger::{self, Fault, Life, Verdict};
use crate::mutation_check;
use crate::plan::{LIFE, Mark};
use crate::support::mlflow::Server;
use crate::support::program::Folder;
use crate::support::rng::Rng;

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

/// Series of kills in one folder with one store, and the size of the victims' lives.
struct Campaign {
    what: &'static str,
    on_server: bool,
    kills: u64,
    rounds: u64,
    values_a_round: u64,
    /// Longest time after which a victim is killed. The victim may have ended by itself before.
    longest: Duration,
}

const fn file(what: &'static str, kills: u64) -> Campaign {
    Campaign {
        what,
        on_server: false,
        kills,
        rounds: 4,
        values_a_round: 3_000,
        longest: Duration::from_millis(250),
    }
}

const fn server(kills: u64) -> Campaign {
    Campaign {
        what: "server",
        on_server: true,
        kills,
        rounds: 2,
        values_a_round: 400,
        longest: Duration::from_millis(400),
    }
}

/// Returns a campaign whose lives log so much that segments of every size are made, delivered and reused.
const fn long_lives(kills: u64) -> Campaign {
    Campaign {
        values_a_round: 25_000,
        longest: Duration::from_secs(4),
        ..file("file, long lives", kills)
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
    warnings: u64,
    verdict: Verdict,
}

pub(crate) fn run(form: Form) {
    let mut rng = Rng::seeded();
    let mut totals = Totals::default();
    let campaigns = match form {
        Form::Short => vec![file("file", 10), server(3)],
        Form::Long => {
            let mut all: Vec<Campaign> = (0..8).map(|_| file("file", 105)).collect();
            all.extend([long_lives(60), server(100)]);
            all
        }
    };
    for campaign in &campaigns {
        campaign.fight(&mut rng, &mut totals);
    }
    totals.print();
}

impl Campaign {
    fn fight(&self, rng: &mut Rng, totals: &mut Totals) {
        let started = Instant::now();
        let folder = Folder::for_hours();
        let server = self.on_server.then(|| Server::start_with(&[]));
        let place = Battlefield {
            folder: &folder,
            server: server.as_ref(),
        };
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
        place.sweep_alone(totals);
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
}

/// Folder and server of a campaign; without a server, the store is the default file.
struct Battlefield<'a> {
    folder: &'a Folder,
    server: Option<&'a Server>,
}

impl Battlefield<'_> {
    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut command = self.folder.command(program);
        if let Some(server) = self.server {
            command.env("MLFLOW_TRACKING_URI", server.url());
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

    /// Sweeps in a random way: one sweeper, three that are killed, or two at once.
    fn sweep(&self, rng: &mut Rng, totals: &mut Totals) {
        match rng.below(3) {
            0 => self.sweep_alone(totals),
            1 => {
                for _ in 0..3 {
                    let mut sweeper = self.sweeper(totals);
                    thread::sleep(moment_within(rng, Duration::from_secs(1)));
                    totals.killed_sweeps += u64::from(kill(&mut sweeper));
                }
            }
            _ => {
                let both = [self.sweeper(totals), self.sweeper(totals)];
                both.into_iter().for_each(must_succeed);
                self.must_be_swept();
            }
        }
    }

    fn sweep_alone(&self, totals: &mut Totals) {
        must_succeed(self.sweeper(totals));
        self.must_be_swept();
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
        match self.server {
            Some(server) => server.database(),
            None => self.folder.database(),
        }
    }

    fn artifacts(&self, uri: &str) -> PathBuf {
        match (self.server, uri.strip_prefix("mlflow-artifacts:/")) {
            (Some(server), Some(path)) => server.artifacts().join(path),
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
            warnings,
            verdict,
        } = self;
        println!(
            "SIGKILLs of victims: {kills} (lives that died before their run started {starting}, while they \
             logged {logging}, after it ended {shipping}, {survivors} of them by themselves)"
        );
        println!("sweepers: {sweeps}, of which killed: {killed_sweeps}");
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
