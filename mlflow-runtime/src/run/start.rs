//! Start of a run: the options, and the steps that make a run of them.
//!
//! Invariants: a run starts without waiting and without an error. The start of a run is one record of the
//! journal, with all tags and params of the options, so no store ever shows the run without them. A run whose
//! start could not be written accepts values and records none, because the values would belong to no run.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mlflow_rules::{Edge, REDACTED, is_secret_value, mask};

use super::checkpoint_retention::CheckpointRetention;
use super::chunk_series::ChunkSeries;
use super::{Inner, Run, open_runs};
use crate::capture::Text;
use crate::environment::{self, Environment};
use crate::journal::record::{Event, RunStart};
use crate::model::experiment_name;
use crate::model::limits;
use crate::model::tag_keys;
use crate::model::{ExperimentRef, Param, RunIdentity, Tag};
use crate::run::callsite::Callsite;
use crate::run::current_run::Context;
use crate::run::default_name;
use crate::run::identity;
use crate::system_metrics;
use crate::time;
use crate::tracker::Tracker;
use crate::tracker::global;

/// Options of a run, as the builder or the attribute collects them.
#[derive(Default)]
pub(crate) struct RunOptions {
    pub(crate) callsite: Option<&'static Callsite>,
    pub(crate) experiment: Option<Text>,
    pub(crate) name: Option<Text>,
    pub(crate) tags: Vec<(String, Text)>,
    pub(crate) params: Vec<(String, Text)>,
    /// True if the run is to be a child of the current run.
    pub(crate) nested: bool,
    /// Store's id of the run to be continued; `None` for a new run.
    pub(crate) run_id: Option<String>,
    /// Override of the process's setting for system metrics.
    pub(crate) system_metrics: Option<bool>,
}

/// Shows no credential: the options are as the program gave them, and are sanitized when the run starts.
impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            callsite: _,
            experiment,
            name,
            tags,
            params,
            nested,
            run_id,
            system_metrics,
        } = self;
        f.debug_struct("RunOptions")
            .field("experiment", &experiment.as_ref().map(masked_text))
            .field("name", &name.as_ref().map(masked_text))
            .field("tags", &masked_values(tags))
            .field("params", &masked_values(params))
            .field("nested", nested)
            .field("run_id", run_id)
            .field("system_metrics", system_metrics)
            .finish()
    }
}

fn masked_text(text: &Text) -> Cow<'_, str> {
    mask(&text.text, Edge::End).map_or(Cow::Borrowed(&*text.text), |masked| masked.text.into())
}

fn masked_values(values: &[(String, Text)]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let masked = values.iter().map(|(key, value)| {
        let shown = if is_secret_value(key, &value.text) {
            REDACTED.into()
        } else {
            masked_text(value)
        };
        let key = mask(key, Edge::End).map_or(Cow::Borrowed(&**key), |masked| masked.text.into());
        (key, shown)
    });
    masked.collect()
}

impl RunOptions {
    /// Starts the run in `context`, without making it current.
    pub(crate) fn start_in(self, context: &Context) -> Run {
        match context.tracker() {
            Some(tracker) if global::is_enabled() => self.start(context, &tracker),
            _ => Run::disabled(),
        }
    }

    fn start(self, context: &Context, tracker: &Arc<Tracker>) -> Run {
        let Self {
            callsite,
            experiment,
            name,
            tags,
            params,
            nested,
            run_id,
            system_metrics,
        } = self;
        let parent = context.run().filter(|_| nested).and_then(Run::identity);
        let experiment = ChosenExperiment::choose(tracker, experiment, parent);
        let resumed = run_id.or_else(|| match parent {
            Some(_) => None,
            None => tracker.runs.take_resumed(),
        });
        let identity = identity::assign_identity(
            &tracker.settings().rank,
            experiment.experiment,
            resumed,
            parent.is_some(),
            function_path(&tags, callsite),
        );
        // Metrics use the same coarse clock, so no metric is older than its run.
        let start_time_ms = time::coarse_now_ms();
        let name = sanitize_name(tracker, name)
            .unwrap_or_else(|| default_name::default_run_name(callsite, start_time_ms, &identity));
        let tags = start_tags(tracker, callsite, &identity, tags);
        let params = sanitize_params(tracker, params);

        let (number, link) = tracker.runs.register(experiment.named);
        let inner = Inner {
            number,
            identity,
            callsite,
            name,
            ended: AtomicBool::new(false),
            tracker: Arc::clone(tracker),
            link,
            chunk_series: ChunkSeries::default(),
            checkpoint_retention: CheckpointRetention::default(),
        };
        let is_written = inner.write_start(start_time_ms, parent, tags, params);
        if !is_written {
            return Run::disabled();
        }
        let is_root = parent.is_none();
        let run = Run(Some(Arc::new(inner)));
        run.start_recorders(is_root, system_metrics);
        run
    }
}

/// Experiment of a run, and the experiments that were configured for the run.
struct ChosenExperiment {
    experiment: ExperimentRef,
    /// Experiments that were named for this run, of which a warning reports those that the run is not in.
    /// Empty if the run has its parent's experiment.
    named: Vec<ExperimentRef>,
}

impl ChosenExperiment {
    /// Chooses the experiment that the options name, else the parent's, else the process's.
    fn choose(tracker: &Tracker, given: Option<Text>, parent: Option<&RunIdentity>) -> Self {
        let given = given
            .and_then(|name| {
                // Not cut here: a shorter name would be that of another experiment.
                tracker
                    .sanitizer
                    .name_or_warn("experiment", usize::MAX, name)
            })
            .and_then(experiment_name::experiment_from_name);
        match (given, parent) {
            (Some(given), _) => Self {
                experiment: given.clone(),
                named: vec![given],
            },
            (None, Some(parent)) => Self {
                experiment: parent.experiment.clone(),
                named: Vec::new(),
            },
            (None, None) => Self {
                experiment: tracker.experiment(),
                named: tracker.named_experiments(),
            },
        }
    }
}

