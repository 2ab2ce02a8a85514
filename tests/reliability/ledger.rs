//! Comparison of the values that victims have acknowledged with the contents of the store.
//!
//! - A value is acknowledged if the victim has marked it (see `plan.rs`): the call had returned.
//! - The first unmarked value of each thread was under way at the kill: the store may have it or not.
//! - The store is read as an SQLite file, also if it belongs to a server, so no code under test takes part. PostgreSQL's
//!   tables are copied into one first ([`postgres_copy`](crate::postgres_copy)).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};

use crate::plan::{self, LIFE, Mark, THREADS};

/// Life of a victim, with its marks.
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) values_a_round: u64,
    marks: Vec<u64>,
}

impl Life {
    pub(crate) fn read(number: u64, values_a_round: u64, marks: &Path) -> Self {
        // A victim that is killed before `main` makes no file.
        let bytes = fs::read(marks).unwrap_or_default();
        let mut marks: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|mark| u64::from_le_bytes(mark.try_into().unwrap()))
            .collect();
        marks.resize(3 * (THREADS as usize + 1), 0);
        Self {
            number,
            values_a_round,
            marks,
        }
    }

    pub(crate) fn acknowledged(&self, mark: Mark, thread: u64) -> u64 {
        self.marks[plan::offset(mark, thread) as usize / 8]
    }
}

/// Kind of error in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    ValueLost,
    ValueDoubled,
    /// A value that was never logged, or was logged with another run, key, step or value.
    ValueStrange,
    /// The newest point of a metric, as MLflow shows it, is not the one with the greatest step.
    LatestWrong,
    RunLost,
    RunDoubled,
    /// A run that is still RUNNING.
    RunOpen,
    /// A run that is not FINISHED although its end was acknowledged, or that has wrong params, an unknown
    /// status or another parent.
    RunWrong,
    NotesLost,
    /// A tag that has another value than the last one set.
    TagWrong,
}

/// Result of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: u64,
    pub(crate) stored: u64,
    pub(crate) runs: u64,
    pub(crate) finished: u64,
    pub(crate) notes: u64,
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// The first example of each fault.
    pub(crate) examples: BTreeMap<Fault, String>,
}

impl Verdict {
    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            acknowledged,
            stored,
            runs,
            finished,
            notes,
            faults,
            examples,
        } = other;
        self.acknowledged += acknowledged;
        self.stored += stored;
        self.runs += runs;
        self.finished += finished;
        self.notes += notes;
        for (fault, count) in faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.examples.extend(examples);
    }

    fn note(&mut self, fault: Fault, example: impl FnOnce() -> String) {
        *self.faults.entry(fault).or_default() += 1;
        self.examples.entry(fault).or_insert_with(example);
    }
}

/// Position of a run in the plan, as its name encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    life: u64,
    /// Number of the thread; [`LIFE`] for the life's own run.
    thread: u64,
    round: u64,
}

impl Place {
    fn of_name(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('-').collect();
        let number = |at: usize| parts.get(at)?.parse().ok();
        match parts.first() {
            Some(&"life") => Some(Self {
                life: number(1)?,
                thread: number(3).unwrap_or(LIFE),
                round: number(5).unwrap_or(0),
            }),
            _ => None,
        }
    }
}

struct StoredRun {
    id: String,
    place: Place,
    status: String,
    artifacts: String,
    parent: Option<String>,
    turn: Option<u64>,
    params: BTreeMap<String, String>,
}

