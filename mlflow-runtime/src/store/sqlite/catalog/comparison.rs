//! Comparisons of a filter as SQL conditions.
//!
//! Invariant: the text of a condition is made of column names and operators that stand in this library's code,
//! and of numbered parameters. Everything that a user gives is bound to a parameter.

use rusqlite::types::Value;

use crate::search::{Operand, Operator, SortKey};

/// Values that are bound to the numbered parameters of a statement.
#[derive(Debug, Default)]
pub(super) struct Bindings(Vec<Value>);

impl Bindings {
    /// Adds a value, and returns the parameter that stands for it.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("?{}", self.0.len())
    }

    /// Returns the values, in the order of their parameters.
    pub(super) fn values(&self) -> rusqlite::ParamsFromIter<&Vec<Value>> {
        rusqlite::params_from_iter(&self.0)
    }

    /// Adds a list of texts, and returns a subquery with its elements. One parameter holds the whole list, as
    /// SQLite limits the number of parameters.
    pub(super) fn bind_list(&mut self, texts: &[String]) -> String {
        let list = self.bind(json_list(texts));
        format!("(SELECT value FROM json_each({list}))")
    }

    /// Returns the condition that compares a column of texts. The condition does not hold for NULL.
    pub(super) fn compare_text(
        &mut self,
        column: &str,
        operator: Operator,
        operand: &Operand,
    ) -> String {
        match (operator, operand) {
            (Operator::Equal | Operator::NotEqual | Operator::Like, Operand::Text(text)) => {
                format!("{column} {} {}", operator.symbol(), self.bind(text.clone()))
            }
            (Operator::ILike, Operand::Text(text)) => {
                format!("lower({column}) LIKE lower({})", self.bind(text.clone()))
            }
            (Operator::In | Operator::NotIn, Operand::List(texts)) => {
                format!("{column} {} {}", operator.symbol(), self.bind_list(texts))
            }
            _ => NEVER.to_owned(),
        }
    }

    /// Returns the condition that compares a column of numbers. The condition does not hold for NULL.
    pub(super) fn compare_number(
        &mut self,
        column: &str,
        operator: Operator,
        operand: &Operand,
    ) -> String {
        let is_comparison = matches!(
            operator,
            Operator::Equal
                | Operator::NotEqual
                | Operator::Greater
                | Operator::GreaterOrEqual
                | Operator::Less
                | Operator::LessOrEqual
        );
        let number = match operand {
            // SQLite knows no NaN and would bind NULL.
            Operand::Float(number) if number.is_nan() && operator == Operator::NotEqual => {
                return format!("{column} IS NOT NULL");
            }
            Operand::Float(number) if !number.is_nan() && is_comparison => Value::Real(*number),
            Operand::Integer(number) if is_comparison => Value::Integer(*number),
            _ => return NEVER.to_owned(),
        };
        format!("{column} {} {}", operator.symbol(), self.bind(number))
    }
}

/// Condition of a comparison that the search does not know.
const NEVER: &str = "FALSE";

/// Returns the texts as a JSON list.
pub(super) fn json_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// Returns the direction of an order.
pub(super) fn direction(key: &SortKey) -> &'static str {
    if key.descending { "DESC" } else { "ASC" }
}

/// Returns the keys without those whose field has appeared before, which cannot change the order.
pub(super) fn distinct_keys(keys: Vec<SortKey>) -> Vec<SortKey> {
    let mut distinct: Vec<SortKey> = Vec::with_capacity(keys.len());
    for key in keys {
        if distinct.iter().all(|earlier| earlier.field != key.field) {
            distinct.push(key);
        }
    }
    distinct
}
