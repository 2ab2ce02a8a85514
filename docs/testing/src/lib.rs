#![doc = include_str!("../README.md")]

use std::fmt;

use mlflow::tracked;
use serde::Serialize;

/// Result of a training.
#[derive(Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Root of the mean squared error: the distance from the minimum.
    pub rmse: f64,
    /// Number of epochs of the training.
    pub epochs: usize,
}

/// Error of a training whose loss grows instead of falling.
#[derive(Debug)]
pub struct Diverged;

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the loss grows; choose a smaller rate")
    }
}

impl std::error::Error for Diverged {}

/// Finds the minimum of x² by gradient descent.
///
/// # Errors
/// [`Diverged`] if the rate is too large.
#[tracked(experiment = "descent", tags(model = "parabola"))]
pub fn train(rate: f64, epochs: usize) -> Result<Scores, Diverged> {
    let mut x: f64 = 1.0;
    for epoch in 0..epochs {
        x -= rate * 2.0 * x;
        mlflow::metric!("loss", x * x, step = epoch);
        if x.abs() > 10.0 {
            return Err(Diverged);
        }
    }
    mlflow::log_text(&format!("{x}\n"), "model.txt");
    Ok(Scores { rmse: x.abs(), epochs })
}

/// Trains at several rates: each is a child of one run.
#[tracked(experiment = "descent", skip_return)]
pub fn sweep(rates: &[f64]) -> usize {
    rates.iter().filter(|rate| train(**rate, 3).is_ok()).count()
}
