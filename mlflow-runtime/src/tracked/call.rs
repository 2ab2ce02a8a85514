//! Call of an annotated function: the options that the attribute gives, then the run of the call.
//!
//! Invariants: a [`Call`] is made where the function is called, so the parent of its run is the caller's run.
//! The run starts when the body starts. The code that owns the call, or takes the call out of a future, ends
//! the run once.
//!
//! The expansion of `#[tracked]` creates the call with [`begin`], hands the options to its methods, and
//! passes the call on to [`closure::call`](crate::tracked::closure::call) or [`Tracked`](crate::tracked::future::Tracked).

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use mlflow_rules::REDACTED;

use crate::capture::{Text, Values};
use crate::model::RunStatus;
use crate::model::limits::{RUN_NAME_CHARS, TAG_VALUE_CHARS};
use crate::model::tag_keys;
use crate::os::fork::PerProcess;
use crate::run::callsite::Callsite;
use crate::run::current_run::{Context, ContextGuard, SuspendedContext};
use crate::run::start::RunOptions;
use crate::run::{Dataset, Run};
use crate::sync::lock;
use crate::tracked::outcome::RunOutcome;
use crate::tracked::panic_hook::{self, PanicRecord};
use crate::tracker::global;
use crate::warnings::warn_user;

/// Call of an annotated function.
#[derive(Debug)]
pub struct Call {
    site: &'static Callsite,
    /// Context of the caller, in which the run starts.
    context: Context,
    /// Context of the body, while the body is not running.
    suspended: SuspendedContext,
    run: Option<Run>,
    /// Options of the run, until the run starts.
    options: RunOptions,
    /// Arguments that are inputs, by their names, until the run starts.
    inputs: Vec<(&'static str, Dataset)>,
    /// True unless the attribute says `log_model = false`.
    logs_models: bool,
}

/// Returns a new call; `None` if tracking is off.
#[inline]
#[must_use]
pub fn begin(site: &'static Callsite) -> Option<Box<Call>> {
    if global::is_enabled() {
        Some(Call::new(site))
    } else {
        None
    }
}

/// Value of `system_metrics = …` or `log_model = …`: a `bool`, or a reference to one, as an argument of the function
/// may be.
#[diagnostic::on_unimplemented(
    message = "this argument of the attribute takes a `bool`, not `{Self}`",
    label = "not a `bool`"
)]
pub trait BoolArgument {
    /// Returns the `bool`.
    fn is_on(&self) -> bool;
}

impl BoolArgument for bool {
    fn is_on(&self) -> bool {
        *self
    }
}

impl<T: BoolArgument + ?Sized> BoolArgument for &T {
    fn is_on(&self) -> bool {
        (**self).is_on()
    }
}

/// Value of `run_id = …`: an id, or an `Option` of one. The inherent methods accept an `Option`, also behind
/// a reference; [`AnyRunId`] accepts every other type. The selection works because the compiler prefers an
/// inherent method to a trait's method.
#[derive(Debug)]
pub struct RunId<'v, T: ?Sized>(pub &'v T);

impl<'v, T: Display> RunId<'v, Option<T>> {
    /// Returns the id, if there is one.
    #[must_use]
    pub fn __mlflow_run_id(self) -> Option<&'v dyn Display> {
        self.0.as_ref().map(|id| id as &dyn Display)
    }
}

impl<'v, T: Display> RunId<'v, &'v Option<T>> {
    /// Returns the id, if there is one.
    #[must_use]
    pub fn __mlflow_run_id(self) -> Option<&'v dyn Display> {
        RunId(*self.0).__mlflow_run_id()
    }
}

impl<'v, T: Display> RunId<'v, &'v mut Option<T>> {
    /// Returns the id, if there is one.
    #[must_use]
    pub fn __mlflow_run_id(self) -> Option<&'v dyn Display> {
        self.0.as_ref().map(|id| id as &dyn Display)
    }
}

/// Text that can be the id of a run: anything that is `Display`.
#[diagnostic::on_unimplemented(
    message = "`run_id` takes a text or an `Option` of one, not `{Self}`",
    label = "not a text"
)]
pub trait RunIdText: Display {}

impl<T: Display> RunIdText for T {}

/// Fallback for an id that is not an `Option`.
pub trait AnyRunId<'v> {
    /// Type of the id.
    type Id;
    /// Returns the id, which is never `None`.
    fn __mlflow_run_id(self) -> Option<&'v dyn Display>
    where
        Self::Id: RunIdText;
}

impl<'v, T> AnyRunId<'v> for RunId<'v, T> {
    type Id = T;

    fn __mlflow_run_id(self) -> Option<&'v dyn Display>
    where
        T: RunIdText,
    {
        Some(self.0)
    }
}

impl Call {
    #[cold]
    fn new(site: &'static Callsite) -> Box<Self> {
        panic_hook::install_hook();
        Box::new(Self {
            site,
            context: Context::current(),
            suspended: SuspendedContext::default(),
            run: None,
            options: RunOptions {
                callsite: Some(site),
                nested: !site.is_root,
                ..RunOptions::default()
            },
            inputs: Vec::new(),
            logs_models: true,
        })
    }

    /// Applies `experiment = …`: sets the name of the experiment.
    pub fn experiment(&mut self, name: &dyn Display) {
        // Not cut here: a name that is cut would be that of another experiment.
        self.options.experiment = Some(Text::from_display(usize::MAX, name));
    }

    /// Applies `run_name = …`: sets the name of the run.
    pub fn run_name(&mut self, name: &dyn Display) {
        self.options.name = Some(Text::from_display(RUN_NAME_CHARS, name));
    }

