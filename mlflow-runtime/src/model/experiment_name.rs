//! Conversion of an experiment's name into a reference that MLflow accepts.
//!
//! Invariant: a name that MLflow would refuse never enters the journal. Such a name could not be changed
//! there, and everything logged to the experiment's runs would wait for ever.

use crate::model::ExperimentRef;
use crate::model::limits::{self, EXPERIMENT_NAME_CHARS};
use crate::warnings::UserWarning;

/// Returns the experiment of this name; `None`, with a warning, for an empty name. NUL characters are
/// replaced, and a name that is too long is cut, with a warning.
pub(crate) fn experiment_from_name(name: String) -> Option<ExperimentRef> {
    match parse_experiment_name(name) {
        Ok((experiment, warning)) => {
            if let Some(warning) = warning {
                warning.issue();
            }
            Some(experiment)
        }
        Err(warning) => {
            warning.issue();
            None
        }
    }
}

/// Returns the experiment of this name, and a warning if the name was cut. An empty name is an error.
pub(crate) fn parse_experiment_name(
    name: String,
) -> Result<(ExperimentRef, Option<UserWarning>), UserWarning> {
    if name.is_empty() {
        return Err(UserWarning::new(format_args!(
            "the name of an experiment is empty; expected 1 to {EXPERIMENT_NAME_CHARS} characters. Its runs go to \
             the default experiment of the program"
        )));
    }
    let name = limits::replace_nul(&name).unwrap_or(name);
    let (cut, is_cut) = limits::truncate_chars((&name).into(), EXPERIMENT_NAME_CHARS);
    let warning = is_cut.then(|| {
        let length = name.chars().count();
        let (start, _) = limits::truncate_chars((&name).into(), 40);
        UserWarning::new(format_args!(
            "the name of the experiment {start:?}… has {length} characters; it is cut: at most \
             {EXPERIMENT_NAME_CHARS} are allowed"
        ))
    });
    Ok((ExperimentRef::Name(cut.into_owned()), warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<String> {
        match experiment_from_name(name.to_owned())? {
            ExperimentRef::Name(name) => Some(name),
            ExperimentRef::Id(id) => panic!("{id}"),
        }
    }

    #[test]
    fn a_name_that_mlflow_refuses_is_left_out_or_cut() {
        assert_eq!(named(""), None);
        assert_eq!(named("wine").as_deref(), Some("wine"));
        assert_eq!(named("a\0b").as_deref(), Some("a\u{fffd}b"));
        assert_eq!(named(&"ü".repeat(500)), Some("ü".repeat(500)));
        assert_eq!(named(&"ü".repeat(501)), Some("ü".repeat(500)));
    }
}
