//! Builder of a run that is started by hand.
//!
//! Invariant: nothing is recorded before [`RunBuilder::start`].

use std::fmt::Display;
use std::thread;

use super::{ActiveRun, Run};
use crate::capture::Text;
use crate::model::{ExperimentRef, limits};
use crate::run::callsite::Callsite;
use crate::run::current_run::Context;
use crate::run::start::RunOptions;
use crate::tracker::global;
use crate::tracker::sanitizer::redact_by_name;
use crate::warnings::warn_user;

/// Returns the builder of a run that is started by hand. To make every call of a function a run, use
/// [`tracked`](macro@crate::tracked).
///
/// ```
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().experiment("wine-quality").name("baseline").param("alpha", 0.5).start();
/// mlflow::log_metric("rmse", 0.79);
/// drop(run); // ends as FINISHED, or as FAILED while panicking
/// # fake.assert_run_finished("baseline");
/// ```
///
/// The run is a child of the current run only if [`nested`](RunBuilder::nested) is set. A run without a
/// parent belongs to the experiment of the process, unless [`experiment`](RunBuilder::experiment) names
/// another one.
///
/// The run has no tags that name the calling function and the git commit of the code, because a function
/// cannot know its caller. [`start_run!()`](macro@crate::start_run) adds these tags.
pub fn start_run() -> RunBuilder {
    RunBuilder {
        options: RunOptions::default(),
        unstarted: UnstartedWarning { is_armed: true },
    }
}

/// Returns the builder of a run, as [`start_run()`](fn@crate::start_run) does, and adds the tags that
/// describe the code: the function that starts the run, the file and the line, the package, and the git
/// commit from which the code was built. The run of a [`tracked`](macro@crate::tracked) function has the same
/// tags.
///
/// The commit is determined at compile time, so the tag is right wherever the program runs. MLflow's Python
/// client reads the commit from the repository around the script instead. Around an executable there may be
/// no repository, or one that has changed since the build.
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
        static SITE: $crate::__private::Callsite = $crate::__private::Callsite::by_hand(
            || ::core::any::type_name_of_val(&here),
            ::core::file!(),
            ::core::line!(),
        )
        .package(
            ::core::option_env!("CARGO_PKG_NAME"),
            ::core::option_env!("CARGO_PKG_VERSION"),
        )
        .build_info($crate::__private::build_info!($crate));
        $crate::__private::start_run_at(&SITE)
    }};
    ($($given:tt)*) => {
        ::core::compile_error!(
            "`start_run!()` takes no arguments; set the options on the builder that it returns: `mlflow::start_run!().name(\"…\").param(\"lr\", lr).start()`"
        )
    };
}

/// Returns the builder of a run that starts at a `start_run!`.
pub fn start_run_at(site: &'static Callsite) -> RunBuilder {
    let mut builder = start_run();
    builder.options.callsite = Some(site);
    builder
}

/// Builder of a run. See [`start_run()`](fn@crate::start_run) for an example. A builder that is dropped without
/// [`start`](Self::start) records nothing, and logs a warning.
#[derive(Debug, Default)]
#[must_use = "a run starts with `start()`"]
pub struct RunBuilder {
    options: RunOptions,
    unstarted: UnstartedWarning,
}

/// A warning that the run was never started, logged when the builder is dropped.
#[derive(Debug, Default)]
struct UnstartedWarning {
    /// Set until the run is started.
    is_armed: bool,
}

impl Drop for UnstartedWarning {
    fn drop(&mut self) {
        if self.is_armed && !thread::panicking() && global::is_enabled() {
            warn_user(format_args!(
                "a run was built and not started, so nothing is logged to it. Call `.start()` on the builder that \
                 `mlflow::start_run()` returns, and keep the guard that `.start()` returns"
            ));
        }
    }
}

/// Returns the value as text, redacted if its name is a secret's. A builder that logs nothing warns of nothing.
fn render_value(kind: &str, key: &str, max_chars: usize, value: &impl Display) -> Text {
    let mut value = Text::from_value(max_chars, value);
    if global::is_enabled() {
        redact_by_name(kind, key, &mut value.text);
    }
    value
}

