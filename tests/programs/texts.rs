//! Program that logs texts and metric values which not every database can store. The expected results are
//! in `integration/postgres.rs`.

#[path = "support/report.rs"]
mod report;

fn main() {
    report::to_stderr();
    let run = mlflow::start_run()
        .experiment("texts")
        .name("na\0me")
        .param("start", "\0")
        .tag("start", "a\0")
        .start();
    run.log_param("nul", "a\0b\0");
    run.set_tag("nul", "a\0b");
    // A noncharacter, the last code point, a combining mark without a letter, a right-to-left override, a
    // next-line control, and text that looks like escapes and quotes.
    run.log_param(
        "odd",
        "\u{ffff}\u{10ffff}\u{301}\u{202e}\u{85}\\x00 %s 'q' \"q\"",
    );
    run.log_param("long", "🦀".repeat(6000));
    run.set_tag("long", "🦀".repeat(8000));
    run.set_tag("mlflow.note.content", "🦀".repeat(8000));
    for (step, value) in [(0, f64::NAN), (1, f64::INFINITY), (2, f64::NEG_INFINITY)] {
        run.log_metric_at("edge", value, step);
    }
    run.log_text("a\0b", "nul.txt");
}
