//! Schedules: the events of a world, step by step, generated from a seed.
//!
//! Invariants: a schedule depends only on its seed. Each step names its run and process by number, and a step
//! that cannot be taken is skipped, so a schedule without some of its steps is a schedule, too.

use std::fmt;

use crate::determinism::Random;
use crate::model::{PointRate, RunStatus};

pub(super) const METRICS: [&str; 3] = ["loss", "accuracy", "speed"];
pub(super) const PARAMS: [&str; 3] = ["alpha", "beta", "gamma"];
/// Params that runs are started with: a run with `n` params gets the first `n` of them.
pub(super) const START_PARAMS: [&str; 4] = ["given", "more", PARAMS[0], "no: such/../key"];
pub(super) const TAGS: [&str; 3] = ["state", "stage", "owner"];
pub(super) const PATHS: [&str; 3] = ["notes.txt", "plots/a.txt", "model.bin"];
/// Path of the table of a run.
pub(super) const TABLE: &str = "rows.json";
const STATUSES: [RunStatus; 3] = [RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];

/// Number of processes that can live at the same time.
pub(super) const PROCESSES: usize = 4;
/// Number of experiments that runs are put in.
pub(super) const EXPERIMENTS: u64 = 2;

/// The number of a run, unique in a world.
pub(super) type RunId = u32;

/// The settings of a world, and the events in it.
#[derive(Clone)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    /// Number of entries that one request may hold.
    pub(super) batch: usize,
    pub(super) segment_bytes: u64,
    /// Number of artifacts that the store takes at once.
    pub(super) concurrent_uploads: usize,
    /// Smallest and greatest number of requests for values that the store takes at once.
    pub(super) concurrent_requests: (usize, usize),
    /// Greatest number of turns that other requests may have before a request is carried out, and before its answer.
    pub(super) turns: u64,
    /// True if the store accepts a repeated batch at no extra cost.
    pub(super) absorbs_repeats: bool,
    /// True if a run that the store does not find is gone for good.
    pub(super) absence_is_final: bool,
    /// Number of entries in a group of runs; 0 if the store takes no groups.
    pub(super) group_entries: usize,
    /// Rate above which points are left out of the metrics, if any are.
    pub(super) point_rate: Option<PointRate>,
    pub(super) steps: Vec<ScheduledEvent>,
}

/// An event, `after_ms` milliseconds after the previous one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScheduledEvent {
    pub(super) after_ms: u64,
    pub(super) event: Event,
}

/// The run of an entry, the slot of the process that logs it, and whether a separate thread of that process
/// does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryTarget {
    pub(super) run: RunId,
    pub(super) process: usize,
    pub(super) on_thread: bool,
}

/// An event in a world.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Spawn {
        process: usize,
    },
    Fork {
        parent: usize,
        child: usize,
    },
    Kill {
        process: usize,
    },
    /// Death at the process's request number `calls` from now: before the store has carried it out, or, with
    /// `is_done`, after that and before the process receives the answer.
    KillAtCall {
        process: usize,
        calls: u32,
        is_done: bool,
    },
    /// Death after so many more changes of files, of the process's own journal or of one that it ships:
    /// before the next change.
    KillAtChange {
        process: usize,
        changes: u32,
    },
    Exit {
        process: usize,
    },
    Flush {
        process: usize,
    },
    Start {
        to: EntryTarget,
        parent: Option<RunId>,
        experiment: u64,
        is_resumed: bool,
        /// Number of params that the run is started with.
        params: usize,
    },
    /// A value logged at the last step of its key.
    Returned {
        to: EntryTarget,
        key: usize,
        value: u32,
    },
    Metrics {
        to: EntryTarget,
        key: usize,
        count: u32,
        is_interned: bool,
    },
    Param {
        to: EntryTarget,
        key: usize,
        value: u32,
    },
    Tag {
        to: EntryTarget,
        key: usize,
        value: u32,
    },
    Artifact {
        to: EntryTarget,
        path: usize,
        bytes: usize,
        is_spooled: bool,
        value: u32,
    },
    /// Rows of one table, logged by one call. No two calls have the same value.
    Rows {
        to: EntryTarget,
        count: usize,
        value: u32,
    },
    /// Logged model with so many files, all logged by one call. No two calls have the same value.
    Model {
        to: EntryTarget,
        files: usize,
        value: u32,
    },
    End {
        to: EntryTarget,
        status: RunStatus,
    },
    Fault(Fault),
    /// End of all faults that pass by themselves.
    Heal,
    DeleteExperiment(u64),
    RestoreExperiment(u64),
    DeleteRun(RunId),
    RestoreRun(RunId),
    Wipe,
}

