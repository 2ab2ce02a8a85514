//! Tensors, variables and optimizers that are tracked: what the run holds, and what bad ones do.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Module as _, Optimizer as _, ParamsAdamW, SGD, VarBuilder, VarMap};
use mlflow::Model;
use mlflow::testing::fake;
use mlflow_candle::{
    LoadError, load_checkpoint, load_model, log_checkpoint, log_model, log_optimizer, log_tensor,
};

/// Returns variables of a layer with 2 inputs, all of them with one value.
fn vars(outputs: usize, value: f32) -> Result<VarMap> {
    let var_map = VarMap::new();
    candle_nn::linear(
        2,
        outputs,
        VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu),
    )?;
    for var in var_map.all_vars() {
        var.set(&Tensor::full(value, var.shape(), &Device::Cpu)?)?;
    }
    Ok(var_map)
}

/// Returns the sum of all variables.
fn sum(var_map: &VarMap) -> Result<f32> {
    let vars = var_map.all_vars();
    let sums = vars.iter().map(|var| var.sum_all()?.to_scalar::<f32>());
    sums.sum()
}

#[test]
fn a_tensor_with_one_element_is_a_metric_whatever_its_shape_and_type() -> Result<()> {
    let fake = fake();
    let run = mlflow::start_run().start();
    let types = [
        DType::U8,
        DType::U32,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::BF16,
        DType::F16,
        DType::F32,
        DType::F64,
    ];
    for dtype in types {
        let scalar = Tensor::new(3_f32, &Device::Cpu)?.to_dtype(dtype)?;
        log_tensor(dtype.as_str(), &scalar, 0);
        log_tensor(dtype.as_str(), &scalar.reshape((1, 1, 1))?, 1);
    }
    log_tensor("nan", &Tensor::new(f32::NAN, &Device::Cpu)?, 0);
    drop(run);
    for dtype in types {
        fake.assert_metric(dtype.as_str(), &[(0, 3.0), (1, 3.0)]);
    }
    assert!(fake.runs()[0].metrics["nan"][0].value.is_nan());
    Ok(())
}

#[test]
fn a_tensor_that_is_no_scalar_is_not_logged() -> Result<()> {
    let fake = fake();
    let run = mlflow::start_run().start();
    log_tensor("loss", &Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?, 0);
    log_tensor("loss", &Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?, 1);
    log_tensor("loss", &Tensor::new(0.5_f32, &Device::Cpu)?, 2);
    drop(run);
    fake.assert_metric("loss", &[(2, 0.5)]);
    Ok(())
}

#[test]
fn a_loss_that_is_logged_can_still_be_derived() -> Result<()> {
    let fake = fake();
    let run = mlflow::start_run().start();
    let var = Var::new(&[2_f32, 3.0], &Device::Cpu)?;
    let loss = var.sqr()?.sum_all()?;
    log_tensor("loss", &loss, 0);
    let gradients = loss.backward()?;
    drop(run);
    fake.assert_metric("loss", &[(0, 13.0)]);
    let gradient = gradients.get(&var).expect("a gradient");
    assert_eq!(gradient.to_vec1::<f32>()?, [4.0, 6.0]);
    Ok(())
}

#[test]
fn the_settings_of_an_optimizer_are_params() -> Result<()> {
    let fake = fake();
    let run = mlflow::start_run().start();
    let settings = ParamsAdamW {
        lr: 0.02,
        ..ParamsAdamW::default()
    };
    log_optimizer(&AdamW::new(Vec::new(), settings)?);
    drop(run);
    let run = mlflow::start_run().start();
    log_optimizer(&SGD::new(Vec::new(), 0.5)?);
    drop(run);
    let runs = fake.runs();
    let params = |at: usize| {
        runs[at]
            .params
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
    };
    let adam_w = [
        "optimizer=AdamW",
        "optimizer.beta1=0.9",
        "optimizer.beta2=0.999",
        "optimizer.eps=1e-8",
        "optimizer.lr=0.02",
        "optimizer.weight_decay=0.01",
    ];
    assert_eq!(params(0).collect::<Vec<_>>(), adam_w);
    assert_eq!(
        params(1).collect::<Vec<_>>(),
        ["optimizer=SGD", "optimizer.lr=0.5"]
    );
    Ok(())
}

