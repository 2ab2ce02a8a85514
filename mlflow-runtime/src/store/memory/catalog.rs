//! Reading and administration of a [`MemoryStore`].

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{MemoryRun, MemoryState, MemoryStore, StoredExperiment};
use crate::entities::{
    DatasetInput, Experiment, FileInfo, LifecycleStage, MetricHistory, MetricPoint, NewExperiment,
    Run, RunUpdate,
};
use crate::model::limits::{EXPERIMENT_TAG_VALUE_CHARS, TAG_VALUE_CHARS, truncate_chars};
use crate::model::{ExperimentRef, Metric, MetricRank, tag_keys};
use crate::search::{
    Columns, OrderBy, SearchExperiments, SearchRuns, SortKey, Subject, compare_records, matches_all,
};
use crate::store::{ByteSink, Catalog, ClientError, Continuation, Page, RemainingIds, validate};
use crate::time::now_ms;

impl MemoryState {
    fn experiment(&mut self, id: &str) -> Result<&mut StoredExperiment, ClientError> {
        self.experiments
            .iter_mut()
            .find(|experiment| experiment.id == id)
            .ok_or_else(|| unknown_experiment(&ExperimentRef::Id(id.to_owned())))
    }

    /// Returns an experiment that is not deleted.
    fn changeable_experiment(&mut self, id: &str) -> Result<&mut StoredExperiment, ClientError> {
        let experiment = self.experiment(id)?;
        if experiment.deleted {
            return Err(ClientError::invalid(format!(
                "the experiment `{}` is deleted: restore it first",
                experiment.name
            )));
        }
        Ok(experiment)
    }

    fn check_name_is_free(&self, name: &str) -> Result<(), ClientError> {
        match self.experiments.iter().find(|known| known.name == name) {
            Some(known) => Err(ClientError::already_exists(format!(
                "there is {} experiment with the name `{name}` already (id {}): use it, or choose another name",
                if known.deleted { "a deleted" } else { "an" },
                known.id
            ))),
            None => Ok(()),
        }
    }

    /// Returns a run that is not deleted.
    fn changeable_run(&mut self, run_id: &str) -> Result<&mut MemoryRun, ClientError> {
        let run = self.run(run_id)?;
        if run.deleted {
            return Err(ClientError::invalid(format!(
                "the run {run_id} is deleted: restore it first"
            )));
        }
        Ok(run)
    }

    /// Returns the ids of the experiments that a search of runs is for.
    fn searched_experiments(&self, search: &SearchRuns) -> Result<BTreeSet<String>, ClientError> {
        if search.experiments.is_empty() {
            let active = self.experiments.iter().filter(|known| !known.deleted);
            return Ok(active.map(|known| known.id.clone()).collect());
        }
        let ids = search.experiments.iter().map(|experiment| {
            let found = self
                .experiments
                .iter()
                .find(|known| is_meant(experiment, known));
            found
                .map(|known| known.id.clone())
                .ok_or_else(|| unknown_experiment(experiment))
        });
        ids.collect()
    }
}

fn is_meant(experiment: &ExperimentRef, known: &StoredExperiment) -> bool {
    match experiment {
        ExperimentRef::Name(name) => known.name == *name,
        ExperimentRef::Id(id) => known.id == *id,
    }
}

fn unknown_experiment(experiment: &ExperimentRef) -> ClientError {
    ClientError::not_found(match experiment {
        ExperimentRef::Name(name) => format!("there is no experiment with the name `{name}`"),
        ExperimentRef::Id(id) => format!("there is no experiment with the id {id}"),
    })
}

fn to_experiment(stored: &StoredExperiment) -> Experiment {
    Experiment {
        experiment_id: stored.id.clone(),
        name: stored.name.clone(),
        artifact_location: stored.artifact_location.clone(),
        lifecycle_stage: stage(stored.deleted),
        creation_time_ms: Some(stored.creation_time_ms),
        last_update_time_ms: Some(stored.last_update_time_ms),
        tags: stored.tags.clone(),
    }
}

fn stage(deleted: bool) -> LifecycleStage {
    if deleted {
        LifecycleStage::Deleted
    } else {
        LifecycleStage::Active
    }
}

