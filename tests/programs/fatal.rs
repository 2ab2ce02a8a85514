//! Program that panics in a way that ends the process: `fatal WHERE`.
//!
//! WHERE is `body`, for a build that aborts on panic, or `callback` or `destructor`, from which no build
//! can unwind.

#[path = "support/report.rs"]
mod report;

use mlflow::tracked;

#[tracked(experiment = "fatal")]
fn train(place: &str) {
    mlflow::metric!("loss", 0.5, step = 1);
    match place {
        "body" => panic!("no memory left in the body"),
        "callback" => callback(),
        _ => {
            let _first = Trap;
            panic!("no memory left before the destructor");
        }
    }
}

extern "C" fn callback() {
    panic!("no memory left in the callback");
}

struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("and the destructor has none either");
    }
}

fn main() {
    report::to_stderr();
    let place = std::env::args().nth(1).expect("fatal WHERE");
    train(&place);
}
