//! Starting runs: the builder, and the guard that makes a run the current one.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::{Inner, Run, open_runs};
use crate::capture::Text;
use crate::environment;
use crate::journal::record::{Event, RunStart};
use crate::model::experiment_name;
use crate::model::limits;
use crate::model::{Param, RunStatus, Tag};
use crate::run::callsite::Site;
use crate::run::context::{Context, HeldContext};
use crate::system_metrics;
use crate::time;
use crate::tracker::Tracker;
use crate::tracker::global;
use crate::warnings::warn_user;

const USER_TAG: &str = "mlflow.user";

/// Starts a run by hand; [`tracked`](macro@crate::tracked) does it for a whole function.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().experiment("wine-quality").name("baseline").param("alpha", 0.5).start();
/// mlflow::log_metric("rmse", 0.79);
/// drop(run); // ends as FINISHED, or as FAILED while panicking
/// # fake.assert_run_finished("baseline");
/// ```
///
/// It is no child of the current run, unless [`nested`](RunBuilder::nested) says so, and goes to the process's
/// experiment then.
///
/// Its runs do not know what the code was built from. [`start_run!()`](macro@crate::start_run) is the same with the
/// commit.
pub fn start_run() -> RunBuilder {
    RunBuilder {
        unstarted: UnstartedWarning { is_armed: true },
        ..RunBuilder::default()
    }
}

/// Starts a run by hand, as [`start_run()`](fn@crate::start_run) does, with the tags that a
/// [`tracked`](macro@crate::tracked) function's run has: the function that starts it, its file and line, its package,
/// and the git commit that the code was built from.
///
/// The commit is found out at compile time, so it is right wherever the program runs. MLflow's Python client asks the
/// repository around the script instead, which an executable need not have, and which may have moved on since.
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run!().name("baseline").start();
/// mlflow::log_metric("rmse", 0.79);
/// drop(run);
/// assert_eq!(fake.runs()[0].tags["code.filepath"], file!());
/// ```
#[macro_export]
macro_rules! start_run {
    () => {{
        fn here() {}
        static SITE: $crate::__private::Site = $crate::__private::Site::by_hand(
            || ::core::any::type_name_of_val(&here),
            ::core::file!(),
            ::core::line!(),
        )
        .package(
            ::core::option_env!("CARGO_PKG_NAME"),
            ::core::option_env!("CARGO_PKG_VERSION"),
        )
        .built($crate::__private::built!($crate));
        $crate::__private::start_run_at(&SITE)
    }};
    ($($given:tt)*) => {
        ::core::compile_error!(
            "`start_run!()` takes nothing, what it returns does: `mlflow::start_run!().name(\"…\").param(\"lr\", lr).start()`"
        )
    };
}

/// Starts building a run at a `start_run!`.
pub fn start_run_at(site: &'static Site) -> RunBuilder {
    start_run().site(site)
}

/// How a run is to start; see [`start_run()`](fn@crate::start_run).
#[derive(Debug, Default)]
#[must_use = "a run starts with `start()`"]
pub struct RunBuilder {
    site: Option<&'static Site>,
    experiment: Option<Text>,
    name: Option<Text>,
    tags: Vec<(String, Text)>,
    params: Vec<(String, Text)>,
    nested: bool,
    run_id: Option<String>,
    system_metrics: Option<bool>,
    unstarted: UnstartedWarning,
}

/// Says that a run was never started, when its builder is dropped.
#[derive(Debug, Default)]
struct UnstartedWarning {
    /// Set for a builder that a user has made.
    is_armed: bool,
}

impl Drop for UnstartedWarning {
    fn drop(&mut self) {
        if self.is_armed && !thread::panicking() && global::is_enabled() {
            warn_user(format_args!(
                "a run was built and not started: nothing is logged to it. Call `.start()` on what \
                 `mlflow::start_run()` returns, and hold what that returns"
            ));
        }
    }
}

impl RunBuilder {
    /// The function whose call it is.
    pub(crate) fn site(mut self, site: &'static Site) -> Self {
        self.site = Some(site);
        self
    }

    /// The experiment, by name. Created when missing. Default: that of the parent, for a [`nested`](Self::nested) run,
    /// else of the process.
    pub fn experiment(self, name: impl Into<String>) -> Self {
        self.experiment_text(name.into().into())
    }

    pub(crate) fn experiment_text(mut self, name: Text) -> Self {
        self.experiment = Some(name);
        self
    }

