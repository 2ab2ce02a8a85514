//! [`FitAndLog`] and [`FitCheckedAndLog`]: fits whose params and scores are logged.
//!
//! Invariants:
//!
//! 1. What is returned is what `fit` returns.
//! 2. The params are logged before the fit, so a fit that fails has them, too.
//! 3. Without a run, the model is fitted and nothing else is computed.

use std::any::type_name;
use std::error::Error;

use linfa::ParamGuard;
use linfa::dataset::{AsTargets, DatasetBase, Records};
use linfa::traits::{Fit, PredictInplace};
use mlflow::Run;
use serde::Serialize;

use crate::log_scores::log_scores;
use crate::scores::Target;

/// Params of linfa that are checked by `fit`, as most are: those of elastic net, logistic regression, trees, naive Bayes.
///
/// For others, such as `LinearRegression`, there is [`FitCheckedAndLog`]; for those that are not `Serialize`, such as those of
/// k-means with its default random numbers, `fit` and [`log_scores`] or [`log_silhouette`](crate::log_silhouette).
pub trait FitAndLog {
    /// Logs the params to the current run, fits a model to the training data, and logs the scores of the model on both
    /// datasets: `train/r2`, `valid/r2`. The type of the targets says which scores there are. See the [crate](crate) for all
    /// scores and an example.
    ///
    /// The model predicts every row of both datasets for it. A score that cannot be computed is one line, and the model is
    /// returned all the same. Params that the check refuses are not logged.
    ///
    /// # Errors
    /// The error of `fit`.
    fn fit_and_log<R, T, E, P>(
        &self,
        training: &DatasetBase<R, T>,
        validation: &DatasetBase<R, T>,
    ) -> Result<<Self as Fit<R, T, E>>::Object, E>
    where
        Self: Fit<R, T, E, Object: PredictInplace<R, P>>,
        R: Records,
        T: AsTargets<Elem: Target>,
        P: AsTargets<Elem = T::Elem>,
        E: Error + From<linfa::Error>;
}

impl<G: ParamGuard<Checked: Serialize>> FitAndLog for G {
    fn fit_and_log<R, T, E, P>(
        &self,
        training: &DatasetBase<R, T>,
        validation: &DatasetBase<R, T>,
    ) -> Result<<Self as Fit<R, T, E>>::Object, E>
    where
        Self: Fit<R, T, E, Object: PredictInplace<R, P>>,
        R: Records,
        T: AsTargets<Elem: Target>,
        P: AsTargets<Elem = T::Elem>,
        E: Error + From<linfa::Error>,
    {
        let model = fit_with_params(self, self.check_ref().ok(), training)?;
        log_scores(&model, training, "train");
        log_scores(&model, validation, "valid");
        Ok(model)
    }
}

/// Params of linfa that need no check: those of `LinearRegression`, and those that `check` has returned.
pub trait FitCheckedAndLog {
    /// Does what [`FitAndLog::fit_and_log`] does.
    ///
    /// ```
    /// use linfa_linear::{LinearError, LinearRegression};
    /// use mlflow_linfa::FitCheckedAndLog as _;
    ///
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// let (training, validation) = linfa_datasets::diabetes().split_with_ratio(0.8);
    /// let model = LinearRegression::new().fit_checked_and_log(&training, &validation)?;
    /// assert_eq!(model.params().len(), 10);
    /// # drop(run);
    /// # fake.assert_param("fit_intercept", "true");
    /// # fake.assert_metric_logged("valid/r2");
    /// # Ok::<(), LinearError<f64>>(())
    /// ```
    ///
    /// # Errors
    /// The error of `fit`.
    fn fit_checked_and_log<R, T, E, P>(
        &self,
        training: &DatasetBase<R, T>,
        validation: &DatasetBase<R, T>,
    ) -> Result<<Self as Fit<R, T, E>>::Object, E>
    where
        Self: Fit<R, T, E, Object: PredictInplace<R, P>>,
        R: Records,
        T: AsTargets<Elem: Target>,
        P: AsTargets<Elem = T::Elem>,
        E: Error + From<linfa::Error>;
}

impl<C: Serialize> FitCheckedAndLog for C {
    fn fit_checked_and_log<R, T, E, P>(
        &self,
        training: &DatasetBase<R, T>,
        validation: &DatasetBase<R, T>,
    ) -> Result<<Self as Fit<R, T, E>>::Object, E>
    where
        Self: Fit<R, T, E, Object: PredictInplace<R, P>>,
        R: Records,
        T: AsTargets<Elem: Target>,
        P: AsTargets<Elem = T::Elem>,
        E: Error + From<linfa::Error>,
    {
        let model = fit_with_params(self, Some(self), training)?;
        log_scores(&model, training, "train");
        log_scores(&model, validation, "valid");
        Ok(model)
    }
}

/// Logs the params and the name of the model, and fits.
fn fit_with_params<A, C, R, T, E>(
    algorithm: &A,
    params: Option<&C>,
    training: &DatasetBase<R, T>,
) -> Result<A::Object, E>
where
    A: Fit<R, T, E>,
    C: Serialize,
    R: Records,
    E: Error + From<linfa::Error>,
{
    if let Some(run) = Run::current() {
        run.set_tag("linfa.model", short_name(type_name::<A::Object>()));
        if let Some(params) = params {
            run.log_params(params);
        }
    }
    algorithm.fit(training)
}

/// Returns the name of a type without its module and its generics.
fn short_name(type_name: &str) -> &str {
    let path = type_name.split('<').next().unwrap_or(type_name);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_name_of_a_type_has_no_module_and_no_generics() {
        for (name, short) in [
            (
                "linfa_trees::decision_trees::algorithm::DecisionTree<f64, alloc::string::String>",
                "DecisionTree",
            ),
            ("KMeans", "KMeans"),
            ("", ""),
        ] {
            assert_eq!(short_name(name), short);
        }
    }
}
