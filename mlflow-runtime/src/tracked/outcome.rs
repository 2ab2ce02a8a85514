//! Inspection of a returned value, and what the run records about it.
//!
//! Invariant: `Result` and `Option` are recognized by type. An alias or a re-export of them is recognized,
//! and a user's own type `Result` is not mistaken for one. The selection between types works because the
//! compiler prefers an inherent method to a trait's method.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Mutex;

use crate::capture::{Failure, Numbers};
use crate::model::RunStatus;
use crate::os::fork::PerProcess;
use crate::run::callsite::Callsite;
use crate::run::{Model, Run};

use crate::sync::lock;
use crate::warnings::warn_without_dedup;

/// Wrapper that finds out if a value is a `Result`, an `Option` or an `ExitCode`.
#[derive(Debug)]
pub struct ResultProbe<'v, T: ?Sized>(pub &'v T);

/// Result of the inspection of a returned value.
#[derive(Debug, PartialEq)]
pub enum Inspected<V, E> {
    /// `Ok`, `Some`, or a value that is neither `Result` nor `Option`.
    Value(V),
    /// `Err`, or an `ExitCode` other than `SUCCESS`.
    Error(E),
    /// `None`, or `ExitCode::SUCCESS`: there is no value to log.
    Absent,
}

/// Type whose values are taken apart into a value or an error.
pub trait ResultLike {
    /// Type of the value of a success.
    type Value;
    /// Type of the error of a failure.
    type Error;
    /// Takes the value apart.
    fn inspected(&self) -> Inspected<&Self::Value, &Self::Error>;
}

impl<T, E> ResultLike for Result<T, E> {
    type Value = T;
    type Error = E;

    fn inspected(&self) -> Inspected<&T, &E> {
        match self {
            Ok(value) => Inspected::Value(value),
            Err(error) => Inspected::Error(error),
        }
    }
}

impl<T> ResultLike for Option<T> {
    type Value = T;
    type Error = Infallible;

    fn inspected(&self) -> Inspected<&T, &Infallible> {
        self.as_ref().map_or(Inspected::Absent, Inspected::Value)
    }
}

/// Exit codes other than `SUCCESS` are errors, as `sys.exit(1)` is in Python.
impl ResultLike for ExitCode {
    type Value = Infallible;
    type Error = ExitCode;

    fn inspected(&self) -> Inspected<&Infallible, &ExitCode> {
        if *self == ExitCode::SUCCESS {
            Inspected::Absent
        } else {
            Inspected::Error(self)
        }
    }
}

// A single method for all types that are taken apart: with one method each, the compiler would find several
// candidates for a type that it does not know yet.
impl<'v, T: ResultLike> ResultProbe<'v, T> {
    /// Takes the value apart.
    #[must_use]
    pub fn __mlflow_inspected(self) -> Inspected<&'v T::Value, &'v T::Error> {
        self.0.inspected()
    }
}

/// Fallback for every other type, which counts as a plain value.
pub trait NotAResult<'v> {
    /// Type of the value.
    type Value: ?Sized;
    /// Returns the value as it is.
    fn __mlflow_inspected(self) -> Inspected<&'v Self::Value, &'v Infallible>;
}

impl<'v, T: ?Sized> NotAResult<'v> for ResultProbe<'v, T> {
    type Value = T;
    fn __mlflow_inspected(self) -> Inspected<&'v T, &'v Infallible> {
        Inspected::Value(self.0)
    }
}

/// Outcome of a run that is about to end, as far as the returned value determines it.
#[derive(Debug)]
pub struct RunOutcome<'r> {
    run: &'r Run,
    site: &'static Callsite,
    pub(crate) status: RunStatus,
    logs_models: bool,
}

impl<'r> RunOutcome<'r> {
    pub(crate) fn new(run: &'r Run, site: &'static Callsite, logs_models: bool) -> Self {
        Self {
            run,
            site,
            status: RunStatus::Finished,
            logs_models,
        }
    }

    /// Returns true if a returned model is to be logged: unless the attribute says `log_model = false`, and in a
    /// run that ranks share only by rank 0, because the ranks return copies of one model.
    pub(super) fn logs_models(&self) -> bool {
        self.logs_models && self.run.member_rank().is_none_or(|rank| rank == 0)
    }

    /// Logs the models of the returned value.
    pub(super) fn models(&self, models: &[Model]) {
        for model in models {
            self.run.log_model(model);
        }
    }

