//! [`OrderBy`]: the order of a search's results.

use std::fmt::{self, Display};

use super::Subject;
use super::field::{Field, SortKey};
use super::parse::{self, SearchError};

/// Order of a search's results, by one field. A text in MLflow's language converts into one.
///
/// ```
/// use mlflow::search::{OrderBy, metric};
///
/// assert_eq!(metric("rmse").asc().to_string(), "metrics.`rmse` ASC");
/// assert_eq!(OrderBy::from("start_time DESC").to_string(), "start_time DESC");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy(Order);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// Text in MLflow's language, not parsed yet.
    Text(String),
    Key(SortKey),
}

impl OrderBy {
    pub(super) fn field(field: Field, descending: bool) -> Self {
        Self(Order::Key(SortKey { field, descending }))
    }

    /// Returns the text, if the order was given as one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.0 {
            Order::Text(text) => Some(text),
            Order::Key(_) => None,
        }
    }

    /// Returns the field and the direction, checked for a search of `subject`.
    pub(crate) fn sort_key(&self, subject: Subject) -> Result<SortKey, SearchError> {
        match &self.0 {
            Order::Text(text) => parse::parse_order(text, subject),
            Order::Key(key) => {
                subject
                    .check_order(&key.field)
                    .map_err(|reason| SearchError::of_order(&key.to_string(), reason))?;
                Ok(key.clone())
            }
        }
    }
}

impl From<&str> for OrderBy {
    fn from(text: &str) -> Self {
        Self(Order::Text(text.to_owned()))
    }
}

impl From<String> for OrderBy {
    fn from(text: String) -> Self {
        Self(Order::Text(text))
    }
}

impl Display for OrderBy {
    /// Writes the order in MLflow's language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Order::Text(text) => f.write_str(text),
            Order::Key(key) => key.fmt(f),
        }
    }
}
