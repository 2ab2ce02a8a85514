//! [`Plan`]: destinations of the journals that are shipped, and the journals that are left.

use std::collections::BTreeSet;

use mlflow::Config;
use mlflow::blocking::Client;
use mlflow::journals::{self, JournalState, JournalSummary};
use serde::Serialize;

use super::destination::Route;
use crate::arguments::Sync;
use crate::failure::Failure;

/// Journals that are shipped, and those that are left.
#[derive(Debug, Default, Serialize)]
pub(super) struct Plan {
    pub(super) shipments: Vec<Shipment>,
    pub(super) left: Vec<Left>,
    /// Number of journals of running processes, which deliver by themselves.
    pub(super) live_journals: u64,
}

/// Journals of one destination, to be shipped.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shipment {
    /// Destination to which the values go.
    pub(super) destination: String,
    /// Destination for which they were logged, if that is another one.
    pub(super) from: Option<String>,
    /// True if the destination is the configured one, whose settings may include credentials.
    #[serde(skip)]
    pub(super) is_configured: bool,
    pub(super) journals: u64,
    pub(super) values: u64,
}

/// Journals that are not shipped.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    pub(super) destination: Option<String>,
    pub(super) state: JournalState,
    pub(super) journals: u64,
    pub(super) values: u64,
    pub(super) reason: String,
    /// Command that ships them, if there is one.
    pub(super) command: Option<String>,
}

impl Plan {
    /// Looks for journals, and decides what becomes of each.
    pub(super) fn make(config: &Config, options: &Sync) -> Result<Self, Failure> {
        let cannot_read = |error| Failure::Io("cannot read the journals".to_owned(), error);
        let configured = Client::with_config(config.clone()).uri();
        let sources: Vec<String> = { options.from.iter() }
            .map(|from| journals::destination_name(from))
            .collect();
        let mut plan = Self::default();
        let mut destinations = BTreeSet::new();
        for journal in journals::find(config).map_err(cannot_read)? {
            match journal.state() {
                // Nothing is to be done about a journal that holds nothing: the next process removes it.
                JournalState::Live | JournalState::Orphaned if journal.is_empty() => {}
                JournalState::Live => {
                    plan.live_journals += 1;
                    if !sources.is_empty() {
                        destinations.extend(journal.summary_or_error().destination);
                    }
                }
                JournalState::Orphaned | JournalState::Exposed => {
                    let journal = journal.summary_or_error();
                    destinations.extend(journal.destination.clone());
                    if options.to.is_some() {
                        plan.add_moved(&journal, &configured, &sources);
                    } else {
                        plan.add(&journal, &configured);
                    }
                }
                _ => {}
            }
        }
        // While sync watches, journals of the destination may still come.
        if !options.watch {
            check_sources(&sources, &destinations)?;
        }
        // The configured destination comes first.
        plan.shipments.sort_by_key(|shipment| {
            (
                !(shipment.is_configured && shipment.from.is_none()),
                shipment.destination.clone(),
            )
        });
        Ok(plan)
    }

    /// Adds a journal that goes to its own destination.
    fn add(&mut self, journal: &JournalSummary, configured: &str) {
        let route = Route::of(journal, configured);
        match (&journal.destination, journal.state) {
            (Some(destination), JournalState::Orphaned) if route.is_direct() => {
                self.ship(journal, destination, None, route == Route::Configured);
            }
            _ => self.leave(journal, route),
        }
    }

    /// Adds a journal that goes to the configured destination, if it is for one of `sources` or these are
    /// empty.
    fn add_moved(&mut self, journal: &JournalSummary, configured: &str, sources: &[String]) {
        let route = Route::of(journal, configured);
        match &journal.destination {
            Some(from) if !sources.is_empty() && !sources.contains(from) => {}
            Some(from) if journal.state == JournalState::Orphaned => {
                let from = Some(from.as_str()).filter(|from| *from != configured);
                self.ship(journal, configured, from, true);
            }
            _ => self.leave(journal, route),
        }
    }

    fn ship(
        &mut self,
        journal: &JournalSummary,
        to: &str,
        from: Option<&str>,
        is_configured: bool,
    ) {
        let is_same = |shipment: &&mut Shipment| {
            shipment.destination == to && shipment.from.as_deref() == from
        };
        let values = journal.waiting_values();
        if let Some(known) = self.shipments.iter_mut().find(is_same) {
            known.journals += 1;
            known.values += values;
        } else {
            self.shipments.push(Shipment {
                destination: to.to_owned(),
                from: from.map(str::to_owned),
                is_configured,
                journals: 1,
                values,
            });
        }
    }

    fn leave(&mut self, journal: &JournalSummary, route: Route) {
        let (reason, command) = match journal.state {
            JournalState::Exposed => {
                let command = format!("chmod -R go-w {}", journal.path.display());
                ("other users can write to it".to_owned(), Some(command))
            }
            _ => {
                let destination = journal.destination.as_deref();
                (
                    route.obstacle(journal).unwrap_or_default(),
                    destination.map(|destination| route.command(destination)),
                )
            }
        };
        let is_same = |left: &&mut Left| {
            left.destination == journal.destination
                && left.state == journal.state
                && left.reason == reason
                && left.command == command
        };
        let values = journal.waiting_values();
        if let Some(known) = self.left.iter_mut().find(is_same) {
            known.journals += 1;
            known.values += values;
        } else {
            self.left.push(Left {
                destination: journal.destination.clone(),
                state: journal.state,
                journals: 1,
                values,
                reason,
                command,
            });
        }
    }
}

/// Checks that there is a journal of each destination in `sources`.
fn check_sources(sources: &[String], destinations: &BTreeSet<String>) -> Result<(), Failure> {
    let Some(missing) = sources
        .iter()
        .find(|source| !destinations.contains(*source))
    else {
        return Ok(());
    };
    let known: Vec<&str> = destinations.iter().map(String::as_str).collect();
    Err(Failure::NotFound(if known.is_empty() {
        format!("--from: there is no journal of `{missing}`, nor of any other destination")
    } else {
        format!(
            "--from: there is no journal of `{missing}`. There are journals of {}",
            known.join(", ")
        )
    }))
}
