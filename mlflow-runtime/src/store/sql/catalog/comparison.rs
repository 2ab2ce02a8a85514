//! Comparisons of a filter as SQL conditions.
//!
//! Invariant: the text of a condition is made of column names and operators that stand in this library's code,
//! and of numbered parameters. Everything that a user gives is bound to a parameter.

use crate::search::{Operand, Operator, SortKey};
use crate::store::sql::dialect::json_list;
use crate::store::sql::{Dialect, SqlValue};

/// Values that are bound to the numbered parameters of a statement.
#[derive(Debug)]
pub(super) struct Bindings {
    dialect: Dialect,
    values: Vec<SqlValue<'static>>,
}

impl Bindings {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            values: Vec::new(),
        }
    }

    /// Adds a value, and returns the parameter that stands for it.
    pub(super) fn bind(&mut self, value: impl Into<SqlValue<'static>>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    /// Returns the values, in the order of their parameters.
    pub(super) fn values(&self) -> &[SqlValue<'static>] {
        &self.values
    }

    /// Adds an integer, and returns an expression for it that can be compared with every column of numbers.
    pub(super) fn bind_integer(&mut self, number: i64) -> String {
        format!("CAST({} AS BIGINT)", self.bind(number))
    }

    /// Adds a list of texts, and returns a subquery with its elements.
    pub(super) fn bind_list(&mut self, texts: &[String]) -> String {
        let list = self.bind(json_list(texts));
        format!("({})", self.dialect.text_elements(&list))
    }

    /// Adds a list of integers, and returns a subquery with its elements.
    pub(super) fn bind_integers(&mut self, numbers: &[i64]) -> String {
        let list = self.bind(json_list(numbers));
        format!("({})", self.dialect.integer_elements(&list))
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
            // A column holds no NaN, and SQLite would bind NULL.
            Operand::Float(number) if number.is_nan() && operator == Operator::NotEqual => {
                return format!("{column} IS NOT NULL");
            }
            Operand::Float(number) if !number.is_nan() && is_comparison => {
                format!("CAST({} AS DOUBLE PRECISION)", self.bind(*number))
            }
            Operand::Integer(number) if is_comparison => self.bind_integer(*number),
            _ => return NEVER.to_owned(),
        };
        format!("{column} {} {number}", operator.symbol())
    }
}

/// Condition of a comparison that the search does not know.
const NEVER: &str = "FALSE";

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
