//! Arbitrary texts: every function that takes a text accepts any text.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use mlflow::testing::fake;
use mlflow::tracked;
use serde::Serialize;

use crate::support::rng::Rng;

/// Number of random texts in one run of the test.
const TEXTS: usize = 300;
/// Stack size of the logging threads. The stack is far smaller than usual, so that recursion over a text
/// overflows it. One call in a debug build needs less than 96 KiB.
const STACK_BYTES: usize = 128 << 10;
/// Length up to which a panic prints the text.
const SHORT: usize = 1 << 10;

/// Pieces from which texts are composed: beginnings of credentials, characters that surround credentials, and
/// characters with a special meaning for a parser or a store.
const PIECES: [&str; 48] = [
    "Authorization: Bearer ",
    "Authorization: Basic ",
    "authorization=token ",
    "Bearer ",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "https://user:password@host/",
    "https://u@",
    "redis://:p@h",
    "://",
    "@",
    "sk-",
    "sk-ant-",
    "AKIA",
    "ghp_",
    "eyJ",
    ".eyJ",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END",
    "-----",
    "[redacted]",
    "redacted",
    "password: ",
    "\"token\": ",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "'",
    "\\",
    "\\\"",
    "\\u{",
    "%",
    "%3D",
    "\0",
    "\n",
    "\r\n",
    "\u{1b}[31m",
    "é",
    "日本語",
    "\u{1f600}",
    "\u{fffd}",
    "\u{202e}",
    "e\u{301}",
    "/../",
    "{rank}",
];

struct Texts(Rng);

impl Texts {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).unwrap()
    }

    fn next(&mut self) -> String {
        let pieces = match self.below(100) {
            0..80 => self.below(12),
            80..97 => self.below(300),
            _ => self.below(20_000),
        };
        let repeated = self.below(4) == 0;
        let piece = PIECES[self.below(PIECES.len())];
        let mut text = String::new();
        for _ in 0..pieces {
            let other = PIECES[self.below(PIECES.len())];
            text.push_str(if repeated { piece } else { other });
        }
        text
    }
}

/// Text whose `Debug` output is the text itself, without quotes and escapes.
struct Verbatim(String);

impl fmt::Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Verbatim {}

#[derive(Serialize)]
struct Nested<'t> {
    field: &'t str,
    map: BTreeMap<&'t str, BTreeMap<&'t str, &'t str>>,
    list: [&'t str; 2],
}

impl<'t> Nested<'t> {
    fn of(text: &'t str) -> Self {
        Self {
            field: text,
            map: BTreeMap::from([(text, BTreeMap::from([(text, text)]))]),
            list: [text; 2],
        }
    }
}

#[tracked(run_name = "n-{text}", description = text, tags(t = text))]
fn fails(text: &str, shown: &Verbatim) -> Result<(), Verbatim> {
    let _ = shown;
    Err(Verbatim(text.to_owned()))
}

#[tracked(experiment = text, skip(text))]
fn returns(text: &str) -> BTreeMap<&str, f64> {
    BTreeMap::from([(text, 0.5)])
}

#[tracked]
fn panics(text: &str) {
    std::panic::resume_unwind(Box::new(text.to_owned()));
}

/// Passes the text to every function that takes one.
fn log_everywhere(text: &str) {
    let builder = mlflow::start_run()
        .experiment(text)
        .name(text)
        .run_id(text)
        .tag(text, text)
        .param(text, text);
    drop(builder.start());
    let run = mlflow::start_run().name(text).experiment(text).start();
    let _ = format!("{run:?} {}", run.name());
    mlflow::log_metric(text, 0.5);
    mlflow::log_metric_at(text, 0.5, 1);
    mlflow::log_metrics([(text, 0.5)], 2);
    run.metric(text).log(0.5, 3);
    mlflow::log_param(text, text);
    mlflow::log_params(&Nested::of(text));
    mlflow::log_params(&BTreeMap::from([(text, text)]));
    mlflow::log_params(text);
    mlflow::set_tag(text, text);
    mlflow::set_tags([(text, text)]);
    mlflow::log_text(text, text);
    mlflow::log_artifact(text);
    run.log_artifact_in("Cargo.toml", text);
    assert!(fails(text, &Verbatim(text.to_owned())).is_err());
    let _ = returns(text);
    assert!(catch_unwind(AssertUnwindSafe(|| panics(text))).is_err());
    run.scope(|| log_events(text));
    mlflow::set_experiment(text);
    if text.len() < SHORT {
        let config = mlflow::Config::new()
            .tracking_uri(text)
            .experiment(text)
            .metric_prefix(text)
            .rendezvous_id(text)
            .basic_auth(text, text)
            .journal_dir(text);
        let _ = format!("{:?}", mlflow::Client::with_config(config));
    }
    drop(run);
    // A store may take no runs for an experiment named by the text, so the last run has an experiment with an
    // ordinary name.
    drop(
        mlflow::start_run()
            .experiment("all")
            .name(text)
            .tag("last", "yes")
            .start(),
    );
}

#[cfg(feature = "tracing")]
fn log_events(text: &str) {
    use tracing_subscriber::layer::SubscriberExt as _;

    let layer = mlflow::layer().span_durations(true);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _span = tracing::info_span!("span", field = text).entered();
        tracing::info!(token = text, metric.loss = text, step = text, "{text}");
        tracing::warn!(field = ?Verbatim(text.to_owned()), metric.loss = 0.5);
    });
}

#[cfg(not(feature = "tracing"))]
fn log_events(_: &str) {}

#[test]
fn no_text_panics_or_goes_deep_wherever_it_is_logged() {
    let mut texts = Texts(Rng::seeded());
    let by_itself = PIECES.map(str::to_owned).into_iter();
    let made: Vec<_> = (0..TEXTS).map(|_| texts.next()).collect();
    let fake = fake();
    for text in by_itself.chain(made) {
        let begin: String = text.chars().take(200).collect();
        let job = mlflow::thread::carry(move || log_everywhere(&text));
        let small = thread::Builder::new().stack_size(STACK_BYTES).spawn(job);
        // A stack overflow aborts the process. The last line of the output then shows the text.
        println!("{begin:?}");
        assert!(small.unwrap().join().is_ok(), "{begin:?}");
    }
    let complete = |run: &&mlflow::testing::RecordedRun| run.tags.contains_key("last");
    let complete = fake.runs().iter().filter(complete).count();
    assert_eq!(complete, PIECES.len() + TEXTS);
}
