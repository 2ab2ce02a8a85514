//! Decision trees of linfa that grow deeper and deeper, a run of MLflow each.
//!
//! ```sh
//! cargo run --example tree_depth
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! A tree predicts the score that tasters gave to a red wine. With its depth, the accuracy on the wines of the training grows,
//! and that on other wines does not: the page of the experiment shows both beside each other.

use linfa::Dataset;
use linfa_trees::DecisionTree;
use mlflow_linfa::FitAndLog as _;
use ndarray::Ix1;

type Wines = Dataset<f64, usize, Ix1>;

/// Learns the score that tasters gave to a red wine from eleven measurements.
#[mlflow::tracked(experiment = "linfa-wine", run_name = "depth-{depth}", skip_all)]
fn fit(depth: usize, training: &Wines, validation: &Wines) -> linfa::error::Result<()> {
    DecisionTree::params()
        .max_depth(Some(depth))
        .fit_and_log(training, validation)?;
    Ok(())
}

fn main() -> linfa::error::Result<()> {
    let (training, validation) = linfa_datasets::winequality().split_with_ratio(0.75);
    for depth in [2, 4, 6, 8, 12] {
        fit(depth, &training, &validation)?;
    }
    Ok(())
}