/// A fault of the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) scope: Scope,
    pub(super) effect: Effect,
    /// Percentage of matching requests that the fault hits.
    pub(super) percent: u64,
    /// Duration in seconds; `None` if the fault lasts until everything is repaired at the end.
    pub(super) seconds: Option<u64>,
}

/// The requests that a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everything,
    Route(Route),
    Run(RunId),
    RunRoute(RunId, Route),
    /// Batches of the run that hold a metric, param or tag with this key.
    Key(RunId, &'static str),
    Artifact(RunId, &'static str),
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Route {
    Experiment,
    Create,
    Find,
    Get,
    Batch,
    Update,
    Running,
    Tag,
    Put,
    Ping,
    PingArtifacts,
}

/// The effect of a fault on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Unavailable,
    /// Unavailable, with a request of the store to retry after so many seconds.
    RetryAfter(u64),
    Busy,
    Contested,
    Rejected,
    TooLarge,
    Missing,
    /// Nothing is accepted for the run until a person acts.
    Blocked,
    /// Nothing is accepted from anybody until a person acts.
    BlockedAll,
    /// The request is carried out, and its answer is lost.
    Lost,
    /// Delay in milliseconds until the request is carried out.
    SlowBefore(u64),
    /// Delay in milliseconds from the execution of the request to its answer.
    SlowAfter(u64),
    /// For the creation of a run: the request fails at once, and is carried out so many milliseconds later.
    Late(u64),
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            batch,
            segment_bytes,
            concurrent_uploads,
            concurrent_requests: (least, most),
            turns,
            absorbs_repeats,
            absence_is_final,
            group_entries,
            point_rate,
            steps,
        } = self;
        writeln!(
            f,
            "seed {seed}: batches of {batch}, segments of {segment_bytes} bytes, {concurrent_uploads} uploads and {least} to {most} requests at once, \
             up to {turns} turns of others, absorbs repeats: {absorbs_repeats}, \
             absence is final: {absence_is_final}, groups of {group_entries} entries, {} points a second",
            point_rate.map_or_else(|| "all".to_owned(), |rate| rate.to_string())
        )?;
        for ScheduledEvent { after_ms, event } in steps {
            writeln!(f, "  +{after_ms:>6} ms  {event:?}")?;
        }
        Ok(())
    }
}

impl Schedule {
    /// Generates the schedule of this seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut maker = ScheduleBuilder {
            random: Random::new(seed),
            steps: Vec::new(),
            alive: [false; PROCESSES],
            runs: Vec::new(),
            next_run: 1,
            next_value: 1,
            is_calm: false,
        };
        maker.is_calm = maker.random.percent(15);
        let batch = maker.random.pick(&[1, 2, 3, 10, 1000]);
        let segment_bytes = maker.random.pick(&[4096, 4096, 16 << 10, 64 << 10]);
        let concurrent_uploads = maker.random.pick(&[1, 2, 8]);
        let concurrent_requests = maker.random.pick(&[(1, 1), (1, 8), (2, 3), (3, 8), (8, 8)]);
        let turns = maker.random.pick(&[0, 1, 5, 20]);
        let absorbs_repeats = maker.random.percent(50);
        let absence_is_final = maker.random.percent(50);
        let count = 10 + maker.random.below(31);
        maker.spawn(0);
        maker.start(0);
        for _ in 0..count {
            maker.step();
        }
        if maker.random.percent(20) && !maker.is_calm {
            maker.end_in_trouble();
        }
        let group_entries = if absorbs_repeats {
            maker.random.pick(&[0, 0, 8, 30, 1000])
        } else {
            0
        };
        // A draw would change the worlds of all seeds.
        let thins = cfg!(feature = "thinning") && seed % 4 == 3;
        Self {
            seed,
            batch,
            segment_bytes,
            concurrent_uploads,
            concurrent_requests,
            turns,
            absorbs_repeats,
            absence_is_final,
            group_entries,
            point_rate: PointRate::new(0.1).filter(|_| thins),
            steps: maker.steps,
        }
    }
}

/// A run as far as the generator knows it.
struct KnownRun {
    run: RunId,
    processes: Vec<usize>,
    experiment: u64,
}

