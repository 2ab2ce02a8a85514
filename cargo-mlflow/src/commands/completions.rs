//! `completions`: the completions of a shell.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Prints the completions.
pub(crate) fn run(shell: Shell) -> Result<(), Failure> {
    // `generate` panics if it cannot write, so the text is written afterwards.
    let mut text = Vec::new();
    generate(shell, &mut Arguments::command(), "cargo-mlflow", &mut text);
    io::stdout().write_all(&text)?;
    Ok(())
}
