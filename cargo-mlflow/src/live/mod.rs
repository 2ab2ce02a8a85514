//! [`Live`]: runs as they grow, from journals and stores alike.
//!
//! Invariants: each point counts once, although it may be in a journal and in the store. Reading disturbs neither the
//! process that trains nor the one that ships. A server is asked only if it is the configured one, because the
//! credentials of the environment go there.
//!
//! A process writes each value to its journal at once, and delivers the value to the store later. So the journals of
//! this machine are read first and often, which costs little, and the store is read on a thread of its own. Where the
//! process runs on another machine, or has delivered everything, the store alone holds the run. Where the store does not
//! answer, the journal alone does, and [`Live::store_error`] says why.

mod choice;
mod journal_feed;
#[cfg_attr(
    not(feature = "mcp"),
    allow(dead_code, reason = "only the tools for assistants look once")
)]
mod look;
mod run;
mod series;
mod store_feed;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mlflow::journals::JournalState;
use mlflow::{ClientError, Config};

use crate::failure::Failure;
use journal_feed::JournalFeed;
use store_feed::{StoreFeed, StoreNews};

pub(crate) use choice::LiveChoice;
pub(crate) use look::Look;
pub(crate) use run::{LiveRun, Process, Reading, State};
pub(crate) use series::{Point, Series};

/// Pause while the first answer of a store is waited for.
const LOAD_PAUSE: Duration = Duration::from_millis(5);

/// Time between two searches for journals of processes that continue a run.
const JOURNAL_SEARCH_INTERVAL: Duration = Duration::from_secs(2);

/// Runs that are watched, with the journals and stores that they are read from.
pub(crate) struct Live {
    config: Config,
    runs: Vec<LiveRun>,
    journals: Vec<JournalFeed>,
    /// Journals that were there when the watching began, and the ones that were found since.
    known_journals: HashSet<PathBuf>,
    next_search: Instant,
    stores: Vec<StoreFeed>,
}

impl Live {
    /// Returns the runs, in the order in which they were chosen; at least one.
    pub(crate) fn runs(&self) -> &[LiveRun] {
        &self.runs
    }

    /// Returns the runs, so that their new points can be taken.
    pub(crate) fn runs_mut(&mut self) -> &mut [LiveRun] {
        &mut self.runs
    }

    /// Returns the error of a store when it was read last; `None` if all stores have answered.
    pub(crate) fn store_error(&self) -> Option<&ClientError> {
        { self.stores.iter() }.find_map(|store| store.outcome()?.err())
    }

    /// Returns true if the runs are read from a store, too.
    pub(crate) fn has_store(&self) -> bool {
        !self.stores.is_empty()
    }

    /// Returns true until each store was read once, or has failed to answer.
    pub(crate) fn is_loading(&self) -> bool {
        self.stores.iter().any(|store| store.outcome().is_none())
    }

    /// Sets whether the console logs are fetched from the store.
    pub(crate) fn set_wants_console(&self, wants: bool) {
        for store in &self.stores {
            store.set_wants_console(wants);
        }
    }

    /// Returns true if no run will change any more, and everything was read that a store or a journal holds.
    pub(crate) fn is_over(&self) -> bool {
        let is_read = |run: &LiveRun| run.is_in_journal() || self.store_error().is_none();
        !self.is_loading() && { self.runs.iter() }.all(|run| run.state().is_final() && is_read(run))
    }

    /// Takes over what has come since the last call. Returns true if something has changed.
    pub(crate) fn poll(&mut self) -> bool {
        let before: u64 = self.version();
        let had_error = self.store_error().is_some();
        // The journals come first: a point that the store has meanwhile is known by then.
        self.find_journals();
        self.read_journals();
        self.read_stores();
        self.version() != before || self.store_error().is_some() != had_error
    }

    /// Waits until each store was read once, at most until the deadline.
    ///
    /// # Errors
    /// Returns the error of the store if no journal holds a run that is watched.
    pub(crate) fn load(&mut self, deadline: Instant) -> Result<(), Failure> {
        self.poll();
        while self.is_loading() && Instant::now() < deadline {
            thread::sleep(LOAD_PAUSE);
            self.poll();
        }
        if self.runs.iter().any(LiveRun::is_in_journal) {
            return Ok(());
        }
        let failed = { self.stores.iter_mut() }.find_map(StoreFeed::take_error);
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn version(&self) -> u64 {
        self.runs.iter().map(LiveRun::version).sum()
    }

    /// Looks for journals that were not there before: a process may continue a run that is watched.
    fn find_journals(&mut self) {
        let now = Instant::now();
        if now < self.next_search {
            return;
        }
        self.next_search = now + JOURNAL_SEARCH_INTERVAL;
        for journal in mlflow::journals::find(&self.config).unwrap_or_default() {
            let is_live = journal.state() == JournalState::Live;
            if is_live && self.known_journals.insert(journal.path().to_owned()) {
                self.journals.extend(JournalFeed::open(journal).ok());
            }
        }
    }

    fn read_journals(&mut self) {
        let mut processes: BTreeMap<usize, Process> = BTreeMap::new();
        for feed in &mut self.journals {
            let runs = &mut self.runs;
            let mut found: Vec<usize> = Vec::new();
            let process = feed.read(|entry| {
                let watched = runs.iter().position(|run| run.is_logged_as(&entry.run));
                if let Some(index) = watched
                    && let Some(run) = runs.get_mut(index)
                {
                    if found.last() != Some(&index) {
                        found.push(index);
                    }
                    run.add_entry(entry);
                }
            });
            for index in found {
                feed.add_run(index);
            }
            for &index in feed.run_indexes() {
                let known = processes.entry(index).or_insert(process);
                // Several processes may log one run. One of them that lives will go on.
                if process == Process::Alive {
                    *known = process;
                }
            }
        }
        for (index, process) in processes {
            if let Some(run) = self.runs.get_mut(index) {
                run.set_process(process);
            }
        }
    }

    fn read_stores(&mut self) {
        for store in &mut self.stores {
            while let Some(news) = store.try_next() {
                match news {
                    StoreNews::Run {
                        index,
                        run,
                        experiment,
                        histories,
                    } => {
                        if let Some(live) = self.runs.get_mut(index) {
                            live.set_record(*run, histories);
                            if let Some(name) = experiment {
                                live.set_experiment(name);
                            }
                        }
                    }
                    StoreNews::Console { index, text } => {
                        if let Some(live) = self.runs.get_mut(index) {
                            live.set_stored_console(text);
                        }
                    }
                    StoreNews::Complete(_) => {}
                }
            }
        }
    }
}