struct ScheduleBuilder {
    random: Random,
    steps: Vec<ScheduledEvent>,
    alive: [bool; PROCESSES],
    runs: Vec<KnownRun>,
    next_run: RunId,
    next_value: u32,
    /// True if nothing fails, and one thread of each process logs: then the order of all that arrives is checked.
    is_calm: bool,
}

impl ScheduleBuilder {
    /// Returns true in `percent` of a hundred cases, if threads log at all.
    fn on_thread(&mut self, percent: u64) -> bool {
        self.random.percent(percent) && !self.is_calm
    }

    fn push(&mut self, event: Event) {
        let gaps = [
            0, 0, 0, 0, 0, 0, 1, 20, 100, 300, 300, 1000, 3000, 10_000, 70_000,
        ];
        let after_ms = self.random.pick(&gaps);
        self.steps.push(ScheduledEvent { after_ms, event });
    }

    fn next_value(&mut self) -> u32 {
        self.next_value += 1;
        self.next_value
    }

    fn any_alive(&mut self) -> Option<usize> {
        let alive: Vec<usize> = (0..PROCESSES).filter(|slot| self.alive[*slot]).collect();
        (!alive.is_empty()).then(|| self.random.pick(&alive))
    }

    fn any_dead(&mut self) -> Option<usize> {
        let dead: Vec<usize> = (0..PROCESSES).filter(|slot| !self.alive[*slot]).collect();
        (!dead.is_empty()).then(|| self.random.pick(&dead))
    }

    fn any_run(&mut self) -> Option<RunId> {
        let runs: Vec<RunId> = self.runs.iter().map(|known| known.run).collect();
        (!runs.is_empty()).then(|| self.random.pick(&runs))
    }

    /// Returns a run, and a living process that logs to it.
    fn target(&mut self) -> Option<EntryTarget> {
        let open: Vec<(RunId, usize)> = self
            .runs
            .iter()
            .flat_map(|known| known.processes.iter().map(|process| (known.run, *process)))
            .filter(|(_, process)| self.alive[*process])
            .collect();
        if open.is_empty() {
            return None;
        }
        let (run, process) = self.random.pick(&open);
        Some(EntryTarget {
            run,
            process,
            on_thread: self.on_thread(25),
        })
    }

    fn spawn(&mut self, process: usize) {
        self.alive[process] = true;
        self.push(Event::Spawn { process });
    }

    fn start(&mut self, process: usize) {
        let run = self.next_run;
        self.next_run += 1;
        let siblings: Vec<RunId> = self
            .runs
            .iter()
            .filter(|known| known.processes.contains(&process))
            .map(|known| known.run)
            .collect();
        let parent = if !siblings.is_empty() && self.random.percent(40) {
            Some(self.random.pick(&siblings))
        } else {
            None
        };
        let experiment = self.random.below(EXPERIMENTS);
        self.runs.push(KnownRun {
            run,
            processes: vec![process],
            experiment,
        });
        let on_thread = self.on_thread(20);
        let is_resumed = parent.is_none() && self.random.percent(10);
        let params = self.random.pick(&[0, 1, 1, 2, 3, 4]);
        self.push(Event::Start {
            to: EntryTarget {
                run,
                process,
                on_thread,
            },
            parent,
            experiment,
            is_resumed,
            params,
        });
    }

    fn mark_dead(&mut self, process: usize) {
        self.alive[process] = false;
        for known in &mut self.runs {
            known.processes.retain(|other| *other != process);
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..51 => self.log(),
            51..55 => self.sweep(),
            55..65 => {
                if let Some(process) = self.any_alive() {
                    self.start(process);
                }
            }
            65..100 if self.is_calm => {
                if let Some(process) = self.any_alive() {
                    self.push(Event::Flush { process });
                }
            }
            65..82 => self.process(),
            82..95 => {
                let fault = self.random_fault();
                self.push(Event::Fault(fault));
            }
            95..97 => self.push(Event::Heal),
            _ => self.edit_in_ui(),
        }
    }

