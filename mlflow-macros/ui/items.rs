use mlflow_macros::{timed, tracked};

#[tracked]
struct Struct;

#[tracked]
pub enum Enum {}

#[tracked]
#[repr(C)]
union Union {
    a: u8,
}

#[tracked]
mod module {}

#[tracked]
const CONSTANT: u8 = 1;

#[tracked]
static STATIC: u8 = 1;

#[tracked]
type Alias = u8;

#[tracked]
impl Struct {
    fn fit(&self) {}
    pub async fn score(&self) {}
}

#[tracked]
const fn constant() {}

trait Fit {
    #[tracked]
    fn no_body(&self);
}

#[tracked]
trait Train {
    fn train(&self);
}

#[tracked]
use std::fmt::Debug;

#[timed]
struct Timed;

fn main() {}
