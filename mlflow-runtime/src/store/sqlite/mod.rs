//! [`SqliteStore`], which writes MLflow's own SQLite file without a server.
//!
//! - The file is shared with MLflow, which may read, write or migrate it at any moment. Therefore every write
//!   is one short `BEGIN IMMEDIATE` transaction, columns are always named, and nothing about the schema is
//!   remembered between calls except by SQLite, which re-prepares statements by itself.
//! - The journal mode of the file is never changed: the file may be on a network file system, where WAL
//!   fails.
//! - A call waits at most [`MAX_BLOCKING_WAIT`] in all for a lock that someone else has. Then the call returns, and
//!   the caller has to repeat it.
//! - A call that reads creates nothing: neither a missing file, nor tables in an empty one.
//! - What MLflow's server refuses is refused here, too (see the module `validate`).

mod catalog;
mod columns;
mod error;
mod log_batch;
mod log_inputs;
mod models;
mod open;
mod runs;
mod schema;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;

use super::catalog::{collect_artifact, list_folder, register_model};
use super::{
    ArtifactContent, Batch, BatchLimits, InputDataset, MAX_BLOCKING_WAIT, NewRun, Store,
    StoreError, StoreInfo, StoredRun, local_artifacts, validate,
};
use crate::entities::FileInfo;
use crate::model::{
    ExperimentRef, Metric, ModelMetric, ModelStatus, NewModel, Param, Registration, RunStatus,
    StoredModel, Tag,
};
use error::SqliteError;
use open::{MissingFile, OpenDatabase};

/// Largest number of entries in a batch: as many as the shipper reads at a time. Writing them takes a third
/// of a second, in which nobody else has the file's lock.
const MAX_BATCH_ENTRIES: usize = 65_536;
/// Time of work after which others certainly get the lock. A client that waits for the lock gives up after
/// five seconds, as MLflow does.
const MAX_WORK_WITHOUT_GAP: Duration = Duration::from_secs(2);
/// Length of a gap: the longest time that SQLite sleeps between two attempts to get a lock, and a little
/// more.
const GAP_DURATION: Duration = Duration::from_millis(110);

/// Store in an MLflow SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    artifact_root: PathBuf,
    database: RefCell<Option<OpenDatabase>>,
    /// Time that this store has worked on the file since the last gap.
    work_since_gap: Cell<Duration>,
    /// Duration of the last piece of work on the file.
    last_work: Cell<Duration>,
}

impl SqliteStore {
    /// Creates a store in the file `path`. The file itself is created when it is first needed. Artifacts of
    /// experiments that this store creates go below `artifact_root`. Relative paths are resolved against the
    /// working directory at the time of this call.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, artifact_root: impl AsRef<Path>) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            path: absolute(path.as_ref()),
            artifact_root: absolute(artifact_root.as_ref()),
            database: RefCell::new(None),
            work_since_gap: Cell::default(),
            last_work: Cell::default(),
        }
    }

    /// Runs `work` on the file. Opens the file first if necessary, and creates it if it is missing.
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, SqliteError>,
    ) -> Result<T, StoreError> {
        self.with_file(MissingFile::Create, work)
    }

    /// Runs `work` on the file, and opens the file first if necessary.
    fn with_file<T>(
        &self,
        missing: MissingFile,
        work: impl FnOnce(&mut Connection) -> Result<T, SqliteError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.database.borrow_mut();
        // If the open file was moved away or replaced, people will look at another file at this path: the
        // open one is dropped.
        if slot
            .as_ref()
            .is_some_and(|open| !open.is_still_at(&self.path))
        {
            *slot = None;
        }
        let open = match &mut *slot {
            Some(open) => open,
            none => none.insert(
                OpenDatabase::new(&self.path, &self.artifact_root, missing)
                    .map_err(|failure| failure.into_store_error(&self.path))?,
            ),
        };
        let begun = Instant::now();
        let done = work(&mut open.connection);
        self.last_work.set(begun.elapsed());
        self.work_since_gap
            .set(self.work_since_gap.get() + self.last_work.get());
        done.map_err(|failure| {
            let keep = failure.leaves_connection_usable();
            let error = failure.into_store_error(&self.path);
            if !keep {
                *slot = None;
            }
            error
        })
    }
}

#[async_trait(?Send)]
impl Store for SqliteStore {
    fn uri(&self) -> String {
        format!("sqlite:///{}", self.path.display())
    }

