//! `tracing` events as metrics and as the run's log: [`layer()`](crate::layer()).
//!
//! A program that uses `tracing` already logs metrics through its events. All other events become lines of
//! the run's artifact `logs/console.log`:
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
//!     tracing::info!(rows = 1599, "loaded");
//!     for epoch in 0..3 {
//!         tracing::info!(metric.loss = 1.0 / f64::from(epoch + 1), metric.lr = 0.1, step = epoch, "epoch done");
//!     }
//! }
//! # let fake = mlflow::testing::fake();
//! train();
//! # fake.assert_metric("loss", &[(0, 1.0), (1, 0.5), (2, 1.0 / 3.0)]);
//! # fake.assert_metric("lr", &[(0, 0.1), (1, 0.1), (2, 0.1)]);
//! # let log = String::from_utf8(fake.runs()[0].artifacts["logs/console.log"].clone()).unwrap();
//! # assert!(log.ends_with(": loaded rows=1599\n"), "{log}");
//! # });
//! ```
//!
//! # Events that are metrics
//!
//! - Every field `metric.NAME` whose value is a number or a `bool` is a point of the metric `NAME`. A name
//!   may have dots and, in quotes, anything that MLflow allows: `"metric.train/loss" = 0.5`.
//! - The field `step`, any integer, is the step of all these points. Without it they are at step 0.
//! - A `metric.NAME` that is no number, e.g. behind `%` or `?`, causes one warning, as does a `step` that is
//!   no integer.
//! - Level and message do not matter, as long as the event reaches the layer. Give the layer a filter of its
//!   own if the terminal is to show other events than those that are tracked:
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
//! # Lines
//!
//! Every other event at `INFO` or above, or at the level given to [`Layer::console`], is a line of the run's
//! `logs/console.log`: time (UTC), level, target, the names of the spans around the event, message and
//! fields. An event with metrics is a line only at `WARN` or above, because its numbers are in the metrics
//! already.
//!
//! - A line survives the end of the process, as a value does, but the device is not asked to store it, so a
//!   loss of power may cost it. A line is at most 8,000 characters long. All lines of a run together may take
//!   [`Config::console_max_bytes`](crate::Config::console_max_bytes).
//! - Fields with a secret's name, and texts that look like a credential, are redacted as everywhere.
//! - The artifact appears with the first lines, and is uploaded every ten seconds while it grows (a long one
//!   less often: at most 100 KiB per second are sent). It is complete once the run has ended, however its
//!   process ended. A flush includes it.
//! - A process that did not start the run itself (it resumes the run, was forked, or is one of several ranks)
//!   has a separate file `logs/console-TIME-ID.log`, with the rank in its name where there is one.
//!
//! # The run of an event
//!
//! An event belongs to the run that is current where the event happens: see
//! [`mlflow::thread`](crate::thread). If none is current, e.g. on a thread of a pool, the event belongs to
//! the run that was current where the event's span was created or, if there was none, to that of the nearest
//! enclosing span which was created in a run. Therefore an instrumented task (`future.instrument(span)`)
//! takes the run along, and so does `parent: &span`. An event without any of these runs is not recorded; if
//! it has metrics, a warning reports that.
//!
//! # Spans
//!
//! With [`Layer::span_durations`], a span that closes logs its lifetime, in seconds, as the metric
//! `time/NAME`. The step is the count of such spans, as with [`#[timed]`](macro@crate::timed). A filter
//! selects the spans:
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
//! - Events of the library itself (target `mlflow`) are neither metrics nor lines, and its HTTP client runs
//!   on a thread that has no run. Thus nothing that the layer logs makes it log more.
//! - The layer switches nothing off for other layers, and holds no lock while it logs.
//! - An event that is neither metric nor line costs a look at its level and at the names of its fields.

mod line;
mod metric_fields;
mod spans;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::run::Run;
use crate::run::current_run::with_run;
use crate::tracker::global;
use line::format_line;
use metric_fields::{EventMetrics, METRIC_FIELD_PREFIX};
use spans::{SpanCounts, SpanRun, SpanStart};

