//! Creation of runs, and logging of values and artifacts, by a client: as Python's `MlflowClient` does it, at
//! once and for a run of any process.
//!
//! Invariants: nothing is sent before everything was checked, so that a call with a bad entry logs nothing, and
//! its error names the entry. A call that is repeated after a lost answer leaves one run, and each value once.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use super::Client;
use super::worker::Connection;
use crate::entities::{NewRun, Run, RunValues};
use crate::model::limits::{
    PARAM_VALUE_CHARS, RUN_NAME_CHARS, TAG_VALUE_CHARS, find_key_fault, truncate_chars,
};
use crate::model::{ExperimentRef, Tag, tag_keys};
use crate::store::{
    self, ArtifactContent, Batch, ClientError, ClientStore, StoreError, StoredRun, check_batch,
};
use crate::time;

/// Number of characters of a run's key.
const KEY_CHARS: usize = 32;
/// Number of characters of the key at the end of a default name.
const NAME_SUFFIX_CHARS: usize = 6;
/// Owner of a run whose owner is not given, as in Python.
const UNKNOWN_USER: &str = "unknown";
/// Largest number of entries in a request that may repeat another one, where repeats are expensive: see
/// [`Store::absorbs_repeats`](crate::store::Store::absorbs_repeats).
const REPEATED_ENTRIES: usize = 100;

impl Client {
    /// Creates a run, and returns it. The run is `RUNNING` until [`update_run`](Self::update_run) ends it.
    ///
    /// If the answer to the creation is lost, the run is looked up before it is created again. With
    /// [`NewRun::key`], later calls return the same run, too. See [`NewRun`] for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no experiment with this id, and [`ClientError::Invalid`] if it is
    /// deleted, or if MLflow does not accept the name, a tag or the key.
    pub async fn create_run(&self, new: NewRun) -> Result<Run, ClientError> {
        self.call(move |connection| async move {
            let stored = create(&connection, &new).await?;
            connection
                .repeat(|store| store.get_run_record(&stored.run_id))
                .await
        })
        .await
    }

    /// Logs metrics, params and tags to a run, however many they are. Points that the run already has (same key,
    /// step, time and value) are not doubled, and neither are params with an equal value.
    ///
    /// All values are checked before the first one is sent. If a later request fails, the values of the earlier
    /// ones are logged, and the same call may be made again. See [`NewRun`] for an example.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run, and [`ClientError::Invalid`] if it is deleted, if
    /// MLflow does not accept a key, a value or a time, or if a param already has another value.
    pub async fn log_batch(
        &self,
        run_id: impl Into<String>,
        values: RunValues,
    ) -> Result<(), ClientError> {
        let run_id = run_id.into();
        self.call(move |connection| async move {
            let values = check_values(values)?;
            let run = writable_run(&connection, &run_id).await?;
            send_values(&connection, &run, &values).await
        })
        .await
    }

    /// Writes a file of this machine as an artifact of a run, and replaces an existing one. `path` is the path
    /// among the artifacts, with `/` between its parts.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let client = mlflow::blocking::Client::new();
    /// let experiment = client.create_experiment("wine")?;
    /// let run = client.create_run(mlflow::entities::NewRun::new(&experiment))?;
    /// client.log_artifact(&run.run_id, "Cargo.toml", "build/Cargo.toml")?;
    /// client.log_artifact_bytes(&run.run_id, "rmse,0.7", "scores.csv")?;
    /// assert_eq!(client.read_artifact(&run.run_id, "scores.csv")?, b"rmse,0.7");
    /// # assert_eq!(client.read_artifact(&run.run_id, "build/Cargo.toml")?, std::fs::read("Cargo.toml").unwrap());
    /// # Ok::<(), mlflow::ClientError>(())
    /// ```
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is no such run, [`ClientError::Invalid`] if it is deleted, or if MLflow
    /// does not accept the path, and [`ClientError::LocalFile`] if the file cannot be read.
    pub async fn log_artifact(
        &self,
        run_id: impl Into<String>,
        file: impl Into<PathBuf>,
        path: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (run_id, file, path) = (run_id.into(), file.into(), path.into());
        self.call(move |connection| async move {
            check_file(&file)?;
            put_artifact(&connection, &run_id, &path, || ArtifactContent::File(&file)).await
        })
        .await
    }

