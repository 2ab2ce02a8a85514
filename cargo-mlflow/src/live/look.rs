//! [`Look`]: a run as it is at one moment, from the same sources as a run that is watched.

use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::{ClientError, Config};

use super::choice::{LiveChoice, client_of};
use super::run::LiveRun;
use super::store_feed::{WantedId, run_of_key};
use crate::failure::Failure;

/// Run as it is at one moment.
pub(crate) struct Look {
    /// Run with everything that the journals of this machine hold of it, and, of its store, all but the curves.
    pub(crate) run: LiveRun,
    /// Run in its store, with the client of that store. `None` if the store does not have the run, does not answer or
    /// may not be asked.
    pub(crate) stored: Option<(Client, Run)>,
    /// False if the store may not be asked, as it is not the configured one.
    pub(crate) has_store: bool,
    /// Error of the store.
    pub(crate) store_error: Option<ClientError>,
}

impl LiveChoice<'_> {
    /// Finds the first run that is chosen, and reads it once. The curves in its store may be long, and are left to the
    /// caller.
    ///
    /// # Errors
    /// Returns the error of the store if no journal holds the run.
    pub(crate) fn look(&self, config: &Config, client: &Client) -> Result<Look, Failure> {
        let (mut live, wanted) = self.find_in_journals(config, client)?;
        live.poll();
        let mut names = live.runs().iter().map(|run| run.name.as_str());
        if let (Some(first), Some(second)) = (names.next(), names.next()) {
            return Err(Failure::Ambiguous(format!(
                "several runs are meant: `{first}`, `{second}`; name one of them"
            )));
        }
        let run = live.runs.pop();
        let mut look = Look {
            run: run.ok_or_else(|| Failure::NotFound("there is no run yet".to_owned()))?,
            stored: None,
            has_store: !wanted.is_empty(),
            store_error: None,
        };
        for (uri, runs) in wanted {
            let client = client_of(&uri, config, client);
            for wanted in runs {
                let found = match &wanted.id {
                    WantedId::Stored(id) => client.run(&**id).map(Some),
                    WantedId::Key(key) => run_of_key(&client, key),
                };
                match found {
                    Ok(Some(run)) => {
                        look.run.set_record(run.clone(), Vec::new());
                        look.stored = Some((client.clone(), run));
                    }
                    Ok(None) => {}
                    Err(error) if look.run.is_in_journal() => look.store_error = Some(error),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(look)
    }
}
