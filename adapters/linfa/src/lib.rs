//! MLflow tracking for [linfa](https://rust-ml.github.io/linfa/): a fit with its params and scores in one call.
//!
//! ```
//! use linfa::traits::Fit;
//! use linfa_elasticnet::{ElasticNet, ElasticNetError};
//! use mlflow_linfa::FitAndLog as _;
//!
//! #[mlflow::tracked(experiment = "wine-quality")]
//! fn train(ratio: f32) -> Result<(), ElasticNetError> {
//!     let wines = linfa_datasets::winequality().map_targets(|score| *score as f64);
//!     let (training, validation) = wines.split_with_ratio(ratio);
//!     let model = ElasticNet::params()
//!         .penalty(0.1)
//!         .l1_ratio(0.5)
//!         .fit_and_log(&training, &validation)?; // instead of `.fit(&training)?`
//!     println!("{}", model.intercept());
//!     Ok(())
//! }
//!
//! let fake = mlflow::testing::fake();
//! train(0.75)?;
//! fake.assert_param("penalty", "0.1");
//! fake.assert_tag("linfa.model", "ElasticNet");
//! fake.assert_metric_logged("train/r2");
//! fake.assert_metric_logged("valid/r2");
//! # Ok::<(), ElasticNetError>(())
//! ```
//!
//! The params of the algorithm are params of the run. For that they have to be `Serialize`: turn on the feature `serde` of the
//! crate of the algorithm, such as `linfa-elasticnet`. The tag `linfa.model` has the name of the fitted model's type. The scores
//! are metrics, with `train/` in front of those of the training data, and `valid/` in front of those of the validation data:
//!
//! | targets | scores |
//! |---|---|
//! | `f32`, `f64` | `r2`, `mean_squared_error`, `mean_absolute_error`, `max_error`, `explained_variance` |
//! | `bool` | `accuracy`, `mcc`; of the class `true`: `precision`, `recall`, `f1` |
//! | `usize`, `String`, `&str`, `Option` of a label | `accuracy`, `mcc`; as the mean of all classes: `precision`, `recall`, `f1` |
//! | other types | those of your implementation of [`Target`] |
//! | none, as clusters have: [`log_silhouette`] | `silhouette` |
//!
//! Of several targets of a row, a score is the mean over the targets. The scores are those of scikit-learn; linfa 0.8 computes
//! `explained_variance` with another formula, and swaps `precision` and `recall`.
//!
//! A second fit in one run has other params of the same names, which MLflow rejects: give each fit a run of its own, for example
//! by a tracked function.
//!
//! The version of this crate has the minor number of the linfa for which it is made: `mlflow-linfa` 0.8 is for linfa 0.8.

mod fit;
mod log_scores;
mod scores;
mod silhouette;

pub use fit::{FitAndLog, FitCheckedAndLog};
pub use log_scores::log_scores;
pub use scores::{Scores, Target};
pub use silhouette::log_silhouette;