#[test]
fn a_checkpoint_and_a_model_hold_the_variables_of_the_call() -> Result<()> {
    let fake = fake();
    let run = mlflow::start_run().start();
    let var_map = vars(3, 1.0)?;
    log_checkpoint(&var_map, 7);
    log_model(&var_map, Model::new("layer"));
    for var in var_map.all_vars() {
        var.set(&var.zeros_like()?)?;
    }
    drop(run);
    fake.assert_model_logged("layer");
    let run = &fake.runs()[0];
    let stored = [
        &run.artifacts["checkpoints/step-7.safetensors"],
        &run.models[0].files["model.safetensors"],
    ];
    assert_eq!(run.models[0].flavor.as_deref(), Some("safetensors"));
    for bytes in stored {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let mut names: Vec<_> = tensors.keys().collect();
        names.sort();
        assert_eq!(names, ["bias", "weight"]);
        assert_eq!(tensors["weight"].to_vec2::<f32>()?, [[1.0; 2]; 3]);
    }
    Ok(())
}

#[test]
fn without_variables_or_without_a_run_nothing_is_logged() -> Result<()> {
    let fake = fake();
    log_checkpoint(&vars(3, 1.0)?, 0);
    log_model(&vars(3, 1.0)?, Model::new("layer"));
    log_tensor("loss", &Tensor::new(0.5_f32, &Device::Cpu)?, 0);
    log_optimizer(&ParamsAdamW::default());
    assert!(fake.runs().is_empty());

    let run = mlflow::start_run().start();
    log_checkpoint(&VarMap::new(), 0);
    log_model(&VarMap::new(), Model::new("layer"));
    drop(run);
    let run = &fake.runs()[0];
    assert!(run.artifacts.is_empty() && run.models.is_empty(), "{run:?}");
    Ok(())
}

#[test]
fn a_training_goes_on_from_the_newest_checkpoint() -> Result<()> {
    let fake = fake();
    let start = || mlflow::start_run().experiment("layer").name("fit");
    let run = start().start();
    for step in [9, 10, 8] {
        log_checkpoint(&vars(3, step as f32)?, step);
    }
    run.finish(mlflow::RunStatus::Failed);

    let var_map = vars(3, 0.0)?;
    let resume = start().resume_last();
    let step = load_checkpoint(&resume, &var_map).expect("a checkpoint");
    assert_eq!((step, sum(&var_map)?), (Some(10), 90.0));
    let layer_of_other_shape = vars(2, 0.5)?;
    let error = load_checkpoint(&resume, &layer_of_other_shape);
    assert!(matches!(&error, Err(LoadError::Mismatch(_))), "{error:?}");
    assert_eq!(sum(&layer_of_other_shape)?, 3.0, "nothing is changed");
    let error = load_checkpoint(&resume, &VarMap::new());
    assert!(
        matches!(&error, Err(LoadError::Mismatch(what)) if what.contains("build the model")),
        "{error:?}"
    );

    // A new run has none.
    let resume = mlflow::start_run()
        .experiment("layer")
        .name("other")
        .resume_last();
    assert!(load_checkpoint(&resume, &var_map).is_ok_and(|step| step.is_none()));
    drop(fake);
    Ok(())
}

#[test]
fn a_checkpoint_of_another_kind_or_a_broken_one_is_an_error() -> Result<()> {
    let fake = fake();
    let folder = tempfile::tempdir()?;
    for (name, content) in [
        ("weights.bin", "weights"),
        ("weights.safetensors", "broken"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, content)?;
        let start = || mlflow::start_run().experiment("broken").name(name);
        let run = start().start();
        mlflow::log_checkpoint(&file, 3);
        run.finish(mlflow::RunStatus::Failed);
        let var_map = vars(3, 1.0)?;
        let error =
            load_checkpoint(&start().resume_last(), &var_map).expect_err("it cannot be read");
        let is_expected = match name {
            "weights.bin" => matches!(error, LoadError::Mismatch(_)),
            _ => matches!(error, LoadError::Candle(_)),
        };
        assert!(is_expected, "{name}: {error}");
        assert_eq!(sum(&var_map)?, 9.0);
    }
    drop(fake);
    Ok(())
}

#[test]
fn a_registered_model_is_read_back_and_a_missing_one_is_an_error() -> Result<()> {
    let fake = fake();
    let run = mlflow::start_run().start();
    log_model(
        &vars(3, 2.0)?,
        Model::new("layer").register_as("layer").alias("champion"),
    );
    drop(run);
    fake.assert_model_logged("layer");
    let var_map = VarMap::new();
    let builder = VarBuilder::from_varmap(&var_map, DType::F32, &Device::Cpu);
    let layer = candle_nn::linear(2, 3, builder)?;
    load_model("models:/layer@champion", &var_map).expect("the model");
    let output = layer.forward(&Tensor::new(&[[1_f32, 1.0]], &Device::Cpu)?)?;
    assert_eq!(output.to_vec2::<f32>()?, [[6.0; 3]]);
    let error = load_model("models:/layer@nobody", &var_map);
    assert!(matches!(&error, Err(LoadError::Client(_))), "{error:?}");
    Ok(())
}
