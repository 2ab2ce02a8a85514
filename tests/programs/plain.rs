//! Program without a subscriber, which logs a param, a metric point and an artifact to one run.

fn main() {
    let run = mlflow::start_run().name("plain").start();
    run.log_param("rate", 0.1);
    run.log_metric_at("loss", 0.5, 1);
    run.log_text("kept", "notes.txt");
}
