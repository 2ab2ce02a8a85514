//! [`RestStore`], a store behind an MLflow tracking server.
//!
//! - A body always has a `Content-Length`, every field has the type that the server expects, and a number is
//!   never `NaN` or `null`. The server answers 200 even to a body that it understood only in part.
//! - Only requests that are known to be harmless when repeated are sent again within one call.
//! - Credentials go to the host of the tracking URI and to no other. They appear in no error, in no `Debug`
//!   output and in no URI that leaves this module.

mod artifact;
mod artifact_url;
mod catalog;
mod clock;
mod content_type;
mod db_errors;
mod duplicates;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_support;
mod http;
mod json;
mod login;
mod models;
mod multipart;
pub(super) mod open;
mod presigned;
mod redirects;
mod server_info;
#[cfg(feature = "aws-sigv4")]
mod signature;
mod time_limit;
mod tls;
mod upload;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::catalog::{collect_artifact, find_path_conflict, list_folder, register_model};
use super::{
    ArtifactContent, Batch, BatchLimits, InputDataset, NewRun, Store, StoreError, StoreInfo,
    StoredRun, validate,
};
use crate::config::login::{Credentials, Login};
use crate::config::multipart::MultipartUploads;
use crate::config::request_headers::RequestHeaders;
use crate::entities::FileInfo;
use crate::model::{
    ExperimentRef, Metric, ModelMetric, ModelStatus, NewModel, Param, Registration, RunStatus,
    StoredModel, Tag,
};
use crate::time::now_ms;
#[cfg(feature = "__bench")]
pub(crate) use json::log_batch as bodies;

use error::{Cause, RequestError};
use http::{HttpClient, Idempotency};

/// Number of artifacts that are uploaded at once over a network, whose round trips this hides.
const CONCURRENT_UPLOADS: usize = 8;
/// Number of artifacts that are uploaded at once to a server on this host. MLflow's server is limited by its processor
/// there, and more requests at once make it slower: measured 1.1 times Python's rate with two, 0.8 times with eight.
const LOOPBACK_CONCURRENT_UPLOADS: usize = 2;

/// Greatest number of requests for values that are in flight at once: a server with more workers serves many clients.
const MAX_CONCURRENT_REQUESTS: usize = 8;

/// Connection settings for a tracking server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestOptions {
    /// Tracking URI, `http(s)://…`. A path in the URI is kept. User and password in the URI become
    /// [`Credentials::Basic`] and win over [`credentials`](Self::credentials).
    pub uri: TrackingUri,
    /// Credentials for the server. Default: none.
    pub credentials: Option<Credentials>,
    /// Sources of the credentials, if the settings of the process give them.
    pub(super) login: Option<Login>,
    /// True if these belong to the tracking URI, and win over a header.
    pub(super) has_own_login: bool,
    /// Headers of every request to the server. Default: none.
    pub(super) headers: RequestHeaders,
    /// True to sign requests for AWS in place of sending credentials. Default: false.
    pub(super) aws_sigv4: bool,
    /// MLflow workspace; the server must have workspaces enabled. Default: none.
    pub workspace: Option<String>,
    /// Longest time that it may take to establish a connection. Default: 10 s.
    pub connect_timeout: Duration,
    /// Longest time that a request may take, and that an upload may make no progress. Default: 120 s.
    pub timeout: Duration,
    /// Settings of uploads in parts.
    pub multipart: MultipartUploads,
    /// True to accept any certificate of the server. Default: false.
    pub insecure_tls: bool,
    /// PEM file with the certificates to trust instead of the system's. For uploads to a bucket, they are
    /// trusted in addition to the system's. Default: none.
    pub ca_bundle: Option<PathBuf>,
    /// PEM file with a client certificate and its key. Default: none.
    pub client_cert: Option<PathBuf>,
    /// Directory of this machine below which a server on another machine may have artifacts written. Default: none.
    pub local_artifacts_dir: Option<PathBuf>,
}

impl RestOptions {
    /// Returns the default settings for the server at `uri`.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: TrackingUri(uri.into()),
            credentials: None,
            login: None,
            has_own_login: false,
            headers: RequestHeaders::default(),
            aws_sigv4: false,
            workspace: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(120),
            multipart: MultipartUploads::default(),
            insecure_tls: false,
            ca_bundle: None,
            client_cert: None,
            local_artifacts_dir: None,
        }
    }
}

/// Tracking URI as it was configured. The URI may contain a password, so `Debug` does not show it.
#[derive(Clone)]
pub struct TrackingUri(String);

impl fmt::Debug for TrackingUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrackingUri(…)")
    }
}

