//! [`Thinning`]: the points of a curve that stay where not all of them can be shown.

use crate::output::format;

/// Part of the points that is at most kept for values that are no numbers.
const NON_FINITE_PART: usize = 4;
/// Number of points that are kept first: the ends of the curve, its smallest and its greatest value.
const ENDS_AND_EXTREMES: usize = 4;

/// Choice of points of a curve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Thinning {
    /// Indices of the points that stay, in ascending order.
    pub(crate) indices: Vec<usize>,
    /// Number of values that are NaN or infinite, also in the database, whether their points stay or not.
    pub(crate) non_finite: usize,
}

/// Chooses at most `max` points of a curve, and at least two if the curve has them. The choice keeps
///
/// - the first and the last point,
/// - the smallest and the greatest value of the curve, if `max` is at least four,
/// - the smallest and the greatest value of each stretch of the curve, so that no peak is lost,
/// - the places of values that are no numbers: the beginning and the end of each sequence of them. If these are
///   more than a quarter of `max`, the earliest ones stay, and the last one. If `max` is four, there is no room for
///   them.
///
/// Takes time in proportion to the number of points.
pub(crate) fn thin(values: &[f64], max: usize) -> Thinning {
    let max = max.max(2);
    let non_finite = values
        .iter()
        .filter(|&&value| !format::is_number(value))
        .count();
    let last = match values.len().checked_sub(1) {
        Some(last) if values.len() > max => last,
        _ => {
            return Thinning {
                indices: (0..values.len()).collect(),
                non_finite,
            };
        }
    };
    let mut indices = vec![0, last];
    // One stretch is left at least, in which the smallest and the greatest value of the curve are found.
    let places = (max / NON_FINITE_PART).min(max.saturating_sub(ENDS_AND_EXTREMES));
    indices.extend(non_finite_places(values, places));
    let stretches = (max - indices.len().min(max)) / 2;
    if stretches > 0 {
        let length = values.len().div_ceil(stretches);
        for (number, stretch) in values.chunks(length).enumerate() {
            indices.extend(extremes(stretch).map(|index| number * length + index));
        }
    }
    indices.sort_unstable();
    indices.dedup();
    Thinning {
        indices,
        non_finite,
    }
}

/// Returns the indices of the smallest and the greatest number; none if there is no number.
fn extremes(values: &[f64]) -> impl Iterator<Item = usize> + use<> {
    let mut least: Option<(usize, f64)> = None;
    let mut greatest: Option<(usize, f64)> = None;
    for (index, &value) in values.iter().enumerate() {
        if !format::is_number(value) {
            continue;
        }
        if least.is_none_or(|(_, other)| value < other) {
            least = Some((index, value));
        }
        if greatest.is_none_or(|(_, other)| value > other) {
            greatest = Some((index, value));
        }
    }
    [least, greatest]
        .into_iter()
        .flatten()
        .map(|(index, _)| index)
}

/// Returns the beginnings and ends of the sequences of values that are no numbers: the first ones, and the last.
fn non_finite_places(values: &[f64], max: usize) -> Vec<usize> {
    let is_number = |index: Option<usize>| {
        index
            .and_then(|index| values.get(index))
            .is_none_or(|&value| format::is_number(value))
    };
    let mut places: Vec<usize> = Vec::new();
    let ends = (0..values.len()).filter(|&index| {
        !is_number(Some(index))
            && (is_number(index.checked_sub(1)) || is_number(index.checked_add(1)))
    });
    for place in ends {
        if places.len() < max {
            places.push(place);
        } else if let Some(last) = places.last_mut() {
            *last = place;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_extremes_and_the_order() {
        let mut values = vec![1.0; 100_000];
        values[54_321] = 99.0;
        values[77_777] = -5.0;
        let indices = thin(&values, 2000).indices;
        assert!(indices.len() <= 2000, "{}", indices.len());
        assert!(indices.contains(&54_321) && indices.contains(&77_777));
        assert!(indices.is_sorted());
        assert_eq!((indices[0], indices.last()), (0, Some(&99_999)));
    }

    #[test]
    fn the_extremes_stay_beside_what_is_no_number() {
        for unusual in [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN] {
            for places in [
                &[500][..],
                &[0],
                &[999],
                &[100, 101, 300, 800],
                &[0, 500, 999],
            ] {
                let mut values = vec![1.0; 1000];
                values[321] = 99.0;
                values[777] = -5.0;
                for &place in places {
                    values[place] = unusual;
                }
                for max in 4..=8 {
                    let thinned = thin(&values, max);
                    let indices = thinned.indices;
                    let shown = format!("{unusual} {places:?} {max}: {indices:?}");
                    assert!(indices.len() <= max, "{shown}");
                    for extreme in [0, 321, 777, 999] {
                        assert!(indices.contains(&extreme), "{shown}");
                    }
                    assert_eq!(thinned.non_finite, places.len(), "{shown}");
                }
            }
        }
    }

    #[test]
    fn a_short_curve_stays_as_it_is() {
        assert_eq!(thin(&[], 10).indices, [0; 0]);
        assert_eq!(thin(&[1.0, f64::NAN], 2).indices, [0, 1]);
        assert_eq!(thin(&[1.0, f64::NAN], 2).non_finite, 1);
        assert_eq!(thin(&[1.0, 2.0, 3.0], 3).indices, [0, 1, 2]);
    }

    #[test]
    fn no_budget_is_exceeded() {
        let with_gaps = |length: usize| -> Vec<f64> {
            (0..length)
                .map(|index| match index % 7 {
                    3 => f64::NAN,
                    5 => f64::INFINITY,
                    #[expect(clippy::cast_precision_loss, reason = "a small number")]
                    other => (other * index % 13) as f64,
                })
                .collect()
        };
        for length in [0, 1, 2, 3, 5, 8, 13, 100, 1001] {
            for max in 0..70 {
                let values = with_gaps(length);
                let indices = thin(&values, max).indices;
                assert!(indices.len() <= max.max(2), "{length} {max} {indices:?}");
                assert!(indices.len() >= length.min(2), "{length} {max}");
                assert!(indices.is_sorted_by(|left, right| left < right));
                assert!(indices.iter().all(|&index| index < length));
            }
        }
    }

    #[test]
    fn the_places_of_what_is_no_number_stay_and_are_counted() {
        let mut values = vec![0.5; 10_000];
        values[40] = f64::NAN;
        for value in &mut values[7000..9000] {
            *value = f64::NEG_INFINITY;
        }
        let Thinning {
            indices,
            non_finite,
        } = thin(&values, 40);
        assert_eq!(non_finite, 2001);
        for place in [40, 7000, 8999] {
            assert!(indices.contains(&place), "{place} {indices:?}");
        }
        // A curve without any number keeps its ends.
        let none = thin(&vec![f64::NAN; 1000], 10);
        assert_eq!((none.indices, none.non_finite), (vec![0, 999], 1000));
    }
}
