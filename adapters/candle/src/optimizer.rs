//! Optimizers as params.

use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, SGD};
use mlflow::Run;

/// Optimizer, or its settings, with what a run is to know of it.
///
/// Implement it for optimizers of your own:
///
/// ```
/// use mlflow_candle::DescribeOptimizer;
///
/// struct Lion { lr: f64 }
///
/// impl DescribeOptimizer for Lion {
///     fn name(&self) -> &str {
///         "Lion"
///     }
///
///     fn settings(&self) -> Vec<(&str, f64)> {
///         vec![("lr", self.lr)]
///     }
/// }
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow_candle::log_optimizer(&Lion { lr: 0.01 });
/// # drop(run);
/// # fake.assert_param("optimizer", "Lion");
/// # fake.assert_param("optimizer.lr", "0.01");
/// ```
pub trait DescribeOptimizer {
    /// Returns the name of the algorithm.
    fn name(&self) -> &str;

    /// Returns the settings by name.
    fn settings(&self) -> Vec<(&str, f64)>;
}

/// Logs the name and the settings of an optimizer as params of the current run: `optimizer`, `optimizer.lr`, and of `AdamW` also
/// `optimizer.beta1`, `optimizer.beta2`, `optimizer.eps` and `optimizer.weight_decay`.
///
/// MLflow keeps the first value of a param, so call it once. A learning rate that changes is a metric:
/// `mlflow::log_metric_at("lr", optimizer.learning_rate(), step)`.
///
/// ```
/// use candle_nn::{AdamW, Optimizer, ParamsAdamW};
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let settings = ParamsAdamW { lr: 0.02, ..ParamsAdamW::default() };
/// let optimizer = AdamW::new(Vec::new(), settings)?;
/// mlflow_candle::log_optimizer(&optimizer);
/// # drop(run);
/// # fake.assert_param("optimizer.beta2", "0.999");
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_optimizer(optimizer: &impl DescribeOptimizer) {
    if let Some(run) = Run::current() {
        run.log_param("optimizer", optimizer.name());
        for (name, value) in optimizer.settings() {
            run.log_param(&format!("optimizer.{name}"), value);
        }
    }
}

impl DescribeOptimizer for ParamsAdamW {
    fn name(&self) -> &str {
        "AdamW"
    }

    fn settings(&self) -> Vec<(&str, f64)> {
        let Self {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
        } = *self;
        vec![
            ("lr", lr),
            ("beta1", beta1),
            ("beta2", beta2),
            ("eps", eps),
            ("weight_decay", weight_decay),
        ]
    }
}

impl DescribeOptimizer for AdamW {
    fn name(&self) -> &str {
        self.params().name()
    }

    fn settings(&self) -> Vec<(&str, f64)> {
        self.params().settings()
    }
}

impl DescribeOptimizer for SGD {
    fn name(&self) -> &str {
        "SGD"
    }

    fn settings(&self) -> Vec<(&str, f64)> {
        vec![("lr", self.learning_rate())]
    }
}