/// Returns the value of the tag `code.function`, by which ranks pair their runs; empty if there is none.
fn function_path<'t>(tags: &'t [(String, Text)], callsite: Option<&'static Callsite>) -> &'t str {
    let given = tags.iter().map(|(key, value)| (&**key, &*value.text));
    let automatic = callsite.map_or(&[][..], Callsite::tags).iter();
    given
        .chain(automatic.map(|tag| (&*tag.key, &*tag.value)))
        .find(|(key, _)| *key == tag_keys::CODE_FUNCTION)
        .map_or("", |(_, path)| path)
}

/// Returns the given name in the form that the journal records, so that the handle and the store show the
/// same name.
fn sanitize_name(tracker: &Tracker, name: Option<Text>) -> Option<String> {
    let sanitizer = &tracker.sanitizer;
    let name = sanitizer.name_or_warn("name", limits::RUN_NAME_CHARS, name?)?;
    // MLflow makes up a name for an empty one, and then refuses ours.
    if name.is_empty() {
        let expected = format_args!(
            "it is empty and is not used; expected 1 to {} characters",
            limits::RUN_NAME_CHARS
        );
        sanitizer.warn_once("run", "name", expected);
        return None;
    }
    let sanitized = sanitizer.sanitize_text("run", "name", &name, limits::RUN_NAME_CHARS);
    Some(sanitized.unwrap_or(name))
}

/// Returns the run's own tags: the tags of the callsite, the user that authenticates the requests, and the
/// given tags. Each of these groups replaces tags of the earlier ones. `MLFLOW_RUN_CONTEXT` takes precedence
/// over the first two groups.
fn start_tags(
    tracker: &Tracker,
    callsite: Option<&'static Callsite>,
    identity: &RunIdentity,
    given: Vec<(String, Text)>,
) -> Vec<Cow<'static, Tag>> {
    let environment = environment::for_process();
    let mut tags: Vec<Cow<'static, Tag>> = callsite
        .map_or(&[][..], Callsite::tags)
        .iter()
        .filter(|tag| !environment.is_overridden(&tag.key))
        .map(Cow::Borrowed)
        .collect();
    tags.extend(request_user_tag(tracker, environment, identity).map(Cow::Owned));
    for (key, value) in given {
        let value = tracker
            .sanitizer
            .text_or_warn("tag", &key, limits::TAG_VALUE_CHARS, value);
        tags.retain(|tag| tag.key != key);
        tags.push(Cow::Owned(Tag { key, value }));
    }
    tags
}

/// Returns the tag for the user that authenticates the requests, as MLflow's Python client sets the tag.
/// Without such a user, the common tags name the user of the operating system.
fn request_user_tag(
    tracker: &Tracker,
    environment: &Environment,
    identity: &RunIdentity,
) -> Option<Tag> {
    let user = tracker.user()?;
    let is_set_elsewhere =
        environment.is_overridden(tag_keys::USER) || identity.is_resumed_or_member();
    (!is_set_elsewhere).then(|| Tag {
        key: tag_keys::USER.to_owned(),
        value: user.to_owned(),
    })
}

fn sanitize_params(tracker: &Tracker, params: Vec<(String, Text)>) -> Vec<Param> {
    let sanitize = |(key, value): (String, Text)| {
        let value = tracker
            .sanitizer
            .text_or_warn("param", &key, limits::PARAM_VALUE_CHARS, value);
        Param { key, value }
    };
    params.into_iter().map(sanitize).collect()
}

impl Inner {
    /// Writes the run's start to the journal. Returns false if the journal had no space for it.
    fn write_start(
        &self,
        start_time_ms: i64,
        parent: Option<&RunIdentity>,
        tags: Vec<Cow<'_, Tag>>,
        params: Vec<Param>,
    ) -> bool {
        let Some(run) = self.live() else { return false };
        let user = run.tracker.user();
        let start = RunStart {
            identity: Cow::Borrowed(&self.identity),
            name: Cow::Borrowed(&self.name),
            user: user.unwrap_or(&environment::for_process().user).into(),
            start_time_ms,
            parent: parent.map(Cow::Borrowed),
            tags,
            // A run that another process created keeps the common tags of that process.
            with_common_tags: !self.identity.is_resumed_or_member(),
            is_delivered: false,
            params,
        };
        run.write_event(Event::Start(Box::new(start)), &[])
    }
}

impl Run {
    /// Starts everything that records without further calls while the run is open: the capture of stdout and
    /// stderr, and the system metrics. Logs the git diff, and registers the run, so that the end of the
    /// process ends the run.
    fn start_recorders(&self, is_root: bool, system_metrics: Option<bool>) {
        let Some(run) = self.live() else { return };
        let tracker = run.tracker;
        if is_root && let Some(capture) = tracker.capture().filter(|capture| capture.is_on()) {
            run.begin_capture(capture);
        }
        let is_new_root = is_root && self.identity().is_some_and(|it| it.resumed.is_none());
        if let (true, Some(diff)) = (is_new_root, tracker.settings().git_diff) {
            self.log_text(diff, "git/diff.patch");
        }
        // A fake has no threads, and a test must not depend on the load of the machine.
        if !tracker.is_inline() {
            open_runs::register_run(self);
            let sampling = &tracker.settings().system_metrics;
            if system_metrics.unwrap_or(sampling.enabled) {
                system_metrics::start_sampling(self.downgrade(), sampling);
            }
        }
    }
}
