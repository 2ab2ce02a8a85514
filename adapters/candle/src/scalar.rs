//! [`log_tensor`]: a tensor with one element as a metric.

use candle_core::{DType, Device, Tensor};
use mlflow::{Run, Step};

use mlflow::diagnostics::warn;

/// Logs a tensor with one element, of any shape and number type, as a metric of the current run at a step. Integers and floats
/// become doubles, as for all metrics.
///
/// If the tensor is on a GPU, the calling thread waits until the device has done its work: see the [crate](crate). Without a run,
/// the tensor is not read. A tensor with another number of elements, and one that cannot be read, is not logged; one line says
/// so, once for a key.
///
/// ```
/// use candle_core::{Device, Tensor};
///
/// # let fake = mlflow::testing::fake();
/// let run = mlflow::start_run().start();
/// let losses = Tensor::new(&[0.5_f32, 0.25], &Device::Cpu)?;
/// mlflow_candle::log_tensor("loss", &losses.mean_all()?, 7);
/// # drop(run);
/// # fake.assert_metric("loss", &[(7, 0.375)]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_tensor(key: &str, tensor: &Tensor, step: impl Step) {
    let Some(run) = Run::current() else { return };
    if tensor.elem_count() != 1 {
        warn(format_args!(
            "the metric \"{key}\" is not logged: its tensor has the shape {:?}, and a metric is a single number; reduce it, for \
             example with mean_all()",
            tensor.dims()
        ));
        return;
    }
    match read(tensor) {
        Ok(value) => run.log_metric_at(key, value, step),
        Err(error) => warn(format_args!(
            "the metric \"{key}\" is not logged: its tensor of the type {} cannot be read: {error}",
            tensor.dtype().as_str()
        )),
    }
}

fn read(tensor: &Tensor) -> candle_core::Result<f64> {
    // Without `detach`, the steps would become parts of the graph. The type is changed on the processor, as some devices have
    // no doubles.
    let tensor = tensor.detach().to_device(&Device::Cpu)?;
    tensor.reshape(())?.to_dtype(DType::F64)?.to_scalar()
}
