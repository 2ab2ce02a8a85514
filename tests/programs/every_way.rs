//! Program that logs texts, which NUL separates on its standard input, by every way there is, in runs of its own: `every_way [abort]`.
//! With `abort` the program aborts at the end, which leaves its journal as it was written.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlflow::{Dataset, Model, tracked};
use serde::Serialize;
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[derive(Debug)]
struct Refused(String, Option<Box<Refused>>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[derive(Debug, Serialize)]
struct Settings {
    note: String,
    notes: Vec<String>,
    by_note: BTreeMap<String, u8>,
}

#[tracked(
    run_name = "with {value}",
    description = value,
    tags(attribute = value),
    params(more = format!("also {value}")),
)]
fn fails(value: &str, debugged: Option<&str>, settings: &Settings) -> Result<(), Refused> {
    let _ = debugged;
    mlflow::log_param("by_hand", value);
    mlflow::log_params(settings);
    mlflow::set_tag("by_hand", value);
    mlflow::set_tags([("first", value), (value, "second")]);
    let cause = Refused(value.to_owned(), None);
    Err(Refused(value.to_owned(), Some(Box::new(cause))))
}

#[tracked(skip_all)]
fn panics(value: &str) {
    panic!("{value}");
}

#[tracked(skip(text), experiment = "lines")]
fn logs_lines(text: &str) {
    let span = info_span!("epoch", note = text, seen = ?Some(text));
    let _entered = span.enter();
    info!(note = text, debugged = ?text, "{text}");
    info!(metric.loss = 0.5, note = text);
    println!("{text}");
}

fn logs_by_hand(text: &str) {
    let run = mlflow::start_run()
        .name(text)
        .param("built", text)
        .tag("built", text)
        .start();
    run.log_param(text, 1);
    run.log_params(&BTreeMap::from([(text, 1)]));
    run.log_metric(text, 0.5);
    run.log_text("x", text);
    run.log_dict(&1, &format!("{text}.json"));
    run.log_table([(1, 2)], &format!("{text}/table.json"));
    run.log_artifact_in("file.txt", text);
    #[cfg(feature = "image")]
    run.log_image_at(mlflow::Image::gray(1, 1, vec![0]), text, 1);
    let data = Dataset::new(text).source(text).tag(text, text);
    run.log_input(&data, text);
    run.log_input(&Dataset::from_url(text), "train");
    let model = Model::new(text)
        .bytes("net.bin", [7])
        .bytes(text, [7])
        .param("of_model", text)
        .tag("of_model", text);
    run.log_model(&model);
    run.log_output(text, 1);
    let shown = format!("{run:?} {:?}", run.url());
    assert!(shown.contains("Run"), "{shown}");
    eprintln!("shown: {shown}");
}

fn main() {
    tracing_subscriber::registry().with(mlflow::layer()).init();
    // The panics are those of the program, and are what its terminal shows.
    std::panic::set_hook(Box::new(|_| ()));
    std::fs::write("file.txt", "x").expect("a file");
    let texts = io::read_to_string(io::stdin()).expect("UTF-8");
    for text in texts.split('\0') {
        let settings = Settings {
            note: text.to_owned(),
            notes: vec![text.to_owned()],
            by_note: BTreeMap::from([(text.to_owned(), 1)]),
        };
        let _ = fails(text, Some(text), &settings);
        let _ = catch_unwind(AssertUnwindSafe(|| panics(text)));
        logs_lines(text);
        logs_by_hand(text);
    }
    if std::env::args().nth(1).is_some_and(|word| word == "abort") {
        std::process::abort();
    }
}