    /// Writes bytes as an artifact of a run, as [`log_artifact`](Self::log_artifact) does with a file. See
    /// [`log_artifact`](Self::log_artifact) for an example.
    ///
    /// # Errors
    /// The same as those of `log_artifact`.
    pub async fn log_artifact_bytes(
        &self,
        run_id: impl Into<String>,
        content: impl Into<Vec<u8>>,
        path: impl Into<String>,
    ) -> Result<(), ClientError> {
        let (run_id, content, path) = (run_id.into(), content.into(), path.into());
        self.call(move |connection| async move {
            let content = || ArtifactContent::Bytes((&*content).into());
            put_artifact(&connection, &run_id, &path, content).await
        })
        .await
    }
}

/// Creates the run, or returns the one that already has its key.
async fn create(connection: &Connection, new: &NewRun) -> Result<StoredRun, ClientError> {
    let NewRun {
        experiment_id,
        name,
        user_id,
        start_time_ms,
        tags,
        key,
    } = new;
    check_new_run(new)?;
    let is_own_key = key.is_some();
    let key = key
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    let start_time_ms = start_time_ms.unwrap_or_else(time::now_ms);
    // As in Python, the tag names the run where no name is given.
    let name = { name.as_ref().or_else(|| tags.get(tag_keys::RUN_NAME)) }
        .filter(|name| !name.is_empty())
        .cloned()
        .unwrap_or_else(|| {
            let suffix = key.get(..NAME_SUFFIX_CHARS).unwrap_or(&key);
            format!("run-{}-{suffix}", time::format_compact_utc(start_time_ms))
        });
    let user_id = { user_id.as_deref() }
        .or_else(|| tags.get(tag_keys::USER).map(String::as_str))
        .unwrap_or(UNKNOWN_USER);
    let tags: Vec<Tag> = { tags.iter() }
        .filter(|(key, _)| !is_set_by_store(key))
        .map(|(key, value)| Tag {
            key: key.clone(),
            value: value.clone(),
        })
        .collect();
    let new = store::NewRun {
        key: &key,
        experiment_id,
        name: &name,
        user_id,
        start_time_ms,
        tags: &tags,
    };
    let may_exist = Cell::new(is_own_key);
    let (new, key) = (&new, &*key);
    let stored = connection
        .repeat(|store| {
            // After the first attempt, the run may exist although no answer has said so.
            let may_exist = may_exist.replace(true);
            Box::pin(async move {
                if may_exist && let Some(found) = store.find_run(experiment_id, key).await? {
                    return Ok(found);
                }
                match store.create_run(new).await {
                    Ok(created) => Ok(created),
                    Err(error) => Err(explain_refusal(store, experiment_id, error).await),
                }
            })
        })
        .await?;
    if stored.experiment_id != *experiment_id {
        return Err(ClientError::invalid(format!(
            "the run with the key {key} is in the experiment {} and not in {experiment_id}: choose another key",
            stored.experiment_id
        )));
    }
    Ok(stored)
}

/// Returns true for the tags that a store sets itself at a run's creation.
fn is_set_by_store(key: &str) -> bool {
    matches!(key, tag_keys::RUN_NAME | tag_keys::RUN_KEY)
}

/// Returns the error of a refused creation. The experiment is looked up, as the cause is there in most cases.
async fn explain_refusal(
    store: &dyn ClientStore,
    experiment_id: &str,
    error: StoreError,
) -> ClientError {
    if !matches!(
        error,
        StoreError::Blocked {
            everything: false,
            ..
        }
    ) {
        return error.into();
    }
    let experiment = ExperimentRef::Id(experiment_id.to_owned());
    match store.get_experiment(&experiment).await {
        Err(not_found @ ClientError::NotFound { .. }) => not_found,
        Ok(experiment) if experiment.is_deleted() => ClientError::invalid(format!(
            "the experiment `{}` is deleted: restore it to create runs in it",
            experiment.name
        )),
        _ => error.into(),
    }
}