fn to_run(run: &MemoryRun) -> Run {
    let mut metrics: BTreeMap<String, MetricPoint> = BTreeMap::new();
    for metric in &run.data.metrics {
        let point = to_point(metric);
        match metrics.get_mut(&*metric.key) {
            Some(latest) if rank(&point) > rank(latest) => *latest = point,
            Some(_) => {}
            None => {
                metrics.insert(metric.key.to_string(), point);
            }
        }
    }
    let data = &run.data;
    let mut datasets: Vec<DatasetInput> = data.inputs.iter().cloned().map(Into::into).collect();
    datasets.sort();
    Run {
        run_id: data.run_id.clone(),
        name: data.name.clone(),
        experiment_id: data.experiment_id.clone(),
        user_id: data.user_id.clone(),
        status: data.status,
        start_time_ms: Some(data.start_time_ms),
        end_time_ms: data.end_time_ms,
        artifact_uri: super::to_stored_run(data).artifact_uri,
        lifecycle_stage: stage(run.deleted),
        metrics,
        params: data.params.clone(),
        tags: data.tags.clone(),
        datasets,
    }
}

fn to_point(metric: &Metric) -> MetricPoint {
    MetricPoint {
        step: metric.step,
        value: metric.value,
        timestamp_ms: metric.timestamp_ms,
    }
}

/// Returns the rank of a point among those of its metric.
fn rank(point: &MetricPoint) -> MetricRank {
    MetricRank::new(point.step, point.timestamp_ms, point.value)
}

fn restrict(run: &mut Run, columns: &Columns) {
    run.metrics.retain(|key, _| columns.metrics.includes(key));
    run.params.retain(|key, _| columns.params.includes(key));
    run.tags.retain(|key, _| columns.tags.includes(key));
}

/// Returns the keys by which the records are sorted.
pub(super) fn sort_keys(orders: &[OrderBy], subject: Subject) -> Result<Vec<SortKey>, ClientError> {
    let keys: Result<Vec<_>, _> = orders.iter().map(|order| order.sort_key(subject)).collect();
    Ok(keys?)
}

