//! Reading of runs, with their metrics, params, tags and datasets: one statement a table for a whole page.

use std::collections::BTreeMap;

use super::comparison::Bindings;
use crate::entities::{DatasetInput, LifecycleStage, MetricPoint, Run};
use crate::model::{RunStatus, tag_keys};
use crate::search::{ColumnChoice, Columns};
use crate::store::ClientError;
use crate::store::sql::dialect::json_list;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::query_optional;
use crate::store::sql::{SqlConnection, SqlError, SqlRow, rows};

/// Returns the error for a run that does not exist.
pub(super) fn missing_error(run_id: &str) -> CatalogError {
    CatalogError::Declined(ClientError::not_found(format!("there is no run {run_id}")))
}

/// Returns a run, which may be deleted.
pub(super) fn get(db: &dyn SqlConnection, run_id: &str) -> Result<Run, CatalogError> {
    let run = read(db, &[run_id.to_owned()], &Columns::default())?.pop();
    run.ok_or_else(|| missing_error(run_id))
}

/// Returns the place of a run's artifacts.
pub(super) fn artifact_uri(db: &dyn SqlConnection, run_id: &str) -> Result<String, CatalogError> {
    let uri = query_optional(
        db,
        "SELECT artifact_uri FROM runs WHERE run_uuid = ?1",
        &[run_id.into()],
        |row| rows::string(row, 0),
    )?;
    uri.ok_or_else(|| missing_error(run_id))
}

/// Returns the runs with these ids, in the same order, without those that do not exist.
pub(super) fn read(
    db: &dyn SqlConnection,
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
    db: &'c dyn SqlConnection,
    /// Ids of the runs as a JSON list. Each statement joins this list with a table, and returns the place in
    /// the list with each row.
    ids: String,
    runs: Vec<Option<Run>>,
}

impl RunPage<'_> {
    fn read_attributes(&mut self) -> Result<(), CatalogError> {
        let (wanted, join) = (self.db.dialect().texts("?1"), self.db.dialect().join());
        self.db.query(
            &format!(
                "SELECT k.key, r.run_uuid, r.name, r.experiment_id, r.user_id, r.status, r.start_time, r.end_time,
                        r.artifact_uri, r.lifecycle_stage
                 FROM {wanted} {join} runs AS r ON r.run_uuid = k.value"
            ),
            &[(&self.ids).into()],
            &mut |row| {
                let run = Run {
                    run_id: rows::string(row, 1)?,
                    name: rows::string(row, 2)?,
                    experiment_id: row.integer(3)?.unwrap_or_default().to_string(),
                    user_id: rows::string(row, 4)?,
                    status: rows::text(row, 5)?.parse().unwrap_or(RunStatus::Running),
                    start_time_ms: row.integer(6)?,
                    // A server writes 0 to clear the end of a run that goes on.
                    end_time_ms: row.integer(7)?.filter(|end| *end != 0),
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
                Ok(())
            },
        )?;
        Ok(())
    }

    /// Reads these columns of a table of keys and values, and hands each row to `add`, with the run. The first column
    /// is 1.
    fn read_values(
        &mut self,
        table: &str,
        columns: &str,
        choice: &ColumnChoice,
        add: impl Fn(&mut Run, &dyn SqlRow) -> Result<(), SqlError>,
    ) -> Result<(), CatalogError> {
        let dialect = self.db.dialect();
        let mut bindings = Bindings::new(dialect);
        let ids = bindings.bind(self.ids.clone());
        let keys = match choice {
            ColumnChoice::All => String::new(),
            ColumnChoice::Only(keys) if keys.is_empty() => return Ok(()),
            ColumnChoice::Only(keys) => format!(" AND t.key IN {}", bindings.bind_list(keys)),
        };
        let (wanted, join) = (dialect.texts(&ids), dialect.join());
        self.db.query(
            &format!(
                "SELECT k.key, {columns} FROM {wanted} {join} {table} AS t ON t.run_uuid = k.value{keys}"
            ),
            bindings.values(),
            &mut |row| match self.runs.get_mut(rows::position(row, 0)?) {
                Some(Some(run)) => add(run, row),
                _ => Ok(()),
            },
        )?;
        Ok(())
    }

    fn read_metrics(&mut self, choice: &ColumnChoice) -> Result<(), CatalogError> {
        let columns = "t.key, t.value, t.step, t.timestamp, t.is_nan";
        self.read_values("latest_metrics", columns, choice, |run, row| {
            let point = MetricPoint {
                step: rows::integer(row, 3)?,
                value: if rows::flag(row, 5)? {
                    f64::NAN
                } else {
                    rows::real(row, 2)?
                },
                timestamp_ms: row.integer(4)?.unwrap_or_default(),
            };
            run.metrics.insert(rows::string(row, 1)?, point);
            Ok(())
        })
    }

    fn read_texts(
        &mut self,
        table: &str,
        choice: &ColumnChoice,
        texts_of: impl Fn(&mut Run) -> &mut BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        self.read_values(table, "t.key, t.value", choice, |run, row| {
            texts_of(run).insert(rows::string(row, 1)?, rows::string(row, 2)?);
            Ok(())
        })
    }

    fn read_datasets(&mut self) -> Result<(), CatalogError> {
        let (wanted, join) = (self.db.dialect().texts("?1"), self.db.dialect().join());
        self.db.query(
            &format!(
                "SELECT k.key, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema,
                        d.dataset_profile, t.value
                 FROM {wanted}
                 {join} inputs AS i ON i.destination_type = 'RUN' AND i.destination_id = k.value
                 {join} datasets AS d ON d.dataset_uuid = i.source_id
                 LEFT JOIN input_tags AS t ON t.input_uuid = i.input_uuid AND t.name = ?2"
            ),
            &[(&self.ids).into(), tag_keys::DATASET_CONTEXT.into()],
            &mut |row| {
                let dataset = DatasetInput {
                    name: rows::string(row, 1)?,
                    digest: rows::string(row, 2)?,
                    source_type: rows::string(row, 3)?,
                    source: rows::string(row, 4)?,
                    schema: rows::optional_string(row, 5)?,
                    profile: rows::optional_string(row, 6)?,
                    context: rows::optional_string(row, 7)?,
                };
                if let Some(Some(run)) = self.runs.get_mut(rows::position(row, 0)?) {
                    run.datasets.push(dataset);
                }
                Ok(())
            },
        )?;
        for run in self.runs.iter_mut().flatten() {
            run.datasets.sort();
        }
        Ok(())
    }

    /// Takes the name of a run from its tag if the column is empty, as it is in runs of very old MLflow
    /// releases.
    fn name_by_tag(&mut self) -> Result<(), CatalogError> {
        for run in self.runs.iter_mut().flatten() {
            if !run.name.is_empty() {
                continue;
            }
            if let Some(name) = run.tags.get(tag_keys::RUN_NAME) {
                run.name.clone_from(name);
            } else {
                let name = query_optional(
                    self.db,
                    "SELECT value FROM tags WHERE run_uuid = ?1 AND key = ?2",
                    &[(&run.run_id).into(), tag_keys::RUN_NAME.into()],
                    |row| rows::string(row, 0),
                )?;
                run.name = name.unwrap_or_default();
            }
        }
        Ok(())
    }
}
