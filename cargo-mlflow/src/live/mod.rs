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
mod run;
mod series;
mod store_feed;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use mlflow::ClientError;

use crate::failure::Failure;
use journal_feed::JournalFeed;
use store_feed::{StoreFeed, StoreNews};

pub(crate) use choice::LiveChoice;
pub(crate) use run::{LiveRun, Process, State};
pub(crate) use series::{Point, Series};

/// Pause while the first answer of a store is waited for.
const LOAD_PAUSE: Duration = Duration::from_millis(5);

/// Runs that are watched, with the journals and stores that they are read from.
pub(crate) struct Live {
    runs: Vec<LiveRun>,
    journals: Vec<JournalFeed>,
    stores: Vec<StoreFeed>,
    /// Number of stores whose first reading is not complete.
    unread_stores: usize,
    store_error: Option<ClientError>,
}

impl Live {
    /// Returns the runs, in the order in which they were chosen; at least one.
    pub(crate) fn runs(&self) -> &[LiveRun] {
        &self.runs
    }

    /// Returns the error of the store when it was read last; `None` if it answered.
    pub(crate) fn store_error(&self) -> Option<&ClientError> {
        self.store_error.as_ref()
    }

    /// Returns true if the runs are read from a store, too.
    pub(crate) fn has_store(&self) -> bool {
        !self.stores.is_empty()
    }

    /// Returns true until each store was read once.
    pub(crate) fn is_loading(&self) -> bool {
        self.unread_stores > 0
    }

    /// Sets whether the console logs are fetched from the store.
    pub(crate) fn set_wants_console(&self, wants: bool) {
        for store in &self.stores {
            store.set_wants_console(wants);
        }
    }

    /// Returns true if no run will change any more.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_loading() && { self.runs.iter() }.all(|run| run.state().is_final())
    }

    /// Takes over what has come since the last call. Returns true if something has changed.
    pub(crate) fn poll(&mut self) -> bool {
        let before: u64 = self.version();
        // The journals come first: a point that the store has meanwhile is known to wait by then.
        self.read_journals();
        self.read_stores();
        self.version() != before
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
        let is_known = |run: &LiveRun| run.start_time_ms.is_some() || run.point_count() > 0;
        if { self.runs.iter() }.any(is_known) {
            return Ok(());
        }
        self.store_error
            .take()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    fn version(&self) -> u64 {
        self.runs.iter().map(LiveRun::version).sum()
    }

    fn read_journals(&mut self) {
        if self.journals.is_empty() {
            return;
        }
        let mut processes: BTreeMap<usize, Process> = BTreeMap::new();
        for feed in &mut self.journals {
            let runs = &mut self.runs;
            let process = feed.read(|entry| {
                let watched = runs
                    .iter_mut()
                    .find(|run| run.key.as_deref() == Some(&entry.run.key));
                if let Some(run) = watched {
                    run.add_entry(entry);
                }
            });
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
        for store in &self.stores {
            while let Some(news) = store.try_next() {
                match news {
                    StoreNews::Run {
                        index,
                        run,
                        experiment,
                        histories,
                    } => {
                        self.store_error = None;
                        if let Some(live) = self.runs.get_mut(index) {
                            live.set_record(*run, histories);
                            live.experiment = experiment.or(live.experiment.take());
                        }
                    }
                    StoreNews::Console { index, text } => {
                        if let Some(live) = self.runs.get_mut(index) {
                            live.set_stored_console(text);
                        }
                    }
                    StoreNews::Failed(error) => self.store_error = Some(error),
                    StoreNews::Complete => {
                        self.unread_stores = self.unread_stores.saturating_sub(1);
                    }
                }
            }
        }
    }
}
