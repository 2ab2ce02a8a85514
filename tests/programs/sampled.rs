//! Program that logs runs of every kind.

#[path = "support/report.rs"]
mod report;
#[path = "support/sample.rs"]
mod sample;

fn main() {
    report::to_stderr();
    sample::log();
}
