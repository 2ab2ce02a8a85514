//! Filters and orders applied to records in memory.
//!
//! The results are those of MLflow's SQL stores: a comparison of a field that the record lacks is never true,
//! and NaN is unequal to every number.

use std::cmp::Ordering;

use super::comparison::{Comparison, Operand, Operator};
use super::field::{Field, FieldKind, SortKey};
use crate::entities::{DatasetInput, Experiment, ModelVersion, RegisteredModel, Run};
use crate::model::tag_keys;

/// Value of a field in one record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldValue<'r> {
    Missing,
    Integer(i64),
    Float(f64),
    Text(&'r str),
    /// Values of which one has to match.
    AnyOf(Vec<&'r str>),
}

impl<'r> From<Option<&'r str>> for FieldValue<'r> {
    fn from(text: Option<&'r str>) -> Self {
        text.map_or(Self::Missing, Self::Text)
    }
}

impl From<Option<i64>> for FieldValue<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Missing, Self::Integer)
    }
}

/// Record whose fields can be searched.
pub(crate) trait Searchable {
    /// Returns the value of a field.
    fn field(&self, field: &Field) -> FieldValue<'_>;
}

/// Returns true if all comparisons hold for the record.
pub(crate) fn matches_all(record: &impl Searchable, comparisons: &[Comparison]) -> bool {
    comparisons
        .iter()
        .all(|comparison| holds(comparison, &record.field(&comparison.field)))
}

fn holds(comparison: &Comparison, value: &FieldValue<'_>) -> bool {
    let Comparison {
        operator, operand, ..
    } = comparison;
    match (operator, value) {
        (Operator::IsNull, value) => *value == FieldValue::Missing,
        (Operator::IsNotNull, value) => *value != FieldValue::Missing,
        (_, FieldValue::Missing) => false,
        (_, FieldValue::AnyOf(texts)) => texts
            .iter()
            .any(|text| compare_text(*operator, text, operand)),
        (_, FieldValue::Text(text)) => compare_text(*operator, text, operand),
        (_, FieldValue::Integer(number)) => match operand {
            Operand::Integer(other) => is_ordered(*operator, Some(number.cmp(other))),
            // The number of an experiment's id is compared with a text.
            Operand::Text(_) | Operand::List(_) => {
                compare_text(*operator, &number.to_string(), operand)
            }
            _ => compare_number(*operator, integer_as_float(*number), operand),
        },
        (_, FieldValue::Float(number)) => compare_number(*operator, *number, operand),
    }
}

#[expect(clippy::cast_precision_loss, reason = "MLflow compares floats, too")]
fn integer_as_float(number: i64) -> f64 {
    number as f64
}

fn compare_number(operator: Operator, number: f64, operand: &Operand) -> bool {
    let ordering = operand
        .number()
        .and_then(|other| number.partial_cmp(&other));
    is_ordered(operator, ordering)
}

/// Returns true if the operator holds for two values with this order; `None` if one of them is NaN.
fn is_ordered(operator: Operator, ordering: Option<Ordering>) -> bool {
    match operator {
        Operator::NotEqual => ordering != Some(Ordering::Equal),
        Operator::Equal => ordering == Some(Ordering::Equal),
        Operator::Greater => ordering == Some(Ordering::Greater),
        Operator::Less => ordering == Some(Ordering::Less),
        Operator::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        Operator::LessOrEqual => ordering.is_some_and(Ordering::is_le),
        Operator::Like
        | Operator::ILike
        | Operator::In
        | Operator::NotIn
        | Operator::IsNull
        | Operator::IsNotNull => false,
    }
}

fn compare_text(operator: Operator, text: &str, operand: &Operand) -> bool {
    match (operator, operand) {
        (Operator::Equal, Operand::Text(other)) => text == other,
        (Operator::NotEqual, Operand::Text(other)) => text != other,
        (Operator::Like, Operand::Text(pattern)) => is_like(text, pattern),
        (Operator::ILike, Operand::Text(pattern)) => {
            is_like(&text.to_ascii_lowercase(), &pattern.to_ascii_lowercase())
        }
        (Operator::In, Operand::List(texts)) => texts.iter().any(|other| text == other),
        (Operator::NotIn, Operand::List(texts)) => texts.iter().all(|other| text != other),
        // A param that is compared as a number.
        (_, Operand::Integer(_) | Operand::Float(_)) => match text.trim().parse() {
            Ok(number) => compare_number(operator, number, operand),
            Err(_) => false,
        },
        _ => false,
    }
}

/// Returns true if the text matches a pattern of SQL's `LIKE`: `%` stands for any text, `_` for any
/// character, and there is no escape.
fn is_like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    let (mut at, mut in_pattern) = (0, 0);
    // Place behind the last `%`, and the place in the text from which it was matched.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some('%') => {
                in_pattern += 1;
                retry = Some((in_pattern, at));
            }
            Some(&c) if c == '_' || Some(&c) == text.get(at) => {
                at += 1;
                in_pattern += 1;
            }
            _ => match retry {
                Some((behind, from)) => {
                    in_pattern = behind;
                    at = from + 1;
                    retry = Some((behind, at));
                }
                None => return false,
            },
        }
    }
    pattern
        .get(in_pattern..)
        .unwrap_or_default()
        .iter()
        .all(|&c| c == '%')
}