/// Returns the first page of the records, or the one at which a search goes on.
pub(super) fn page<T>(
    from: Option<Continuation>,
    page_size: usize,
    find_all: impl FnOnce() -> Result<Vec<String>, ClientError>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Page<T>, ClientError> {
    let ids = match from {
        Some(Continuation::Remaining(ids)) => ids,
        Some(Continuation::Token { .. }) => {
            return Err(ClientError::invalid("the place is one of another store"));
        }
        None => RemainingIds::new(find_all()?),
    };
    let (page, next) = ids.next_page(page_size);
    Ok(Page {
        // A record that was deleted for good meanwhile is left out.
        items: page.iter().filter_map(|id| read(id)).collect(),
        next,
    })
}

#[async_trait(?Send)]
impl Catalog for MemoryStore {
    async fn create_experiment(&self, new: &NewExperiment) -> Result<String, ClientError> {
        validate::check_new_experiment(&new.name)?;
        for (key, value) in &new.tags {
            validate::check_tag(key, value, EXPERIMENT_TAG_VALUE_CHARS)?;
        }
        let mut state = self.begin_request()?;
        state.check_name_is_free(&new.name)?;
        let id = state.add_experiment(&new.name);
        let experiment = state.experiment(&id)?;
        experiment.tags.clone_from(&new.tags);
        if let Some(location) = &new.artifact_location {
            experiment.artifact_location.clone_from(location);
        }
        Ok(id)
    }

    async fn get_experiment(&self, experiment: &ExperimentRef) -> Result<Experiment, ClientError> {
        let state = self.begin_request()?;
        let found = state
            .experiments
            .iter()
            .find(|known| is_meant(experiment, known));
        found
            .map(to_experiment)
            .ok_or_else(|| unknown_experiment(experiment))
    }

    async fn search_experiments(
        &self,
        search: &SearchExperiments,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Experiment>, ClientError> {
        let state = self.begin_request()?;
        let find_all = || {
            let comparisons = search.filter.comparisons(Subject::Experiments)?;
            let keys = sort_keys(&search.order_by, Subject::Experiments)?;
            let mut found: Vec<_> = state
                .experiments
                .iter()
                .map(to_experiment)
                .filter(|experiment| search.view.includes(experiment.is_deleted()))
                .filter(|experiment| matches_all(experiment, &comparisons))
                .collect();
            // The newest first. With another order, the greatest id first among equals.
            found.sort_by_key(|experiment| std::cmp::Reverse(numeric_id(experiment)));
            found.sort_by(|left, right| match keys.as_slice() {
                [] => (right.creation_time_ms, numeric_id(left))
                    .cmp(&(left.creation_time_ms, numeric_id(right))),
                keys => compare_records(left, right, keys),
            });
            Ok(found.into_iter().map(|found| found.experiment_id).collect())
        };
        let read = |id: &str| {
            let found = state.experiments.iter().find(|known| known.id == id);
            found.map(to_experiment)
        };
        page(from, page_size, find_all, read)
    }

    async fn rename_experiment(&self, id: &str, name: &str) -> Result<(), ClientError> {
        validate::check_new_experiment(name)?;
        let mut state = self.begin_request()?;
        if state.changeable_experiment(id)?.name == name {
            return Ok(());
        }
        state.check_name_is_free(name)?;
        let experiment = state.changeable_experiment(id)?;
        name.clone_into(&mut experiment.name);
        experiment.last_update_time_ms = now_ms();
        for run in &mut state.runs {
            if run.data.experiment_id == id {
                name.clone_into(&mut run.data.experiment);
            }
        }
        Ok(())
    }

    async fn delete_experiment(&self, id: &str) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let experiment = state.experiment(id)?;
        if experiment.deleted {
            return Err(ClientError::not_found(format!(
                "the experiment {id} is deleted already"
            )));
        }
        experiment.deleted = true;
        experiment.last_update_time_ms = now_ms();
        state.set_runs_deleted(id, true);
        Ok(())
    }

    async fn restore_experiment(&self, id: &str) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let experiment = state.experiment(id)?;
        if !experiment.deleted {
            return Err(ClientError::not_found(format!(
                "the experiment {id} is not deleted"
            )));
        }
        experiment.deleted = false;
        experiment.last_update_time_ms = now_ms();
        state.set_runs_deleted(id, false);
        Ok(())
    }

    async fn set_experiment_tag(
        &self,
        id: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        validate::check_tag(key, value, EXPERIMENT_TAG_VALUE_CHARS)?;
        let mut state = self.begin_request()?;
        let experiment = state.changeable_experiment(id)?;
        experiment.tags.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn delete_experiment_tag(&self, id: &str, key: &str) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let tags = &mut state.changeable_experiment(id)?.tags;
        match tags.remove(key) {
            Some(_) => Ok(()),
            None => Err(ClientError::not_found(format!(
                "the experiment {id} has no tag `{key}`"
            ))),
        }
    }

    async fn get_run_record(&self, run_id: &str) -> Result<Run, ClientError> {
        Ok(to_run(self.begin_request()?.run(run_id)?))
    }

    async fn search_runs(
        &self,
        search: &SearchRuns,
        from: Option<Continuation>,
        page_size: usize,
    ) -> Result<Page<Run>, ClientError> {
        let state = self.begin_request()?;
        let find_all = || {
            let experiments = state.searched_experiments(search)?;
            let comparisons = search.filter.comparisons(Subject::Runs)?;
            let keys = sort_keys(&search.order_by, Subject::Runs)?;
            let mut found: Vec<_> = state
                .runs
                .iter()
                .map(to_run)
                .filter(|run| experiments.contains(&run.experiment_id))
                .filter(|run| search.view.includes(run.is_deleted()))
                .filter(|run| matches_all(run, &comparisons))
                .collect();
            found.sort_by(|left, right| {
                let by_start = right.start_time_ms.cmp(&left.start_time_ms);
                compare_records(left, right, &keys)
                    .then(by_start)
                    .then_with(|| left.run_id.cmp(&right.run_id))
            });
            Ok(found.into_iter().map(|run| run.run_id).collect())
        };
        let read = |id: &str| {
            let index = state.run_indices.get(id)?;
            let mut run = to_run(state.runs.get(*index)?);
            restrict(&mut run, &search.columns);
            Some(run)
        };
        page(from, page_size, find_all, read)
    }

    async fn change_run(&self, run_id: &str, update: &RunUpdate) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        let data = &mut state.changeable_run(run_id)?.data;
        if let Some(status) = update.status {
            data.status = status;
            data.end_time_ms = status.is_end().then(now_ms);
        }
        if update.end_time_ms.is_some() {
            data.end_time_ms = update.end_time_ms;
        }
        // As in MLflow, an empty name changes nothing.
        if let Some(name) = update.name.as_ref().filter(|name| !name.is_empty()) {
            data.name.clone_from(name);
            data.tags
                .insert(tag_keys::RUN_NAME.to_owned(), name.clone());
        }
        Ok(())
    }

    async fn delete_run(&self, run_id: &str) -> Result<(), ClientError> {
        self.begin_request()?.run(run_id)?.deleted = true;
        Ok(())
    }

    async fn delete_run_permanently(&self, _run_id: &str) -> Result<(), ClientError> {
        Err(ClientError::unsupported(
            "the fake keeps deleted runs: only runs in a SQLite file can be deleted for good",
        ))
    }

    async fn restore_run(&self, run_id: &str) -> Result<(), ClientError> {
        self.begin_request()?.run(run_id)?.deleted = false;
        Ok(())
    }

    async fn set_run_tag(&self, run_id: &str, key: &str, value: &str) -> Result<(), ClientError> {
        validate::check_key("tag", key)?;
        let mut state = self.begin_request()?;
        let data = &mut state.changeable_run(run_id)?.data;
        let (value, _) = truncate_chars(value.into(), TAG_VALUE_CHARS);
        if key == tag_keys::RUN_NAME {
            // As in MLflow, an empty name changes nothing.
            if value.is_empty() {
                return Ok(());
            }
            data.name = value.clone().into_owned();
        }
        data.tags.insert(key.to_owned(), value.into_owned());
        Ok(())
    }

    async fn delete_run_tag(&self, run_id: &str, key: &str) -> Result<(), ClientError> {
        let mut state = self.begin_request()?;
        match state.changeable_run(run_id)?.data.tags.remove(key) {
            Some(_) => Ok(()),
            None => Err(ClientError::not_found(format!(
                "the run {run_id} has no tag `{key}`"
            ))),
        }
    }

    async fn metric_histories(
        &self,
        run_id: &str,
        keys: &[String],
    ) -> Result<Vec<MetricHistory>, ClientError> {
        let mut state = self.begin_request()?;
        let points = &state.run(run_id)?.data.metrics;
        let history = |key: &String| {
            let mut points: Vec<_> = points.iter().filter(|point| *point.key == **key).collect();
            points.sort_by(|left, right| {
                (left.timestamp_ms, left.step)
                    .cmp(&(right.timestamp_ms, right.step))
                    .then_with(|| left.value.total_cmp(&right.value))
            });
            let mut history = MetricHistory::new(key.as_str());
            for point in points {
                history.push(to_point(point));
            }
            history
        };
        Ok(keys.iter().map(history).collect())
    }

    async fn list_artifacts(
        &self,
        run_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let mut state = self.begin_request()?;
        let artifacts = &state.run(run_id)?.data.artifacts;
        Ok(list_folder(artifacts, folder))
    }

    async fn read_artifact(
        &self,
        run_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        validate::check_path_inside(path)?;
        let mut state = self.begin_request()?;
        let artifacts = &state.run(run_id)?.data.artifacts;
        read_file(artifacts, path, sink)?.ok_or_else(|| {
            ClientError::not_found(format!("the run {run_id} has no artifact `{path}`"))
        })
    }

    async fn list_logged_model_files(
        &self,
        model_id: &str,
        folder: &str,
    ) -> Result<Vec<FileInfo>, ClientError> {
        let state = self.begin_request()?;
        Ok(list_folder(files_of_model(&state, model_id)?, folder))
    }

    async fn read_logged_model_file(
        &self,
        model_id: &str,
        path: &str,
        sink: &mut ByteSink<'_>,
    ) -> Result<(), ClientError> {
        validate::check_path_inside(path)?;
        let state = self.begin_request()?;
        read_file(files_of_model(&state, model_id)?, path, sink)?.ok_or_else(|| {
            ClientError::not_found(format!("the logged model {model_id} has no file `{path}`"))
        })
    }
}

