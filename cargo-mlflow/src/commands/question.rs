//! Question to a person at a terminal, before something is deleted.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::failure::Failure;
use crate::output::waiting;

/// Asks a question that is answered by yes or no. Fails unless the answer is yes. Without a terminal, the
/// failure says which arguments do without the question.
pub(super) fn confirm(question: &str, otherwise: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "there is no terminal to ask on: {otherwise}"
        )));
    }
    waiting::note_words();
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::Io("cannot read the answer".to_owned(), error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Other("nothing was deleted".to_owned()))
    }
}
