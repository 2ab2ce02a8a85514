//! Fits that are tracked: what the run holds, and that the model is the one of `fit`.

use linfa::dataset::{AsTargets, Records};
use linfa::prelude::{SingleTargetRegression as _, ToConfusionMatrix as _};
use linfa::traits::{Fit, Predict as _, PredictInplace};
use linfa::{Dataset, DatasetBase, ParamGuard as _};
use linfa_clustering::KMeans;
use linfa_elasticnet::{ElasticNet, ElasticNetError, MultiTaskElasticNet};
use linfa_linear::LinearRegression;
use linfa_trees::DecisionTree;
use mlflow::testing::{Fake, fake};
use mlflow_linfa::{FitAndLog as _, FitCheckedAndLog as _, Scores, log_scores, log_silhouette};
use ndarray::{Array1, Array2, Axis, array};

/// Returns the red wines, with their scores as numbers, for training and validation.
fn wines() -> (
    Dataset<f64, f64, ndarray::Ix1>,
    Dataset<f64, f64, ndarray::Ix1>,
) {
    linfa_datasets::winequality()
        .map_targets(|score| *score as f64)
        .split_with_ratio(0.75)
}

/// Returns the only value of a metric.
fn value(fake: &Fake, key: &str) -> f64 {
    match &fake.runs()[0].metrics.get(key).map(Vec::as_slice) {
        Some([point]) => point.value,
        points => panic!("{key} has the points {points:?}"),
    }
}

fn assert_close(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-5, "{left} is not {right}");
}

#[test]
fn a_regression_has_its_params_and_the_scores_of_both_datasets() {
    let (training, validation) = wines();
    let params = ElasticNet::params().penalty(0.1).l1_ratio(0.5);
    let fake = fake();
    let run = mlflow::start_run().start();
    let model = params.fit_and_log(&training, &validation).expect("a model");
    drop(run);

    let own = params.fit(&training).expect("a model");
    assert_eq!(model.hyperplane(), own.hyperplane());
    fake.assert_tag("linfa.model", "ElasticNet");
    fake.assert_param("penalty", "0.1");
    fake.assert_param("l1_ratio", "0.5");
    fake.assert_param("with_intercept", "true");
    for (data, dataset) in [("train", &training), ("valid", &validation)] {
        let predicted = own.predict(dataset);
        let score = |name: &str| value(&fake, &format!("{data}/{name}"));
        assert_close(score("r2"), predicted.r2(dataset).expect("a score"));
        let squared = predicted.mean_squared_error(dataset).expect("a score");
        assert_close(score("mean_squared_error"), squared);
        let absolute = predicted.mean_absolute_error(dataset).expect("a score");
        assert_close(score("mean_absolute_error"), absolute);
        assert_close(
            score("max_error"),
            predicted.max_error(dataset).expect("a score"),
        );
    }
    assert_eq!(fake.runs()[0].metrics.len(), 10);
}

#[test]
fn a_classification_has_the_scores_of_its_classes() {
    let (training, validation) = linfa_datasets::winequality().split_with_ratio(0.75);
    let fake = fake();
    let run = mlflow::start_run().start();
    let tree = DecisionTree::params()
        .max_depth(Some(4))
        .fit_and_log(&training, &validation)
        .expect("a model");
    drop(run);
    fake.assert_param("max_depth", "4");
    fake.assert_tag("linfa.model", "DecisionTree");
    let confusion = tree
        .predict(&validation)
        .confusion_matrix(&validation)
        .expect("as many as targets");
    assert_close(
        value(&fake, "valid/accuracy"),
        f64::from(confusion.accuracy()),
    );
    assert_close(value(&fake, "valid/mcc"), f64::from(confusion.mcc()));
    let keys: Vec<_> = fake.runs()[0].metrics.keys().cloned().collect();
    let names = ["accuracy", "f1", "mcc", "precision", "recall"];
    let expected: Vec<_> = { ["train", "valid"].iter() }
        .flat_map(|data| names.map(|name| format!("{data}/{name}")))
        .collect();
    assert_eq!(keys, expected);
}

