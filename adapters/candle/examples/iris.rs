//! Network of candle that learns the species of irises, dies, and goes on, as one run of MLflow.
//!
//! ```sh
//! cargo run --example iris
//! mlflow ui        # in the same folder, then open http://127.0.0.1:5000
//! ```
//!
//! The first process dies without a word after epoch 24, as if it had been killed. The second one finds the unfinished run, sets
//! the variables to those of the newest checkpoint, and goes on with the next epoch. The trained network is a model of the run.
//! Once MLflow 3 has opened the file, the model is stored there, and a further call of the example reads the champion back.

use std::error::Error;
use std::process::{self, Command};
use std::time::Duration;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use mlflow::{Model, Signature, TensorType};

const EPOCHS: i64 = 60;

/// Irises with four measurements each, scaled to mean 0 and deviation 1, and their species from 0 to 2.
struct Irises {
    measurements: Tensor,
    species: Tensor,
}

struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    fn new(var_map: &VarMap) -> candle_core::Result<Self> {
        let builder = VarBuilder::from_varmap(var_map, DType::F32, &Device::Cpu);
        Ok(Self {
            hidden: candle_nn::linear(4, 8, builder.pp("hidden"))?,
            output: candle_nn::linear(8, 3, builder.pp("output"))?,
        })
    }

    /// Returns the loss, and the share of irises whose species is right.
    fn judge(&self, irises: &Irises) -> candle_core::Result<(Tensor, Tensor)> {
        let hidden = self.hidden.forward(&irises.measurements)?.relu()?;
        let logits = self.output.forward(&hidden)?;
        let loss = candle_nn::loss::cross_entropy(&logits, &irises.species)?;
        let is_right = logits.argmax(D::Minus1)?.eq(&irises.species)?;
        Ok((loss, is_right.to_dtype(DType::F32)?.mean_all()?))
    }
}

/// Trains until the last epoch is done, from the newest checkpoint if there is one.
fn train(last_epoch: i64, training: &Irises, test: &Irises) -> Result<(), Box<dyn Error>> {
    let var_map = VarMap::new();
    let network = Network::new(&var_map)?;
    let resume = mlflow::start_run()
        .experiment("candle-iris")
        .name("fit")
        .resume_last();
    let first_epoch = mlflow_candle::load_checkpoint(&resume, &var_map)?.map_or(0, |last| last + 1);
    println!("training from epoch {first_epoch}");
    let run = resume.start();
    mlflow::keep_checkpoints(3);
    let settings = ParamsAdamW {
        lr: 0.05,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(var_map.all_vars(), settings)?;
    mlflow_candle::log_optimizer(&optimizer);
    for epoch in first_epoch..=last_epoch {
        let (loss, accuracy) = network.judge(training)?;
        optimizer.backward_step(&loss)?;
        mlflow_candle::log_tensor("train/loss", &loss, epoch);
        mlflow_candle::log_tensor("train/accuracy", &accuracy, epoch);
        let (loss, accuracy) = network.judge(test)?;
        mlflow_candle::log_tensor("test/loss", &loss, epoch);
        mlflow_candle::log_tensor("test/accuracy", &accuracy, epoch);
        mlflow_candle::log_checkpoint(&var_map, epoch);
    }
    if last_epoch < EPOCHS - 1 {
        process::abort(); // as if by the scheduler
    }
    let signature = Signature::new()
        .input_tensor("measurements", TensorType::Float32, &[-1, 4])
        .output_tensor("logits", TensorType::Float32, &[-1, 3]);
    let model = Model::new("iris")
        .signature(signature)
        .step(last_epoch)
        .register_as("iris")
        .alias("champion");
    mlflow_candle::log_model(&var_map, model);
    drop(run);
    mlflow::flush(Duration::from_secs(30));
    Ok(())
}

/// Returns every third iris for the test, and the others for the training.
fn irises() -> candle_core::Result<(Irises, Irises)> {
    let data = linfa_datasets::iris();
    let records = data.records();
    let mean = records
        .mean_axis(ndarray::Axis(0))
        .expect("there are irises");
    let deviation = records.std_axis(ndarray::Axis(0), 0.0);
    let scaled = (records - &mean) / &deviation;
    let select = |is_chosen: fn(usize) -> bool| -> candle_core::Result<Irises> {
        let chosen: Vec<usize> = (0..scaled.nrows()).filter(|at| is_chosen(*at)).collect();
        let measurements: Vec<f32> = { chosen.iter() }
            .flat_map(|at| scaled.row(*at).mapv(|value| value as f32))
            .collect();
        let species = chosen.iter().map(|at| data.targets()[*at] as u32);
        Ok(Irises {
            measurements: Tensor::from_vec(measurements, (chosen.len(), 4), &Device::Cpu)?,
            species: Tensor::from_iter(species, &Device::Cpu)?,
        })
    };
    Ok((select(|at| at % 3 != 0)?, select(|at| at % 3 == 0)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (training, test) = irises()?;
    if let Some(last_epoch) = std::env::args().nth(1) {
        return train(last_epoch.parse()?, &training, &test);
    }
    let this_program = std::env::current_exe()?;
    for last_epoch in [24, EPOCHS - 1] {
        let ended = Command::new(&this_program)
            .arg(last_epoch.to_string())
            .status()?;
        println!("the process ended with {ended}");
    }

    let var_map = VarMap::new();
    let network = Network::new(&var_map)?;
    match mlflow_candle::load_model("models:/iris@champion", &var_map) {
        Ok(()) => {
            let (_, accuracy) = network.judge(&test)?;
            let percent = accuracy.to_scalar::<f32>()? * 100.0;
            println!("the champion knows {percent:.0} % of the irises of the test");
        }
        // A new SQLite file has no tables for models before MLflow 3 has opened it.
        Err(error) => {
            println!("there is no champion yet: {error}; start `mlflow ui` and this example again")
        }
    }
    Ok(())
}