/// Compares the store with the lives. `artifacts` returns the folder of an artifact URI.
pub(crate) fn compare(
    database: &Connection,
    lives: &[Life],
    artifacts: &dyn Fn(&str) -> PathBuf,
) -> Verdict {
    let mut verdict = Verdict::default();
    let runs = runs(database);
    names(database, &mut verdict);
    values(database, lives, &runs, &mut verdict);
    let by_place: HashMap<Place, &StoredRun> = runs.iter().map(|run| (run.place, run)).collect();
    let by_number: HashMap<u64, &Life> = lives.iter().map(|life| (life.number, life)).collect();
    for run in &runs {
        verdict.runs += 1;
        verdict.finished += u64::from(run.status == "FINISHED");
        let Some(life) = by_number.get(&run.place.life) else {
            verdict.note(Fault::RunWrong, || format!("{:?} of no life", run.place));
            continue;
        };
        check_run(run, life, &by_place, &mut verdict);
    }
    for life in lives {
        for thread in 0..=THREADS {
            for round in 0..life.acknowledged(Mark::Started, thread) {
                let place = Place {
                    life: life.number,
                    thread,
                    round,
                };
                let Some(run) = by_place.get(&place) else {
                    verdict.note(Fault::RunLost, || format!("{place:?}"));
                    continue;
                };
                if let Some(notes) = plan::notes(life.number, thread, round)
                    && thread != LIFE
                {
                    verdict.notes += 1;
                    let file = artifacts(&run.artifacts).join("notes.txt");
                    if fs::read_to_string(&file).ok() != Some(notes) {
                        verdict.note(Fault::NotesLost, || file.display().to_string());
                    }
                }
            }
        }
    }
    verdict
}

fn check_run(
    run: &StoredRun,
    life: &Life,
    by_place: &HashMap<Place, &StoredRun>,
    verdict: &mut Verdict,
) {
    let Place { thread, round, .. } = run.place;
    let ended = round < life.acknowledged(Mark::Ended, thread);
    let known = matches!(run.status.as_str(), "FINISHED" | "KILLED" | "RUNNING");
    let whole = by_place.get(&Place {
        thread: LIFE,
        round: 0,
        ..run.place
    });
    let turns = life.acknowledged(Mark::Values, LIFE);
    let turn = run.turn.unwrap_or(0);
    if thread == LIFE && turn != turns && turn != turns + 1 {
        verdict.note(Fault::TagWrong, || {
            format!("{turn}, not {turns}, of {:?}", run.place)
        });
    }
    let parent = whole
        .filter(|_| thread != LIFE)
        .map(|whole| whole.id.as_str());
    let has = |key: &str, value: u64| run.params.get(key) == Some(&value.to_string());
    let params = has("life", life.number)
        && if thread == LIFE {
            has("values", life.values_a_round) && run.params.len() == 3
        } else {
            has("thread", thread) && has("round", round) && run.params.len() == 3
        };
    if !known
        || (ended && run.status != "FINISHED")
        || !params
        || run.parent.as_deref() != parent
        || (thread != LIFE && parent.is_none())
    {
        verdict.note(Fault::RunWrong, || {
            format!(
                "{:?} {} {:?} {:?}, ended: {ended}",
                run.place, run.status, run.params, run.parent
            )
        });
    }
}

/// Notes doubled names and open runs, of all runs including those of sweepers.
fn names(database: &Connection, verdict: &mut Verdict) {
    let mut query = database
        .prepare(
            "select name, count(*), sum(status = 'RUNNING') from runs where lifecycle_stage = 'active' group by name",
        )
        .unwrap();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let name: String = row.get(0).unwrap();
        for _ in 1..number(row, 1) {
            verdict.note(Fault::RunDoubled, || name.clone());
        }
        for _ in 0..number(row, 2) {
            verdict.note(Fault::RunOpen, || name.clone());
        }
    }
}

