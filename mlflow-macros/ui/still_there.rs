//! Function with a wrong attribute. The function is emitted all the same, so a call causes no further error.

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
