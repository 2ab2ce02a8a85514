//! Variables as checkpoints and models.
//!
//! Invariant: the variables are written to a temporary file, which is gone when the call returns.

use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;

use candle_core::Tensor;
use candle_nn::VarMap;
use mlflow::{Flavor, Model, Run, Step};
use tempfile::TempDir;

use mlflow::diagnostics::warn;

/// Name of the file with the variables.
pub(crate) const FILE_NAME: &str = "model.safetensors";

/// Stores the variables as the checkpoint of a step of the current run: `checkpoints/step-100.safetensors`. When the call
/// returns, they are copied, and the training may change them. [`load_checkpoint`](crate::load_checkpoint) reads the newest one
/// back.
///
/// [`mlflow::keep_checkpoints`] bounds the number of checkpoints that are kept. Variables that cannot be written are not logged,
/// with one line.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
///
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// mlflow::keep_checkpoints(3);
/// let var_map = VarMap::new();
/// let builder = VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu);
/// let layer = candle_nn::linear(4, 3, builder)?;
/// for epoch in 0..5 {
///     // train the layer
///     mlflow_candle::log_checkpoint(&var_map, epoch);
/// }
/// # drop((run, layer));
/// # fake.assert_artifact_logged("checkpoints/step-4.safetensors");
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// candle 0.11 gives no access to the moments of `AdamW`, so a checkpoint does not have them: a training that goes on begins
/// with moments of 0.
pub fn log_checkpoint(var_map: &VarMap, step: impl Step) {
    if let Some(run) = Run::current() {
        match write(var_map) {
            Ok(folder) => run.log_checkpoint(folder.path().join(FILE_NAME), step),
            Err(error) => warn(format_args!("a checkpoint is not logged: {error}")),
        }
    }
}

/// Logs the variables as a model of the current run, in the file `model.safetensors`. The given model has the name and whatever
/// else is to be known of it: a signature, params, a registered name. [`load_model`](crate::load_model) reads it back.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
/// use mlflow::{Model, Signature, TensorType};
///
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// let var_map = VarMap::new();
/// let builder = VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu);
/// let layer = candle_nn::linear(4, 3, builder)?;
/// // train the layer
/// let signature = Signature::new()
///     .input_tensor("flowers", TensorType::Float32, &[-1, 4])
///     .output_tensor("logits", TensorType::Float32, &[-1, 3]);
/// let model = Model::new("iris").signature(signature).register_as("iris").alias("champion");
/// mlflow_candle::log_model(&var_map, model);
/// # drop((run, layer));
/// # fake.assert_model_logged("iris");
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// Variables that cannot be written are not logged, with one line.
pub fn log_model(var_map: &VarMap, model: Model) {
    if let Some(run) = Run::current() {
        match write(var_map) {
            Ok(folder) => {
                let file = folder.path().join(FILE_NAME);
                run.log_model(&model.file(file).flavor(Flavor::Safetensors));
            }
            Err(error) => warn(format_args!(
                "the variables are not logged as a model: {error}"
            )),
        }
    }
}

/// Returns the tensors of the variables. A panic of another thread that held them is no reason to lose them.
pub(crate) fn tensors(var_map: &VarMap) -> HashMap<String, Tensor> {
    let vars = var_map
        .data()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let tensors = { vars.iter() }.map(|(name, var)| (name.clone(), var.as_detached_tensor()));
    tensors.collect()
}

/// Writes the variables to a file of a temporary folder.
fn write(var_map: &VarMap) -> candle_core::Result<TempDir> {
    let tensors = tensors(var_map);
    if tensors.is_empty() {
        let what =
            "the VarMap has no variables; the layers of a model that is built on it make them";
        return Err(io::Error::other(what).into());
    }
    let folder = tempfile::tempdir()?;
    candle_core::safetensors::save(&tensors, folder.path().join(FILE_NAME))?;
    Ok(folder)
}
