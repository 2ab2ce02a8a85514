//! Reading of runs, with their metrics, params, tags and datasets: one statement a table for a whole page.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Statement};

use super::comparison::{Bindings, json_list};
use super::{CatalogError, rows};
use crate::entities::{DatasetInput, LifecycleStage, MetricPoint, Run};
use crate::model::{RunStatus, tag_keys};
use crate::search::{ColumnChoice, Columns};
use crate::store::ClientError;

/// Returns the error for a run that does not exist.
pub(super) fn missing_error(run_id: &str) -> CatalogError {
    CatalogError::Declined(ClientError::not_found(format!("there is no run {run_id}")))
}

/// Returns a run, which may be deleted.
pub(super) fn get(db: &Connection, run_id: &str) -> Result<Run, CatalogError> {
    let run = read(db, &[run_id.to_owned()], &Columns::default())?.pop();
    run.ok_or_else(|| missing_error(run_id))
}

/// Returns the place of a run's artifacts.
pub(super) fn artifact_uri(db: &Connection, run_id: &str) -> Result<String, CatalogError> {
    let mut query = db.prepare_cached("SELECT artifact_uri FROM runs WHERE run_uuid = ?1")?;
    let uri = query
        .query_row([run_id], |row| rows::string(row, 0))
        .optional()?;
    uri.ok_or_else(|| missing_error(run_id))
}

/// Returns the runs with these ids, in the same order, without those that do not exist.
pub(super) fn read(
    db: &Connection,
    ids: &[String],
    columns: &Columns,
) -> Result<Vec<Run>, CatalogError> {
    let mut page = RunPage {
        db,
        ids: json_list(ids),
        runs: ids.iter().map(|_| None).collect(),
    };
    page.read_attributes()?;
    page.read_metrics(&columns.metrics)?;
    page.read_texts("params", &columns.params, |run| &mut run.params)?;
    page.read_texts("tags", &columns.tags, |run| &mut run.tags)?;
    page.read_datasets()?;
    page.name_by_tag()?;
    Ok(page.runs.into_iter().flatten().collect())
}

/// Runs that are being read, at their places in the page.
struct RunPage<'c> {
    db: &'c Connection,
    /// Ids of the runs as a JSON list. Each statement joins this list with a table, and returns the place in
    /// the list with each row.
    ids: String,
    runs: Vec<Option<Run>>,
}