fn check_new_run(new: &NewRun) -> Result<(), ClientError> {
    let NewRun {
        experiment_id: _,
        name,
        user_id,
        start_time_ms,
        tags,
        key,
    } = new;
    let is_key_char = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if let Some(key) = key
        && (key.len() != KEY_CHARS || !key.chars().all(is_key_char))
    {
        return Err(ClientError::invalid(format!(
            "the run key `{key}` is not accepted: expected {KEY_CHARS} characters from 0-9 and a-f"
        )));
    }
    if let (Some(name), Some(tag)) = (name, tags.get(tag_keys::RUN_NAME))
        && name != tag
    {
        return Err(ClientError::invalid(format!(
            "the run has two names, `{name}` and, as the tag `{}`, `{tag}`: give one of them",
            tag_keys::RUN_NAME
        )));
    }
    for (what, text) in [("name", name), ("owner", user_id)] {
        let Some(text) = text else { continue };
        if truncate_chars(text.into(), RUN_NAME_CHARS).1 || text.contains('\0') {
            return Err(ClientError::invalid(format!(
                "the {what} `{text}` of the run is not accepted: expected at most {RUN_NAME_CHARS} characters, none of \
                 them NUL"
            )));
        }
    }
    if start_time_ms.is_some_and(|ms| ms < 0) {
        return Err(ClientError::invalid(
            "the start of the run is before 1970; expected ms since the Unix epoch",
        ));
    }
    { tags.iter() }.try_for_each(|(key, value)| check_text("tag", key, value, TAG_VALUE_CHARS))
}

/// Checks the key and the value of a param or tag.
fn check_text(kind: &str, key: &str, value: &str, max_chars: usize) -> Result<(), ClientError> {
    if let Some(fault) = find_key_fault(key) {
        return Err(ClientError::invalid(format!("{kind} key `{key}`: {fault}")));
    }
    if truncate_chars(value.into(), max_chars).1 {
        return Err(ClientError::invalid(format!(
            "the value of the {kind} `{key}` has {} characters; at most {max_chars} are allowed",
            value.chars().count()
        )));
    }
    if value.contains('\0') {
        return Err(ClientError::invalid(format!(
            "the value of the {kind} `{key}` contains a NUL character, which not every database holds"
        )));
    }
    Ok(())
}

/// Checks all values. Of a param that stands there twice with one value, one is kept.
fn check_values(mut values: RunValues) -> Result<RunValues, ClientError> {
    let RunValues {
        metrics,
        params,
        tags,
        uneven,
    } = &mut values;
    if let Some((key, [steps, values, times])) = uneven.first() {
        return Err(ClientError::invalid(format!(
            "the columns of the metric `{key}` have different lengths: {steps} steps, {values} values and {times} times"
        )));
    }
    for param in params.iter() {
        check_text("param", &param.key, &param.value, PARAM_VALUE_CHARS)?;
    }
    for tag in tags.iter() {
        check_text("tag", &tag.key, &tag.value, TAG_VALUE_CHARS)?;
    }
    params.sort_by(|a, b| a.key.cmp(&b.key));
    params.dedup();
    if let Some([first, second]) = { params.windows(2) }
        .filter_map(|pair| <&[_; 2]>::try_from(pair).ok())
        .find(|[first, second]| first.key == second.key)
    {
        return Err(ClientError::invalid(format!(
            "the param `{}` is given twice, as `{}` and as `{}`: a param has one value",
            first.key, first.value, second.value
        )));
    }
    check_batch(&Batch {
        metrics,
        params: &[],
        tags: &[],
    })?;
    Ok(values)
}

