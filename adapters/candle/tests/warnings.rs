//! Lines about what is not logged: each once, and with the reason.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarMap;
use mlflow::testing::fake;
use mlflow_candle::{log_checkpoint, log_tensor};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Subscriber that keeps the texts of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Visit for Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().expect("no panic").push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mlflow" && *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn what_is_not_logged_is_one_line_with_the_reason() -> Result<()> {
    let warnings = Warnings::default();
    let vector = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let fake = fake();
    tracing::subscriber::with_default(warnings.clone(), || {
        log_tensor("loss", &vector, 0); // without a run, nobody is told
        let run = mlflow::start_run().start();
        for step in 0..3 {
            log_tensor("loss", &vector, step);
            log_checkpoint(&VarMap::new(), step);
        }
        drop(run);
    });
    assert!(fake.runs()[0].metrics.is_empty());
    let warnings = warnings.0.lock().expect("no panic");
    let starts = [
        "the metric \"loss\" is not logged: its tensor has the shape [2, 3]",
        "a checkpoint is not logged: the VarMap has no variables",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    Ok(())
}