    /// The run's name, at most 250 characters. Default: `run-`, the time in UTC and six characters that tell
    /// runs of the same second apart. A run that goes on ([`run_id`](Self::run_id)) is renamed.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.name_text(name.into().into())
    }

    pub(crate) fn name_text(mut self, name: Text) -> Self {
        self.name = Some(name);
        self
    }

    /// A tag, set together with the start.
    pub fn tag(self, key: impl Into<String>, value: impl Display) -> Self {
        self.tag_text(key, Text::from_value(limits::TAG_VALUE_CHARS, &value))
    }

    pub(crate) fn tag_text(mut self, key: impl Into<String>, value: Text) -> Self {
        self.tags.push((key.into(), value));
        self
    }

    /// A param, logged together with the start.
    pub fn param(self, key: impl Into<String>, value: impl Display) -> Self {
        self.param_text(key, Text::from_value(limits::PARAM_VALUE_CHARS, &value))
    }

    pub(crate) fn param_text(mut self, key: impl Into<String>, value: Text) -> Self {
        self.params.push((key.into(), value));
        self
    }

    /// Whether the run is a child of the current run, if there is one. Default: no.
    pub fn nested(mut self, nested: bool) -> Self {
        self.nested = nested;
        self
    }

    /// Continues the run with this id, the store's, instead of creating one. It keeps its name, unless one is
    /// given here, and the tags of whoever created it; tags and params given here are added. In one of several
    /// processes it joins the run and leaves its end to others, see [`distributed`](crate::distributed).
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Whether the run logs what the machine does meanwhile. Wins over
    /// [`Config::system_metrics`](crate::Config::system_metrics), which says what that is, and over
    /// `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().name("watched").system_metrics(true).start();
    /// // Every 10 seconds: system/cpu_utilization_percentage and others.
    /// # drop(run);
    /// # fake.assert_run_finished("watched");
    /// ```
    pub fn system_metrics(mut self, enabled: bool) -> Self {
        self.system_metrics = Some(enabled);
        self
    }

    /// Starts the run and makes it the current one of this thread until the guard is dropped.
    pub fn start(self) -> ActiveRun {
        let context = Context::current();
        let run = self.start_in(&context);
        let guard = run.0.as_ref().map(|_| context.with_run(run.clone()).hold());
        ActiveRun { run, _guard: guard }
    }

    /// Starts the run as seen from `context`, without making it current.
    pub(crate) fn start_in(mut self, context: &Context) -> Run {
        self.unstarted.is_armed = false;
        match context.tracker() {
            Some(tracker) if global::is_enabled() => self.start_with_tracker(context, &tracker),
            _ => Run::disabled(),
        }
    }

    fn start_with_tracker(self, context: &Context, tracker: &Arc<Tracker>) -> Run {
        let Self {
            site,
            experiment,
            name,
            tags,
            params,
            nested,
            run_id,
            system_metrics,
            unstarted: _,
        } = self;
        let parent = context.run().filter(|_| nested).and_then(Run::identity);
        let resumed = run_id.or_else(|| {
            if parent.is_none() {
                tracker.runs.take_resumed()
            } else {
                None
            }
        });
        let own = experiment
            .and_then(|name| {
                tracker
                    .sanitizer
                    .name_or_warn("experiment", usize::MAX, name)
            })
            .and_then(experiment_name::experiment_from_name);
        let (experiment, named_experiments) = match (own, parent) {
            (Some(own), _) => (own.clone(), vec![own]),
            (None, Some(parent)) => (parent.experiment.clone(), Vec::new()),
            (None, None) => (tracker.experiment(), tracker.named_experiments()),
        };
        let of_site = site.map_or(&[][..], Site::tags).iter();
        let own = tags.iter().map(|(key, value)| (key, &value.text));
        let function = own
            .chain(of_site.clone().map(|tag| (&tag.key, &tag.value)))
            .find(|(key, _)| *key == "code.function")
            .map_or("", |(_, path)| path);
        let identity = super::identity::assign(
            &tracker.settings().rank,
            experiment,
            resumed,
            parent.is_some(),
            function,
        );
        // By the same clock as the metrics: none of them is before its run.
        let start_time_ms = time::coarse_now_ms();
        let name = name.and_then(|name| {
            tracker
                .sanitizer
                .name_or_warn("name", limits::RUN_NAME_CHARS, name)
        });
        let name = match name {
            Some(name) => {
                // As it is recorded, also where the handle is asked for it.
                tracker
                    .sanitizer
                    .sanitize_text("run", "name", &name, limits::RUN_NAME_CHARS)
                    .unwrap_or(name)
            }
            None if identity.is_resumed_or_member() => String::new(),
            None => default_run_name(site, start_time_ms, &identity.key),
        };
        let (number, link) = tracker.runs.register(named_experiments);
        let inner = Inner {
            number,
            identity,
            name,
            ended: AtomicBool::new(false),
            tracker: Arc::clone(tracker),
            link,
        };
        let environment = environment::for_process();
        let mut all_tags: Vec<Cow<'_, Tag>> = of_site
            .filter(|tag| !environment.is_overridden(&tag.key))
            .map(Cow::Borrowed)
            .collect();
        // Whoever the requests come from, as in Python; else every run has that of the system.
        let user = tracker
            .user()
            .filter(|_| !environment.is_overridden(USER_TAG));
        if let Some(user) = user.filter(|_| !inner.identity.is_resumed_or_member()) {
            all_tags.push(Cow::Owned(Tag {
                key: USER_TAG.to_owned(),
                value: user.to_owned(),
            }));
        }
        for (key, value) in tags {
            let value = tracker
                .sanitizer
                .text_or_warn("tag", &key, limits::TAG_VALUE_CHARS, value);
            all_tags.retain(|tag| tag.key != key);
            all_tags.push(Cow::Owned(Tag { key, value }));
        }
        let params = params
            .into_iter()
            .map(|(key, value)| {
                let value =
                    tracker
                        .sanitizer
                        .text_or_warn("param", &key, limits::PARAM_VALUE_CHARS, value);
                Param { key, value }
            })
            .collect();
        let is_root = parent.is_none();
        let is_first = is_root && inner.identity.resumed.is_none();
        let start = RunStart {
            identity: Cow::Borrowed(&inner.identity),
            name: Cow::Borrowed(&inner.name),
            user: tracker.user().unwrap_or(&environment.user).into(),
            start_time_ms,
            parent: parent.map(Cow::Borrowed),
            tags: all_tags,
            // Another's run keeps the tags of whoever created it.
            with_common_tags: !inner.identity.is_resumed_or_member(),
            is_delivered: false,
            params,
        };
        let started = inner
            .live()
            .is_some_and(|run| run.write_event(Event::Start(Box::new(start)), &[]));
        // Without its start a run's values could go nowhere.
        if !started {
            return Run::disabled();
        }
        let run = Run(Some(Arc::new(inner)));
        if let (true, Some(capture), Some(run)) = (is_root, tracker.capture(), run.live())
            && capture.is_on()
        {
            run.begin_capture(capture);
        }
        if let (true, Some(diff)) = (is_first, tracker.settings().git_diff) {
            run.log_text(diff, "git/diff.patch");
        }
        // A fake has no threads, and a test should not depend on what else the machine does.
        if !tracker.is_inline() {
            open_runs::register_run(&run);
            let sampling = &tracker.settings().system_metrics;
            if system_metrics.unwrap_or(sampling.enabled) {
                system_metrics::start_sampling(run.downgrade(), sampling);
            }
        }
        run
    }
}

