//! [`LiveChoice`]: the runs that are to be watched, found in journals and in the store.
//!
//! Journals are looked at first, because they are on this machine, and because a run that is being trained is most likely
//! the one that is meant. A store that does not answer is no error while a journal holds the run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::journals::{self, JournalState, StoredJournal};
use mlflow::store::RUN_KEY_TAG;

use super::Live;
use super::journal_feed::JournalFeed;
use super::run::{LiveRun, Process, Reading, State};
use super::store_feed::{StoreFeed, WantedId, WantedRun};
use crate::failure::Failure;
use crate::output::format;
use crate::output::table::shorten;
use crate::selection::{runs_of, select};

/// Number of runs that an error names.
const MAX_NAMED: usize = 5;
/// Greatest number of characters of their names.
const MAX_NAME_CHARS: usize = 60;
/// Length of all journals together up to which their points are kept while the runs are found: some five million points.
const MAX_BYTES_READ_AT_ONCE: u64 = 256 << 20;

/// Runs that are to be watched.
pub(crate) struct LiveChoice<'c> {
    /// Runs by the beginning of the id, by name, as `last` or `best:METRIC`, or paths of journals. Empty for the newest.
    pub(crate) runs: &'c [String],
    /// Number of the newest runs that are watched if no run is named.
    pub(crate) newest: usize,
    /// Names of experiments; only their runs are looked at, unless there is none.
    pub(crate) experiments: &'c [String],
    /// Points that are kept.
    pub(crate) reading: Reading,
    /// True if nobody has named a store. Then journals of every destination are looked at: first those of the default
    /// store, then the runs that are being logged, then the store, then all others.
    pub(crate) takes_any_destination: bool,
}

/// Runs of the journals on this machine.
struct JournalRuns {
    feeds: Vec<JournalFeed>,
    runs: Vec<JournalCandidate>,
    /// Points of the chosen runs that are kept.
    reading: Reading,
    /// True if the journals are so long that they are surveyed first, and only the chosen ones are kept in memory.
    is_survey: bool,
    /// Configured store, as journals name it.
    configured: String,
}

/// Run of a journal.
struct JournalCandidate {
    run: LiveRun,
    /// True if the run goes to the configured store.
    is_configured: bool,
    /// Positions of the journals that hold the run.
    feeds: Vec<usize>,
}

/// Run that was chosen.
enum Chosen {
    /// Position among the runs of journals.
    Journal(usize),
    Store(Box<Run>),
}

/// Order in which runs are the newest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// True if a process of this machine is logging the run.
    is_logged_now: bool,
    start_time_ms: Option<i64>,
}

impl Rank {
    fn of(run: &LiveRun) -> Self {
        Self {
            is_logged_now: run.process == Process::Alive && run.state() == State::Running,
            start_time_ms: run.start_time_ms(),
        }
    }
}

