//! [`Filter`]: comparisons that all have to hold.

use std::fmt::{self, Display};
use std::ops::BitAnd;

use super::Subject;
use super::comparison::{Comparison, Operand, Operator};
use super::field::Field;
use super::parse::{self, SearchError};

/// Filter of a search: comparisons that all have to hold. Without any, everything matches.
///
/// Filters are joined by `&`. A text converts into a filter, and is checked when the search begins: a text
/// that is not in MLflow's language is an error that marks the place.
///
/// ```
/// use mlflow::search::{Filter, param};
///
/// let filter = Filter::from("metrics.rmse < 0.7") & param("model").ne("baseline");
/// assert_eq!(filter.to_string(), "metrics.rmse < 0.7 AND params.`model` != 'baseline'");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    clauses: Vec<Clause>,
}

/// Texts that cannot be read, each with the error.
type UnreadTexts<'f> = Vec<(&'f str, SearchError)>;

#[derive(Clone, Debug, PartialEq)]
enum Clause {
    /// Text in MLflow's language, not parsed yet.
    Text(String),
    Comparison(Comparison),
}

impl Clause {
    fn comparisons(&self, subject: Subject) -> Result<Vec<Comparison>, SearchError> {
        match self {
            Self::Text(text) => parse::parse_filter(text, subject),
            Self::Comparison(comparison) => match subject.check(comparison) {
                Ok(()) => Ok(vec![comparison.clone()]),
                Err(reason) => Err(SearchError::of_filter(&comparison.to_string(), reason)),
            },
        }
    }
}

impl Filter {
    /// Creates the filter of one comparison.
    pub(super) fn comparison(field: Field, operator: Operator, operand: Operand) -> Self {
        Self {
            clauses: vec![Clause::Comparison(Comparison {
                field,
                operator,
                operand,
            })],
        }
    }

    /// Returns the comparisons of the filter, checked for a search of `subject`.
    pub(crate) fn comparisons(&self, subject: Subject) -> Result<Vec<Comparison>, SearchError> {
        let mut all = Vec::with_capacity(self.clauses.len());
        for clause in &self.clauses {
            all.extend(clause.comparisons(subject)?);
        }
        Ok(all)
    }

    /// Returns the comparisons, and apart from them the texts that cannot be read, each with the error. A
    /// server may know more of the language than this library.
    ///
    /// # Errors
    /// The error of a comparison that was not given as a text.
    pub(crate) fn split_unread(
        &self,
        subject: Subject,
    ) -> Result<(Vec<Comparison>, UnreadTexts<'_>), SearchError> {
        let (mut all, mut unread) = (Vec::new(), Vec::new());
        for clause in &self.clauses {
            match (clause.comparisons(subject), clause) {
                (Ok(comparisons), _) => all.extend(comparisons),
                (Err(error), Clause::Text(text)) => unread.push((text.as_str(), error)),
                (Err(error), Clause::Comparison(_)) => return Err(error),
            }
        }
        Ok((all, unread))
    }
}

impl From<&str> for Filter {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Filter {
    fn from(text: String) -> Self {
        let is_blank = text.trim().is_empty();
        Self {
            clauses: if is_blank {
                Vec::new()
            } else {
                vec![Clause::Text(text)]
            },
        }
    }
}

impl BitAnd for Filter {
    type Output = Self;

    fn bitand(mut self, other: Self) -> Self {
        self.clauses.extend(other.clauses);
        self
    }
}

impl Display for Filter {
    /// Writes the filter in MLflow's language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.clauses.iter().enumerate() {
            if index > 0 {
                f.write_str(" AND ")?;
            }
            match clause {
                Clause::Text(text) => f.write_str(text)?,
                Clause::Comparison(comparison) => comparison.fmt(f)?,
            }
        }
        Ok(())
    }
}
