//! A training in a SQLite file that goes on from its checkpoint.

use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use mlflow::{Config, RunStatus};
use mlflow_candle::{load_checkpoint, log_checkpoint, log_tensor};

/// Returns variables with one value, of a layer.
fn vars(value: f64) -> Result<VarMap> {
    let var_map = VarMap::new();
    candle_nn::linear(
        2,
        2,
        VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu),
    )?;
    for var in var_map.all_vars() {
        var.set(&(var.ones_like()? * value)?)?;
    }
    Ok(var_map)
}

#[test]
fn variables_come_back_from_a_sqlite_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The artifacts of a SQLite file are stored in the working directory.
    std::env::set_current_dir(folder.path())?;
    let file = folder.path().join("mlflow.db");
    let config = Config::new()
        .tracking_uri(format!("sqlite:///{}", file.display()))
        .journal_dir(folder.path().join("journal"));
    mlflow::configure(config);
    let start = || mlflow::start_run().experiment("layer").name("fit");

    let run = start().start();
    mlflow::keep_checkpoints(2);
    for step in 0..4 {
        log_tensor(
            "loss",
            &Tensor::new(1.0 / (step + 1) as f64, &Device::Cpu)?,
            step,
        );
        log_checkpoint(&vars(step as f64)?, step);
    }
    run.finish(RunStatus::Failed);
    assert!(mlflow::flush(Duration::from_secs(60)).complete);

    let var_map = vars(-1.0)?;
    let resume = start().resume_last();
    let last = resume.last().expect("the run that has failed");
    assert_eq!(last.metrics["loss"].step, 3);
    let step = load_checkpoint(&resume, &var_map).expect("a checkpoint");
    assert_eq!(step, Some(3));
    for var in var_map.all_vars() {
        let least = var.flatten_all()?.min(0)?.to_scalar::<f32>()?;
        assert_eq!(least, 3.0);
    }
    drop(resume.start());
    // What is logged has to arrive before the folder is deleted.
    assert!(mlflow::flush(Duration::from_secs(60)).complete);
    Ok(())
}
