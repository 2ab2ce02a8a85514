//! Values for a server that is away: `backlog URI VALUES`. Its memory is looked at from outside.

const WARM_UP: usize = 1_000;

fn main() {
    let (uri, values) = contenders::arguments();
    mlflow::configure(mlflow::Config::new().tracking_uri(uri).quiet(true));
    let run = mlflow::start_run().name("backlog").start();
    for step in 0..values {
        if step == WARM_UP {
            contenders::pause("warm");
        }
        mlflow::metric!("loss", step as f64, step = step);
    }
    contenders::pause("logged");
    drop(run);
}
