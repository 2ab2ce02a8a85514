//! [`Scores`]: how well predictions match the truth, by the type of the targets.
//!
//! Invariant: a score of at least one pair is computed without a panic, whatever the values are. It is NaN only if a value is.

use std::collections::BTreeMap;

use linfa::Label;

/// Scores of predictions, by name.
///
/// ```
/// use mlflow_linfa::Scores;
///
/// let scores = Scores::of_numbers([1.0, 2.0, 4.0].iter(), [1.0, 2.0, 3.0].iter());
/// assert_eq!(scores.get("max_error"), Some(1.0));
/// assert_eq!(scores.get("r2"), Some(0.5));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(Vec<(String, f64)>);

/// Type of a target, which says how predictions of it are scored.
///
/// Implement it for labels of your own:
///
/// ```
/// use mlflow_linfa::{Scores, Target};
///
/// #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
/// enum Species {
///     #[default]
///     Setosa,
///     Virginica,
/// }
///
/// impl linfa::Label for Species {}
///
/// impl Target for Species {
///     fn scores(predicted: &[Self], truth: &[Self]) -> Scores {
///         Scores::of_classes(predicted.iter(), truth.iter())
///     }
/// }
///
/// let scores = Species::scores(&[Species::Setosa], &[Species::Setosa]);
/// assert_eq!(scores.get("accuracy"), Some(1.0));
/// ```
pub trait Target: Clone {
    /// Returns the scores of predictions. There is at least one, and there are as many as true values.
    fn scores(predicted: &[Self], truth: &[Self]) -> Scores;
}

impl Scores {
    /// Creates the scores of named numbers, for an implementation of [`Target`].
    ///
    /// ```
    /// let scores = mlflow_linfa::Scores::new([("hits", 3.0)]);
    /// assert_eq!(scores.get("hits"), Some(3.0));
    /// ```
    pub fn new<K: Into<String>>(scores: impl IntoIterator<Item = (K, f64)>) -> Self {
        let named = scores.into_iter().map(|(name, score)| (name.into(), score));
        Self(named.collect())
    }

    /// Returns a score by its name. See [`Scores`] for an example.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        let score = self.0.iter().find(|(found, _)| found == name)?;
        Some(score.1)
    }

    /// Returns the names and scores.
    ///
    /// ```
    /// let scores = mlflow_linfa::Scores::new([("hits", 3.0)]);
    /// assert_eq!(scores.iter().collect::<Vec<_>>(), [("hits", 3.0)]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, score)| (name.as_str(), *score))
    }

    /// Computes the scores of a regression: `r2`, `mean_squared_error`, `mean_absolute_error`, `max_error` and
    /// `explained_variance`, as scikit-learn does. If all true values are the same, `r2` and `explained_variance` are 1 for
    /// predictions without error, and 0 for others. See [`Scores`] for an example.
    pub fn of_numbers<'v, F: Copy + Into<f64> + 'v>(
        predicted: impl Iterator<Item = &'v F>,
        truth: impl Iterator<Item = &'v F>,
    ) -> Self {
        let pairs: Vec<(f64, f64)> = { predicted.zip(truth) }
            .map(|(predicted, truth)| ((*predicted).into(), (*truth).into()))
            .collect();
        let count = pairs.len() as f64;
        let mean_of =
            |value: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / count;
        let mean_truth = mean_of(&|(_, truth)| *truth);
        let mean_error = mean_of(&|(predicted, truth)| predicted - truth);
        let squared_error = mean_of(&|(predicted, truth)| (predicted - truth).powi(2));
        let variance = mean_of(&|(_, truth)| (truth - mean_truth).powi(2));
        let error_variance =
            mean_of(&|(predicted, truth)| (predicted - truth - mean_error).powi(2));
        let explained = |unexplained: f64| match variance {
            0.0 if unexplained == 0.0 => 1.0,
            0.0 => 0.0,
            variance => 1.0 - unexplained / variance,
        };
        let max_error = { pairs.iter() }
            .map(|(predicted, truth)| (predicted - truth).abs())
            .fold(0.0, |max: f64, error| {
                if error.is_nan() || error > max {
                    error
                } else {
                    max
                }
            });
        Self::new([
            ("r2", explained(squared_error)),
            ("mean_squared_error", squared_error),
            (
                "mean_absolute_error",
                mean_of(&|(predicted, truth)| (predicted - truth).abs()),
            ),
            ("max_error", max_error),
            ("explained_variance", explained(error_variance)),
        ])
    }

    /// Computes the scores of a classification: `accuracy`, `mcc` (Matthews' correlation coefficient), and `precision`, `recall`
    /// and `f1` as the means over the classes that occur, as scikit-learn does with `average="macro"`. A fraction of nothing,
    /// such as the precision of a class that is never predicted, is 0. See [`Target`] for an example.
    pub fn of_classes<'v, L: Label + 'v>(
        predicted: impl Iterator<Item = &'v L>,
        truth: impl Iterator<Item = &'v L>,
    ) -> Self {
        let confusion = Confusion::of(predicted.zip(truth));
        let classes = confusion.classes.values();
        let count = confusion.classes.len() as f64;
        let mean_of = |score: fn(&Class) -> f64| classes.clone().map(score).sum::<f64>() / count;
        let mean = [
            ("precision", mean_of(Class::precision)),
            ("recall", mean_of(Class::recall)),
            ("f1", mean_of(Class::f1)),
        ];
        Self::new(confusion.overall().into_iter().chain(mean))
    }

    /// Computes the scores of a classification of two classes: `accuracy`, `mcc`, and `precision`, `recall` and `f1` of the class
    /// `true`, as scikit-learn does. A fraction of nothing is 0.
    ///
    /// ```
    /// use mlflow_linfa::Scores;
    ///
    /// let scores = Scores::of_answers([true, true, false].iter(), [true, false, false].iter());
    /// assert_eq!(scores.get("precision"), Some(0.5));
    /// assert_eq!(scores.get("recall"), Some(1.0));
    /// ```
    pub fn of_answers<'v>(
        predicted: impl Iterator<Item = &'v bool>,
        truth: impl Iterator<Item = &'v bool>,
    ) -> Self {
        let confusion = Confusion::of(predicted.zip(truth));
        let class = confusion.classes.get(&true).copied().unwrap_or_default();
        let of_true = [
            ("precision", class.precision()),
            ("recall", class.recall()),
            ("f1", class.f1()),
        ];
        Self::new(confusion.overall().into_iter().chain(of_true))
    }

    /// Returns the mean of each score over several targets of a row.
    pub(crate) fn mean(targets: &[Self]) -> Self {
        let Some(first) = targets.first() else {
            return Self::default();
        };
        let mean_of = |name: &str| {
            let scores = targets.iter().filter_map(|scores| scores.get(name));
            scores.sum::<f64>() / targets.len() as f64
        };
        Self::new(first.iter().map(|(name, _)| (name, mean_of(name))))
    }
}

