//! Program with two runs on one thread, in two experiments. Each run logs a text that is too long for the
//! journal itself and is stored in a file beside it.

#[path = "support/report.rs"]
mod report;

fn main() {
    report::to_stderr();
    for experiment in ["left", "right"] {
        let run = mlflow::start_run().experiment(experiment).name(experiment);
        let run = run.start();
        run.log_text(&experiment.repeat(10_000), "notes.txt");
    }
}
