//! A run that is open while nothing is logged: `idle URI`. It is looked at from outside.

use std::time::Duration;

fn main() {
    let uri = std::env::args().nth(1).expect("a tracking URI");
    contenders::pause("before");
    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    let run = mlflow::start_run().name("idle").start();
    mlflow::metric!("loss", 0.5);
    mlflow::flush(Duration::from_secs(5));
    contenders::pause("idle");
    drop(run);
}
