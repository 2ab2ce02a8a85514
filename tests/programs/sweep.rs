//! Program with a sweep of two fits, written as a user would write it. Prints its result, so that a test
//! can check that tracking did not change the result.

#[path = "support/report.rs"]
mod report;

use mlflow::tracked;
use serde::Serialize;

#[derive(Serialize)]
struct Scores {
    rmse: f64,
    nested: Nested,
}

#[derive(Serialize)]
struct Nested {
    r2: f64,
}

/// Fits one model.
#[tracked(experiment = "sweep", run_name = "fit-{alpha}", tags(model = "elastic-net", "dotted.key" = 7))]
fn fit(alpha: f64, label: &str) -> Result<Scores, String> {
    for epoch in 0..5 {
        mlflow::metric!("loss", alpha / f64::from(epoch + 1), step = epoch);
    }
    mlflow::metrics!(step = 3, "a" => 1, "b" => f64::NAN, "c" => f64::INFINITY);
    mlflow::log_param("extra", label.len());
    mlflow::set_tag("seen", true);
    mlflow::log_text("feature,weight\nalcohol,0.25\n", "tables/coefficients.csv");
    if alpha > 1.0 {
        Err(format!("alpha {alpha} is too large"))
    } else {
        Ok(Scores {
            rmse: alpha,
            nested: Nested { r2: 0.5 },
        })
    }
}

#[tracked(experiment = "sweep", run_name = "parent", skip_return)]
fn sweep(alphas: &[f64]) -> usize {
    alphas
        .iter()
        .filter(|alpha| fit(**alpha, "naïve").is_ok())
        .count()
}

fn main() {
    report::to_stderr();
    println!("{}", sweep(&[0.5, 2.0]));
}
