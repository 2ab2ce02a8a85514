//! Kinds of secrets that the user adds to those that are always masked, as regular expressions.
//!
//! # Invariants
//!
//! 1. A pattern holds for the whole process once it is in effect, as all kinds do, and for every way out of it.
//! 2. A pattern that is none is left out alone, with a warning.
//! 3. Masking stays linear in the length of a text: `regex-lite` has no expression that takes longer.

use super::resolver::{Resolver, SettingValue};
use crate::warnings::UserWarning;

pub(super) const VARIABLE: &str = "MLFLOW_REDACT_PATTERN";

/// Greatest number of characters of a pattern that a warning shows.
#[cfg(feature = "redact")]
const MAX_SHOWN_CHARS: usize = 100;

/// Returns true if nothing of any text would be left.
#[cfg(feature = "redact")]
fn matches_any_text(regex: &regex_lite::Regex) -> bool {
    regex.is_match("") || ["a", " ", "0"].iter().all(|text| regex.is_match(text))
}

/// Regular expressions as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RedactPatterns(Vec<String>);

/// The patterns, one after the other.
impl SettingValue for RedactPatterns {
    fn to_shown(&self) -> String {
        self.0.join("|")
    }
}

impl RedactPatterns {
    /// Chooses the patterns: the configured ones if there are any, else that of the variable.
    pub(super) fn resolve(self, resolver: &mut Resolver<'_>) -> Self {
        let mut warning = None;
        let mut check = |patterns: Self| {
            let (patterns, faults) = patterns.keep_valid();
            warning = faults;
            patterns
        };
        let configured = (!self.0.is_empty()).then_some(self);
        let chosen = resolver
            .choose(VARIABLE)
            .configured_as(configured, |patterns| Ok(check(patterns)))
            .variable(|pattern| Ok(check(Self(vec![pattern]))));
        let chosen = chosen.with_warning(warning);
        chosen.or_unset().unwrap_or_default()
    }

    #[cfg(feature = "redact")]
    fn keep_valid(self) -> (Self, Option<UserWarning>) {
        let mut kept = Vec::new();
        let mut faults = Vec::new();
        for pattern in self.0 {
            match regex_lite::Regex::new(&pattern) {
                Ok(regex) if matches_any_text(&regex) => {
                    faults.push(format!("{pattern:?} matches any text"));
                }
                Ok(_) => kept.push(pattern),
                Err(error) => {
                    let shown: String = pattern.chars().take(MAX_SHOWN_CHARS).collect();
                    faults.push(format!("{shown:?}: {error}"));
                }
            }
        }
        let warning = (!faults.is_empty()).then(|| {
            UserWarning::new(format_args!(
                "{VARIABLE}, or Config::redact, cannot be used and masks nothing: {}; expected a regular expression \
                 (https://docs.rs/regex-lite/#syntax)",
                faults.join("; ")
            ))
        });
        (Self(kept), warning)
    }

    #[cfg(not(feature = "redact"))]
    fn keep_valid(self) -> (Self, Option<UserWarning>) {
        let warning = UserWarning::new(format_args!(
            "{VARIABLE} is ignored and masks nothing: build the program with mlflow-runtime's feature `redact`"
        ));
        (Self::default(), Some(warning))
    }

    /// Puts the patterns into effect, for the whole process. Those that are in effect already are not added again.
    #[cfg(feature = "redact")]
    pub(crate) fn put_into_effect(&self) {
        for pattern in &self.0 {
            let Ok(regex) = regex_lite::Regex::new(pattern) else {
                continue;
            };
            let is_added = mlflow_rules::add_secret_finder(pattern, move |text| {
                // A clone has a pool of its own, whose lock no thread has held at a fork.
                let regex = regex.clone();
                regex.find_iter(text).map(|found| found.range()).collect()
            });
            if !is_added {
                crate::warnings::warn_user(format_args!(
                    "{VARIABLE}, or Config::redact: {pattern:?} masks nothing, as a process can have 64 patterns"
                ));
            }
        }
    }

    #[cfg(not(feature = "redact"))]
    pub(crate) fn put_into_effect(&self) {}
}

#[cfg(feature = "redact")]
#[cfg_attr(docsrs, doc(cfg(feature = "redact")))]
impl crate::config::Config {
    /// Masks whatever matches this regular expression, as a secret of the user's own kind (`MLFLOW_REDACT_PATTERN`, default:
    /// none). May be called several times; if it is called, the variable is not looked at.
    ///
    /// What matches becomes `[redacted]` in all that the library writes or sends, as the kinds of secrets do that it knows by
    /// itself: params, tags, names, errors, lines of the console, its own messages. A pattern is in effect when the
    /// process logs or [configures](crate::configure) anything for the first time, and stays so until the process ends. Of a text that
    /// is cut at a limit, what is left of a match at its end stays. `cargo mlflow`, which may ship what a process has left behind,
    /// takes the variable into account. A
    /// pattern that is no regular expression, or that matches any text (`.*`), masks nothing, with a warning. The time grows with the
    /// length of a text and of the pattern, and is spent on the thread that logs: long repetitions (`[a-z]{5,500}`) are slow. The syntax is that of
    /// [`regex-lite`](https://docs.rs/regex-lite/#syntax).
    ///
    /// ```
    /// let config = mlflow::Config::new().redact(r"ACME-[0-9A-F]{8}");
    /// # let _ = config;
    /// ```
    pub fn redact(mut self, pattern: impl Into<String>) -> Self {
        self.redact_patterns.0.push(pattern.into());
        self
    }
}

#[cfg(all(test, feature = "redact"))]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_leaves_nothing_or_is_none_goes_alone() {
        let given = ["ACME-[0-9]+", ".*", ".", "", "x|", "(", "[a-z]+"].map(str::to_owned);
        let (kept, warning) = RedactPatterns(given.to_vec()).keep_valid();
        assert_eq!(kept.0, ["ACME-[0-9]+", "[a-z]+"]);
        let told = warning.expect("a warning").into_text();
        for words in ["\".*\" matches any text", "\".\" matches", "\"(\": "] {
            assert!(told.contains(words), "{told}");
        }
        let long = "(".repeat(100_000);
        let (_, warning) = RedactPatterns(vec![long]).keep_valid();
        assert!(warning.expect("a warning").into_text().len() < 1000);
    }
}