/// Returns the run, which must not be deleted.
async fn writable_run(connection: &Connection, run_id: &str) -> Result<StoredRun, ClientError> {
    connection
        .repeat(|store| {
            Box::pin(async move {
                match store.get_run(run_id).await {
                    // As in Python, a deleted run is an argument that is not valid.
                    Err(StoreError::Blocked {
                        reason,
                        everything: false,
                    }) => Err(ClientError::Invalid { reason }),
                    found => Ok(found?),
                }
            })
        })
        .await
}

/// Sends the values in requests that the store accepts.
async fn send_values(
    connection: &Connection,
    run: &StoredRun,
    values: &RunValues,
) -> Result<(), ClientError> {
    let RunValues {
        metrics,
        params,
        tags,
        uneven: _,
    } = values;
    let limits = connection.store().limits();
    // One kind of value a request, as nearly all values are metrics.
    let params = params
        .chunks(limits.params.min(limits.total))
        .map(Batch::of_params);
    let metrics = metrics
        .chunks(limits.metrics.min(limits.total))
        .map(Batch::of_metrics);
    let tags = tags
        .chunks(limits.tags.min(limits.total))
        .map(Batch::of_tags);
    for batch in params.chain(metrics).chain(tags) {
        send_part(connection, run, batch).await?;
    }
    Ok(())
}

/// Sends values that fit in one request, and in smaller ones if the store says that they do not. Where repeats
/// are expensive, a request without an answer is sent again in parts.
async fn send_part(
    connection: &Connection,
    run: &StoredRun,
    batch: Batch<'_>,
) -> Result<(), ClientError> {
    let gap = connection.store().gap();
    if !gap.is_zero() {
        tokio::time::sleep(gap).await;
    }
    let absorbs_repeats = connection.store().absorbs_repeats();
    let mut left = vec![batch];
    while let Some(part) = left.pop() {
        let size = part.metrics.len() + part.params.len() + part.tags.len();
        let is_first_attempt = Cell::new(true);
        let (part, is_first) = (&part, &is_first_attempt);
        let smaller = connection
            .repeat(|store| {
                Box::pin(async move {
                    match store.log_batch(run, part).await {
                        Ok(()) => Ok(None),
                        Err(StoreError::TooLarge { .. }) if size > 1 => Ok(Some(size.div_ceil(2))),
                        Err(error) => match ClientError::from(error) {
                            ClientError::Unavailable { .. }
                                if !absorbs_repeats
                                    && is_first.take()
                                    && size > REPEATED_ENTRIES =>
                            {
                                Ok(Some(REPEATED_ENTRIES))
                            }
                            error => Err(error),
                        },
                    }
                })
            })
            .await?;
        if let Some(size) = smaller {
            left.extend(in_parts(*part, size));
        }
    }
    Ok(())
}

/// Returns a batch of one kind of values in parts of at most `size` entries, the last part first.
fn in_parts(batch: Batch<'_>, size: usize) -> Vec<Batch<'_>> {
    let Batch {
        metrics,
        params,
        tags,
    } = batch;
    let params = params.chunks(size).map(Batch::of_params);
    let metrics = metrics.chunks(size).map(Batch::of_metrics);
    let tags = tags.chunks(size).map(Batch::of_tags);
    let mut parts: Vec<_> = params.chain(metrics).chain(tags).collect();
    parts.reverse();
    parts
}

async fn put_artifact<'c>(
    connection: &Connection,
    run_id: &str,
    path: &str,
    content: impl Fn() -> ArtifactContent<'c>,
) -> Result<(), ClientError> {
    let run = writable_run(connection, run_id).await?;
    connection
        .repeat(|store| {
            let put = store.put_artifact(&run, path, content());
            Box::pin(async { Ok(put.await?) })
        })
        .await
}

/// Checks that the file can be read.
fn check_file(file: &Path) -> Result<(), ClientError> {
    let failed = |error| {
        ClientError::local_file(format!("{} cannot be read: {error}", file.display()), error)
    };
    let metadata = fs::File::open(file)
        .and_then(|file| file.metadata())
        .map_err(failed)?;
    if metadata.is_file() {
        return Ok(());
    }
    Err(failed(std::io::Error::other("it is not a file")))
}
