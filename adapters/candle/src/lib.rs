//! MLflow tracking for [candle](https://github.com/huggingface/candle): scalars of tensors as metrics, variables as checkpoints
//! and models, optimizers as params.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use candle_nn::{AdamW, Module, Optimizer, VarBuilder, VarMap};
//!
//! #[mlflow::tracked(experiment = "line", skip(values, targets))]
//! fn train(epochs: usize, values: &Tensor, targets: &Tensor) -> Result<()> {
//!     let var_map = VarMap::new();
//!     let builder = VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu);
//!     let layer = candle_nn::linear(1, 1, builder)?;
//!     let mut optimizer = AdamW::new_lr(var_map.all_vars(), 0.1)?;
//!     mlflow_candle::log_optimizer(&optimizer); // params
//!     for epoch in 0..epochs {
//!         let loss = candle_nn::loss::mse(&layer.forward(values)?, targets)?;
//!         optimizer.backward_step(&loss)?;
//!         mlflow_candle::log_tensor("loss", &loss, epoch); // a metric
//!         mlflow_candle::log_checkpoint(&var_map, epoch);
//!     }
//!     mlflow_candle::log_model(&var_map, mlflow::Model::new("line"));
//!     Ok(())
//! }
//!
//! let fake = mlflow::testing::fake();
//! let values = Tensor::new(&[[1_f32], [2.0], [3.0]], &Device::Cpu)?;
//! train(3, &values, &(&values * 2.0)?)?;
//! fake.assert_param("optimizer.lr", "0.1");
//! fake.assert_metric_logged("loss");
//! fake.assert_artifact_logged("checkpoints/step-2.safetensors");
//! fake.assert_model_logged("line");
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! The functions log to the current run, as those of `mlflow` do; [`run.scope(|| …)`](mlflow::Run::scope) makes another run the
//! current one. Without a run, they do nothing: no tensor is read, and no file is written. What cannot be logged is one line on
//! stderr, never an error and never a panic.
//!
//! [`load_checkpoint`] and [`load_model`] read variables back. The example `iris` trains on real data, dies, and goes on from
//! its last checkpoint.
//!
//! **A GPU is waited for.** The variables and scalars of a GPU are copied to the memory of the processor, and for that the
//! calling thread waits until the device has done all of its work. In a loop, log a loss every tenth step, or keep a sum on
//! the device and log it by epoch.
//!
//! The version of this crate has the minor number of the candle for which it is made: `mlflow-candle` 0.11 is for candle 0.11.

mod load;
mod optimizer;
mod scalar;
mod vars;

pub use load::{LoadError, load_checkpoint, load_model};
pub use optimizer::{DescribeOptimizer, log_optimizer};
pub use scalar::log_tensor;
pub use vars::{log_checkpoint, log_model};
