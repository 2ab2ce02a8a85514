use mlflow_macros::tracked;

#[tracked(metrics("a", "b"))]
fn too_few() -> (f64, f64, f64) {
    (0.0, 0.0, 0.0)
}

#[tracked(metrics("a", "b", "b"))]
fn too_many() -> Result<(f64, f64), String> {
    Ok((0.0, 0.0))
}

#[tracked(metric = "a", skip_return)]
fn left_out() -> f64 {
    0.0
}

#[tracked(metric = "a")]
fn returns_nothing() {}

#[tracked(metric = "a", metrics("b"))]
fn both() -> f64 {
    0.0
}

#[tracked(metrics("a", "b"))]
fn one_number() -> Option<f64> {
    None
}

#[tracked(metrics())]
fn names_nothing() -> (f64, f64) {
    (0.0, 0.0)
}

#[tracked(metric = "a")]
fn returns_unit() -> Result<(), String> {
    Ok(())
}

#[tracked(metric = "a")]
fn never_returns() -> ! {
    loop {}
}

#[tracked(metric = "a")]
#[track_caller]
fn not_seen() -> f64 {
    0.0
}

#[tracked(metrics("a", "b"))]
fn not_seen_either() -> (f64, impl Fn(&str) -> f64) {
    (0.0, |_| 0.0)
}

fn main() {}