    /// Returns a gap after each two seconds of work. Without gaps, a backlog would keep MLflow from ever
    /// getting the file's lock.
    fn gap(&self) -> Duration {
        // Another piece of work like the last one has to fit into the limit.
        if self.work_since_gap.get() + self.last_work.get() < MAX_WORK_WITHOUT_GAP {
            return Duration::ZERO;
        }
        self.work_since_gap.take();
        GAP_DURATION
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            total: MAX_BATCH_ENTRIES,
            metrics: MAX_BATCH_ENTRIES,
            params: MAX_BATCH_ENTRIES,
            tags: MAX_BATCH_ENTRIES,
        }
    }

    fn news(&self) -> Option<String> {
        let mut open = self.database.borrow_mut();
        let is_new = std::mem::take(&mut open.as_mut()?.is_new);
        let (path, uri) = (self.path.display(), self.uri());
        is_new.then(|| format!("created the MLflow database {path} for the runs; view them with: mlflow ui --backend-store-uri {uri}"))
    }

    fn run_url(&self, _run: &StoredRun) -> Option<String> {
        None
    }

    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError> {
        match experiment {
            ExperimentRef::Id(id) => self.with_connection(|db| runs::experiment_by_id(db, id)),
            ExperimentRef::Name(name) => {
                validate::check_experiment(name)?;
                self.with_connection(|db| {
                    runs::find_or_create_experiment(db, name, &self.artifact_root)
                })
            }
        }
    }

    async fn experiment_name(&self, run: &StoredRun) -> Result<Option<String>, StoreError> {
        self.with_connection(|db| runs::experiment_name(db, &run.experiment_id))
    }

    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError> {
        self.with_connection(|db| runs::create_run(db, run))
    }

    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        self.with_connection(|db| runs::find_run(db, experiment_id, key))
    }

    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError> {
        self.with_connection(|db| runs::require_active_run(db, run_id))
    }

    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError> {
        validate::check_batch(batch)?;
        self.with_connection(|db| log_batch::write_batch(db, &run.run_id, batch))
    }

    async fn log_inputs(&self, run: &StoredRun, inputs: &[InputDataset]) -> Result<(), StoreError> {
        validate::check_inputs(inputs)?;
        self.with_connection(|db| log_inputs::write_inputs(db, &run.run_id, inputs))
    }

    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        self.with_connection(|db| runs::update_run(db, &run.run_id, status, end_time_ms))
    }

    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError> {
        self.with_connection(|db| runs::is_running(db, &run.run_id))
    }

    async fn last_steps(&self, run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        self.with_connection(|db| runs::last_steps(db, &run.run_id))
    }

    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError> {
        self.with_connection(|db| runs::tag_value(db, &run.run_id, key))
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let started = Instant::now();
        let version = if self.path.exists() {
            Some(self.with_connection(|db| Ok(open::query_schema_revision(db)?))?)
        } else {
            None
        };
        Ok(StoreInfo {
            version,
            latency: started.elapsed(),
            authenticated: None,
            clock_difference_ms: None,
        })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with_connection(|db| Ok(open::query_schema_revision(db).map(drop)?))
    }

    async fn get_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        collect_artifact(self, &run.run_id, path, max_bytes).await
    }

    async fn put_artifact(
        &self,
        run: &StoredRun,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        local_artifacts::write_artifact(
            &local_artifacts::uri_to_directory(&run.artifact_uri)?,
            path,
            content,
        )
        .await
    }

    async fn list_folder(
        &self,
        run: &StoredRun,
        folder: &str,
    ) -> Result<Vec<FileInfo>, StoreError> {
        list_folder(self, run, folder).await
    }

    async fn delete_artifact(&self, run: &StoredRun, path: &str) -> Result<(), StoreError> {
        let root = local_artifacts::uri_to_directory(&run.artifact_uri)?;
        local_artifacts::delete_artifact(&root, path)
    }

    async fn create_model(
        &self,
        run: &StoredRun,
        model: &NewModel<'_>,
    ) -> Result<StoredModel, StoreError> {
        validate::check_logged_model(model.name)?;
        self.with_connection(|db| models::find_or_create(db, run, model))
    }

    async fn model_status(&self, model: &StoredModel) -> Result<ModelStatus, StoreError> {
        self.with_connection(|db| models::status(db, model))
    }

    async fn set_model_status(
        &self,
        model: &StoredModel,
        status: ModelStatus,
    ) -> Result<(), StoreError> {
        self.with_connection(|db| models::set_status(db, model, status))
    }

    async fn describe_model(
        &self,
        model: &StoredModel,
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), StoreError> {
        self.with_connection(|db| models::describe(db, model, params, tags))
    }

    async fn put_model_file(
        &self,
        model: &StoredModel,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        let root = local_artifacts::uri_to_directory(&model.artifact_uri)?;
        local_artifacts::write_artifact(&root, path, content).await
    }

    async fn list_model_files(
        &self,
        model: &StoredModel,
    ) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
        let root = local_artifacts::uri_to_directory(&model.artifact_uri)?;
        local_artifacts::list_all(&root)
    }

    async fn register_model(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError> {
        let version = register_model(self, run, model, registration).await?;
        self.with_connection(|db| models::note_version(db, model, registration.name, version))
    }

    async fn log_model_metrics(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        metrics: &[ModelMetric],
    ) -> Result<(), StoreError> {
        let points: Vec<Metric> = metrics.iter().map(|metric| metric.point.clone()).collect();
        let batch = Batch::of_metrics(&points);
        validate::check_batch(&batch)?;
        self.with_connection(|db| {
            log_batch::write_batch(db, &run.run_id, &batch)?;
            models::log_metrics(db, run, model, metrics)
        })
    }

    async fn log_output(
        &self,
        run: &StoredRun,
        model_id: &str,
        step: i64,
    ) -> Result<(), StoreError> {
        self.with_connection(|db| models::log_output(db, run, model_id, step))
    }

    async fn log_model_input(&self, run: &StoredRun, model_id: &str) -> Result<(), StoreError> {
        self.with_connection(|db| models::log_input(db, run, model_id))
    }
}
