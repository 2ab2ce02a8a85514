//! Numbers as JSON holds them.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// Returns a number as JSON: one that JSON does not have is a text, as MLflow's REST interface writes it.
pub(crate) fn json_number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else if value.is_nan() {
        json!("NaN")
    } else if value > 0.0 {
        json!("Infinity")
    } else {
        json!("-Infinity")
    }
}

/// Writes a field as [`json_number`] returns it.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
pub(crate) fn serialize_number<S: Serializer>(
    value: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    json_number(*value).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_has_no_number_for_is_a_text() {
        #[derive(Serialize)]
        struct Field(#[serde(serialize_with = "serialize_number")] f64);

        for (value, text) in [
            (0.5, "0.5"),
            (-0.0, "-0.0"),
            (1e300, "1e+300"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(serde_json::to_string(&Field(value)).unwrap(), text);
            assert_eq!(json_number(value).to_string(), text);
        }
    }
}
