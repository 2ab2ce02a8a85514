//! `tracing` events as metrics: [`layer()`](crate::layer()).
//!
//! A program that speaks through `tracing` logs metrics where it speaks already:
//!
//! ```
//! use tracing_subscriber::prelude::*;
//!
//! let subscriber = tracing_subscriber::registry().with(mlflow::layer());
//! # tracing::subscriber::with_default(subscriber, || {
//! // In a program: `subscriber.init();`, once.
//!
//! #[mlflow::tracked]
//! fn train() {
//!     for epoch in 0..3 {
//!         tracing::info!(metric.loss = 1.0 / f64::from(epoch + 1), metric.lr = 0.1, step = epoch, "epoch done");
//!     }
//! }
//! # let fake = mlflow::testing::fake();
//! train();
//! # fake.assert_metric("loss", &[(0, 1.0), (1, 0.5), (2, 1.0 / 3.0)]);
//! # fake.assert_metric("lr", &[(0, 0.1), (1, 0.1), (2, 0.1)]);
//! # });
//! ```
//!
//! # Events
//!
//! - Every field `metric.NAME` whose value is a number or a `bool` is a point of the metric `NAME`;
//!   names may have dots, and in quotes anything that MLflow allows: `"metric.train/loss" = 0.5`.
//! - `step` is the step of all of them, any integer; without it they are at step 0.
//! - A `metric.NAME` that is no number, e.g. behind `%` or `?`, is one warning, and so is such a `step`.
//! - Level and message do not matter, as long as the event reaches the layer: give it a filter of its
//!   own, and what the terminal shows and what is tracked are two things:
//!
//! ```
//! use tracing_subscriber::filter::LevelFilter;
//! use tracing_subscriber::{fmt, prelude::*};
//!
//! let subscriber = tracing_subscriber::registry()
//!     .with(fmt::layer().with_filter(LevelFilter::WARN))
//!     .with(mlflow::layer().with_filter(LevelFilter::DEBUG));
//! # drop(subscriber);
//! ```
//!
//! # Which run
//!
//! The run that is current where the event happens: see [`mlflow::thread`](crate::thread). Where none
//! is, e.g. on a thread of a pool, the run that was current where the event's span was made, or the
//! nearest span around that which was made in a run. So an instrumented task (`future.instrument(span)`)
//! takes the run along, and so does `parent: &span`. Without either the event is no metric.
//!
//! # Spans
//!
//! With [`Layer::span_durations`], how long a span lived, in seconds, is the metric `time/NAME` when it
//! closes, the count of such spans as the step, as [`#[timed]`](macro@crate::timed) does it. A filter
//! chooses which:
//!
//! ```
//! use tracing_subscriber::filter::filter_fn;
//! use tracing_subscriber::prelude::*;
//!
//! let steps = filter_fn(|metadata| metadata.is_event() || metadata.name() == "epoch");
//! let layer = mlflow::layer().span_durations(true).with_filter(steps);
//! # tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
//! # let fake = mlflow::testing::fake();
//! # let run = mlflow::start_run().start();
//! tracing::info_span!("epoch").in_scope(|| {
//!     tracing::info_span!("batch").in_scope(|| {});
//! });
//! # drop(run);
//! # let keys: Vec<_> = fake.runs()[0].metrics.keys().cloned().collect();
//! # assert_eq!(keys, ["time/epoch"]);
//! # });
//! ```
//!
//! # Invariants
//!
//! What the library itself says (target `mlflow`) is no metric. The layer switches nothing off for
//! others, holds no lock while it logs, and an event without a `metric.` field costs a look at the
//! names of its fields.

mod spans;
mod values;

use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::context::with_run;
use crate::journal::MetricKey;
use crate::process;
use crate::run::Run;
use spans::{Durations, InRun, Timed};
use values::{PREFIX, Values};

/// Makes metrics of events; see [the module](self).
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// let subscriber = tracing_subscriber::registry().with(mlflow::layer().span_durations(true));
/// # drop(subscriber);
/// ```
pub fn layer() -> Layer {
    Layer { durations: None }
}

/// A layer for `tracing_subscriber`; see [`layer()`](crate::layer()).
#[derive(Debug)]
#[must_use]
pub struct Layer {
    durations: Option<Durations>,
}

impl Layer {
    /// Whether spans become metrics, too: how long they lived. Default: no.
    pub fn span_durations(mut self, log: bool) -> Self {
        self.durations = log.then(Durations::default);
        self
    }

    /// The run of what happens in `span`, where none is current on the thread.
    fn run_around<S>(mut scope: tracing_subscriber::registry::Scope<'_, S>) -> Option<Run>
    where
        S: for<'l> LookupSpan<'l>,
    {
        scope.find_map(|span| {
            span.extensions()
                .get::<InRun>()
                .map(|InRun(run)| run.clone())
        })
    }
}

/// The library's own, and what it starts.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target == "mlflow" || target.starts_with("mlflow::")
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = metadata.fields().iter();
        if !fields.any(|field| field.name().starts_with(PREFIX))
            || is_ours(metadata)
            || !process::enabled()
        {
            return;
        }
        let mut values = Values::default();
        event.record(&mut values);
        // Nearly always: no reference is counted.
        if values.has_no_faults() && with_run(|run| values.log(run)) {
            return;
        }
        let run = Run::current().or_else(|| Self::run_around(context.event_scope(event)?));
        match run {
            Some(run) => {
                values.log(&run);
                values.tell_faults(&run);
            }
            None => values.tell_nobody(),
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if is_ours(attributes.metadata()) || !process::enabled() {
            return;
        }
        let Some(span) = context.span(id) else { return };
        // One without a run of its own has that of the spans around it.
        if let Some(run) = Run::current() {
            span.extensions_mut().replace(InRun(run));
        }
        if self.durations.is_some() {
            span.extensions_mut().replace(Timed::begin());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let (Some(durations), Some(span)) = (&self.durations, context.span(&id)) else {
            return;
        };
        let Some(seconds) = span.extensions().get::<Timed>().map(Timed::seconds) else {
            return;
        };
        if let Some(run) = Self::run_around(span.scope()) {
            let (key, count) = durations.count(span.metadata());
            run.log_point(MetricKey::Dynamic(&key), seconds, count);
        }
    }
}
