//! [`MlflowRenderer`]: test metrics of an evaluation, as metrics of a run.
//!
//! An evaluator of Burn takes no metric logger, so its metrics are read where they are shown.

use std::collections::HashMap;
use std::sync::Arc;

use burn_train::LearnerSummary;
use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::metric::store::Split;
use burn_train::metric::{MetricDefinition, MetricId};
use burn_train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use mlflow::Run;

use crate::epoch_value::EpochValue;
use crate::keys;

/// Renderer of Burn that logs test metrics to a run, and shows everything with another renderer.
///
/// An evaluation of the data `red wines` has the metric `test/red wines/Loss`, the mean over all of them.
/// [`TrackWithMlflow`](crate::TrackWithMlflow) makes one around Burn's default renderer. Make one by hand to keep the renderer of the
/// training:
///
/// ```
/// use burn_train::{EvaluatorBuilder, EvaluatorComponentTypes, LearningResult};
/// use mlflow_burn::MlflowRenderer;
///
/// fn track<E: EvaluatorComponentTypes>(
///     evaluator: EvaluatorBuilder<E>,
///     trained: LearningResult<E::Model>,
/// ) -> EvaluatorBuilder<E> {
///     evaluator.renderer(Box::new(MlflowRenderer::around(trained.renderer)))
/// }
/// ```
pub struct MlflowRenderer {
    shown: Box<dyn MetricsRenderer>,
    /// Run to log to; `None` logs nothing.
    run: Option<Run>,
    names: HashMap<MetricId, Arc<String>>,
    /// Name of the test that runs, which the calls at its end do not have.
    test: Option<EvaluationName>,
    /// Values of that test, by metric.
    values: HashMap<MetricId, EpochValue>,
}

impl MlflowRenderer {
    /// Creates a renderer for the current run of the calling thread. Without one, nothing is logged.
    #[must_use]
    pub fn around(shown: Box<dyn MetricsRenderer>) -> Self {
        Self {
            shown,
            run: Run::current(),
            names: HashMap::new(),
            test: None,
            values: HashMap::new(),
        }
    }

    fn log_test(&mut self) {
        let values = std::mem::take(&mut self.values);
        let (Some(run), Some(test)) = (&self.run, self.test.take()) else {
            return;
        };
        let split = Split::Test(Some(Arc::new(test.as_str().to_owned())));
        let metrics = { values.iter() }.filter_map(|(id, value)| {
            let name = self.names.get(id)?;
            Some((keys::of_epoch(&split, name), value.value()?))
        });
        run.log_metrics(metrics, 0);
    }
}

impl std::fmt::Debug for MlflowRenderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MlflowRenderer")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl MetricsRendererEvaluation for MlflowRenderer {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        if self.run.is_some()
            && let MetricState::Numeric(entry, Some(value)) = &state
        {
            let id = entry.metric_id.clone();
            self.values.entry(id).or_default().add(value);
            self.test = Some(name.clone());
        }
        self.shown.update_test(name, state);
    }

    fn on_test_end(
        &mut self,
        summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.shown.on_test_end(summary)
    }
}

impl EvaluationProgressLogger for MlflowRenderer {
    fn start_global_progress(&mut self, total_tests: usize) {
        self.shown.start_global_progress(total_tests);
    }

    fn start_test(&mut self, name: &str, total_items: usize) {
        self.shown.start_test(name, total_items);
    }

    fn update_test_progress(&mut self, items_processed: usize) {
        self.shown.update_test_progress(items_processed);
    }

    fn end_test(&mut self) {
        self.log_test();
        self.shown.end_test();
    }

    fn end_global_progress(&mut self) {
        self.shown.end_global_progress();
    }

    fn log_event_evaluation(&mut self, event: String) {
        self.shown.log_event_evaluation(event);
    }
}

impl MetricsRenderer for MlflowRenderer {
    fn manual_close(&mut self) {
        self.shown.manual_close();
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        let name = Arc::clone(&definition.name);
        self.names.insert(definition.metric_id.clone(), name);
        self.shown.register_metric(definition);
    }
}

/// A renderer is handed on from a training to an evaluation, so it shows trainings, too.
impl MetricsRendererTraining for MlflowRenderer {
    fn update_train(&mut self, state: MetricState) {
        self.shown.update_train(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.shown.update_valid(state);
    }

    fn on_train_end(
        &mut self,
        summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.shown.on_train_end(summary)
    }
}

impl TrainingProgressLogger for MlflowRenderer {
    fn start(
        &mut self,
        total_epochs: usize,
        starting_epoch: usize,
        total_items: Option<usize>,
        label: Option<&str>,
    ) {
        self.shown
            .start(total_epochs, starting_epoch, total_items, label);
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.shown.update_epoch(epoch);
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        self.shown.start_split(split, total_items);
    }

    fn update_split(&mut self, items_processed: usize) {
        self.shown.update_split(items_processed);
    }

    fn end_split(&mut self) {
        self.shown.end_split();
    }

    fn end(&mut self) {
        self.shown.end();
    }

    fn log_event_training(&mut self, event: String) {
        self.shown.log_event_training(event);
    }
}
