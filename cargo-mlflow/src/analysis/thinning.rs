//! Thinning of a curve to as many points as can be shown.

/// Returns at most `max` of the points, which are in the order of the horizontal axis: of each stretch of the curve
/// its smallest and its greatest value, so that no peak is lost. `max` is at least 2.
pub(crate) fn thin(points: Vec<(f64, f64)>, max: usize) -> Vec<(f64, f64)> {
    if points.len() <= max {
        return points;
    }
    let stretch = points.len().div_ceil(max / 2);
    points
        .chunks(stretch)
        .flat_map(|chunk| {
            let by_value = |left: &&(f64, f64), right: &&(f64, f64)| left.1.total_cmp(&right.1);
            let least = chunk.iter().min_by(by_value);
            let greatest = chunk.iter().max_by(by_value);
            let mut both: Vec<(f64, f64)> =
                [least, greatest].into_iter().flatten().copied().collect();
            both.sort_by(|left, right| left.0.total_cmp(&right.0));
            both.dedup();
            both
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_extremes_and_the_order() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[54_321].1 = 99.0;
        points[77_777].1 = -5.0;
        let thinned = thin(points, 2000);
        assert!(thinned.len() <= 2000, "{}", thinned.len());
        assert!(thinned.contains(&(54_321.0, 99.0)) && thinned.contains(&(77_777.0, -5.0)));
        assert!(thinned.is_sorted_by(|left, right| left.0 <= right.0));
    }
}
