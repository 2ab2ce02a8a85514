use mlflow_macros::tracked;

#[tracked(experment = "wine")]
fn nearest() {}

#[tracked(colour = "red", experiment = "wine")]
fn unknown() {}

#[tracked(root, experiment = "a", root, experiment = "b")]
fn twice() {}

#[tracked(experiment)]
fn lacks_value() {}

#[tracked(run_name = , skip_all = true, tags = "x", metric = 5)]
fn every_error_is_told() {}

#[tracked(system_metrics, system_metrics = true)]
fn says_neither_yes_nor_no() {}

#[tracked(system_metrics = , root)]
fn says_nothing() {}

#[tracked("wine")]
fn not_a_name() {}

#[tracked(root experiment = "x")]
fn no_comma() {}

fn main() {
    nearest();
    unknown();
    twice();
    lacks_value();
    every_error_is_told();
    says_neither_yes_nor_no();
    says_nothing();
    not_a_name();
    no_comma();
}
