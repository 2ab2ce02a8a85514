//! Attributes on closures and statements, for which rustc reports errors of its own, too.

use mlflow_macros::{timed, tracked};

fn main() {
    #[tracked]
    let rate = 1;

    #[tracked]
    let fit = |a: u8| a;

    let score = #[tracked]
    |a: u8| a;

    let load = #[tracked]
    move || rate;

    let later = #[tracked]
    async move |a: u8| a;

    let block = #[tracked]
    async move { 1 };

    run(
        #[timed]
        |a: u8| a,
    );

    #[tracked]
    run(|a| a);

    #[tracked]
    {
        run(|a| a);
    }

    #[tracked]
    for a in 0..rate {
        run(|a| a);
    }
}

fn run(f: impl Fn(u8) -> u8) {
    f(1);
}
