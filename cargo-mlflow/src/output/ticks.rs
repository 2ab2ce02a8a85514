//! [`Ticks`] of an axis: round numbers, where the values allow it.

use super::format;

/// Greatest number of powers of ten on a logarithmic axis that has further ticks between them.
const MAX_FINE_DECADES: f64 = 2.0;
/// Greatest number of powers of ten that have a tick.
const MAX_POWERS: f64 = 6.0;

/// Ticks of an axis, at round numbers. The first and the last one are the ends of the axis.
#[derive(Debug, PartialEq)]
pub(crate) struct Ticks(Vec<Tick>);

/// Tick of an axis.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    /// Place on the axis: the number, or its logarithm to base 10.
    pub(super) place: f64,
    pub(super) label: String,
}

impl Ticks {
    /// Returns about `wanted` ticks at equal distances that enclose all values. The distance of two ticks is a power
    /// of ten, or its double or half.
    pub(crate) fn linear(values: impl Iterator<Item = f64>, wanted: f64) -> Self {
        let [least, greatest] = range_of(values);
        let rough = (greatest - least) / wanted;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(10.0 * power);
        let first = (least / step).floor() * step;
        let last = (greatest / step).ceil() * step;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few ticks"
        )]
        let count = ((last - first) / step).round().clamp(1.0, 100.0) as u32;
        let places = (0..=count).map(|index| first + step * f64::from(index));
        let ticks = places.map(|place| Tick {
            place,
            // A difference that is not exactly zero must not become `-1e-17`.
            label: format::number(if place.abs() < step / 1e6 { 0.0 } else { place }),
        });
        Self(ticks.collect())
    }

    /// Returns the ticks that enclose the logarithms of all values: powers of ten, and, if these are few, their
    /// doubles and fivefolds.
    pub(crate) fn logarithmic(logarithms: impl Iterator<Item = f64>) -> Self {
        let [least, greatest] = range_of(logarithms);
        let decades = greatest - least;
        let factors: &[f64] = if decades > MAX_FINE_DECADES {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let every = (decades / MAX_POWERS).ceil().max(1.0);
        let first_power = (least / every).floor() * every;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float has some 600 powers of ten"
        )]
        let count = ((greatest - first_power) / every).ceil() as u32 + 1;
        let candidates: Vec<Tick> = (0..=count)
            .map(|index| first_power + every * f64::from(index))
            .flat_map(|power| factors.iter().map(move |factor| (power, *factor)))
            .map(|(power, factor)| Tick {
                place: power + factor.log10(),
                label: format::number(factor * 10f64.powf(power)),
            })
            .collect();
        // A rounded logarithm is not below its own tick.
        let is_below = |tick: &&Tick| tick.place <= least + 1e-9;
        let is_above = |tick: &Tick| tick.place >= greatest - 1e-9;
        let first = candidates.iter().filter(is_below).count().saturating_sub(1);
        let last = candidates.iter().position(is_above);
        let last = last.unwrap_or(candidates.len()).max(first + 1);
        let ticks = candidates.into_iter().skip(first).take(last - first + 1);
        Self(ticks.collect())
    }

    /// Returns the ticks, from the least to the greatest.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tick> {
        self.0.iter()
    }

    /// Returns the number of characters of the longest label.
    pub(super) fn label_chars(&self) -> usize {
        let chars = self.0.iter().map(|tick| tick.label.chars().count());
        chars.max().unwrap_or_default()
    }

    /// Returns the ends of the axis.
    pub(crate) fn bounds(&self) -> [f64; 2] {
        let place = |tick: Option<&Tick>| tick.map(|tick| tick.place);
        match (place(self.0.first()), place(self.0.last())) {
            (Some(first), Some(last)) => [first, last],
            _ => [0.0, 1.0],
        }
    }
}

/// Returns the least and the greatest value, which always differ.
fn range_of(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let none = [f64::INFINITY, f64::NEG_INFINITY];
    let [least, greatest] = values.fold(none, |[least, greatest], value| {
        [least.min(value), greatest.max(value)]
    });
    if least < greatest {
        [least, greatest]
    } else if least.is_finite() {
        // One value is in the middle.
        let margin = if least == 0.0 { 1.0 } else { least.abs() / 2.0 };
        [least - margin, least + margin]
    } else {
        [0.0, 1.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_logarithmic_axis_are_round() {
        for (values, labels) in [
            (vec![1.0, 1000.0], vec!["1", "10", "100", "1000"]),
            (vec![1.5, 700.0], vec!["1", "10", "100", "1000"]),
            (vec![0.36, 0.69], vec!["0.2", "0.5", "1"]),
            (vec![3.0, 40.0], vec!["2", "5", "10", "20", "50"]),
            (vec![5.0], vec!["2", "5", "10", "20"]),
            (
                vec![1e-9, 1e3],
                vec![
                    "1e-10", "1e-8", "1e-6", "0.0001", "0.01", "1", "100", "10000",
                ],
            ),
        ] {
            let logarithms = values.iter().map(|value: &f64| value.log10());
            let found = Ticks::logarithmic(logarithms);
            let found: Vec<&str> = found.0.iter().map(|tick| tick.label.as_str()).collect();
            assert_eq!(found, labels, "{values:?}");
        }
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        for (values, ticks) in [
            (vec![0.0, 59.0], vec![0.0, 20.0, 40.0, 60.0]),
            (vec![0.36, 0.69], vec![0.3, 0.4, 0.5, 0.6, 0.7]),
            (vec![-3.0, 8.0], vec![-5.0, 0.0, 5.0, 10.0]),
            (vec![7.0], vec![2.0, 4.0, 6.0, 8.0, 10.0, 12.0]),
            (vec![], vec![0.0, 0.5, 1.0]),
        ] {
            let found = Ticks::linear(values.iter().copied(), 4.0);
            let found: Vec<f64> = found.0.iter().map(|tick| tick.place).collect();
            let is_equal = found.len() == ticks.len()
                && found
                    .iter()
                    .zip(&ticks)
                    .all(|(found, tick)| (found - tick).abs() < 1e-9);
            assert!(is_equal, "{values:?}: {found:?}");
        }
    }
}
