//! Program in which a thread sets a tag, and the main thread then sets the same tag again.

#[path = "support/report.rs"]
mod report;

fn main() {
    report::to_stderr();
    let run = mlflow::start_run().experiment("handover").start();
    let shared = run.clone();
    let thread = std::thread::spawn(move || shared.set_tag("state", "old"));
    thread.join().expect("it does not panic");
    run.set_tag("state", "new");
}