/// Returns the files of a logged model, by path.
fn files_of_model<'s>(
    state: &'s MemoryState,
    model_id: &str,
) -> Result<&'s BTreeMap<String, Vec<u8>>, ClientError> {
    let mut models = state.runs.iter().flat_map(|run| &run.data.models);
    let found = models.find(|model| model.model_id == model_id);
    found.map(|model| &model.files).ok_or_else(|| {
        ClientError::not_found(format!("there is no logged model with the id `{model_id}`"))
    })
}

/// Returns the files and folders of a folder, sorted by path.
fn list_folder(artifacts: &BTreeMap<String, Vec<u8>>, folder: &str) -> Vec<FileInfo> {
    let prefix = match folder.trim_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    let mut entries = BTreeMap::new();
    for (path, content) in artifacts {
        let Some(below) = path.strip_prefix(&prefix) else {
            continue;
        };
        let entry = match below.split_once('/') {
            Some((name, _)) => FileInfo::folder(format!("{prefix}{name}")),
            None => FileInfo::file(path, content.len() as u64),
        };
        entries.insert(entry.path.clone(), entry);
    }
    entries.into_values().collect()
}

/// Hands the bytes of a file to `sink`. Returns `None` if there is no such file.
fn read_file(
    artifacts: &BTreeMap<String, Vec<u8>>,
    path: &str,
    sink: &mut ByteSink<'_>,
) -> Result<Option<()>, ClientError> {
    match artifacts.get(path) {
        Some(content) => sink(content).map(Some).map_err(|error| {
            ClientError::local_file(format!("cannot keep the artifact `{path}`: {error}"), error)
        }),
        None if artifacts.keys().any(|known| is_below(known, path)) => Err(ClientError::invalid(
            format!("the artifact `{path}` is a folder: download it"),
        )),
        None => Ok(None),
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn numeric_id(experiment: &Experiment) -> Option<u64> {
    experiment.experiment_id.parse().ok()
}