impl LiveChoice<'_> {
    /// Finds the runs, and begins to read them.
    pub(crate) fn find(&self, config: &Config) -> Result<Live, Failure> {
        let client = Client::with_config(config.clone());
        let (mut live, wanted) = self.find_in_journals(config, &client)?;
        for (uri, runs) in wanted {
            let client = client_of(&uri, config, &client);
            let store = StoreFeed::start(client, runs)
                .map_err(|error| Failure::Io("cannot start a thread".to_owned(), error))?;
            live.stores.push(store);
        }
        Ok(live)
    }

    /// Finds the runs, with what journals hold of them, and returns what is to be read from which store, by its URI.
    pub(super) fn find_in_journals(
        &self,
        config: &Config,
        client: &Client,
    ) -> Result<(Live, BTreeMap<String, Vec<WantedRun>>), Failure> {
        let found = journals::find(config)
            .map_err(|error| Failure::Io("cannot list the journals".to_owned(), error))?;
        let mut journals = JournalRuns::read(found, self.reading, &client.uri());
        let mut chosen = Vec::new();
        if self.runs.is_empty() {
            chosen.extend(self.newest_runs(client, &journals)?);
        }
        for text in self.runs {
            match self.journal_at(text)? {
                Some(journal) => chosen.extend(journals.add(journal, text)?),
                None => chosen.push(self.choose(client, &journals, text)?),
            }
        }
        journals.keep(config, chosen)
    }

    /// Opens the journal of which `text` is the path; `None` if it is no path of a directory.
    fn journal_at(&self, text: &str) -> Result<Option<StoredJournal>, Failure> {
        let path = Path::new(text);
        if !text.contains('/') || !path.is_dir() {
            return Ok(None);
        }
        let opened = StoredJournal::open(path);
        opened
            .map(Some)
            .map_err(|error| Failure::Io(format!("cannot read the journal {text}"), error))
    }

    fn choose(
        &self,
        client: &Client,
        journals: &JournalRuns,
        text: &str,
    ) -> Result<Chosen, Failure> {
        if text == "last" {
            let mut newest = self.newest_runs_of(client, journals, 1)?;
            return newest.pop().ok_or_else(none_yet);
        }
        let of_store = self.matching(journals, text, true);
        if let Some(index) = only(text, journals, &of_store)? {
            return Ok(Chosen::Journal(index));
        }
        match select(client, self.experiments, text) {
            Ok(run) => Ok(journals
                .position_of(&run)
                .map_or_else(|| Chosen::Store(Box::new(run)), Chosen::Journal)),
            Err(failure) => {
                let others = self.matching(journals, text, false);
                let other = only(text, journals, &others)?;
                other.map(Chosen::Journal).ok_or(failure)
            }
        }
    }

    /// Returns the positions of the runs in journals that `text` means, of the configured store or of others.
    fn matching(&self, journals: &JournalRuns, text: &str, is_configured: bool) -> Vec<usize> {
        let positions = |is_meant: &dyn Fn(&LiveRun) -> bool| -> Vec<usize> {
            { journals.runs.iter().enumerate() }
                .filter(|(_, candidate)| candidate.is_configured == is_configured)
                .filter(|(_, candidate)| self.may_be_meant(candidate))
                .filter(|(_, candidate)| is_meant(&candidate.run))
                .map(|(index, _)| index)
                .collect()
        };
        let by_name = positions(&|run| run.name == text);
        if !by_name.is_empty() || text.len() < 2 {
            return by_name;
        }
        let begins = |id: &Option<String>| id.as_ref().is_some_and(|id| id.starts_with(text));
        positions(&|run| begins(&run.key) || begins(&run.run_id))
    }

    fn newest_runs(&self, client: &Client, journals: &JournalRuns) -> Result<Vec<Chosen>, Failure> {
        let found = self.newest_runs_of(client, journals, self.newest.max(1))?;
        if found.is_empty() {
            return Err(none_yet());
        }
        Ok(found)
    }

    /// Returns the newest runs: first those that processes of this machine are logging now, then all others by their start.
    fn newest_runs_of(
        &self,
        client: &Client,
        journals: &JournalRuns,
        count: usize,
    ) -> Result<Vec<Chosen>, Failure> {
        let found: Vec<(Rank, bool, usize)> = { journals.runs.iter().enumerate() }
            .filter(|(_, candidate)| self.may_be_meant(candidate))
            .map(|(index, candidate)| (Rank::of(&candidate.run), candidate.is_configured, index))
            .collect();
        // A dead process's journal for another store is looked at last.
        let (first, others): (Vec<_>, Vec<_>) = { found.into_iter() }
            .partition(|(rank, is_configured, _)| *is_configured || rank.is_logged_now);
        let to_chosen = |(rank, _, index)| (rank, Chosen::Journal(index));
        let mut chosen: Vec<(Rank, Chosen)> = first.into_iter().map(to_chosen).collect();
        let logged_now = chosen.iter().filter(|(rank, _)| rank.is_logged_now).count();
        if logged_now < count {
            let search = runs_of(self.experiments).limit(count);
            let stored: Result<Vec<Run>, _> = client.search_runs(search).collect();
            match stored {
                Ok(stored) => chosen.extend(
                    { stored.into_iter() }
                        .filter(|run| journals.position_of(run).is_none())
                        .map(|run| {
                            let rank = Rank {
                                is_logged_now: false,
                                start_time_ms: run.start_time_ms,
                            };
                            (rank, Chosen::Store(Box::new(run)))
                        }),
                ),
                // The journals hold runs, and the reading of the store will tell the error.
                Err(_) if !chosen.is_empty() || !others.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
            if chosen.is_empty() {
                chosen.extend(others.into_iter().map(to_chosen));
            }
        }
        chosen.sort_by_key(|(rank, _)| Reverse(*rank));
        let chosen = chosen.into_iter().take(count);
        Ok(chosen.map(|(_, chosen)| chosen).collect())
    }

    /// Returns true if the run of a journal can be meant without the path of its journal.
    fn may_be_meant(&self, candidate: &JournalCandidate) -> bool {
        let is_of_store = candidate.is_configured || self.takes_any_destination;
        is_of_store && self.is_of_experiments(&candidate.run)
    }

    fn is_of_experiments(&self, run: &LiveRun) -> bool {
        self.experiments.is_empty() || { run.experiment.as_ref() }
            .is_some_and(|name| self.experiments.contains(name))
    }
}