    /// Starts several small runs of one process in one moment, as a search for parameters does. Most of them end at once.
    fn sweep(&mut self) {
        let Some(process) = self.any_alive() else {
            return;
        };
        let first = self.steps.len();
        let count = self.random.pick(&[2, 3, 4, 6]);
        for run in self.next_run..self.next_run + count {
            self.start(process);
            let to = EntryTarget {
                run,
                process,
                on_thread: false,
            };
            let key = usize::try_from(self.random.below(3)).unwrap_or(0);
            let count = self.random.pick(&[1, 3, 5]);
            self.push(Event::Metrics {
                to,
                key,
                count,
                is_interned: true,
            });
            if self.random.percent(80) {
                self.runs.retain(|known| known.run != run);
                let status = self.random.pick(&STATUSES);
                self.push(Event::End { to, status });
            }
        }
        for step in self.steps.iter_mut().skip(first + 1) {
            step.after_ms = 0;
        }
    }

    fn log(&mut self) {
        let Some(to) = self.target() else {
            return;
        };
        let which = usize::try_from(self.random.below(3)).unwrap_or(0);
        let value = self.next_value();
        let event = match self.random.below(100) {
            0..5 => Event::Model {
                to,
                files: self.random.pick(&[1, 2, 3]),
                value,
            },
            5..35 => Event::Metrics {
                to,
                key: which,
                count: self.random.pick(&[1, 1, 2, 5, 30, 120]),
                is_interned: self.random.percent(50),
            },
            35..45 => Event::Param {
                to,
                key: which,
                value,
            },
            45..58 => {
                self.set_tags(to);
                return;
            }
            58..65 => Event::Rows {
                to,
                count: self.random.pick(&[1, 1, 2, 5]),
                value,
            },
            65..75 => Event::Artifact {
                to,
                path: which,
                bytes: self.random.pick(&[0, 10, 300, 5000]),
                is_spooled: false,
                value,
            },
            83..88 => Event::Returned {
                to,
                key: which,
                value,
            },
            75..83 => Event::Artifact {
                to,
                path: which,
                bytes: self.random.pick(&[0, 10, 20_000]),
                is_spooled: true,
                value,
            },
            _ => {
                self.runs.retain(|known| known.run != to.run);
                let status = self.random.pick(&STATUSES);
                Event::End { to, status }
            }
        };
        self.push(event);
    }

    /// Sets several tags at once, some of them repeatedly.
    fn set_tags(&mut self, to: EntryTarget) {
        for _ in 0..self.random.pick(&[1, 1, 3, 6]) {
            let event = Event::Tag {
                to: EntryTarget {
                    on_thread: self.on_thread(25),
                    ..to
                },
                key: usize::try_from(self.random.below(3)).unwrap_or(0),
                value: self.next_value(),
            };
            self.steps.push(ScheduledEvent { after_ms: 0, event });
        }
    }

    /// Ends a run while its requests of every kind fail for a while, each kind for a different time. The run
    /// is parked, its artifact is deferred, and some of its entries are sent more than once.
    fn end_in_trouble(&mut self) {
        let Some(to) = self.target() else {
            return;
        };
        let path = usize::try_from(self.random.below(3)).unwrap_or(0);
        let scopes = [
            Scope::RunRoute(to.run, Route::Batch),
            Scope::RunRoute(to.run, Route::Update),
            Scope::Artifact(to.run, PATHS[path]),
        ];
        let mut events: Vec<Event> = Vec::new();
        for scope in scopes {
            events.push(Event::Fault(Fault {
                scope,
                effect: Effect::Unavailable,
                percent: self.random.pick(&[100, 50]),
                seconds: Some(self.random.pick(&[1, 3, 10])),
            }));
        }
        let metrics = |key, is_interned| Event::Metrics {
            to,
            key,
            count: 5,
            is_interned,
        };
        events.push(metrics(0, false));
        events.push(Event::Artifact {
            to,
            path,
            bytes: 10,
            is_spooled: true,
            value: self.next_value(),
        });
        events.push(metrics(1, true));
        self.runs.retain(|known| known.run != to.run);
        events.push(Event::End {
            to,
            status: RunStatus::Finished,
        });
        let steps = events
            .into_iter()
            .map(|event| ScheduledEvent { after_ms: 0, event });
        self.steps.extend(steps);
        if self.random.percent(50) {
            let process = to.process;
            self.mark_dead(process);
            self.steps.push(ScheduledEvent {
                after_ms: self.random.pick(&[500, 1500, 4000]),
                event: Event::Kill { process },
            });
        }
        self.steps.push(ScheduledEvent {
            after_ms: 15_000,
            event: Event::Heal,
        });
    }

