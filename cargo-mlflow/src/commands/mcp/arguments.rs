//! Check of a tool's arguments against their schema, with errors in the words of the schema.
//!
//! Invariants: what the schema allows can be read, and what the schema forbids is an error that names the argument, what
//! it is, and what was expected. So the limits of arguments stand in the schema alone.

use rmcp::model::JsonObject;
use serde_json::{Number, Value};

use crate::failure::Failure;
use crate::output::table::shorten;

/// Greatest number of characters of a wrong value in an error.
const MAX_VALUE_CHARS: usize = 60;
/// Limit below which each whole number has a float of its own.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Returns the arguments as their schema has them: without those that are null, and with `3` for `3.0`.
pub(super) fn check_arguments(
    schema: &JsonObject,
    arguments: &JsonObject,
) -> Result<JsonObject, Failure> {
    let none = JsonObject::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = properties.unwrap_or(&none);
    let mut checked = JsonObject::new();
    for (name, value) in arguments {
        let Some(property) = properties.get(name) else {
            let names: Vec<&str> = properties.keys().map(String::as_str).collect();
            return Err(Failure::Usage(format!(
                "argument `{}` is not known; expected {}",
                shorten(name, MAX_VALUE_CHARS),
                if names.is_empty() {
                    "no argument".to_owned()
                } else {
                    format!("one of {}", names.join(", "))
                }
            )));
        };
        if value.is_null() {
            continue;
        }
        let value = check(property, value)
            .map_err(|fault| Failure::Usage(format!("argument `{name}`: {fault}")))?;
        checked.insert(name.clone(), value);
    }
    let required = schema.get("required").and_then(Value::as_array);
    let missing = { required.into_iter().flatten() }
        .filter_map(Value::as_str)
        .find(|name| !checked.contains_key(*name));
    match missing {
        Some(name) => {
            let kind = properties.get(name).map_or("a value", kind_of);
            Err(Failure::Usage(format!(
                "argument `{name}` is missing; expected {kind}"
            )))
        }
        None => Ok(checked),
    }
}

/// Returns the value as the schema has it, or the fault of the value.
fn check(schema: &Value, value: &Value) -> Result<Value, String> {
    let is_of_kind = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("integer") => return check_integer(schema, value),
        _ => true,
    };
    if !is_of_kind {
        return Err(unexpected(schema, value));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return Err(format!(
            "{} is not known; expected one of {}",
            shown(value),
            words.join(", ")
        ));
    }
    let Some(entries) = value.as_array() else {
        return Ok(value.clone());
    };
    let limits = Limits::of(schema, "minItems", "maxItems");
    if !limits.allow(entries.len() as i128) {
        let number = entries.len();
        return Err(format!(
            "{number} entries are out of range; expected {}",
            limits.describe()
        ));
    }
    let items = &schema["items"];
    let entries = { entries.iter() }.map(|entry| check(items, entry));
    Ok(Value::Array(entries.collect::<Result<_, _>>()?))
}

fn check_integer(schema: &Value, value: &Value) -> Result<Value, String> {
    let Some(number) = value.as_number().and_then(whole) else {
        return Err(unexpected(schema, value));
    };
    let limits = Limits::of(schema, "minimum", "maximum");
    if !limits.allow(number) {
        return Err(format!(
            "{number} is out of range; expected {}",
            limits.describe()
        ));
    }
    let number = i64::try_from(number)
        .map_err(|_| format!("{number} is out of range; expected at most {}", i64::MAX))?;
    Ok(Value::from(number))
}

/// Returns a number that is whole, such as `3` or `3.0`.
fn whole(number: &Number) -> Option<i128> {
    let float = || number.as_f64().filter(|float| float.fract() == 0.0);
    #[expect(clippy::cast_possible_truncation, reason = "whole, and not too great")]
    let of_float = || {
        float()
            .filter(|float| float.abs() <= MAX_EXACT)
            .map(|float| float as i128)
    };
    let of_i64 = number.as_i64().map(i128::from);
    of_i64
        .or_else(|| number.as_u64().map(i128::from))
        .or_else(of_float)
}

