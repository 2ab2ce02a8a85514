//! [`Signature`]: the inputs and outputs of a model, as MLflow describes them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::python_json::to_python_json;
use crate::run::dataset::ColumnType;

/// Inputs and outputs of a model: columns of a table, or tensors.
///
/// ```
/// use mlflow::{ColumnType, Model, Signature, TensorType};
///
/// let wine = Signature::new()
///     .input_column("alcohol", ColumnType::Double)
///     .output_column("quality", ColumnType::Long);
/// let digits = Signature::new()
///     .input_tensor("image", TensorType::Float32, &[-1, 28, 28])
///     .output_tensor("digit", TensorType::Float32, &[-1, 10]);
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_model(&Model::new("wine").bytes("trees.json", "[]").signature(wine));
/// mlflow::log_model(&Model::new("digits").bytes("net.bin", [0]).signature(digits));
/// # drop(run);
/// # assert_eq!(fake.runs()[0].models.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a signature is recorded with the model that it is given to"]
pub struct Signature {
    inputs: Vec<Field>,
    outputs: Vec<Field>,
}

/// Type of a tensor's elements, as `NumPy` names it. See [`Signature`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TensorType {
    /// Truth value.
    Bool,
    /// Signed integer of 8 bits.
    Int8,
    /// Signed integer of 16 bits.
    Int16,
    /// Signed integer of 32 bits.
    Int32,
    /// Signed integer of 64 bits.
    Int64,
    /// Unsigned integer of 8 bits.
    Uint8,
    /// Unsigned integer of 16 bits.
    Uint16,
    /// Unsigned integer of 32 bits.
    Uint32,
    /// Unsigned integer of 64 bits.
    Uint64,
    /// Float of 16 bits.
    Float16,
    /// Float of 32 bits.
    Float32,
    /// Float of 64 bits.
    Float64,
    /// Text.
    Str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Column {
        name: String,
        column_type: ColumnType,
    },
    Tensor {
        name: String,
        dtype: TensorType,
        shape: Vec<i64>,
    },
}

/// Column or tensor in the form and order of MLflow's JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum FieldJson<'a> {
    Column {
        #[serde(rename = "type")]
        column_type: ColumnType,
        name: &'a str,
        required: bool,
    },
    Tensor {
        #[serde(skip_serializing_if = "str::is_empty")]
        name: &'a str,
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(rename = "tensor-spec")]
        spec: TensorSpec<'a>,
    },
}

#[derive(Serialize)]
struct TensorSpec<'a> {
    dtype: TensorType,
    shape: &'a [i64],
}

impl Field {
    fn name(&self) -> &str {
        match self {
            Self::Column { name, .. } | Self::Tensor { name, .. } => name,
        }
    }

    fn is_tensor(&self) -> bool {
        matches!(self, Self::Tensor { .. })
    }

    fn has_negative_length(&self) -> bool {
        matches!(self, Self::Tensor { shape, .. } if shape.iter().any(|length| *length < -1))
    }

    fn to_json(&self) -> FieldJson<'_> {
        match self {
            Self::Column { name, column_type } => FieldJson::Column {
                column_type: *column_type,
                name,
                required: true,
            },
            Self::Tensor { name, dtype, shape } => FieldJson::Tensor {
                name,
                kind: "tensor",
                spec: TensorSpec {
                    dtype: *dtype,
                    shape,
                },
            },
        }
    }
}

impl Signature {
    /// Creates a signature without inputs and outputs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column to the inputs.
    pub fn input_column(mut self, name: impl Into<String>, column_type: ColumnType) -> Self {
        let name = name.into();
        self.inputs.push(Field::Column { name, column_type });
        self
    }

    /// Adds a column to the outputs.
    pub fn output_column(mut self, name: impl Into<String>, column_type: ColumnType) -> Self {
        let name = name.into();
        self.outputs.push(Field::Column { name, column_type });
        self
    }

    /// Adds a tensor to the inputs. A dimension of any length is -1. The name of a single tensor may be empty.
    pub fn input_tensor(
        mut self,
        name: impl Into<String>,
        dtype: TensorType,
        shape: &[i64],
    ) -> Self {
        self.inputs.push(Field::Tensor {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
        });
        self
    }

    /// Adds a tensor to the outputs, as [`input_tensor`](Self::input_tensor) does to the inputs.
    pub fn output_tensor(
        mut self,
        name: impl Into<String>,
        dtype: TensorType,
        shape: &[i64],
    ) -> Self {
        self.outputs.push(Field::Tensor {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
        });
        self
    }

    /// Returns true if there is neither an input nor an output. MLflow reads no such signature.
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.outputs.is_empty()
    }

    /// Returns the signature as `MLmodel` holds it, or the reason why MLflow could not read it.
    pub(super) fn to_json(&self) -> Result<Value, String> {
        let Self { inputs, outputs } = self;
        let schema = |what: &str, fields: &[Field]| -> Result<Value, String> {
            if let Some(fault) = find_fault(fields) {
                return Err(format!("its {what} {fault}"));
            }
            let fields: Vec<_> = fields.iter().map(Field::to_json).collect();
            Ok(match fields.as_slice() {
                [] => Value::Null,
                fields => json!(to_python_json(&fields)),
            })
        };
        Ok(json!({
            "inputs": schema("inputs", inputs)?,
            "outputs": schema("outputs", outputs)?,
            "params": null,
        }))
    }
}

/// Returns the reason why MLflow would not read these fields as one schema, as a clause.
fn find_fault(fields: &[Field]) -> Option<&'static str> {
    let tensors = fields.iter().filter(|field| field.is_tensor()).count();
    if tensors > 0 && tensors < fields.len() {
        return Some("mix columns and tensors");
    }
    let is_unnamed = |field: &Field| field.name().is_empty();
    if fields.iter().any(is_unnamed) && (tensors == 0 || fields.len() > 1) {
        return Some("have a field without a name, which only a single tensor may be");
    }
    if fields.iter().any(Field::has_negative_length) {
        return Some("have a dimension below -1; a dimension of any length is -1");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_that_of_pythons_client() {
        let signature = Signature::new()
            .input_column("alcohol", ColumnType::Double)
            .output_tensor("", TensorType::Float32, &[-1, 10]);
        let json = signature.to_json().expect("a signature");
        assert_eq!(
            json["inputs"],
            r#"[{"type": "double", "name": "alcohol", "required": true}]"#
        );
        assert_eq!(
            json["outputs"],
            r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 10]}}]"#
        );
        let tensors = Signature::new().input_tensor("x", TensorType::Uint8, &[2]);
        assert_eq!(
            tensors.to_json().expect("a signature")["inputs"],
            r#"[{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [2]}}]"#
        );
        let mixed = tensors.input_column("y", ColumnType::Long);
        assert_eq!(
            mixed.to_json(),
            Err("its inputs mix columns and tensors".to_owned())
        );
        for refused in [
            Signature::new().input_column("", ColumnType::Long),
            Signature::new().output_tensor("y", TensorType::Float32, &[-5, 2]),
        ] {
            assert!(refused.to_json().is_err(), "{refused:?}");
        }
    }
}
