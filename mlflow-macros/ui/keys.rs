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

#[tracked(root, description = "a", run_name = "b", tags("mlflow.note.content" = "c", "mlflow.runName" = "d", "mlflow.parentRunId" = "e"))]
fn reserved() {}

// Name of 253 characters, with the prefix `time/`.
#[timed(name = "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567")]
fn too_long_with_its_prefix() {}

#[timed(name = "", nme = "a", crate)]
fn every_error_of_timed() {}

// Regression test: `metric!("..x", 1.0)` did not compile, but this attribute did.
#[tracked(metric = "..x")]
fn way_out() -> f64 {
    0.0
}

fn main() {}
