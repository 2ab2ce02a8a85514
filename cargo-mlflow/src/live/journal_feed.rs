//! [`JournalFeed`]: a journal that is read while it grows.

use std::io;
use std::time::{Duration, Instant};

use mlflow::journals::{Entries, Entry, JournalState, StoredJournal};

use super::run::Process;

/// Time between two looks at whether the process of a journal lives.
const PROCESS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Journal that is read while it grows.
pub(crate) struct JournalFeed {
    journal: StoredJournal,
    entries: Entries,
    process: Process,
    next_check: Instant,
    /// Positions, among the runs that are watched, of the runs that the journal holds.
    run_indexes: Vec<usize>,
}

impl JournalFeed {
    /// Begins to read a journal.
    pub(super) fn open(journal: StoredJournal) -> io::Result<Self> {
        let entries = journal.entries()?;
        let process = match journal.state() {
            JournalState::Live => Process::Alive,
            _ => Process::Gone,
        };
        Ok(Self {
            journal,
            entries,
            process,
            next_check: Instant::now() + PROCESS_CHECK_INTERVAL,
            run_indexes: Vec::new(),
        })
    }

    /// Begins to read the journal anew.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.entries = self.journal.entries()?;
        Ok(())
    }

    /// Returns the journal.
    pub(super) fn journal(&self) -> &StoredJournal {
        &self.journal
    }

    /// Adds a run that is watched, and that the journal holds.
    pub(super) fn add_run(&mut self, index: usize) {
        if !self.run_indexes.contains(&index) {
            self.run_indexes.push(index);
        }
    }

    /// Returns the positions, among the runs that are watched, of the runs that the journal holds.
    pub(super) fn run_indexes(&self) -> &[usize] {
        &self.run_indexes
    }

    /// Returns the destination of the journal's values, without credentials; `None` before the first entry.
    pub(super) fn destination(&self) -> Option<&str> {
        self.entries
            .origin()
            .map(|origin| origin.destination.as_str())
    }

    /// Passes on the entries that have come since the last call, and returns whether the process lives. What the process
    /// has logged before its end is passed on before the end is told.
    pub(super) fn read(&mut self, mut receive: impl FnMut(Entry)) -> Process {
        let process = self.check_process();
        for entry in self.entries.by_ref() {
            receive(entry);
        }
        process
    }

    fn check_process(&mut self) -> Process {
        let now = Instant::now();
        if self.process == Process::Alive && now >= self.next_check {
            self.next_check = now + PROCESS_CHECK_INTERVAL;
            self.process = match StoredJournal::open(self.journal.path()) {
                Ok(journal) if journal.state() == JournalState::Live => Process::Alive,
                // Everything was delivered, so the store knows the rest.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Process::Unknown,
                _ => Process::Gone,
            };
        }
        self.process
    }
}