    /// Logs the numbers of the returned value as metrics. A bare number has the name that the attribute
    /// gives, else the name of the function; fields have their own names. If the run has already logged
    /// points under a key, the number is logged at the last step of that key, so that the curve does not fall
    /// back to its beginning.
    pub fn numbers(&mut self, numbers: Numbers) {
        let is_sequence = numbers.is_sequence;
        self.warn_unused_names(&numbers);
        for (path, value) in numbers.values {
            self.run
                .log_returned_metric(&self.metric_key(path, is_sequence), value);
        }
        for (path, end) in numbers.missing {
            if let Some(tracker) = self.run.tracker() {
                tracker
                    .sanitizer
                    .warn_missing_metric(&self.metric_key(path, is_sequence), end);
            }
        }
    }

    /// Logs a warning if the attribute names another kind of value than the one that was returned, once for
    /// each callsite.
    fn warn_unused_names(&self, numbers: &Numbers) {
        let values = numbers.values.iter().map(|(path, _)| path);
        let paths = values.chain(numbers.missing.iter().map(|(path, _)| path));
        let is_field = |path: &String| path.starts_with(|first: char| !first.is_ascii_digit());
        let (argument, expected, fix, is_used) = match (self.site.metric, self.site.metrics) {
            (None, []) => return,
            (Some(_), _) => {
                let is_used = paths.clone().any(|path| !is_field(path));
                let fix = "one number or `bool`";
                ("metric", "one number", fix, is_used || numbers.is_sequence)
            }
            (None, _) => {
                let fix = "a tuple of numbers";
                (
                    "metrics",
                    "the elements of a tuple",
                    fix,
                    numbers.is_sequence,
                )
            }
        };
        if is_used {
            return;
        }
        let returned = match paths.min() {
            Some(path) if is_field(path) => {
                format!("fields such as `{path}`, which have their own names")
            }
            Some(_) => "one number, which `metric` would name".to_owned(),
            None => "no number".to_owned(),
        };
        static SAID: PerProcess<Mutex<BTreeSet<(&str, u32)>>> = PerProcess::new();
        let site = self.site;
        if !lock(SAID.get()).insert((site.file, site.line)) {
            return;
        }
        let unused = site.metric.as_slice().iter().chain(site.metrics);
        let unused: Vec<_> = unused.map(|name| format!("`{name}`")).collect();
        warn_without_dedup(format!(
            "`{argument}` at `{}` ({}:{}) names {expected}, but the function returned {returned}; so its returned value is not \
             logged as {}. Return {fix}, also inside of `Ok` or `Some`, or remove `{argument}` from the attribute",
            site.name(),
            site.file,
            site.line,
            unused.join(", "),
        ));
    }

    // Input:  ``, `0.a` of a sequence, `7` of a map, `rmse`; `metrics("first")`
    // Output: `function`, `first.a`, `function.7`, `rmse`
    fn metric_key(&self, path: String, is_sequence: bool) -> String {
        let own = self.site.metric.unwrap_or(self.site.name());
        let (first, rest) = path.split_once('.').unwrap_or((&path, ""));
        if first.is_empty() {
            return own.to_owned();
        }
        if !first.bytes().all(|byte| byte.is_ascii_digit()) {
            return path;
        }
        let names: &[&str] = if is_sequence { self.site.metrics } else { &[] };
        let named = first
            .parse()
            .ok()
            .and_then(|index: usize| names.get(index).copied());
        let first = named.map_or_else(|| format!("{own}.{first}"), str::to_owned);
        if rest.is_empty() {
            first
        } else {
            format!("{first}.{rest}")
        }
    }

    /// Marks the run as FAILED, and sets the tags that describe the error.
    pub fn failure(&mut self, failure: Failure) {
        self.status = RunStatus::Failed;
        let tag = |what| self.run.error_tag(what);
        self.run.set_tag(&tag("type"), failure.kind);
        self.run.tag_text(&tag("message"), failure.message);
        if let Some(chain) = failure.chain {
            self.run.tag_text(&tag("chain"), chain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inspected, NotAResult as _, ResultProbe};

    #[test]
    fn by_type_not_by_name() {
        type Outcome = std::io::Result<u8>;
        #[derive(Debug, PartialEq)]
        enum Result {
            Err,
        }
        let ok: Outcome = Ok(1);
        assert_eq!(ResultProbe(&ok).__mlflow_inspected().value(), Some(&1));
        assert!(matches!(
            ResultProbe(&Err::<u8, _>("no")).__mlflow_inspected(),
            Inspected::Error(&"no")
        ));
        assert!(matches!(
            ResultProbe(&None::<u8>).__mlflow_inspected(),
            Inspected::Absent
        ));
        assert!(matches!(
            ResultProbe(&Result::Err).__mlflow_inspected(),
            Inspected::Value(&Result::Err)
        ));
    }

    impl<V, E> Inspected<V, E> {
        fn value(self) -> Option<V> {
            match self {
                Self::Value(value) => Some(value),
                _ => None,
            }
        }
    }
}