/// Compares two records by all keys. NaN comes behind all numbers, and records without the field come last,
/// in both directions.
pub(crate) fn compare_records<R: Searchable>(left: &R, right: &R, keys: &[SortKey]) -> Ordering {
    keys.iter()
        .map(|key| {
            let (left, right) = (left.field(&key.field), right.field(&key.field));
            let by_presence = absence(&left).cmp(&absence(&right));
            let by_value = compare_values(&left, &right);
            let by_value = if key.descending {
                by_value.reverse()
            } else {
                by_value
            };
            by_presence.then(by_value)
        })
        .find(|ordering| ordering.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn absence(value: &FieldValue<'_>) -> u8 {
    match value {
        FieldValue::Missing => 2,
        FieldValue::Float(number) if number.is_nan() => 1,
        _ => 0,
    }
}

fn compare_values(left: &FieldValue<'_>, right: &FieldValue<'_>) -> Ordering {
    match (left, right) {
        (FieldValue::Float(left), FieldValue::Float(right)) => {
            left.partial_cmp(right).unwrap_or(Ordering::Equal)
        }
        (FieldValue::Integer(left), FieldValue::Integer(right)) => left.cmp(right),
        (FieldValue::Text(left), FieldValue::Text(right)) => left.cmp(right),
        _ => Ordering::Equal,
    }
}

impl Searchable for Run {
    fn field(&self, field: &Field) -> FieldValue<'_> {
        let key = field.key.as_str();
        match field.kind {
            FieldKind::Metric => self
                .metric(key)
                .map_or(FieldValue::Missing, FieldValue::Float),
            FieldKind::Param => self.param(key).into(),
            FieldKind::Tag => self.tag(key).into(),
            FieldKind::Attribute => match key {
                "run_id" => FieldValue::Text(&self.run_id),
                "run_name" => self.tag(tag_keys::RUN_NAME).into(),
                "status" => FieldValue::Text(self.status.as_str()),
                "user_id" => FieldValue::Text(&self.user_id),
                "artifact_uri" => FieldValue::Text(&self.artifact_uri),
                "start_time" => self.start_time_ms.into(),
                "end_time" => self.end_time_ms.into(),
                _ => FieldValue::Missing,
            },
            FieldKind::Dataset => {
                let value = |dataset| dataset_field(dataset, key);
                let values: Vec<_> = self.datasets.iter().filter_map(value).collect();
                if values.is_empty() {
                    FieldValue::Missing
                } else {
                    FieldValue::AnyOf(values)
                }
            }
        }
    }
}

fn dataset_field<'d>(dataset: &'d DatasetInput, key: &str) -> Option<&'d str> {
    match key {
        "name" => Some(&dataset.name),
        "digest" => Some(&dataset.digest),
        "context" => dataset.context.as_deref(),
        _ => None,
    }
}

impl Searchable for Experiment {
    fn field(&self, field: &Field) -> FieldValue<'_> {
        match (field.kind, field.key.as_str()) {
            (FieldKind::Tag, key) => self.tags.get(key).map(String::as_str).into(),
            (FieldKind::Attribute, "name") => FieldValue::Text(&self.name),
            (FieldKind::Attribute, "experiment_id") => match self.experiment_id.parse() {
                Ok(number) => FieldValue::Integer(number),
                Err(_) => FieldValue::Text(&self.experiment_id),
            },
            (FieldKind::Attribute, "creation_time") => self.creation_time_ms.into(),
            (FieldKind::Attribute, "last_update_time") => self.last_update_time_ms.into(),
            _ => FieldValue::Missing,
        }
    }
}

impl Searchable for RegisteredModel {
    fn field(&self, field: &Field) -> FieldValue<'_> {
        match (field.kind, field.key.as_str()) {
            (FieldKind::Tag, key) => self.tags.get(key).map(String::as_str).into(),
            (FieldKind::Attribute, "name") => FieldValue::Text(&self.name),
            (FieldKind::Attribute, "last_updated_timestamp") => self.last_updated_time_ms.into(),
            _ => FieldValue::Missing,
        }
    }
}

impl Searchable for ModelVersion {
    fn field(&self, field: &Field) -> FieldValue<'_> {
        match (field.kind, field.key.as_str()) {
            (FieldKind::Tag, key) => self.tags.get(key).map(String::as_str).into(),
            (FieldKind::Attribute, "name") => FieldValue::Text(&self.name),
            (FieldKind::Attribute, "run_id") => self.run_id.as_deref().into(),
            (FieldKind::Attribute, "source_path") => FieldValue::Text(&self.source),
            (FieldKind::Attribute, "version_number") => i64::try_from(self.version).ok().into(),
            (FieldKind::Attribute, "creation_timestamp") => self.creation_time_ms.into(),
            (FieldKind::Attribute, "last_updated_timestamp") => self.last_updated_time_ms.into(),
            _ => FieldValue::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_sql() {
        for (text, pattern, matches) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("abc", "abc", true),
            ("abc", "ABC", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "_b_", true),
            ("abc", "__", false),
            ("aXbXc", "a%b%c", true),
            ("aXbX", "a%b%c", false),
            ("aab", "%ab", true),
            ("a%b", "a\\%b", false),
            ("äöü", "_ö_", true),
            ("abcabcabd", "%abd", true),
        ] {
            assert_eq!(is_like(text, pattern), matches, "{text:?} LIKE {pattern:?}");
        }
    }
}
