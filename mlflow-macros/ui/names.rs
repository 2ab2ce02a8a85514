#![allow(unused_variables)]

use mlflow_macros::tracked;

#[tracked(skip(alhpa), redact(beta), hash(missing))]
fn no_such_argument(alpha: f64) {}

#[tracked(skip(a))]
fn no_arguments() {}

#[tracked(params(b))]
fn params_of_nothing(a: u8) {}

#[tracked(skip(a, a), redact(a), hash(b), params(c, c), skip(b))]
fn contradictions(a: u8, b: u8, c: u8) {}

#[tracked(skip(a), params(a))]
fn skipped_and_named(a: u8) {}

#[tracked(run_name = "{a}-{b}-{timestamp}", experiment = "{open")]
fn templates(a: u8) {}

#[tracked(run_name = "close}", experiment = "  ")]
fn more_templates() {}

fn main() {}