/// Least and greatest number that a schema allows.
struct Limits {
    least: Option<i64>,
    greatest: Option<i64>,
}

impl Limits {
    fn of(schema: &Value, least: &str, greatest: &str) -> Self {
        Self {
            least: schema[least].as_i64(),
            greatest: schema[greatest].as_i64(),
        }
    }

    fn allow(&self, number: i128) -> bool {
        let is_above = |least: i64| number >= i128::from(least);
        let is_below = |greatest: i64| number <= i128::from(greatest);
        self.least.is_none_or(is_above) && self.greatest.is_none_or(is_below)
    }

    fn describe(&self) -> String {
        match (self.least, self.greatest) {
            (Some(least), Some(greatest)) => format!("{least} to {greatest}"),
            (Some(least), None) => format!("{least} or more"),
            (None, Some(greatest)) => format!("at most {greatest}"),
            (None, None) => "any number".to_owned(),
        }
    }
}

fn unexpected(schema: &Value, value: &Value) -> String {
    format!("{} is not {}", shown(value), kind_of(schema))
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("`{}`", shorten(&text, MAX_VALUE_CHARS))
}

/// Returns the words for the values that a schema allows.
fn kind_of(schema: &Value) -> &'static str {
    match schema["type"].as_str() {
        Some("string") => "a text",
        Some("boolean") => "true or false",
        Some("integer") => "a whole number",
        Some("array") => "a list of texts",
        _ => "a value",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(arguments: &Value) -> Result<Value, String> {
        let schema = json!({
            "properties": {
                "run": { "type": "string" },
                "limit": { "type": "integer", "minimum": 1, "maximum": 500 },
                "offset": { "type": "integer", "minimum": 0 },
                "step": { "type": "integer" },
                "keys": { "type": "array", "items": { "type": "string" }, "maxItems": 2 },
                "goal": { "type": "string", "enum": ["min", "max"] },
                "all": { "type": "boolean" },
            },
            "required": ["run"],
        });
        let (schema, arguments) = (schema.as_object().unwrap(), arguments.as_object().unwrap());
        let checked = check_arguments(schema, arguments);
        checked
            .map(Value::Object)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn errors_about_arguments_are_in_the_words_of_the_schema() {
        for (arguments, expected) in [
            (json!({}), "argument `run` is missing; expected a text"),
            (
                json!({ "run": null }),
                "argument `run` is missing; expected a text",
            ),
            (json!({ "run": 3 }), "argument `run`: `3` is not a text"),
            (
                json!({ "run": "a", "foo": 1 }),
                "argument `foo` is not known; expected one of all, goal, keys, limit, offset, run, step",
            ),
            (
                json!({ "limit": 0 }),
                "argument `limit`: 0 is out of range; expected 1 to 500",
            ),
            (
                json!({ "limit": 1.5 }),
                "argument `limit`: `1.5` is not a whole number",
            ),
            (
                json!({ "offset": -1 }),
                "argument `offset`: -1 is out of range; expected 0 or more",
            ),
            (
                json!({ "step": u64::MAX }),
                "argument `step`: 18446744073709551615 is out of range; expected at most 9223372036854775807",
            ),
            (
                json!({ "keys": "a" }),
                "argument `keys`: `a` is not a list of texts",
            ),
            (
                json!({ "keys": ["a", 1] }),
                "argument `keys`: `1` is not a text",
            ),
            (
                json!({ "keys": ["a", "b", "c"] }),
                "argument `keys`: 3 entries are out of range; expected at most 2",
            ),
            (
                json!({ "goal": "up" }),
                "argument `goal`: `up` is not known; expected one of min, max",
            ),
            (
                json!({ "all": "yes" }),
                "argument `all`: `yes` is not true or false",
            ),
        ] {
            assert_eq!(checked(&arguments), Err(expected.to_owned()), "{arguments}");
        }
    }

    #[test]
    fn what_the_schema_allows_is_taken() {
        let arguments = json!({ "run": "a", "limit": 3.0, "keys": [], "goal": null, "all": true });
        let expected = json!({ "run": "a", "limit": 3, "keys": [], "all": true });
        assert_eq!(checked(&arguments), Ok(expected));
    }
}