/// Counts of a class.
#[derive(Clone, Copy, Default)]
struct Class {
    correct: f64,
    predicted: f64,
    actual: f64,
}

impl Class {
    fn precision(&self) -> f64 {
        fraction(self.correct, self.predicted)
    }

    fn recall(&self) -> f64 {
        fraction(self.correct, self.actual)
    }

    fn f1(&self) -> f64 {
        fraction(2.0 * self.correct, self.predicted + self.actual)
    }
}

/// Returns a fraction; 0 for a fraction of nothing.
fn fraction(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Counts of the classes that occur.
struct Confusion<'v, L> {
    classes: BTreeMap<&'v L, Class>,
    count: f64,
}

impl<'v, L: Ord> Confusion<'v, L> {
    fn of(pairs: impl Iterator<Item = (&'v L, &'v L)>) -> Self {
        let mut classes: BTreeMap<&L, Class> = BTreeMap::new();
        let mut count = 0.0;
        for (predicted, truth) in pairs {
            count += 1.0;
            classes.entry(predicted).or_default().predicted += 1.0;
            let class = classes.entry(truth).or_default();
            class.actual += 1.0;
            if predicted == truth {
                class.correct += 1.0;
            }
        }
        Self { classes, count }
    }

    fn overall(&self) -> [(&'static str, f64); 2] {
        let sum_of = |value: fn(&Class) -> f64| self.classes.values().map(value).sum::<f64>();
        let correct = sum_of(|class| class.correct);
        let square = self.count * self.count;
        let covariance = correct * self.count - sum_of(|class| class.predicted * class.actual);
        let predicted_variance = square - sum_of(|class| class.predicted * class.predicted);
        let actual_variance = square - sum_of(|class| class.actual * class.actual);
        let mcc = fraction(
            covariance,
            predicted_variance.sqrt() * actual_variance.sqrt(),
        );
        [("accuracy", fraction(correct, self.count)), ("mcc", mcc)]
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Target for $number {
            fn scores(predicted: &[Self], truth: &[Self]) -> Scores {
                Scores::of_numbers(predicted.iter(), truth.iter())
            }
        }
    )*};
}

numbers!(f32, f64);

impl Target for bool {
    fn scores(predicted: &[Self], truth: &[Self]) -> Scores {
        Scores::of_answers(predicted.iter(), truth.iter())
    }
}

macro_rules! classes {
    ($([$($generics:tt)*] $label:ty),*) => {$(
        impl<$($generics)*> Target for $label {
            fn scores(predicted: &[Self], truth: &[Self]) -> Scores {
                Scores::of_classes(predicted.iter(), truth.iter())
            }
        }
    )*};
}

classes!([] usize, [] String, ['s] &'s str, [L: Label] Option<L>);