#[test]
fn clusters_have_a_silhouette_unless_there_are_too_many_rows() {
    let (training, _) = linfa_datasets::iris().split_with_ratio(0.7);
    let many = DatasetBase::new(Array2::zeros((5_001, 4)), Array1::from_elem(5_001, 0));
    let fake = fake();
    let run = mlflow::start_run().start();
    let clusters = KMeans::params(3).fit(&training).expect("clusters");
    log_silhouette(&clusters, &training, "train");
    log_silhouette(&clusters, &many, "valid");
    drop(run);
    let silhouette = value(&fake, "train/silhouette");
    assert!((0.3..1.0).contains(&silhouette), "{silhouette}");
    assert!(!fake.runs()[0].metrics.contains_key("valid/silhouette"));
}

#[test]
fn params_that_need_no_check_are_fitted_as_well() {
    let (training, validation) = wines();
    let fake = fake();
    let run = mlflow::start_run().start();
    let line = LinearRegression::new().fit_checked_and_log(&training, &validation);
    drop(run);
    assert_eq!(line.expect("a model").params().len(), 11);
    fake.assert_param("fit_intercept", "true");
    fake.assert_metric_logged("valid/r2");

    let checked = ElasticNet::params()
        .penalty(0.2)
        .check()
        .expect("good params");
    let run = mlflow::start_run().start();
    assert!(checked.fit_checked_and_log(&training, &validation).is_ok());
    drop(run);
    assert_eq!(fake.runs()[1].params["penalty"], "0.2");
}

#[test]
fn a_score_of_several_targets_is_their_mean() {
    let records = array![[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 3.0]];
    let exact = records.map_axis(Axis(1), |row| row[0] + row[1]);
    let mut targets = Array2::zeros((4, 2));
    targets.column_mut(0).assign(&exact);
    targets.column_mut(1).fill(5.0);
    let data = Dataset::new(records, targets);
    let fake = fake();
    let run = mlflow::start_run().start();
    let model = MultiTaskElasticNet::params()
        .penalty(0.0)
        .fit_and_log(&data, &data)
        .expect("a model");
    drop(run);
    let predicted = model.predict(&data);
    let mean = (predicted - data.as_targets())
        .mapv(|error: f64| error * error)
        .mean();
    assert_close(
        value(&fake, "train/mean_squared_error"),
        mean.expect("there are rows"),
    );
}

#[test]
fn the_error_of_fit_is_returned_as_it_is() {
    let (training, validation) = wines();
    let fake = fake();
    let run = mlflow::start_run().start();
    let refused = ElasticNet::params()
        .penalty(-1.0)
        .fit_and_log(&training, &validation);
    drop(run);
    assert!(
        matches!(refused, Err(ElasticNetError::InvalidPenalty(_))),
        "{refused:?}"
    );
    let run = &fake.runs()[0];
    assert!(run.params.is_empty() && run.metrics.is_empty(), "{run:?}");
}

#[test]
fn data_that_cannot_be_scored_costs_its_scores_and_nothing_else() {
    let (training, _) = wines();
    let wrong_width = Dataset::new(Array2::zeros((3, 2)), Array1::zeros(3));
    let fewer_targets = Dataset::new(Array2::zeros((3, 11)), Array1::zeros(2));
    let empty = Dataset::new(Array2::zeros((0, 11)), Array1::zeros(0));
    for validation in [wrong_width, fewer_targets, empty] {
        let fake = fake();
        let run = mlflow::start_run().start();
        let model = ElasticNet::params().fit_and_log(&training, &validation);
        drop(run);
        assert!(model.is_ok());
        let keys: Vec<_> = fake.runs()[0].metrics.keys().cloned().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert!(keys.iter().all(|key| key.starts_with("train/")), "{keys:?}");
    }
}

