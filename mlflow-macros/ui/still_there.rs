//! A function whose attribute is wrong is still there: the only error is the attribute's.

use mlflow_macros::tracked;

struct Model;

impl Model {
    #[tracked(unknown)]
    fn fit(&self, a: u8) -> u8 {
        a
    }
}

fn main() {
    let _: u8 = Model.fit(1);
}
