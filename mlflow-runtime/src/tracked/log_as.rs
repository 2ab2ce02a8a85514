//! Arguments and returned values that are logged as what they are: datasets as inputs, models as outputs.
//!
//! Invariants: the compiler finds out at the call site if a type implements [`LogAsInput`] or [`LogAsModel`], so
//! other types need no bound and cost nothing. A panic in the user's implementation costs this dataset or model, with
//! one line.
//!
//! The selection works because the compiler prefers an inherent method to a trait's method. [`Inputs`] and
//! [`Models`] accept a type itself and what holds several of its values, so each probe has a single inherent
//! method, as the probe of results has.

use serde::Serialize;

use crate::capture::{Capture, Numbers, numbers_of};
use crate::run::log_as::{describe_dataset, describe_model};
use crate::run::{Dataset, LogAsInput, LogAsModel, Model};
use crate::tracked::call::Call;
use crate::tracked::outcome::RunOutcome;

/// Value that consists of any number of inputs.
pub trait Inputs {
    /// Returns the dataset of each input.
    fn to_datasets(&self) -> Vec<Dataset>;
}

/// Value that consists of any number of models.
pub trait Models {
    /// Returns the description of each model.
    fn to_models(&self) -> Vec<Model>;
}

impl<T: LogAsInput + ?Sized> Inputs for T {
    fn to_datasets(&self) -> Vec<Dataset> {
        describe_dataset(self).into_iter().collect()
    }
}

impl<T: LogAsModel + ?Sized> Models for T {
    fn to_models(&self) -> Vec<Model> {
        describe_model(self).into_iter().collect()
    }
}

macro_rules! collections {
    ($($collection:ty),*) => {$(
        impl<T: LogAsInput> Inputs for $collection {
            fn to_datasets(&self) -> Vec<Dataset> {
                self.iter().filter_map(describe_dataset).collect()
            }
        }

        impl<T: LogAsModel> Models for $collection {
            fn to_models(&self) -> Vec<Model> {
                self.iter().filter_map(describe_model).collect()
            }
        }
    )*};
}

collections!(Option<T>, Vec<T>, [T]);

impl<T: LogAsInput, const N: usize> Inputs for [T; N] {
    fn to_datasets(&self) -> Vec<Dataset> {
        self.as_slice().to_datasets()
    }
}

impl<T: LogAsModel, const N: usize> Models for [T; N] {
    fn to_models(&self) -> Vec<Model> {
        self.as_slice().to_models()
    }
}

macro_rules! tuples {
    ($(($($number:ident $position:tt),+))*) => {$(
        /// A model with what was measured of it.
        impl<M: LogAsModel, $($number),+> Models for (M, $($number,)+) {
            fn to_models(&self) -> Vec<Model> {
                self.0.to_models()
            }
        }

        impl<M: LogAsModel, $($number: Serialize),+> NumbersBesideModel for &&&&Capture<'_, (M, $($number,)+)> {
            fn __mlflow_numbers(&self) -> Numbers {
                numbers_of(&($(&self.0.$position,)+))
            }
        }
    )*};
}

/// A model with one measurement, which is no sequence.
impl<M: LogAsModel, N> Models for (M, N) {
    fn to_models(&self) -> Vec<Model> {
        self.0.to_models()
    }
}

tuples! {
    (A 1, B 2)
    (A 1, B 2, C 3)
    (A 1, B 2, C 3, D 4)
    (A 1, B 2, C 3, D 4, E 5)
    (A 1, B 2, C 3, D 4, E 5, F 6)
    (A 1, B 2, C 3, D 4, E 5, F 6, G 7)
}

/// Argument of a tracked function, which may be an input.
#[derive(Debug)]
pub struct InputProbe<'v, T: ?Sized>(pub &'v T);

impl<T: Inputs + ?Sized> InputProbe<'_, T> {
    /// Adds the argument `name` to the inputs of the call. Returns true: the argument is no param.
    pub fn __mlflow_input(self, name: &'static str, call: &mut Call) -> bool {
        call.inputs(name, self.0.to_datasets());
        true
    }
}

/// Fallback for every argument that is no input.
pub trait NotAnInput {
    /// Returns false: the argument may be a param.
    fn __mlflow_input(self, name: &'static str, call: &mut Call) -> bool;
}

impl<T: ?Sized> NotAnInput for InputProbe<'_, T> {
    #[inline]
    fn __mlflow_input(self, _: &'static str, _: &mut Call) -> bool {
        false
    }
}

/// Value that a tracked function has returned, which may be a model.
#[derive(Debug)]
pub struct ModelProbe<'v, T: ?Sized>(pub &'v T);

impl<T: Models + ?Sized> ModelProbe<'_, T> {
    /// Logs the models of the value, unless the attribute says `log_model = false`.
    pub fn __mlflow_models(self, outcome: &RunOutcome<'_>) {
        if outcome.logs_models() {
            outcome.models(&self.0.to_models());
        }
    }
}

/// Fallback for every value that is no model.
pub trait NotAModel {
    /// Does nothing.
    fn __mlflow_models(self, outcome: &RunOutcome<'_>);
}

impl<T: ?Sized> NotAModel for ModelProbe<'_, T> {
    #[inline]
    fn __mlflow_models(self, _: &RunOutcome<'_>) {}
}

/// Numbers beside a model: those of the model itself are no measurements.
pub trait NumbersBesideModel {
    /// Returns the numbers behind the first element of a tuple.
    fn __mlflow_numbers(&self) -> Numbers;
}

impl<M: LogAsModel, N: Serialize> NumbersBesideModel for &&&&Capture<'_, (M, N)> {
    fn __mlflow_numbers(&self) -> Numbers {
        numbers_of(&self.0.1)
    }
}