    fn process(&mut self) {
        let Some(process) = self.any_alive() else {
            let slot = self.any_dead().unwrap_or(0);
            self.spawn(slot);
            return;
        };
        match self.random.below(100) {
            0..30 => {
                if let Some(dead) = self.any_dead() {
                    self.spawn(dead);
                    if self.random.percent(70) {
                        self.start(dead);
                    }
                }
            }
            30..45 => {
                self.mark_dead(process);
                self.push(Event::Kill { process });
            }
            45..53 => {
                let changes = u32::try_from(self.random.below(12)).unwrap_or(0);
                self.push(Event::KillAtChange { process, changes });
            }
            53..64 => {
                let calls = u32::try_from(1 + self.random.below(8)).unwrap_or(1);
                let is_done = self.random.percent(50);
                self.push(Event::KillAtCall {
                    process,
                    calls,
                    is_done,
                });
            }
            64..75 => {
                self.mark_dead(process);
                self.push(Event::Exit { process });
            }
            75..88 => self.push(Event::Flush { process }),
            _ => {
                if let Some(child) = self.any_dead() {
                    self.alive[child] = true;
                    for known in &mut self.runs {
                        if known.processes.contains(&process) {
                            known.processes.push(child);
                        }
                    }
                    self.push(Event::Fork {
                        parent: process,
                        child,
                    });
                }
            }
        }
    }

    /// Adds an event that stands for a person's action in the MLflow UI, or for the loss of the store.
    fn edit_in_ui(&mut self) {
        let Some(run) = self.any_run() else {
            return;
        };
        let experiment = self
            .runs
            .iter()
            .find(|known| known.run == run)
            .map_or(0, |known| known.experiment);
        let event = match self.random.below(100) {
            0..25 => Event::DeleteExperiment(experiment),
            25..50 => Event::RestoreExperiment(experiment),
            50..70 => Event::DeleteRun(run),
            70..90 => Event::RestoreRun(run),
            _ => Event::Wipe,
        };
        self.push(event);
    }

    fn random_fault(&mut self) -> Fault {
        let routes = [
            Route::Experiment,
            Route::Create,
            Route::Find,
            Route::Batch,
            Route::Update,
            Route::Running,
            Route::Put,
        ];
        let route = self.random.pick(&routes);
        let run = self.any_run();
        let key = self.random.below(3);
        let key = usize::try_from(key).unwrap_or(0);
        let scope = match (self.random.below(100), run) {
            (0..25, _) | (_, None) => Scope::Everything,
            (25..50, _) => Scope::Route(route),
            (50..65, Some(run)) => Scope::Run(run),
            (65..80, Some(run)) => Scope::RunRoute(run, route),
            (80..90, Some(run)) => {
                let names = [METRICS[key], PARAMS[key], TAGS[key], START_PARAMS[key]];
                Scope::Key(run, self.random.pick(&names))
            }
            (_, Some(run)) => Scope::Artifact(run, PATHS[key]),
        };
        let is_wide = matches!(scope, Scope::Everything | Scope::Route(_));
        let effect = match self.random.below(100) {
            0..25 => Effect::Unavailable,
            25..30 => Effect::RetryAfter(self.random.pick(&[0, 1, 30])),
            30..35 => Effect::Busy,
            35..40 => Effect::Contested,
            40..50 if !is_wide => Effect::Rejected,
            50..55 if !is_wide => Effect::Blocked,
            55..60 if !is_wide => Effect::Missing,
            60..65 if !is_wide => Effect::TooLarge,
            40..50 => Effect::BlockedAll,
            50..75 => Effect::Lost,
            75..82 => Effect::SlowBefore(self.random.pick(&[50, 2000, 20_000])),
            82..90 => Effect::SlowAfter(self.random.pick(&[50, 2000, 20_000])),
            _ => Effect::Late(self.random.pick(&[100, 1000, 15_000])),
        };
        let is_brief = matches!(effect, Effect::Busy | Effect::Contested);
        let lengths: &[u64] = if is_brief {
            &[1, 3]
        } else {
            &[1, 3, 10, 30, 120]
        };
        let is_for_ever = !is_wide && !is_brief && self.random.percent(30);
        let is_lasting = matches!(
            effect,
            Effect::Rejected
                | Effect::Blocked
                | Effect::Unavailable
                | Effect::TooLarge
                | Effect::Missing
        );
        Fault {
            scope,
            effect,
            percent: self.random.pick(&[100, 100, 50, 20]),
            seconds: (!(is_for_ever && is_lasting)).then(|| self.random.pick(lengths)),
        }
    }
}
