//! [`log_scores`]: scores of a model on a dataset, as metrics of the current run.
//!
//! Invariant: whatever fails is one line, and the program continues. Without a run, nothing is computed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use linfa::DatasetBase;
use linfa::dataset::{AsTargets, Records};
use linfa::traits::PredictInplace;
use mlflow::Run;
use ndarray::{ArrayView, Axis, Dimension};

use crate::scores::{Scores, Target};
use mlflow::diagnostics::warn;

/// Logs the scores of a fitted model on a dataset to the current run, with `{data}/` in front: `test/r2`. Meant for test data, and
/// for models whose params cannot be logged by [`FitAndLog`](crate::FitAndLog). Without a run, nothing is computed.
///
/// ```
/// use linfa::traits::Fit as _;
/// use linfa_linear::{LinearError, LinearRegression};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let patients = linfa_datasets::diabetes();
/// let model = LinearRegression::new().fit(&patients)?;
/// mlflow_linfa::log_scores(&model, &patients, "test");
/// # drop(run);
/// # fake.assert_metric_logged("test/r2");
/// # Ok::<(), LinearError<f64>>(())
/// ```
///
/// The call predicts every row of the dataset. If the rows and targets are not equally many, if there are none, or if the model
/// panics, one line says so, nothing is logged, and the program continues.
pub fn log_scores<M, R, T, P>(model: &M, dataset: &DatasetBase<R, T>, data: &str)
where
    M: PredictInplace<R, P>,
    R: Records,
    T: AsTargets<Elem: Target>,
    P: AsTargets<Elem = T::Elem>,
{
    if let Some(run) = Run::current() {
        log_scores_to(&run, data, || {
            let rows = dataset.records().nsamples();
            if rows == 0 {
                return Err("it has no rows".to_owned());
            }
            let predicted = predict(model, dataset.records());
            let predicted = columns(predicted.as_targets());
            let truth = columns(dataset.targets().as_targets());
            score(&predicted, &truth, rows)
        });
    }
}

/// Logs scores with `{data}/` in front, or the reason why there are none.
pub(crate) fn log_scores_to(
    run: &Run,
    data: &str,
    scores: impl FnOnce() -> Result<Scores, String>,
) {
    let scores = catch_unwind(AssertUnwindSafe(scores))
        .unwrap_or_else(|_| Err("the prediction panicked; the program continues".to_owned()));
    match scores {
        Ok(scores) => run.log_metrics(
            scores
                .iter()
                .map(|(name, score)| (format!("{data}/{name}"), score)),
            0,
        ),
        Err(fault) => warn(format_args!(
            "the scores of the data \"{data}\" are not logged: {fault}"
        )),
    }
}

/// Returns the predictions of a model.
pub(crate) fn predict<R: Records, P>(model: &impl PredictInplace<R, P>, records: &R) -> P {
    let mut predicted = model.default_target(records);
    model.predict_inplace(records, &mut predicted);
    predicted
}

/// Returns the columns of targets. Targets of one dimension are one column.
fn columns<L: Clone, D: Dimension>(targets: ArrayView<'_, L, D>) -> Vec<Vec<L>> {
    let targets = targets.into_dyn();
    if targets.ndim() < 2 {
        return vec![targets.iter().cloned().collect()];
    }
    let columns = targets.axis_iter(Axis(1));
    columns
        .map(|column| column.iter().cloned().collect())
        .collect()
}

fn score<L: Target>(predicted: &[Vec<L>], truth: &[Vec<L>], rows: usize) -> Result<Scores, String> {
    if predicted.len() != truth.len() {
        let (predicted, truth) = (predicted.len(), truth.len());
        return Err(format!(
            "the model predicts {predicted} targets of a row, and the data has {truth}"
        ));
    }
    let mut scores = Vec::with_capacity(truth.len());
    for (predicted, truth) in predicted.iter().zip(truth) {
        if predicted.len() != truth.len() {
            return Err(format!("it has {rows} rows and {} targets", truth.len()));
        }
        scores.push(L::scores(predicted, truth));
    }
    Ok(Scores::mean(&scores))
}
