use mlflow_macros::{timed, tracked};

#[tracked(tags("a#b" = 1, "" = 2, "x//y" = 3, "../z" = 4, ok = 5, ok = 6, bare))]
fn tags() {}

#[tracked(params("a,b" = 1, k = 1, k = 2))]
fn params() {}

#[tracked(metric = "loss!", experiment = "")]
fn metric() -> f64 {
    0.0
}

#[tracked(metric = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789")]
fn long() -> f64 {
    0.0
}

#[timed(name = "a?")]
fn timed_key() {}

#[timed(nam = "a")]
fn timed_argument() {}

fn main() {}
