//! One call of an annotated function: what is known of it, and its run once it has one.
//!
//! Invariants: made where the function is called, so its parent is the caller's run; the run
//! starts when the body does; it is ended once, by whoever takes the call.

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
use crate::run::Run;
use crate::run::callsite::Callsite;
use crate::run::context::{Context, ContextGuard, SuspendedContext};
use crate::run::start::RunOptions;
use crate::sync::lock;
use crate::tracked::outcome::RunOutcome;
use crate::tracked::panic_hook::{self, PanicRecord};
use crate::tracker::global;

/// A call of an annotated function.
#[derive(Debug)]
pub struct Call {
    site: &'static Callsite,
    /// The caller's, in which the run starts.
    context: Context,
    /// The body's, while it is not running.
    suspended: SuspendedContext,
    run: Option<Run>,
    /// The options of the run, until it starts.
    options: RunOptions,
}

/// A call, unless tracking is off.
#[inline]
#[must_use]
pub fn begin(site: &'static Callsite) -> Option<Box<Call>> {
    if global::is_enabled() {
        Some(Call::new(site))
    } else {
        None
    }
}

/// What says yes or no: a `bool`, also behind references, as an argument of the function may be.
#[diagnostic::on_unimplemented(
    message = "`system_metrics` takes a `bool`, not `{Self}`",
    label = "not a `bool`"
)]
pub trait BoolArgument {
    /// Yes?
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

/// What `run_id = …` is given.
#[derive(Debug)]
pub struct RunId<'v, T: ?Sized>(pub &'v T);

impl<'v, T: Display> RunId<'v, Option<T>> {
    /// The id, if there is one.
    #[must_use]
    pub fn __mlflow_run_id(self) -> Option<&'v dyn Display> {
        self.0.as_ref().map(|id| id as &dyn Display)
    }
}

impl<'v, T: Display> RunId<'v, &'v Option<T>> {
    /// The id, if there is one.
    #[must_use]
    pub fn __mlflow_run_id(self) -> Option<&'v dyn Display> {
        RunId(*self.0).__mlflow_run_id()
    }
}

impl<'v, T: Display> RunId<'v, &'v mut Option<T>> {
    /// The id, if there is one.
    #[must_use]
    pub fn __mlflow_run_id(self) -> Option<&'v dyn Display> {
        self.0.as_ref().map(|id| id as &dyn Display)
    }
}

/// A text.
#[diagnostic::on_unimplemented(
    message = "`run_id` takes a text or an `Option` of one, not `{Self}`",
    label = "no text"
)]
pub trait RunIdText: Display {}

impl<T: Display> RunIdText for T {}