impl JournalRuns {
    /// Reads the journals. One that cannot be read is left out: `cargo mlflow journal ls` tells the cause.
    fn read(mut journals: Vec<StoredJournal>, reading: Reading, configured: &str) -> Self {
        journals.retain(|journal| {
            matches!(journal.state(), JournalState::Live | JournalState::Orphaned)
        });
        let bytes: u64 = journals.iter().map(StoredJournal::disk_bytes).sum();
        let mut all = Self {
            feeds: Vec::new(),
            runs: Vec::new(),
            reading,
            is_survey: bytes > MAX_BYTES_READ_AT_ONCE,
            configured: configured.to_owned(),
        };
        for journal in journals {
            if let Ok(feed) = JournalFeed::open(journal) {
                all.read_feed(feed);
            }
        }
        all
    }

    /// Reads a journal that was named, and returns its runs.
    fn add(&mut self, journal: StoredJournal, text: &str) -> Result<Vec<Chosen>, Failure> {
        let path = { self.feeds.iter() }.position(|feed| feed.journal().path() == journal.path());
        let feed = match path {
            Some(feed) => feed,
            None => {
                let feed = JournalFeed::open(journal).map_err(|error| {
                    Failure::Io(format!("cannot read the journal {text}"), error)
                })?;
                self.read_feed(feed)
            }
        };
        let runs: Vec<Chosen> = { self.runs.iter().enumerate() }
            .filter(|(_, candidate)| candidate.feeds.contains(&feed))
            .map(|(index, _)| Chosen::Journal(index))
            .collect();
        if runs.is_empty() {
            return Err(Failure::NotFound(format!(
                "the journal {text} holds no run"
            )));
        }
        Ok(runs)
    }

    /// Reads a journal to its present end, and returns its position.
    fn read_feed(&mut self, mut feed: JournalFeed) -> usize {
        let position = self.feeds.len();
        let mut indexes: HashMap<String, usize> = { self.runs.iter().enumerate() }
            .filter_map(|(index, candidate)| Some((candidate.run.key.clone()?, index)))
            .collect();
        let reading = if self.is_survey {
            Reading::Survey
        } else {
            self.reading
        };
        let runs = &mut self.runs;
        let mut last: Option<(String, usize)> = None;
        let process = feed.read(|entry| {
            let index = match &last {
                Some((key, index)) if *key == entry.run.key => *index,
                _ => *indexes.entry(entry.run.key.clone()).or_insert_with(|| {
                    runs.push(JournalCandidate {
                        run: LiveRun::of_journal(&entry.run, reading),
                        is_configured: false,
                        feeds: Vec::new(),
                    });
                    runs.len() - 1
                }),
            };
            if last.as_ref().is_none_or(|(_, known)| *known != index) {
                last = Some((entry.run.key.clone(), index));
            }
            if let Some(candidate) = runs.get_mut(index) {
                if !candidate.feeds.contains(&position) {
                    candidate.feeds.push(position);
                }
                candidate.run.add_entry(entry);
            }
        });
        let is_configured = feed.destination() == Some(&*self.configured);
        let held = { self.runs.iter_mut() }.filter(|candidate| candidate.feeds.contains(&position));
        for candidate in held {
            candidate.is_configured |= is_configured;
            if candidate.run.process != Process::Alive {
                candidate.run.set_process(process);
            }
        }
        self.feeds.push(feed);
        position
    }

    /// Returns the position of a run of the store, if a journal holds it, too.
    fn position_of(&self, stored: &Run) -> Option<usize> {
        let key = stored.tag(RUN_KEY_TAG);
        self.runs.iter().position(|candidate| {
            let run = &candidate.run;
            run.run_id.as_ref() == Some(&stored.run_id)
                || (key.is_some() && run.key.as_deref() == key)
        })
    }

