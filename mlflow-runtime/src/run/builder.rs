//! The builder of a run that is started by hand.

use std::fmt::Display;
use std::thread;

use super::ActiveRun;
use crate::capture::Text;
use crate::model::limits;
use crate::run::callsite::Callsite;
use crate::run::context::Context;
use crate::run::start::RunOptions;
use crate::tracker::global;
use crate::warnings::warn_user;

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
        options: RunOptions::default(),
        unstarted: UnstartedWarning { is_armed: true },
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
            "`start_run!()` takes nothing, what it returns does: `mlflow::start_run!().name(\"…\").param(\"lr\", lr).start()`"
        )
    };
}

/// Starts building a run at a `start_run!`.
pub fn start_run_at(site: &'static Callsite) -> RunBuilder {
    let mut builder = start_run();
    builder.options.callsite = Some(site);
    builder
}

/// How a run is to start; see [`start_run()`](fn@crate::start_run).
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
                "a run was built and not started: nothing is logged to it. Call `.start()` on what \
                 `mlflow::start_run()` returns, and hold what that returns"
            ));
        }
    }
}

impl RunBuilder {
    /// Sets the experiment by its name; it is created when it is missing. Default: the experiment of the
    /// parent run, if the run is [`nested`](Self::nested), else that of the process.
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

    /// Sets the run's name, at most 250 characters. Default: `run-`, the time in UTC and six characters that
    /// tell runs of the same second apart. A run that is continued by [`run_id`](Self::run_id) is renamed.
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

    /// Adds a tag, which is set together with the start. A value is cut at 8,000 characters.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().tag("dataset", "wine").start();
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].tags["dataset"], "wine");
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Display) -> Self {
        let value = Text::from_value(limits::TAG_VALUE_CHARS, &value);
        self.options.tags.push((key.into(), value));
        self
    }

    /// Adds a param, which is logged together with the start. A value is cut at 6,000 characters.
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().param("alpha", 0.5).start();
    /// # drop(run);
    /// # fake.assert_param("alpha", "0.5");
    /// ```
    pub fn param(mut self, key: impl Into<String>, value: impl Display) -> Self {
        let value = Text::from_value(limits::PARAM_VALUE_CHARS, &value);
        self.options.params.push((key.into(), value));
        self
    }

    /// Makes the run a child of the current run, if there is one. Default: `false`.
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

    /// Continues the run with this id, which is the store's, instead of creating a run. The run keeps its name,
    /// unless one is given here, and the tags of the process that created it; tags and params given here are
    /// added. A rank of several processes joins the run and leaves its end to others, see
    /// [`distributed`](crate::distributed).
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().run_id("0f1a6c3be2d94f5d8f3c1f7a1c2b3d4e").start();
    /// ```
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.options.run_id = Some(id.into());
        self
    }

    /// Turns the run's system metrics on or off. Wins over
    /// [`Config::system_metrics`](crate::Config::system_metrics), which describes them, and over
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
        self.options.system_metrics = Some(enabled);
        self
    }

    /// Starts the run and makes it the current one of this thread until the guard is dropped.
    pub fn start(mut self) -> ActiveRun {
        self.unstarted.is_armed = false;
        let context = Context::current();
        let run = self.options.start_in(&context);
        ActiveRun::enter(run, &context)
    }
}
