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

#[tracked(run_name = "{a + 1}-{}", experiment = "{a.len()}")]
fn expressions(a: u8) {}

#[tracked(skip(self))]
fn no_self(a: u8) {}

#[tracked(name = "x", id = "y")]
fn ends_of_names(a: u8) {}

fn main() {
    no_such_argument(1.0);
    no_arguments();
    params_of_nothing(1);
    contradictions(1, 2, 3);
    skipped_and_named(1);
    templates(1);
    more_templates();
    expressions(1);
    no_self(1);
    ends_of_names(1);
}