    /// Keeps the chosen runs, each once, and returns what is to be read from which store, by its URI.
    fn keep(
        self,
        config: &Config,
        chosen: Vec<Chosen>,
    ) -> Result<(Live, BTreeMap<String, Vec<WantedRun>>), Failure> {
        let Self {
            mut feeds,
            runs,
            reading,
            is_survey,
            configured,
        } = self;
        let mut candidates: Vec<Option<JournalCandidate>> = runs.into_iter().map(Some).collect();
        let mut live = Vec::new();
        let mut wanted: BTreeMap<String, Vec<WantedRun>> = BTreeMap::new();
        for chosen in chosen {
            let index = live.len();
            match chosen {
                Chosen::Journal(position) => {
                    let candidate = candidates.get_mut(position).and_then(Option::take);
                    let Some(JournalCandidate {
                        run, feeds: held, ..
                    }) = candidate
                    else {
                        continue;
                    };
                    let mut destination = None;
                    for feed in held {
                        if let Some(feed) = feeds.get_mut(feed) {
                            feed.add_run(index);
                            destination = feed.destination().map(str::to_owned).or(destination);
                        }
                    }
                    if let Some(uri) = destination.filter(|uri| may_ask(uri, &configured))
                        && let Some(id) = wanted_id(&run)
                    {
                        wanted.entry(uri).or_default().push(WantedRun { index, id });
                    }
                    live.push(if is_survey { run.unread(reading) } else { run });
                }
                Chosen::Store(run) => {
                    let is_known = |other: &LiveRun| other.run_id.as_ref() == Some(&run.run_id);
                    if live.iter().any(is_known) {
                        continue;
                    }
                    let id = WantedId::Stored(run.run_id.clone());
                    let uri = configured.clone();
                    wanted.entry(uri).or_default().push(WantedRun { index, id });
                    live.push(LiveRun::of_store(*run, reading));
                }
            }
        }
        let known_journals = { feeds.iter() }
            .map(|feed| feed.journal().path().to_owned())
            .collect();
        // A process that lives may continue a run that is watched.
        feeds.retain(|feed| {
            !feed.run_indexes().is_empty() || feed.journal().state() == JournalState::Live
        });
        if is_survey {
            for feed in &mut feeds {
                feed.reopen()
                    .map_err(|error| Failure::Io("cannot read a journal".to_owned(), error))?;
            }
        }
        let live = Live {
            config: config.clone(),
            runs: live,
            journals: feeds,
            known_journals,
            next_search: Instant::now(),
            stores: Vec::new(),
        };
        Ok((live, wanted))
    }
}

/// Returns the client of a store: the one of the configured store, or a new one.
pub(super) fn client_of(uri: &str, config: &Config, configured: &Client) -> Client {
    if uri == configured.uri() {
        configured.clone()
    } else {
        Client::with_config(config.clone().tracking_uri(uri))
    }
}

/// Returns true if the destination of a journal may be asked for its runs: it is the configured one, or a file of this
/// machine, for which no credentials are needed.
fn may_ask(destination: &str, configured: &str) -> bool {
    let is_file =
        { destination.strip_prefix("sqlite:///") }.is_some_and(|file| Path::new(file).exists());
    destination == configured || is_file
}

fn wanted_id(run: &LiveRun) -> Option<WantedId> {
    let stored = run.run_id.clone().map(WantedId::Stored);
    stored.or_else(|| run.key.clone().map(WantedId::Key))
}

fn none_yet() -> Failure {
    Failure::NotFound(
        "there is no run yet, neither in the store nor in a journal of this machine".to_owned(),
    )
}

/// Returns the only position; `None` if there is none.
fn only(text: &str, journals: &JournalRuns, positions: &[usize]) -> Result<Option<usize>, Failure> {
    match *positions {
        [] => Ok(None),
        [index] => Ok(Some(index)),
        _ => Err(Failure::Ambiguous(describe(text, journals, positions))),
    }
}

fn describe(text: &str, journals: &JournalRuns, positions: &[usize]) -> String {
    let mut description = format!("more than one run is meant by `{text}`; give more of the id:");
    for candidate in positions
        .iter()
        .take(MAX_NAMED)
        .filter_map(|&index| journals.runs.get(index))
    {
        let run = &candidate.run;
        let start = run.start_time_ms().map(format::time).unwrap_or_default();
        let name = shorten(&run.name, MAX_NAME_CHARS);
        description += &format!("\n    {}  {name}  {start}", run.id());
    }
    if positions.len() > MAX_NAMED {
        description += "\n    …";
    }
    description
}
