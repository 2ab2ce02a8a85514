//! [`Comparison`] of a field with an operand, and how MLflow's language writes it.

use std::fmt::{self, Display};

use super::field::{Field, FieldKind};

/// Part of a filter: one comparison of a field with an operand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) field: Field,
    pub(crate) operator: Operator,
    pub(crate) operand: Operand,
}

/// Operator of a [`Comparison`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    ILike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

/// Right side of a [`Comparison`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    /// Nothing, beside `IS NULL` and `IS NOT NULL`.
    Nothing,
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<String>),
}

impl Operator {
    /// Returns the operator in MLflow's language.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Like => "LIKE",
            Self::ILike => "ILIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
        }
    }
}

impl Operand {
    /// Returns the number, if the operand is one.
    #[expect(clippy::cast_precision_loss, reason = "MLflow compares floats, too")]
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Nothing | Self::Text(_) | Self::List(_) => None,
        }
    }
}

impl Comparison {
    /// Returns true if MLflow's language can express the comparison. What it cannot express is applied to the
    /// records that were read.
    pub(crate) fn is_expressible(&self) -> bool {
        let is_quotable = |text: &str| quote(text).is_some();
        let key_is_quotable = !self.field.key.contains('`');
        let operand_is_expressible = match &self.operand {
            Operand::Nothing => true,
            Operand::Integer(_) | Operand::Float(_) if self.field.kind == FieldKind::Param => false,
            Operand::Integer(_) => true,
            Operand::Float(number) => number.is_finite(),
            Operand::Text(text) => is_quotable(text),
            // A list is read as a Python expression, where a backslash escapes.
            Operand::List(texts) => texts
                .iter()
                .all(|text| is_quotable(text) && !text.contains(['\\', '\n', '\r'])),
        };
        key_is_quotable && operand_is_expressible
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.operator.symbol())?;
        match &self.operand {
            Operand::Nothing => Ok(()),
            Operand::Integer(number) => write!(f, " {number}"),
            Operand::Float(number) => write!(f, " {number}"),
            Operand::Text(text) => write!(f, " {}", quote_for_display(text)),
            Operand::List(texts) => {
                let quoted: Vec<_> = texts.iter().map(|text| quote_for_display(text)).collect();
                write!(f, " ({})", quoted.join(", "))
            }
        }
    }
}

/// Returns the text in quotes, or `None` if MLflow has no way to quote the text. MLflow knows no escape, but
/// its lexer takes a backslash before a quote for one.
fn quote(text: &str) -> Option<String> {
    let has_risky_backslash = text.ends_with('\\') || text.contains("\\'") || text.contains("\\\"");
    match (text.contains('\''), text.contains('"')) {
        _ if has_risky_backslash => None,
        (false, _) => Some(format!("'{text}'")),
        (true, false) => Some(format!("\"{text}\"")),
        (true, true) => None,
    }
}

fn quote_for_display(text: &str) -> String {
    quote(text).unwrap_or_else(|| format!("{text:?}"))
}
