//! Two runs of one thread, in experiments of their own, each with a text that is too long to lie
//! inside the journal.

#[path = "report.rs"]
mod report;

fn main() {
    report::to_stderr();
    for experiment in ["left", "right"] {
        let run = mlflow::start_run().experiment(experiment).name(experiment);
        let run = run.start();
        run.log_text(&experiment.repeat(10_000), "notes.txt");
    }
}
