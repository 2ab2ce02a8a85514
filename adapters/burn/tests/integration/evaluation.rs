//! Evaluations of Burn that are tracked.

use burn::tensor::Device;
use burn::train::EvaluatorBuilder;
use burn::train::metric::LossMetric;
use burn::train::renderer::CliMetricsRenderer;
use mlflow::testing::fake;
use mlflow_burn::{MlflowRenderer, TrackWithMlflow as _};

use crate::support::{Constant, loader};

fn evaluate(wire: impl FnOnce(Builder) -> Builder) {
    let folder = tempfile::tempdir().expect("a folder");
    let evaluator = EvaluatorBuilder::new(folder.path())
        .metric_numeric(LossMetric::new())
        .with_application_logger(None);
    let model = Constant::new(&Device::flex());
    let result = wire(evaluator)
        .build(model)
        .eval_all([("red wines", loader()), ("white wines", loader())]);
    assert!(result.error.is_none(), "{:?}", result.error);
}

type Builder = EvaluatorBuilder<burn::train::EvaluatorComponentTypesMarker<Constant>>;

#[test]
fn each_test_has_its_metrics() {
    for wire in [
        Builder::track_with_mlflow as fn(Builder) -> Builder,
        |evaluator| {
            let shown = Box::new(CliMetricsRenderer::new());
            evaluator.renderer(Box::new(MlflowRenderer::around(shown)))
        },
    ] {
        let fake = fake();
        let run = mlflow::start_run().start();
        evaluate(wire);
        drop(run);
        let metrics = &fake.runs()[0].metrics;
        let keys: Vec<_> = metrics.keys().map(String::as_str).collect();
        assert_eq!(keys, ["test/red wines/Loss", "test/white wines/Loss"]);
        // All weights are 1 away from 0.
        fake.assert_metric("test/red wines/Loss", &[(0, 1.0)]);
        fake.assert_metric("test/white wines/Loss", &[(0, 1.0)]);
    }
}

#[test]
fn without_a_run_the_evaluation_goes_on() {
    let fake = fake();
    evaluate(Builder::track_with_mlflow);
    assert!(fake.runs().is_empty());
}
