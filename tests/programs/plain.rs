//! Program without a subscriber, which logs a param, some metric points (one, or as many as its argument says) and an artifact to
//! one run.

fn main() {
    let points = std::env::args().nth(1);
    let points: i64 = points.map_or(1, |points| points.parse().expect("a number"));
    let run = mlflow::start_run().name("plain").start();
    run.log_param("rate", 0.1);
    for step in 1..=points {
        run.log_metric_at("loss", 0.5, step);
    }
    run.log_text("kept", "notes.txt");
}