/// Store behind the REST interface of a tracking server.
#[derive(Debug)]
pub struct RestStore {
    http: HttpClient,
    /// Ids of the experiments that were found to exist and not to be deleted.
    experiments: RefCell<HashMap<ExperimentRef, String>>,
}

impl RestStore {
    /// Creates a store for the server. Sends nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Blocked`] if the URI is not a valid HTTP URI, if the token or the workspace contains a
    /// character that no header can hold, or if a certificate file cannot be used.
    pub fn new(options: RestOptions) -> Result<Self, StoreError> {
        Ok(Self {
            http: HttpClient::new(options)?,
            experiments: RefCell::default(),
        })
    }

    async fn find_or_create_experiment(&self, name: &str) -> Result<String, RequestError> {
        if let Some(found) = self.find_experiment(name).await? {
            return require_active_experiment(found);
        }
        match self
            .http
            .post(
                "experiments/create",
                json::create_experiment(name),
                Idempotency::Idempotent,
            )
            .await
        {
            Ok(json::ExperimentIdResponse { experiment_id }) => Ok(experiment_id),
            // Another process created the experiment first, or the answer to our own first attempt was lost.
            Err(RequestError::Refused { code, reason, .. })
                if code == "RESOURCE_ALREADY_EXISTS" =>
            {
                match self.find_experiment(name).await? {
                    Some(found) => require_active_experiment(found),
                    None => Err(StoreError::Unavailable {
                        reason: reason.into(),
                        retry_after: None,
                    }
                    .into()),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    async fn find_experiment(&self, name: &str) -> Result<Option<json::Experiment>, RequestError> {
        match self
            .http
            .get("experiments/get-by-name", &[("experiment_name", name)])
            .await
        {
            Ok(json::ExperimentResponse { experiment }) => Ok(Some(experiment)),
            Err(RequestError::Refused { status: 404, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Returns a run that may be written to: one that exists and is not deleted.
    async fn active_run(&self, run_id: &str) -> Result<json::Run, StoreError> {
        let json::RunResponse { run } = self
            .http
            .get("runs/get", &[("run_id", run_id)])
            .await
            .map_err(RequestError::into_missing_or_blocked)?;
        if run.info.is_deleted() {
            return Err(RequestError::blocked(format!(
                "the run {run_id} is deleted: restore it in MLflow to log to it again"
            ))
            .into());
        }
        Ok(run)
    }

    async fn send_batch(&self, run_id: &str, batch: &Batch<'_>) -> Result<(), RequestError> {
        for body in json::log_batch(run_id, batch) {
            let json::EmptyResponse {} = self
                .http
                .post("runs/log-batch", body, Idempotency::Idempotent)
                .await?;
        }
        let nan: Vec<&Metric> = batch
            .metrics
            .iter()
            .filter(|metric| metric.value.is_nan())
            .collect();
        if nan.is_empty() {
            Ok(())
        } else {
            self.log_nan_points(run_id, &nan).await
        }
    }

    /// Returns the result of a write, after a check of the run if the write was refused. The server refuses a
    /// write to a deleted run with the code of a bad value. Without the check, one value after the other
    /// would be rejected as bad.
    async fn recheck_refused_write(
        &self,
        run_id: &str,
        sent: Result<(), RequestError>,
    ) -> Result<(), StoreError> {
        if let Err(RequestError::Refused { status: 400, .. }) = &sent
            && let Err(error @ (StoreError::Blocked { .. } | StoreError::Missing { .. })) =
                self.get_run(run_id).await
        {
            return Err(error);
        }
        Ok(sent?)
    }

    /// Sends NaN points. Releases up to 3.14 refuse a whole request if it holds one NaN point that they
    /// already have. After such a refusal, the points are sent in ever smaller groups. A single point that is
    /// refused is skipped, as the server already has it.
    async fn log_nan_points(&self, run_id: &str, points: &[&Metric]) -> Result<(), RequestError> {
        let mut pending = vec![points];
        while let Some(points) = pending.pop() {
            let sent = self
                .http
                .post(
                    "runs/log-batch",
                    json::metrics_body(run_id, points),
                    Idempotency::Idempotent,
                )
                .await;
            match sent {
                Ok(json::EmptyResponse {}) => {}
                Err(failure) if failure.is_duplicate_point() => {
                    if points.len() > 1 {
                        let (first, second) = points.split_at(points.len() / 2);
                        pending.extend([second, first]);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

fn require_active_experiment(experiment: json::Experiment) -> Result<String, RequestError> {
    if experiment.lifecycle_stage == "deleted" {
        return Err(RequestError::blocked(format!(
            "the experiment `{}` is deleted: restore it, or use another name",
            experiment.name
        )));
    }
    Ok(experiment.experiment_id)
}

#[async_trait(?Send)]
impl Store for RestStore {
    fn uri(&self) -> String {
        self.http.base().to_owned()
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits {
            total: 1000,
            metrics: 1000,
            params: 100,
            tags: 100,
        }
    }

    fn concurrent_uploads(&self) -> usize {
        if http::is_loopback(self.http.base_url()) {
            LOOPBACK_CONCURRENT_UPLOADS
        } else {
            CONCURRENT_UPLOADS
        }
    }

    fn concurrent_requests(&self) -> RangeInclusive<usize> {
        1..=MAX_CONCURRENT_REQUESTS
    }

    /// Returns false: if MLflow already has a part of a batch, it looks up each point of the batch in the
    /// whole history of the point's key.
    fn absorbs_repeats(&self) -> bool {
        false
    }

    fn absence_is_final(&self) -> bool {
        false
    }

    fn run_url(&self, run: &StoredRun) -> Option<String> {
        Some(format!(
            "{}/#/experiments/{}/runs/{}",
            self.http.base(),
            run.experiment_id,
            run.run_id
        ))
    }

    async fn experiment(&self, experiment: &ExperimentRef) -> Result<String, StoreError> {
        let known = self.experiments.borrow().get(experiment).cloned();
        if let Some(id) = known {
            return Ok(id);
        }
        let found = match experiment {
            ExperimentRef::Name(name) => {
                validate::check_experiment(name)?;
                self.find_or_create_experiment(name).await
            }
            ExperimentRef::Id(id) => self
                .http
                .get("experiments/get", &[("experiment_id", id)])
                .await
                .and_then(|json::ExperimentResponse { experiment }| {
                    require_active_experiment(experiment)
                }),
        };
        let id = found.map_err(RequestError::into_blocked)?;
        self.experiments
            .borrow_mut()
            .insert(experiment.clone(), id.clone());
        Ok(id)
    }

    async fn experiment_name(&self, run: &StoredRun) -> Result<Option<String>, StoreError> {
        let id = &[("experiment_id", &*run.experiment_id)];
        let found = self.http.get("experiments/get", id).await;
        let json::ExperimentResponse { experiment } = found.map_err(RequestError::into_blocked)?;
        Ok(Some(experiment.name))
    }

    async fn create_run(&self, run: &NewRun<'_>) -> Result<StoredRun, StoreError> {
        let created = self
            .http
            .post(
                "runs/create",
                json::create_run(run),
                Idempotency::NonIdempotent,
            )
            .await;
        let json::RunResponse { run } = created.map_err(|failure| {
            // The usual reason is that the experiment was deleted in the meantime: the known ids are dropped.
            self.experiments.borrow_mut().clear();
            failure.into_blocked()
        })?;
        Ok(run.info.into_stored_run())
    }

    async fn find_run(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        let (found, _) = duplicates::find_run_and_prune(&self.http, experiment_id, key).await?;
        Ok(found)
    }

    async fn delete_duplicates(&self, experiment_id: &str, key: &str) -> Result<bool, StoreError> {
        let (_, all_determined) =
            duplicates::find_run_and_prune(&self.http, experiment_id, key).await?;
        Ok(all_determined)
    }

    async fn find_run_of_another(
        &self,
        experiment_id: &str,
        key: &str,
    ) -> Result<Option<StoredRun>, StoreError> {
        duplicates::find_run_without_pruning(&self.http, experiment_id, key).await
    }

    async fn get_run(&self, run_id: &str) -> Result<StoredRun, StoreError> {
        Ok(self.active_run(run_id).await?.info.into_stored_run())
    }

    async fn log_batch(&self, run: &StoredRun, batch: &Batch<'_>) -> Result<(), StoreError> {
        let sent = self.send_batch(&run.run_id, batch).await;
        self.recheck_refused_write(&run.run_id, sent).await
    }

    async fn log_inputs(&self, run: &StoredRun, inputs: &[InputDataset]) -> Result<(), StoreError> {
        let body = json::log_inputs(&run.run_id, inputs);
        let sent = self
            .http
            .post("runs/log-inputs", body, Idempotency::Idempotent)
            .await;
        self.recheck_refused_write(&run.run_id, sent.map(|json::EmptyResponse {}| ()))
            .await
    }

    async fn update_run(
        &self,
        run: &StoredRun,
        status: RunStatus,
        end_time_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let body = json::update_run(&run.run_id, status, end_time_ms);
        let sent = self
            .http
            .post("runs/update", body, Idempotency::Idempotent)
            .await;
        self.recheck_refused_write(&run.run_id, sent.map(|json::EmptyResponse {}| ()))
            .await
    }

    async fn is_running(&self, run: &StoredRun) -> Result<bool, StoreError> {
        let run = self.active_run(&run.run_id).await?;
        Ok(run.info.status == RunStatus::Running.as_str())
    }

    async fn last_steps(&self, run: &StoredRun) -> Result<HashMap<String, i64>, StoreError> {
        let run = self.active_run(&run.run_id).await?;
        let metrics = run.data.metrics.into_iter();
        Ok(metrics
            .map(|metric| (metric.key.clone(), metric.step()))
            .collect())
    }

    async fn tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError> {
        let run = self.active_run(&run.run_id).await?;
        let mut tags = run.data.tags.into_iter();
        Ok(tags.find(|tag| tag.key == key).map(|tag| tag.value))
    }

    async fn info(&self) -> Result<StoreInfo, StoreError> {
        let version = self.http.version().await?;
        let started = Instant::now();
        let query = [("max_results", "1")];
        let sent_ms = now_ms();
        let access = self.http.check_access("experiments/search", &query).await?;
        let latency = started.elapsed();
        Ok(StoreInfo {
            version,
            latency,
            authenticated: Some(access.is_authorized),
            clock_difference_ms: access
                .server_time_ms
                .map(|server_ms| clock::difference_ms(server_ms, sent_ms, latency)),
        })
    }

    /// Searches for one experiment. The search succeeds only if the server and its database work, and the
    /// server accepts our credentials.
    async fn ping(&self) -> Result<(), StoreError> {
        self.http
            .ping("experiments/search", &[("max_results", "1")])
            .await
    }

    async fn ping_artifacts(&self, run: &StoredRun) -> Result<(), StoreError> {
        if self.http.is_bucket_unavailable() {
            return Err(StoreError::Unavailable {
                reason: "the artifact bucket of the run does not answer".into(),
                retry_after: None,
            });
        }
        self.http
            .ping("artifacts/list", &[("run_id", &run.run_id)])
            .await
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
        match artifact::put_artifact(&self.http, run, path, content).await {
            // The server answers so to a path that a folder has, or that is inside of a file.
            Err(RequestError::Known(Cause::ServerFault, error)) => {
                let conflict = find_path_conflict(self, &run.run_id, path).await;
                Err(conflict.unwrap_or(error))
            }
            put => Ok(put?),
        }
    }

    async fn list_folder(
        &self,
        run: &StoredRun,
        folder: &str,
    ) -> Result<Vec<FileInfo>, StoreError> {
        list_folder(self, run, folder).await
    }

    async fn delete_artifact(&self, run: &StoredRun, path: &str) -> Result<(), StoreError> {
        artifact::delete_artifact(&self.http, run, path).await
    }

    async fn create_model(
        &self,
        run: &StoredRun,
        model: &NewModel<'_>,
    ) -> Result<StoredModel, StoreError> {
        validate::check_logged_model(model.name)?;
        models::find_or_create(&self.http, run, model).await
    }

    async fn model_status(&self, model: &StoredModel) -> Result<ModelStatus, StoreError> {
        models::status(&self.http, model).await
    }

    async fn set_model_status(
        &self,
        model: &StoredModel,
        status: ModelStatus,
    ) -> Result<(), StoreError> {
        models::set_status(&self.http, model, status).await
    }

    async fn describe_model(
        &self,
        model: &StoredModel,
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), StoreError> {
        models::describe(&self.http, model, params, tags).await
    }

    async fn put_model_file(
        &self,
        model: &StoredModel,
        path: &str,
        content: ArtifactContent<'_>,
    ) -> Result<(), StoreError> {
        artifact::put_model_file(&self.http, model, path, content).await
    }

    async fn list_model_files(
        &self,
        model: &StoredModel,
    ) -> Result<BTreeMap<String, Option<u64>>, StoreError> {
        models::list_files(&self.http, model).await
    }

    async fn register_model(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        registration: &Registration<'_>,
    ) -> Result<(), StoreError> {
        register_model(self, run, model, registration).await?;
        Ok(())
    }

    async fn log_model_metrics(
        &self,
        run: &StoredRun,
        model: &StoredModel,
        metrics: &[ModelMetric],
    ) -> Result<(), StoreError> {
        let sent = models::log_metrics(&self.http, run, model, metrics).await;
        self.recheck_refused_write(&run.run_id, sent).await
    }

    async fn log_output(
        &self,
        run: &StoredRun,
        model_id: &str,
        step: i64,
    ) -> Result<(), StoreError> {
        models::log_output(&self.http, run, model_id, step).await
    }

    async fn log_model_input(&self, run: &StoredRun, model_id: &str) -> Result<(), StoreError> {
        models::log_input(&self.http, run, model_id).await
    }
}
