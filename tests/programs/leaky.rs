//! Program that logs its argument, a credential, in every way there is, and then aborts:
//! `leaky CREDENTIAL`. A test may put the credential into `argv[0]`, too.

#[path = "support/report.rs"]
mod report;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::catch_unwind;

use mlflow::tracked;
use serde::Serialize;

#[derive(Serialize)]
struct Config {
    endpoint: String,
    list: Vec<String>,
    by_user: BTreeMap<String, u8>,
}

#[derive(Debug)]
struct Refused(String, Option<Box<Refused>>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was refused", self.0)
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[tracked(
    run_name = "with {value}",
    description = value,
    tags(attribute = value),
    params(more = format!("--key={value}")),
)]
fn fails(value: &str, debugged: Option<&str>, config: &Config, long: &str) -> Result<(), Refused> {
    let _ = debugged;
    mlflow::log_param("param", value);
    mlflow::log_params(config);
    mlflow::set_tag("tag", value);
    mlflow::set_tags([("first", value), (value, "second")]);
    mlflow::log_param("cut", long);
    let cause = Refused(value.to_owned(), None);
    Err(Refused(value.to_owned(), Some(Box::new(cause))))
}

#[tracked(skip_all)]
fn panics(value: &str) {
    panic!("{value} was refused")
}

fn main() {
    report::to_stderr();
    let value = &std::env::args().nth(1).expect("CREDENTIAL");
    let config = Config {
        endpoint: format!("https://me:{value}@host/"),
        list: vec!["a".to_owned(), value.clone()],
        by_user: BTreeMap::from([(value.clone(), 1)]),
    };
    // The credential crosses the limit at which a param is cut.
    let long = format!("{} {value} {value}", "x".repeat(5990));
    let _ = fails(value, Some(value), &config, &long);
    let _ = catch_unwind(|| panics(value));
    let run = mlflow::start_run()
        .name(value)
        .param("builder", value)
        .tag("builder", value)
        .start();
    assert!(!run.name().contains(value));
    // An abort runs no destructor and no hook, so the journal stays as it was written.
    std::process::abort();
}