/// Returns a layer that makes metrics and log lines of events; see [the module](self).
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// let subscriber = tracing_subscriber::registry().with(mlflow::layer().span_durations(true));
/// # drop(subscriber);
/// ```
pub fn layer() -> Layer {
    Layer {
        durations: None,
        console: LevelFilter::INFO,
    }
}

/// Layer for `tracing_subscriber`. See [`layer()`](crate::layer()) for an example.
#[derive(Debug)]
#[must_use]
pub struct Layer {
    durations: Option<SpanCounts>,
    /// Least severe level at which events without metrics become lines.
    console: LevelFilter,
}

impl Layer {
    /// Sets the level at which, and above which, events become lines of the run's `logs/console.log`; with
    /// `OFF` no event does. Default: `INFO`. An event that a filter keeps from the layer never becomes a
    /// line.
    ///
    /// ```
    /// use tracing_subscriber::filter::LevelFilter;
    ///
    /// let layer = mlflow::layer().console(LevelFilter::DEBUG);
    /// # drop(layer);
    /// ```
    pub fn console(mut self, level: LevelFilter) -> Self {
        self.console = level;
        self
    }

    /// Sets whether spans become metrics, too: their lifetime in seconds. Default: `false`. See
    /// [`layer()`](crate::layer()) for an example.
    pub fn span_durations(mut self, log: bool) -> Self {
        self.durations = log.then(SpanCounts::default);
        self
    }

    fn log_metrics<S>(event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let mut values = EventMetrics::default();
        event.record(&mut values);
        let run = if values.has_no_faults() {
            // The common case, in which no reference is counted.
            if with_run(|run| values.log(run)) {
                return;
            }
            Self::run_of_spans(event, context)
        } else {
            Self::run_for_event(event, context)
        };
        match run {
            Some(run) => {
                values.log(&run);
                values.warn_faults(&run);
            }
            None => values.note_without_run(),
        }
    }

    fn run_for_event<S>(event: &Event<'_>, context: &Context<'_, S>) -> Option<Run>
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        Run::current().or_else(|| Self::run_of_spans(event, context))
    }

    fn run_of_spans<S>(event: &Event<'_>, context: &Context<'_, S>) -> Option<Run>
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        Self::run_of_scope(context.event_scope(event)?)
    }

    /// Returns the run of the innermost span in `scope` that has one.
    fn run_of_scope<S>(mut scope: Scope<'_, S>) -> Option<Run>
    where
        S: for<'l> LookupSpan<'l>,
    {
        scope.find_map(|span| {
            span.extensions()
                .get::<SpanRun>()
                .map(|SpanRun(run)| run.clone())
        })
    }
}

/// Returns true if the event or span is the library's own.
fn is_internal(metadata: &Metadata<'_>) -> bool {
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
        let is_metric = fields.any(|field| field.name().starts_with(METRIC_FIELD_PREFIX));
        let is_line = *metadata.level() <= self.console;
        let is_line = is_line && (!is_metric || *metadata.level() <= Level::WARN);
        if !(is_metric || is_line) || is_internal(metadata) || !global::is_enabled() {
            return;
        }
        if is_metric {
            Self::log_metrics(event, &context);
        }
        if is_line && let Some(run) = Self::run_for_event(event, &context) {
            let spans = context.event_scope(event);
            let spans = spans.into_iter().flat_map(Scope::from_root);
            run.log_line(&format_line(event, spans.map(|span| span.name())));
        }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if is_internal(attributes.metadata()) || !global::is_enabled() {
            return;
        }
        let Some(span) = context.span(id) else { return };
        // A span without a run of its own uses the run of the spans around it.
        if let Some(run) = Run::current() {
            span.extensions_mut().replace(SpanRun(run));
        }
        if self.durations.is_some() {
            span.extensions_mut().replace(SpanStart::now());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let (Some(durations), Some(span)) = (&self.durations, context.span(&id)) else {
            return;
        };
        let Some(seconds) = span.extensions().get::<SpanStart>().map(SpanStart::seconds) else {
            return;
        };
        if let Some(run) = Self::run_of_scope(span.scope()) {
            let (key, count) = durations.next_point(span.metadata());
            run.log_point(&key, seconds, count);
        }
    }
}