    /// Applies `run_id = …`: sets the id of the run to be continued. `None` starts a new run.
    pub fn run_id(&mut self, id: Option<&dyn Display>) {
        self.options.run_id = id.map(|id| Text::from_display(usize::MAX, id).text);
    }

    /// Applies `system_metrics = …`: turns the system metrics of the run on or off.
    pub fn system_metrics(&mut self, enabled: &(impl BoolArgument + ?Sized)) {
        self.options.system_metrics = Some(enabled.is_on());
    }

    /// Applies `description = …`: sets the description of the run.
    pub fn description(&mut self, text: &dyn Display) {
        self.tag(tag_keys::DESCRIPTION, text);
    }

    /// Adds the params of an argument, or of an entry of `params(…)`.
    pub fn param(&mut self, key: &str, values: Values) {
        let params = &mut self.options.params;
        match values {
            Values::Text(text) => params.push((key.to_owned(), text)),
            Values::Fields(fields) => {
                params.extend(fields.into_iter().map(|(field, text)| {
                    // The name of an enum's variant has an empty path, and is logged under the argument's own
                    // key.
                    let key = match &*field {
                        "" => key.to_owned(),
                        field => format!("{key}.{field}"),
                    };
                    (key, text)
                }));
            }
        }
    }

    /// Adds the datasets of an argument that is an input.
    pub(super) fn inputs(&mut self, name: &'static str, datasets: Vec<Dataset>) {
        let named = datasets.into_iter().map(|dataset| (name, dataset));
        self.inputs.extend(named);
    }

    /// Applies `log_model = …`: turns the logging of returned models on or off.
    pub fn log_model(&mut self, enabled: &(impl BoolArgument + ?Sized)) {
        self.logs_models = enabled.is_on();
    }

    /// Adds the param of an argument whose value must not be logged: `[redacted]`.
    pub fn redacted(&mut self, key: &str) {
        self.options
            .params
            .push((key.to_owned(), REDACTED.to_owned().into()));
    }

    /// Applies `hash(…)`: adds the hash of an argument as the param `key`. Adds nothing if there is no hash.
    pub fn hash(&mut self, key: &str, hash: Option<String>) {
        self.options
            .params
            .extend(hash.map(|hash| (key.to_owned(), hash.into())));
    }

    /// Adds a tag, which is an entry of `tags(…)`.
    pub fn tag(&mut self, key: &'static str, value: &dyn Display) {
        self.options
            .tags
            .push((key.to_owned(), Text::from_display(TAG_VALUE_CHARS, value)));
    }

    /// Evaluates an expression of the attribute. If the expression panics, its value is left out, with one
    /// warning.
    pub fn guarded(&mut self, argument: &'static str, evaluate: impl FnOnce(&mut Self)) {
        /// File, line and argument of an expression about which a warning was logged.
        type Expression = (&'static str, u32, &'static str);
        static WARNED: PerProcess<Mutex<BTreeSet<Expression>>> = PerProcess::new();
        if catch_unwind(AssertUnwindSafe(|| evaluate(self))).is_ok() {
            return;
        }
        let site = self.site;
        if lock(WARNED.get()).insert((site.file, site.line, argument)) {
            warn_user(format_args!(
                "the expression of `{argument}` at `{}` ({}:{}) panicked; the argument is left out, the function continues",
                site.name(),
                site.file,
                site.line
            ));
        }
    }

    /// Enters the context of the body. The first call starts the run, and makes the run the current one of
    /// the thread. A later call resumes the context that was current when the body was suspended.
    pub(crate) fn enter(&mut self) -> ContextGuard {
        if self.run.is_none() {
            panic_hook::clear_last_panic();
            let run = self.start();
            for (name, dataset) in std::mem::take(&mut self.inputs) {
                run.log_input(&dataset, name);
            }
            self.suspended = self.context.with_run(run.clone()).into();
            self.run = Some(run);
        }
        std::mem::take(&mut self.suspended).resume()
    }

    /// Suspends the body, which waits: leaves the context that [`Call::enter`] entered, and keeps the context
    /// for the next call of `enter`.
    pub(crate) fn suspend(&mut self, current: &ContextGuard) {
        self.suspended = current.suspend();
    }

    fn start(&mut self) -> Run {
        std::mem::take(&mut self.options).start_in(&self.context)
    }

    /// Returns true if the body has started.
    pub(crate) fn has_started(&self) -> bool {
        self.run.is_some()
    }

    /// Ends the run after the body has returned. `observe` inspects the returned value and determines the
    /// status.
    pub(crate) fn finish_returned(&self, observe: &mut dyn FnMut(&mut RunOutcome<'_>)) {
        let Some(run) = &self.run else { return };
        let mut ending = RunOutcome::new(run, self.site, self.logs_models);
        // The body has returned a value even if the inspection of that value panics.
        let _ = catch_unwind(AssertUnwindSafe(|| observe(&mut ending)));
        run.end(ending.status);
    }

    /// Ends the run as FAILED after the body has panicked with `payload`.
    pub(crate) fn finish_panicked(&self, payload: &(dyn Any + Send)) {
        self.finish_failed(&PanicRecord::from_payload(payload));
    }

    /// Ends the run as FAILED while the body unwinds and the payload is out of reach.
    pub(crate) fn finish_unwinding(&self) {
        self.finish_failed(&PanicRecord::last_seen().unwrap_or(PanicRecord::UNKNOWN));
    }

    fn finish_failed(&self, panic: &PanicRecord) {
        if let Some(run) = &self.run {
            panic.report(run);
            run.end(RunStatus::Failed);
        }
    }

    /// Ends the run as KILLED, because the body will never continue.
    pub(crate) fn finish_abandoned(&self) {
        if let Some(run) = &self.run {
            run.end(RunStatus::Killed);
        }
    }
}
