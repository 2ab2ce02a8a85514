//! Variables that are read back.
//!
//! Invariant: all variables are set, or none.

use std::error::Error;
use std::fmt;
use std::path::Path;

use candle_core::Device;
use candle_nn::VarMap;
use mlflow::{ClientError, DownloadArtifacts, Resume, blocking};

use crate::vars::{FILE_NAME, tensors};

/// Reason why variables could not be read back. None of them was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be fetched from the store.
    Client(ClientError),
    /// The file could not be read.
    Candle(candle_core::Error),
    /// The file does not fit the variables; the text says why.
    Mismatch(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => {
                write!(f, "the file of the variables cannot be fetched: {error}")
            }
            Self::Candle(error) => write!(f, "the file of the variables cannot be read: {error}"),
            Self::Mismatch(what) => write!(f, "the file does not fit the variables: {what}"),
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::Candle(error) => Some(error),
            Self::Mismatch(_) => None,
        }
    }
}

impl From<ClientError> for LoadError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<candle_core::Error> for LoadError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(error)
    }
}

/// Sets the variables to the newest checkpoint of the unfinished run, and returns its step; `None` if a new run is started, or if
/// the run has no checkpoint. The model has to be built before, as its layers make the variables.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
///
/// # let fake = mlflow::testing::fake();
/// let var_map = VarMap::new();
/// let builder = VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu);
/// let layer = candle_nn::linear(4, 3, builder)?;
///
/// let resume = mlflow::start_run().experiment("iris").name("fit").resume_last();
/// let last_epoch = mlflow_candle::load_checkpoint(&resume, &var_map)?;
/// let run = resume.start();
/// for epoch in last_epoch.map_or(0, |last| last + 1)..5 {
///     // train the layer
///     mlflow_candle::log_checkpoint(&var_map, epoch);
/// }
/// # drop((run, layer));
/// # fake.assert_artifact_logged("checkpoints/step-4.safetensors");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`LoadError::Mismatch`] if the checkpoint was not made by [`log_checkpoint`](crate::log_checkpoint), or if it lacks a variable
/// or has one of another shape or type. The other errors if it cannot be fetched or read. No variable is changed then.
pub fn load_checkpoint(resume: &Resume, var_map: &VarMap) -> Result<Option<i64>, LoadError> {
    let folder = tempfile::tempdir().map_err(candle_core::Error::from)?;
    let Some(checkpoint) = resume.download_checkpoint(folder.path())? else {
        return Ok(None);
    };
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let step = name
        .strip_prefix("step-")
        .and_then(|name| name.strip_suffix(".safetensors"))
        .and_then(|step| step.parse().ok());
    let Some(step) = step else {
        return Err(LoadError::Mismatch(format!(
            "the newest checkpoint is {name:?}, and mlflow_candle::log_checkpoint names its files step-100.safetensors"
        )));
    };
    set(var_map, &checkpoint)?;
    Ok(Some(step))
}

/// Sets the variables to those of a model that [`log_model`](crate::log_model) has logged: `models:/iris@champion`,
/// `models:/iris/3` or `models:/m-…`. The layers have to be built before, as they make the variables.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let var_map = VarMap::new();
/// let builder = VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu);
/// let layer = candle_nn::linear(4, 3, builder)?;
/// # mlflow_candle::log_model(&var_map, mlflow::Model::new("iris").register_as("iris").alias("champion"));
/// # drop(run);
/// # fake.assert_model_logged("iris");
/// mlflow_candle::load_model("models:/iris@champion", &var_map)?; // `layer` has the weights now
/// # drop(layer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A model is logged in the background: in the process that has logged it, call [`mlflow::flush`] before.
///
/// # Errors
/// [`LoadError::Mismatch`] if the model lacks a variable or has one of another shape or type. The other errors if the model
/// cannot be fetched or read. No variable is changed then.
pub fn load_model(uri: &str, var_map: &VarMap) -> Result<(), LoadError> {
    let folder = tempfile::tempdir().map_err(candle_core::Error::from)?;
    let client = blocking::Client::new();
    let model = client.download_artifacts(DownloadArtifacts::of_model(uri, folder.path()))?;
    set(var_map, &model.join(FILE_NAME))
}

/// Sets the variables to the tensors of a file, after all of them were compared with it.
fn set(var_map: &VarMap, file: &Path) -> Result<(), LoadError> {
    let loaded = candle_core::safetensors::load(file, &Device::Cpu)?;
    let vars = tensors(var_map);
    if vars.is_empty() {
        let what = "the VarMap has no variables yet; build the model on it first";
        return Err(LoadError::Mismatch(what.to_owned()));
    }
    let mut pairs = Vec::with_capacity(vars.len());
    for (name, var) in &vars {
        let Some(tensor) = loaded.get(name) else {
            return Err(LoadError::Mismatch(format!("it has no {name:?}")));
        };
        if tensor.shape() != var.shape() || tensor.dtype() != var.dtype() {
            return Err(LoadError::Mismatch(format!(
                "{name:?} has the shape {:?} and the type {} there, and {:?} and {} in the VarMap",
                tensor.dims(),
                tensor.dtype().as_str(),
                var.dims(),
                var.dtype().as_str()
            )));
        }
        pairs.push((name, tensor.to_device(var.device())?));
    }
    Ok(var_map.clone().set(pairs.into_iter())?)
}
