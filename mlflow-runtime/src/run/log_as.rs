//! [`LogAsInput`] and [`LogAsModel`]: the traits of types that a run records as a dataset or as a model.
//!
//! Invariant: a panic in the user's implementation does not reach the function that logs the value.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::{Dataset, Model};
use crate::warnings::warn_user;

/// Type of data that a run uses: the dataset by which MLflow describes it.
///
/// An argument of a [`#[tracked]`](macro@crate::tracked) function whose type implements the trait is logged as an
/// input of the run, not as a param. The context of the input is the argument's name. [`log_input`](crate::log_input())
/// takes such values, too.
///
/// ```
/// use mlflow::{Dataset, LogAsInput, tracked};
///
/// struct Digits { pixels: Vec<f32>, labels: Vec<i64> }
///
/// impl LogAsInput for Digits {
///     fn to_dataset(&self) -> Dataset {
///         Dataset::from_slice("digits", &self.pixels).targets(&self.labels)
///     }
/// }
///
/// #[tracked]
/// fn train(training: &Digits, validation: Option<&Digits>, rate: f64) {}
///
/// let fake = mlflow::testing::fake();
/// let digits = Digits { pixels: vec![0.5; 784], labels: vec![7] };
/// train(&digits, None, 0.1);
/// fake.assert_input("digits", "training");
/// # assert_eq!(fake.runs()[0].inputs.len(), 1);
/// assert!(!fake.runs()[0].params.contains_key("training"));
/// ```
///
/// References, `Box`, `Rc` and `Arc` of such a type are logged in the same way, and so is each element of one `Option`,
/// `Vec`, slice or array, not of one inside another. `skip(argument)` and the other [arguments of the
/// attribute](macro@crate::tracked#arguments-of-the-attribute) log no input.
pub trait LogAsInput {
    /// Returns the description of the data. A tracked call asks for it once, on the calling thread, before the body
    /// starts, and only if tracking is on. A panic costs the input, with one line.
    fn to_dataset(&self) -> Dataset;
}

/// Type of a trained model: the files and facts that MLflow keeps of it.
///
/// If a [`#[tracked]`](macro@crate::tracked) function returns a value whose type implements the trait, the value is
/// logged as a model, and the model is an output of the run. [`log_model`](crate::log_model()) takes such values, too.
///
/// ```
/// use mlflow::{Flavor, LogAsModel, Model, tracked};
///
/// struct Perceptron { weights: [f32; 2] }
///
/// impl LogAsModel for Perceptron {
///     fn to_model(&self) -> Model {
///         let bytes = self.weights.map(f32::to_le_bytes).concat();
///         Model::new("perceptron").bytes("weights.bin", bytes).flavor(Flavor::custom("perceptron"))
///     }
/// }
///
/// #[tracked(metric = "accuracy")]
/// fn train(rate: f32) -> Result<(Perceptron, f64), std::io::Error> {
///     Ok((Perceptron { weights: [rate, 0.25] }, 0.75))
/// }
///
/// let fake = mlflow::testing::fake();
/// train(0.5)?;
/// fake.assert_model_logged("perceptron");
/// assert_eq!(fake.runs()[0].metrics["accuracy"][0].value, 0.75);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// `Box`, `Rc` and `Arc` of such a type are logged in the same way, and so is each element of one `Option`, `Vec` or
/// array, not of one inside another, and the first element of a tuple. Numbers of the returned value become metrics as ever:
/// a model's own, if its type implements `Serialize`, or those behind the model in the tuple, of up to eight elements:
/// `metrics("accuracy", "auc")` names those of a `(Perceptron, f64, f64)`.
///
/// `log_model = false` in the attribute keeps the metrics and logs no model, `skip_return` logs neither. An argument is
/// never logged as a model, because the function has not made it. In a run that [ranks](crate::distributed) share, rank 0
/// logs the model for all of them.
pub trait LogAsModel {
    /// Returns the description of the model. A tracked call asks for it once, on the calling thread, after the body
    /// has returned, and only if tracking is on. The call returns when the files are copied. A panic costs the model,
    /// with one line.
    fn to_model(&self) -> Model;
}

impl LogAsInput for Dataset {
    fn to_dataset(&self) -> Dataset {
        self.clone()
    }
}

impl LogAsModel for Model {
    fn to_model(&self) -> Model {
        self.clone()
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: LogAsInput + ?Sized> LogAsInput for $pointer {
            fn to_dataset(&self) -> Dataset {
                (**self).to_dataset()
            }
        }

        impl<T: LogAsModel + ?Sized> LogAsModel for $pointer {
            fn to_model(&self) -> Model {
                (**self).to_model()
            }
        }
    )*};
}

pointers!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

/// Returns the description of a dataset; `None`, with a warning, if the user's implementation panics.
pub(crate) fn describe_dataset(value: &(impl LogAsInput + ?Sized)) -> Option<Dataset> {
    describe_value(value, "LogAsInput::to_dataset", LogAsInput::to_dataset)
}

/// Returns the description of a model; `None`, with a warning, if the user's implementation panics.
pub(crate) fn describe_model(value: &(impl LogAsModel + ?Sized)) -> Option<Model> {
    describe_value(value, "LogAsModel::to_model", LogAsModel::to_model)
}

fn describe_value<T: ?Sized, D>(
    value: &T,
    method: &str,
    describe: impl FnOnce(&T) -> D,
) -> Option<D> {
    let description = catch_unwind(AssertUnwindSafe(|| describe(value)));
    if description.is_err() {
        warn_user(format_args!(
            "a value of the type `{}` is not logged, because its `{method}` panicked; the program continues",
            type_name::<T>()
        ));
    }
    description.ok()
}
