//! [`Report`]: the sections with their facts and findings, as text and as JSON.

use serde::{Serialize, Serializer};

use super::configuration::Configuration;
use super::git::Commit;
use super::journal::Journals;
use super::store::Store;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::format::counted;
use crate::output::style::{dim, error, good, heading, warning};

/// Everything that is known.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Version of this program.
    version: &'static str,
    /// Number of findings that are errors.
    pub(super) errors: u64,
    /// Number of findings that are warnings.
    warnings: u64,
    configuration: Section<Configuration>,
    store: Section<Store>,
    journal: Section<Journals>,
    git: Section<Commit>,
}

/// Facts about one subject, and the judgement of them.
#[derive(Debug, Serialize)]
pub(super) struct Section<F> {
    #[serde(flatten)]
    pub(super) facts: F,
    pub(super) findings: Vec<Finding>,
}

/// Judgement of a fact.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    level: Level,
    text: String,
    /// Description of what to do; `None` if nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Finding {
    /// Creates the finding that something is as it should be.
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            text: text.into(),
            advice: None,
        }
    }

    /// Creates a finding that keeps no value from its store.
    pub(super) fn warning(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }

    /// Creates a finding that keeps values from their store, or puts them at risk.
    pub(super) fn error(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            ..Self::warning(text, advice)
        }
    }

    #[cfg(feature = "mcp")]
    fn to_line(&self, section: &str) -> String {
        let Self {
            level,
            text,
            advice,
        } = self;
        let advice = { advice.as_deref() }
            .map(|advice| format!(" ({advice})"))
            .unwrap_or_default();
        format!("{}: {section}: {text}{advice}", level.as_str())
    }

    fn write(&self, output: Output) -> Result<(), Failure> {
        let Self {
            level,
            text,
            advice,
        } = self;
        // Aligned before the colour is added, whose characters have no width.
        let label = format!("{:<7}", level.as_str());
        let label = match level {
            Level::Ok => good(label),
            Level::Warning => warning(label),
            Level::Error => error(label),
        };
        output.line(format_args!("  {label}  {text}"))?;
        match advice {
            Some(advice) => output.line(format_args!("           {}", dim(advice))),
            None => Ok(()),
        }
    }
}

impl<F> Section<F> {
    fn write(&self, output: Output, name: &str) -> Result<(), Failure> {
        output.line(format_args!("\n{}", heading(name)))?;
        self.write_findings(output)
    }

    fn write_findings(&self, output: Output) -> Result<(), Failure> {
        { self.findings.iter() }.try_for_each(|finding| finding.write(output))
    }
}

impl Report {
    /// Creates the report, and counts its findings.
    pub(super) fn new(
        configuration: Section<Configuration>,
        store: Section<Store>,
        journal: Section<Journals>,
        git: Section<Commit>,
    ) -> Self {
        let all = [
            &configuration.findings,
            &store.findings,
            &journal.findings,
            &git.findings,
        ];
        let count = |level| -> u64 {
            let findings = all.iter().copied().flatten();
            findings
                .map(|finding| u64::from(finding.level == level))
                .sum()
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            errors: count(Level::Error),
            warnings: count(Level::Warning),
            configuration,
            store,
            journal,
            git,
        }
    }

    /// Returns the findings, each as a line without colours.
    #[cfg(feature = "mcp")]
    pub(crate) fn to_lines(&self) -> Vec<String> {
        let sections = [
            ("configuration", &self.configuration.findings),
            ("store", &self.store.findings),
            ("journal", &self.journal.findings),
            ("git", &self.git.findings),
        ];
        let lines = |(name, findings): (&str, &Vec<Finding>)| -> Vec<String> {
            { findings.iter() }
                .map(|finding| finding.to_line(name))
                .collect()
        };
        sections.into_iter().flat_map(lines).collect()
    }

    /// Writes the report for people.
    pub(super) fn write(&self, output: Output) -> Result<(), Failure> {
        let Self {
            version,
            errors,
            warnings,
            configuration,
            store,
            journal,
            git,
        } = self;
        output.line(format_args!("cargo mlflow {version}"))?;
        output.line(format_args!("\n{}", heading("Configuration")))?;
        output.line(configuration.facts.to_table(output))?;
        configuration.write_findings(output)?;
        store.write(output, "Store")?;
        journal.write(output, "Journal")?;
        git.write(output, "Git")?;
        output.line(format_args!(
            "\n{}, {}",
            counted(*errors, "error"),
            counted(*warnings, "warning")
        ))
    }
}
