//! Searches: which records of a store a [`Client`](crate::Client) returns, and in which order.
//!
//! Invariants: a filter means the same on every store, and a value in a filter can never be read as a part of
//! the filter's language.
//!
//! A filter is built from fields:
//!
//! ```
//! use mlflow::search::{attribute, metric, param, tag};
//!
//! let filter = metric("rmse").lt(0.7) & tag("model").eq("it's") & attribute::status().eq("FINISHED");
//! assert_eq!(
//!     filter.to_string(),
//!     r#"metrics.`rmse` < 0.7 AND tags.`model` = "it's" AND status = 'FINISHED'"#
//! );
//! # let _ = param("lr");
//! ```
//!
//! or is a text in [MLflow's language](https://mlflow.org/docs/latest/ml/search/search-runs/), which is a
//! list of comparisons joined by `AND`; there is no `OR`. Both can be joined: see [`Filter`].
//!
//! Beyond MLflow's language, a **param is also compared as a number**: `param("lr").gt(0.1)`, or
//! `params.lr > 0.1` in a text. MLflow compares params only as texts, so the client applies such a comparison
//! to the records that it has read. The same holds for a text that MLflow cannot quote, because it contains
//! both kinds of quotes. Everything else is applied by the store.

mod comparison;
mod field;
mod filter;
mod matching;
mod order;
mod parse;
mod requests;
mod subject;
mod typed_fields;

pub use filter::Filter;
pub use order::OrderBy;
pub use parse::SearchError;
pub use requests::{
    SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns, ViewType,
};
pub use typed_fields::{
    IdField, IntegerField, ListedTextField, NumberField, ParamField, TagField, TextField,
    attribute, dataset, metric, param, tag,
};

pub(crate) use comparison::{Comparison, Operand, Operator};
pub(crate) use field::{Field, FieldKind, SortKey};
pub(crate) use matching::{FieldValue, Searchable, compare_records, matches_all};
pub(crate) use requests::{ColumnChoice, Columns};
pub(crate) use subject::Subject;