impl RunBuilder {
    /// Sets the name of the run's experiment, which is created if it does not exist. Default: the experiment
    /// of the parent run, if the run is [`nested`](Self::nested) and there is one, else the experiment of the
    /// process. A name of more than 500 characters is cut, and an empty name is ignored, each with a warning.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().experiment("wine-quality").start();
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].experiment, "wine-quality");
    /// ```
    pub fn experiment(mut self, name: impl Into<String>) -> Self {
        self.options.experiment = Some(name.into().into());
        self
    }

    /// Sets the run's name. A name of more than 250 characters is cut, with a warning. Default: `run-`, the
    /// time in UTC, and six characters that distinguish runs of the same second, such as
    /// `run-20261126-134101-1f0c3b`. A run that is continued by [`run_id`](Self::run_id) is renamed.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().name("baseline").start();
    /// assert_eq!(run.name(), "baseline");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into().into());
        self
    }

    /// Adds a tag, which is set together with the start of the run. The tag replaces an automatic tag with
    /// the same key. If a key is given several times, the last value counts. A value of more than 8,000
    /// characters is cut, with a warning.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().tag("dataset", "wine").start();
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].tags["dataset"], "wine");
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        let key = key.into();
        let value = render_value("tag", &key, limits::TAG_VALUE_CHARS, &value);
        self.options.tags.push((key, value));
        self
    }

    /// Adds a param, which is logged together with the start of the run. A value of more than 6,000
    /// characters is cut, with a warning.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().param("alpha", 0.5).start();
    /// # drop(run);
    /// # fake.assert_param("alpha", "0.5");
    /// ```
    pub fn param(mut self, key: impl Into<String>, value: impl Display) -> Self {
        let key = key.into();
        let value = render_value("param", &key, limits::PARAM_VALUE_CHARS, &value);
        self.options.params.push((key, value));
        self
    }

    /// Makes the run a child of the run that is current when [`start`](Self::start) is called, if there is
    /// one. Default: `false`, the run has no parent.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let sweep = mlflow::start_run().name("sweep").start();
    /// let trial = mlflow::start_run().name("trial").nested(true).start();
    /// # drop((trial, sweep));
    /// # assert!(fake.runs().iter().any(|run| run.name == "trial" && run.parent.is_some()));
    /// ```
    pub fn nested(mut self, nested: bool) -> Self {
        self.options.nested = nested;
        self
    }

    /// Continues an existing run instead of creating one. The id is that of the store, as
    /// [`Run::run_id`](crate::Run::run_id) returns it.
    ///
    /// The run keeps its name, unless [`name`](Self::name) is called, and the tags of the process that
    /// created the run; the tags and params of this builder are added. In a launch of several processes, the
    /// process *joins* the run, and leaves the end of the run to others: see
    /// [`distributed`](crate::distributed).
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().run_id("0f1a6c3be2d94f5d8f3c1f7a1c2b3d4e").start();
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].id, "0f1a6c3be2d94f5d8f3c1f7a1c2b3d4e");
    /// ```
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.options.run_id = Some(id.into());
        self
    }

    /// Turns the system metrics of this run on or off. The setting takes precedence over
    /// [`Config::system_metrics`](crate::Config::system_metrics), which lists the metrics, and over
    /// `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`. Default: the setting of the process. Needs the feature
    /// `system-metrics`.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().name("watched").system_metrics(true).start();
    /// // Every 10 seconds: system/cpu_utilization_percentage and others.
    /// # drop(run);
    /// # fake.assert_run_finished("watched");
    /// ```
    pub fn system_metrics(mut self, enabled: bool) -> Self {
        self.options.system_metrics = Some(enabled);
        self
    }

    /// Returns the run's name, if one was given.
    pub(crate) fn given_name(&self) -> Option<&str> {
        let name = self.options.name.as_ref()?;
        Some(&name.text)
    }

    /// Returns the experiment in which the run is started, and `None` if tracking is disabled.
    pub(crate) fn future_experiment(&self) -> Option<ExperimentRef> {
        let context = Context::current();
        let tracker = context.tracker()?;
        let parent = context.run().filter(|_| self.options.nested);
        let inherited = parent.and_then(Run::experiment);
        let given = self.options.experiment.as_ref();
        let given = given.filter(|name| !name.text.is_empty());
        Some(match given {
            Some(name) => ExperimentRef::Name(name.text.clone()),
            None => inherited.unwrap_or_else(|| tracker.experiment()),
        })
    }

    /// Returns true if the run is one that exists already, by this builder or by `MLFLOW_RUN_ID`.
    pub(crate) fn has_run_id(&self) -> bool {
        let tracker = Context::current().tracker();
        let is_configured = tracker.is_some_and(|tracker| tracker.settings().run_id.is_some());
        self.options.run_id.is_some() || is_configured
    }

    /// Starts the run, and makes the run the current one of this thread. Dropping the returned guard ends the
    /// run.
    ///
    /// The call does not wait for the store: the run is created there in the background. See
    /// [`start_run()`](fn@crate::start_run) for an example, and [`ActiveRun`] for the rules of the guard.
    pub fn start(mut self) -> ActiveRun {
        self.unstarted.is_armed = false;
        let context = Context::current();
        let run = self.options.start_in(&context);
        ActiveRun::enter(run, &context)
    }
}