fn values(database: &Connection, lives: &[Life], runs: &[StoredRun], verdict: &mut Verdict) {
    let places: HashMap<&str, Place> = runs.iter().map(|run| (&*run.id, run.place)).collect();
    // Number of times that each number of each thread of each life is in the store.
    let mut seen: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    // Greatest step of each key of each run.
    let mut newest: HashMap<(String, String), u64> = HashMap::new();
    let mut of_life = HashMap::new();
    for life in lives {
        of_life.insert(life.number, life);
        for thread in 0..THREADS {
            let acknowledged = life.acknowledged(Mark::Values, thread);
            verdict.acknowledged += acknowledged;
            // Includes a further value, which may have been under way.
            seen.insert((life.number, thread), vec![0; acknowledged as usize + 1]);
        }
    }
    let mut query = database
        .prepare("select run_uuid, key, step, value from metrics")
        .unwrap();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let run = row.get_ref(0).unwrap().as_str().unwrap();
        let key = row.get_ref(1).unwrap().as_str().unwrap();
        let number = number(row, 2);
        let value: f64 = row.get(3).unwrap();
        // Runs without a place are those of sweepers.
        let Some(place) = places.get(run) else {
            continue;
        };
        verdict.stored += 1;
        let thread = if place.thread == LIFE {
            key.strip_prefix("thread/")
                .and_then(|thread| thread.parse().ok())
                .unwrap_or(LIFE)
        } else {
            place.thread
        };
        let values_a_round = of_life
            .get(&place.life)
            .map_or(1, |life| life.values_a_round);
        let right = value == plan::value(place.life, thread, number)
            && if plan::is_shared(number) {
                place.thread == LIFE && key == plan::shared_key(thread)
            } else {
                place.round == number / values_a_round && key == "value"
            };
        let slot = seen
            .get_mut(&(place.life, thread))
            .and_then(|numbers| numbers.get_mut(number as usize));
        match slot {
            Some(times) if right => *times = times.saturating_add(1),
            _ => verdict.note(Fault::ValueStrange, || {
                format!("{key} {number} {value} in {place:?}")
            }),
        }
        let newest = newest.entry((run.to_owned(), key.to_owned())).or_default();
        *newest = number.max(*newest);
    }
    for ((life, thread), times) in &seen {
        let acknowledged = times.len() - 1;
        for (number, times) in times.iter().enumerate() {
            let example = || format!("{number} of thread {thread} of life {life}");
            if *times == 0 && number < acknowledged {
                verdict.note(Fault::ValueLost, example);
            }
            for _ in 1..*times {
                verdict.note(Fault::ValueDoubled, example);
            }
        }
    }
    latest(database, newest, verdict);
}

fn latest(
    database: &Connection,
    mut newest: HashMap<(String, String), u64>,
    verdict: &mut Verdict,
) {
    let mut query = database
        .prepare("select run_uuid, key, step from latest_metrics")
        .unwrap();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let shown: (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        if let Some(step) = newest.remove(&shown)
            && step != number(row, 2)
        {
            verdict.note(Fault::LatestWrong, || format!("{shown:?}"));
        }
    }
    for missing in newest.keys() {
        verdict.note(Fault::LatestWrong, || format!("{missing:?}"));
    }
}

/// Returns a number of a row. A negative number becomes larger than any that was logged.
fn number(row: &Row<'_>, column: usize) -> u64 {
    row.get::<_, i64>(column).unwrap().cast_unsigned()
}

fn runs(database: &Connection) -> Vec<StoredRun> {
    let mut params: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    let mut query = database
        .prepare("select run_uuid, key, value from params")
        .unwrap();
    let mut rows = query.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let of_run = params.entry(row.get(0).unwrap()).or_default();
        of_run.insert(row.get(1).unwrap(), row.get(2).unwrap());
    }
    let mut query = database
        .prepare(
            "select run_uuid, name, status, artifact_uri,
                    (select value from tags t where t.run_uuid = runs.run_uuid and t.key = 'mlflow.parentRunId'),
                    (select value from tags t where t.run_uuid = runs.run_uuid and t.key = ?1)
             from runs where lifecycle_stage = 'active'",
        )
        .unwrap();
    let mut rows = query.query([plan::TAG]).unwrap();
    let mut runs = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let id: String = row.get(0).unwrap();
        let name: String = row.get(1).unwrap();
        if let Some(place) = Place::of_name(&name) {
            runs.push(StoredRun {
                place,
                status: row.get(2).unwrap(),
                artifacts: row.get(3).unwrap(),
                parent: row.get(4).unwrap(),
                turn: row
                    .get::<_, Option<String>>(5)
                    .unwrap()
                    .map(|turn| turn.parse().unwrap()),
                params: params.remove(&id).unwrap_or_default(),
                id,
            });
        }
    }
    runs
}
