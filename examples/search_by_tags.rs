//! Searches runs by tags, params and metrics, and continues with what was found: the best run, its curve, its files.
//!
//! ```sh
//! cargo run --example search_by_tags
//! ```
//!
//! The example logs six small runs first, to have something to find.

use std::error::Error;
use std::time::Duration;

use mlflow::blocking::Client;
use mlflow::search::{SearchRuns, attribute, metric, param, tag};
use mlflow::{Goal, start_run};

const EXPERIMENT: &str = "search-by-tags";

fn main() -> Result<(), Box<dyn Error>> {
    log_runs();
    let client = Client::new();

    // Every condition has to hold. Params are compared as numbers, too, which MLflow itself cannot do.
    let filter = tag("team").eq("cellar") & param("alpha").le(0.3) & metric("rmse").lt(1.0);
    let search = SearchRuns::new()
        .experiment(EXPERIMENT)
        .filter(filter)
        .order_by(metric("rmse").asc());
    println!("runs of the team `cellar` with alpha <= 0.3, the best first:");
    for run in client.search_runs(search) {
        let run = run?;
        println!(
            "  {}  alpha {}  rmse {:.3}",
            run.name,
            run.param("alpha").unwrap_or("?"),
            run.metric("rmse").unwrap_or(f64::NAN)
        );
    }

    // The same as a text, in MLflow's own language.
    let failed = SearchRuns::new()
        .experiment(EXPERIMENT)
        .filter("status = 'FAILED' AND tags.team LIKE '%'");
    println!("failed runs: {}", client.search_runs(failed).count());

    // Without a metric, a run cannot be the best.
    let best = mlflow::best_run(EXPERIMENT, "rmse", Goal::Minimize)?.ok_or("no run has an rmse")?;
    let curve = client.metric_history(&best.run_id, "loss")?;
    println!(
        "the best run is {}; its loss: {:.3?}",
        best.name,
        curve.values()
    );

    let newest = SearchRuns::new()
        .experiment(EXPERIMENT)
        .order_by(attribute::start_time().desc())
        .limit(1);
    for run in client.search_runs(newest) {
        for file in client.list_artifacts(run?.run_id, "")? {
            println!("artifact of the newest run: {}", file.path);
        }
    }
    Ok(())
}

/// Logs six runs of two teams.
fn log_runs() {
    for (team, alpha) in [
        ("cellar", 0.1),
        ("cellar", 0.2),
        ("cellar", 0.4),
        ("vineyard", 0.1),
        ("vineyard", 0.2),
        ("vineyard", 0.4),
    ] {
        let run = start_run()
            .experiment(EXPERIMENT)
            .name(format!("{team}-{alpha}"))
            .tag("team", team)
            .param("alpha", alpha)
            .start();
        for epoch in 0..4 {
            run.log_metric_at("loss", alpha + 1.0 / f64::from(epoch + 1), epoch);
        }
        run.log_metric("rmse", 0.5 + alpha);
        run.log_text("depth = 3\n", "config.toml");
    }
    mlflow::flush(Duration::from_secs(30));
}