impl RunPage<'_> {
    fn read_attributes(&mut self) -> Result<(), CatalogError> {
        let mut query = self.db.prepare_cached(
            "SELECT k.key, r.run_uuid, r.name, r.experiment_id, r.user_id, r.status, r.start_time, r.end_time,
                    r.artifact_uri, r.lifecycle_stage
             FROM json_each(?1) AS k CROSS JOIN runs AS r ON r.run_uuid = k.value",
        )?;
        let mut result = query.query([&self.ids])?;
        while let Some(row) = result.next()? {
            let experiment_id: Option<i64> = row.get(3)?;
            let run = Run {
                run_id: rows::string(row, 1)?,
                name: rows::string(row, 2)?,
                experiment_id: experiment_id.unwrap_or_default().to_string(),
                user_id: rows::string(row, 4)?,
                status: rows::text(row, 5)?.parse().unwrap_or(RunStatus::Running),
                start_time_ms: row.get(6)?,
                // A server writes 0 to clear the end of a run that goes on.
                end_time_ms: row.get::<_, Option<i64>>(7)?.filter(|end| *end != 0),
                artifact_uri: rows::string(row, 8)?,
                lifecycle_stage: LifecycleStage::from_name(&rows::text(row, 9)?),
                metrics: BTreeMap::new(),
                params: BTreeMap::new(),
                tags: BTreeMap::new(),
                datasets: Vec::new(),
            };
            if let Some(place) = self.runs.get_mut(rows::position(row, 0)?) {
                *place = Some(run);
            }
        }
        Ok(())
    }

    /// Prepares a statement that selects the place in the page and these columns of a table of keys and
    /// values. Returns `None` if no key is wanted.
    fn select_values(
        &self,
        table: &str,
        columns: &str,
        choice: &ColumnChoice,
    ) -> Result<Option<(Statement<'_>, Bindings)>, CatalogError> {
        let mut bindings = Bindings::default();
        let ids = bindings.bind(self.ids.clone());
        let keys = match choice {
            ColumnChoice::All => String::new(),
            ColumnChoice::Only(keys) if keys.is_empty() => return Ok(None),
            ColumnChoice::Only(keys) => format!(" AND t.key IN {}", bindings.bind_list(keys)),
        };
        let query = self.db.prepare(&format!(
            "SELECT k.key, {columns} FROM json_each({ids}) AS k CROSS JOIN {table} AS t ON t.run_uuid = k.value{keys}"
        ))?;
        Ok(Some((query, bindings)))
    }

    fn read_metrics(&mut self, choice: &ColumnChoice) -> Result<(), CatalogError> {
        let mut runs = std::mem::take(&mut self.runs);
        let columns = "t.key, t.value, t.step, t.timestamp, t.is_nan";
        if let Some((mut query, bindings)) =
            self.select_values("latest_metrics", columns, choice)?
        {
            let mut result = query.query(bindings.values())?;
            while let Some(row) = result.next()? {
                let Some(Some(run)) = runs.get_mut(rows::position(row, 0)?) else {
                    continue;
                };
                let is_nan: bool = row.get(5)?;
                let timestamp_ms: Option<i64> = row.get(4)?;
                let point = MetricPoint {
                    step: row.get(3)?,
                    value: if is_nan { f64::NAN } else { row.get(2)? },
                    timestamp_ms: timestamp_ms.unwrap_or_default(),
                };
                run.metrics.insert(rows::string(row, 1)?, point);
            }
        }
        self.runs = runs;
        Ok(())
    }

    fn read_texts(
        &mut self,
        table: &str,
        choice: &ColumnChoice,
        texts_of: impl Fn(&mut Run) -> &mut BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        let mut runs = std::mem::take(&mut self.runs);
        if let Some((mut query, bindings)) = self.select_values(table, "t.key, t.value", choice)? {
            let mut result = query.query(bindings.values())?;
            while let Some(row) = result.next()? {
                if let Some(Some(run)) = runs.get_mut(rows::position(row, 0)?) {
                    texts_of(run).insert(rows::string(row, 1)?, rows::string(row, 2)?);
                }
            }
        }
        self.runs = runs;
        Ok(())
    }

    fn read_datasets(&mut self) -> Result<(), CatalogError> {
        let mut query = self.db.prepare_cached(
            "SELECT k.key, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile,
                    t.value
             FROM json_each(?1) AS k
             CROSS JOIN inputs AS i ON i.destination_type = 'RUN' AND i.destination_id = k.value
             CROSS JOIN datasets AS d ON d.dataset_uuid = i.source_id
             LEFT JOIN input_tags AS t ON t.input_uuid = i.input_uuid AND t.name = ?2",
        )?;
        let mut result = query.query((&self.ids, tag_keys::DATASET_CONTEXT))?;
        while let Some(row) = result.next()? {
            let dataset = DatasetInput {
                name: rows::string(row, 1)?,
                digest: rows::string(row, 2)?,
                source_type: rows::string(row, 3)?,
                source: rows::string(row, 4)?,
                schema: row.get(5)?,
                profile: row.get(6)?,
                context: row.get(7)?,
            };
            let position = rows::position(row, 0)?;
            if let Some(Some(run)) = self.runs.get_mut(position) {
                run.datasets.push(dataset);
            }
        }
        for run in self.runs.iter_mut().flatten() {
            run.datasets.sort();
        }
        Ok(())
    }

    /// Takes the name of a run from its tag if the column is empty, as it is in runs of very old MLflow
    /// releases.
    fn name_by_tag(&mut self) -> Result<(), CatalogError> {
        let mut query = self
            .db
            .prepare_cached("SELECT value FROM tags WHERE run_uuid = ?1 AND key = ?2")?;
        for run in self.runs.iter_mut().flatten() {
            if !run.name.is_empty() {
                continue;
            }
            if let Some(name) = run.tags.get(tag_keys::RUN_NAME) {
                run.name.clone_from(name);
            } else {
                let name = query
                    .query_row((&run.run_id, tag_keys::RUN_NAME), |row| {
                        rows::string(row, 0)
                    })
                    .optional()?;
                run.name = name.unwrap_or_default();
            }
        }
        Ok(())
    }
}
