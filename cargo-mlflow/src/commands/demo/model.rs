//! Logistic regression on two overlapping clouds of points.

/// Point of one of two classes.
pub(super) struct Point {
    x: f64,
    y: f64,
    label: f64,
}

/// Returns points of two classes, which overlap. The same seed gives the same points.
pub(super) fn two_clouds(seed: u32, count: usize) -> Vec<Point> {
    // The generator `xorshift32` of Marsaglia (2003), with numbers from -1 to 1.
    let mut state = seed.wrapping_mul(2_654_435_769);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    let class = |index: usize| f64::from(u8::from(!index.is_multiple_of(2)));
    (0..count)
        .map(|index| {
            let label = class(index);
            let center = label * 2.0 - 1.0;
            // The sum of three numbers is nearly distributed as a bell.
            let mut noise = || (random() + random() + random()) * 1.2;
            Point {
                x: center + noise(),
                y: 0.5 * center + noise(),
                label,
            }
        })
        .collect()
}

fn predict(weights: &[f64; 3], point: &Point) -> f64 {
    let [x, y, bias] = weights;
    1.0 / (1.0 + (-(x * point.x + y * point.y + bias)).exp())
}

/// Returns the gradient of the loss.
pub(super) fn gradient(weights: &[f64; 3], points: &[Point]) -> [f64; 3] {
    let error = |point: &Point| predict(weights, point) - point.label;
    [
        mean(points.iter().map(|point| error(point) * point.x)),
        mean(points.iter().map(|point| error(point) * point.y)),
        mean(points.iter().map(error)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Returns the mean cross-entropy.
pub(super) fn loss(weights: &[f64; 3], points: &[Point]) -> f64 {
    mean(points.iter().map(|point| {
        let probability = predict(weights, point).clamp(1e-12, 1.0 - 1e-12);
        -(point.label * probability.ln() + (1.0 - point.label) * (1.0 - probability).ln())
    }))
}

/// Returns the share of the points that are classified rightly.
pub(super) fn accuracy(weights: &[f64; 3], points: &[Point]) -> f64 {
    mean(points.iter().map(|point| {
        let is_right = (predict(weights, point) > 0.5) == (point.label > 0.5);
        f64::from(u8::from(is_right))
    }))
}