/// The name of a run that is given none. The end of it tells runs apart that start in the same second.
// Output: `train-20261126-134101-1f0c3b`
fn default_run_name(site: Option<&Site>, start_time_ms: i64, key: &str) -> String {
    const END: usize = 6;
    let function = site.map_or("run", Site::name);
    let end = key.get(..END).unwrap_or(key);
    format!(
        "{function}-{}-{end}",
        time::format_compact_utc(start_time_ms)
    )
}

/// A run that is the current one of its thread until this guard is dropped, which ends it:
/// FINISHED, or FAILED while the thread panics.
///
/// Guards may go in any order: the current run is that of the youngest that is still there. One that
/// an `async` function holds across an `await` is current in that future only, if it is a
/// `#[tracked]` one or has gone through [`Run::instrument`]; in another one it is current for whatever
/// its thread does meanwhile. It stays on its thread (it is not `Send`): a future that is to be spawned on a runtime
/// with several threads takes the [`Run`] along with [`Run::instrument`]. One that leaves the closure of [`Run::scope`] or the tracked function in
/// which it was made is current no longer.
#[must_use = "the run ends when this is dropped"]
pub struct ActiveRun {
    run: Run,
    _guard: Option<HeldContext>,
}

impl ActiveRun {
    /// Ends the run with a status of your choice.
    pub fn end(self, status: RunStatus) {
        self.run.end(status);
    }
}

impl fmt::Debug for ActiveRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActiveRun").field(&self.run).finish()
    }
}

impl Deref for ActiveRun {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        self.run.end(if thread::panicking() {
            RunStatus::Failed
        } else {
            RunStatus::Finished
        });
    }
}