/// An id that is always there.
pub trait AnyRunId<'v> {
    /// What it is.
    type Id;
    /// The id.
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
        })
    }

    /// `experiment = …`
    pub fn experiment(&mut self, name: &dyn Display) {
        // Whole: a name that was cut would be another experiment.
        self.options.experiment = Some(Text::from_display(usize::MAX, name));
    }

    /// `run_name = …`
    pub fn run_name(&mut self, name: &dyn Display) {
        self.options.name = Some(Text::from_display(RUN_NAME_CHARS, name));
    }

    /// `run_id = …`; `None` starts a new run.
    pub fn run_id(&mut self, id: Option<&dyn Display>) {
        self.options.run_id = id.map(|id| Text::from_display(usize::MAX, id).text);
    }

    /// `system_metrics = …`
    pub fn system_metrics(&mut self, enabled: &(impl BoolArgument + ?Sized)) {
        self.options.system_metrics = Some(enabled.is_on());
    }

    /// `description = …`
    pub fn description(&mut self, text: &dyn Display) {
        self.tag(tag_keys::DESCRIPTION, text);
    }

    /// An argument, or one of `params(…)`.
    pub fn param(&mut self, key: &str, values: Values) {
        let params = &mut self.options.params;
        match values {
            Values::Text(text) => params.push((key.to_owned(), text)),
            Values::Fields(fields) => {
                params.extend(fields.into_iter().map(|(field, text)| {
                    // An enum's variant stands at the argument itself.
                    let key = match &*field {
                        "" => key.to_owned(),
                        field => format!("{key}.{field}"),
                    };
                    (key, text)
                }));
            }
        }
    }

    /// An argument whose value must not be seen.
    pub fn redacted(&mut self, key: &str) {
        self.options
            .params
            .push((key.to_owned(), REDACTED.to_owned().into()));
    }

    /// `hash(…)`
    pub fn hash(&mut self, key: &str, hash: Option<String>) {
        self.options
            .params
            .extend(hash.map(|hash| (key.to_owned(), hash.into())));
    }

    /// One of `tags(…)`.
    pub fn tag(&mut self, key: &'static str, value: &dyn Display) {
        self.options
            .tags
            .push((key.to_owned(), Text::from_display(TAG_VALUE_CHARS, value)));
    }

    /// Evaluates an expression of the attribute. One that panics is left out, with one warning.
    pub fn guarded(&mut self, argument: &'static str, evaluate: impl FnOnce(&mut Self)) {
        /// File, line and argument.
        type Expression = (&'static str, u32, &'static str);
        static WARNED: PerProcess<Mutex<BTreeSet<Expression>>> = PerProcess::new();
        if catch_unwind(AssertUnwindSafe(|| evaluate(self))).is_ok() {
            return;
        }
        let site = self.site;
        if lock(WARNED.get()).insert((site.file, site.line, argument)) {
            tracing::warn!(
                target: "mlflow",
                "the expression of `{argument}` at `{}` ({}:{}) panicked; the argument is left out, the function continues",
                site.name(), site.file, site.line
            );
        }
    }

    /// Starts the run if this is the first time, and makes it the thread's current one; later, what
    /// was current when the body was suspended.
    pub(crate) fn enter(&mut self) -> ContextGuard {
        if self.run.is_none() {
            panic_hook::clear_last_panic();
            let run = self.start();
            self.suspended = self.context.with_run(run.clone()).into();
            self.run = Some(run);
        }
        std::mem::take(&mut self.suspended).resume()
    }

    /// The body waits: leaves what [`Call::enter`] entered, until it is entered again.
    pub(crate) fn suspend(&mut self, current: &ContextGuard) {
        self.suspended = current.suspend();
    }

    fn start(&mut self) -> Run {
        std::mem::take(&mut self.options).start_in(&self.context)
    }

    /// Whether the body has begun.
    pub(crate) fn has_started(&self) -> bool {
        self.run.is_some()
    }

    /// The body has returned; `observe` tells what.
    pub(crate) fn finish_returned(&self, observe: &mut dyn FnMut(&mut RunOutcome<'_>)) {
        let Some(run) = &self.run else { return };
        let mut ending = RunOutcome::new(run, self.site);
        // A value that panics while it is looked at has still been returned.
        let _ = catch_unwind(AssertUnwindSafe(|| observe(&mut ending)));
        run.end(ending.status);
    }

    /// The body has panicked with `payload`.
    pub(crate) fn finish_panicked(&self, payload: &(dyn Any + Send)) {
        self.finish_failed(&PanicRecord::from_payload(payload));
    }

    /// The body is unwinding, its payload out of reach.
    pub(crate) fn finish_unwinding(&self) {
        self.finish_failed(&PanicRecord::last_seen().unwrap_or(PanicRecord::UNKNOWN));
    }

    fn finish_failed(&self, panic: &PanicRecord) {
        if let Some(run) = &self.run {
            panic.report(run);
            run.end(RunStatus::Failed);
        }
    }

    /// The body will never go on.
    pub(crate) fn finish_abandoned(&self) {
        if let Some(run) = &self.run {
            run.end(RunStatus::Killed);
        }
    }
}