#[test]
fn without_a_run_a_model_is_fitted_and_nothing_is_predicted() {
    /// Model that must not predict.
    struct Silent;

    impl<R: Records> PredictInplace<R, Array1<f64>> for Silent {
        fn predict_inplace(&self, _: &R, _: &mut Array1<f64>) {
            panic!("nobody has asked for a prediction");
        }

        fn default_target(&self, records: &R) -> Array1<f64> {
            Array1::zeros(records.nsamples())
        }
    }

    let (training, validation) = wines();
    let fake = fake();
    assert!(
        ElasticNet::params()
            .fit_and_log(&training, &validation)
            .is_ok()
    );
    log_scores(&Silent, &training, "test");
    assert!(fake.runs().is_empty());

    let run = mlflow::start_run().start();
    log_scores(&Silent, &training, "test"); // the panic is one line
    drop(run);
    assert!(fake.runs()[0].metrics.is_empty());
}

#[test]
fn scores_are_those_of_scikit_learn() {
    // sklearn.metrics of the same lists, with average="macro" and zero_division=0.
    let scores = Scores::of_classes(
        [0_usize, 0, 1, 1, 1, 0].iter(),
        [0_usize, 1, 1, 2, 1, 0].iter(),
    );
    for (name, expected) in [
        ("accuracy", 2.0 / 3.0),
        ("precision", 4.0 / 9.0),
        ("recall", 5.0 / 9.0),
        ("f1", 22.0 / 45.0),
        ("mcc", 0.452_267_016_866_645_4),
    ] {
        assert_close(scores.get(name).expect(name), expected);
    }
    let scores = Scores::of_answers(
        [true, false, true, true].iter(),
        [true, false, false, true].iter(),
    );
    for (name, expected) in [
        ("accuracy", 0.75),
        ("precision", 2.0 / 3.0),
        ("recall", 1.0),
        ("f1", 0.8),
        ("mcc", 0.577_350_269_189_625_8),
    ] {
        assert_close(scores.get(name).expect(name), expected);
    }
    let scores = Scores::of_numbers([2.5, 0.0, 2.0, 8.0].iter(), [3.0, -0.5, 2.0, 7.0].iter());
    for (name, expected) in [
        ("r2", 0.948_608_137_044_967_9),
        ("mean_squared_error", 0.375),
        ("mean_absolute_error", 0.5),
        ("max_error", 1.0),
        ("explained_variance", 0.957_173_447_537_473_2),
    ] {
        assert_close(scores.get(name).expect(name), expected);
    }
}

#[test]
fn a_score_of_equal_values_or_a_missing_class_is_a_number_and_nan_stays_nan() {
    let exact = Scores::of_numbers([1.0, 1.0].iter(), [1.0, 1.0].iter());
    assert_eq!(exact.get("r2"), Some(1.0));
    let wrong = Scores::of_numbers([1.0, 2.0].iter(), [1.0, 1.0].iter());
    assert_eq!(wrong.get("r2"), Some(0.0));
    let never = Scores::of_answers([false, false].iter(), [true, true].iter());
    assert!(never.iter().all(|(_, score)| score == 0.0), "{never:?}");
    let nan = Scores::of_numbers([f64::NAN, 2.0].iter(), [1.0, 1.0].iter());
    assert!(nan.get("max_error").is_some_and(f64::is_nan), "{nan:?}");
}

#[test]
fn linfa_computes_those_scores_differently_of_which_the_docs_say_so() {
    let (predicted, truth) = (array![true, true, false], array![true, false, false]);
    let own = Scores::of_answers(predicted.iter(), truth.iter());
    let confusion = predicted
        .confusion_matrix(&truth)
        .expect("as many as true values");
    let linfa = [confusion.precision(), confusion.recall()].map(|score| Some(f64::from(score)));
    assert_eq!(linfa, [own.get("recall"), own.get("precision")]);
    assert_ne!(own.get("precision"), own.get("recall"));

    // Every error is 1, so nothing but a constant is unexplained.
    let truth = array![3.0, -0.5, 2.0, 7.0];
    let predicted = &truth + 1.0;
    let own = Scores::of_numbers(predicted.iter(), truth.iter());
    assert_close(own.get("explained_variance").expect("a score"), 1.0);
    let linfa = predicted.explained_variance(&truth).expect("a score");
    assert!(linfa < 0.95, "{linfa}");
}
