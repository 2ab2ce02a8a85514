//! Arrays of numbers in a dataset: their digest, shape and type, as MLflow's Python client describes the same
//! arrays of `numpy`.
//!
//! The digest is that of `mlflow.data.from_numpy`: the MD5 of the first 10,000 elements, each hashed by
//! `pandas.util.hash_array`, and of the shape. As in pandas 3, the two zeros count as equal, and so do all NaN.

use std::fmt;

use serde_json::{Value, json};

use crate::model::python_json::{JsonObject, to_python_json};

/// Number of elements that count for the digest.
const HASHED_ELEMENTS: usize = 10_000;
/// Number of characters of a digest.
const DIGEST_CHARS: usize = 8;

/// Element of an array that [`Dataset::from_slice`](super::Dataset::from_slice) takes: an integer of at most 64
/// bits, a float, a `bool`, or an array `[T; N]` of such elements, which adds a dimension. See
/// [`Dataset::from_slice`](super::Dataset::from_slice) for an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an element of a dataset",
    note = "an element is a number of at most 64 bits, a `bool`, or an array of such elements"
)]
pub trait Element: sealed::Element {}

impl<T: sealed::Element> Element for T {}

mod sealed {
    pub trait Element {
        /// Name of the type of a single number in `numpy`.
        const TYPE: &'static str;
        /// Bytes of a single number.
        const BYTES: usize;

        /// Appends the lengths of the dimensions inside of an element.
        fn push_shape(shape: &mut Vec<usize>);

        /// Appends the bits of the element's numbers, until there are `max` of them.
        fn push_bits(&self, bits: &mut Vec<u64>, max: usize);
    }
}

macro_rules! element {
    ($($number:ty, $name:expr, $bits:expr;)*) => {$(
        impl sealed::Element for $number {
            const TYPE: &'static str = $name;
            const BYTES: usize = size_of::<$number>();

            fn push_shape(_shape: &mut Vec<usize>) {}

            fn push_bits(&self, bits: &mut Vec<u64>, max: usize) {
                if bits.len() < max {
                    let to_bits: fn($number) -> u64 = $bits;
                    bits.push(to_bits(*self));
                }
            }
        }
    )*};
}

element! {
    bool, "bool", u64::from;
    u8, "uint8", u64::from;
    u16, "uint16", u64::from;
    u32, "uint32", u64::from;
    u64, "uint64", |number| number;
    i8, "int8", |number| u64::from(number.cast_unsigned());
    i16, "int16", |number| u64::from(number.cast_unsigned());
    i32, "int32", |number| u64::from(number.cast_unsigned());
    i64, "int64", i64::cast_unsigned;
    usize, if size_of::<usize>() == 8 { "uint64" } else { "uint32" }, |number| number as u64;
    isize, if size_of::<isize>() == 8 { "int64" } else { "int32" }, |number| number.cast_unsigned() as u64;
    f32, "float32", |number| u64::from(canonical_f32(number).to_bits());
    f64, "float64", |number| canonical_f64(number).to_bits();
}

fn canonical_f32(number: f32) -> f32 {
    if number.is_nan() {
        f32::from_bits(0x7fc0_0000)
    } else {
        number + 0.0
    }
}

fn canonical_f64(number: f64) -> f64 {
    if number.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else {
        number + 0.0
    }
}

impl<T: sealed::Element, const N: usize> sealed::Element for [T; N] {
    const TYPE: &'static str = T::TYPE;
    const BYTES: usize = T::BYTES;

    fn push_shape(shape: &mut Vec<usize>) {
        shape.push(N);
        T::push_shape(shape);
    }

    fn push_bits(&self, bits: &mut Vec<u64>, max: usize) {
        for element in self {
            if bits.len() >= max {
                return;
            }
            element.push_bits(bits, max);
        }
    }
}

/// Description of an array, without its elements.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ArraySummary {
    element_type: &'static str,
    element_bytes: usize,
    shape: Vec<usize>,
    /// Hashes of the first elements.
    hashes: Vec<u64>,
}

impl ArraySummary {
    pub(super) fn new<T: sealed::Element>(elements: &[T]) -> Self {
        let mut shape = vec![elements.len()];
        T::push_shape(&mut shape);
        let mut hashes = Vec::new();
        for element in elements {
            if hashes.len() >= HASHED_ELEMENTS {
                break;
            }
            element.push_bits(&mut hashes, HASHED_ELEMENTS);
        }
        hashes.iter_mut().for_each(|bits| *bits = scatter(*bits));
        Self {
            element_type: T::TYPE,
            element_bytes: T::BYTES,
            shape,
            hashes,
        }
    }

    /// Sets another shape. Returns false if the array has another number of elements.
    pub(super) fn reshape(&mut self, shape: &[usize]) -> bool {
        let fits = element_count(shape) == Some(self.size());
        if fits {
            self.shape = shape.to_vec();
        }
        fits
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn size(&self) -> usize {
        element_count(&self.shape).unwrap_or(usize::MAX)
    }

    /// Appends the fields of the array to a profile.
    pub(super) fn push_profile(&self, name: &str, profile: &mut Vec<(String, Value)>) {
        let size = self.size();
        let bytes = size.saturating_mul(self.element_bytes);
        profile.push((format!("{name}_shape"), json!(self.shape)));
        profile.push((format!("{name}_size"), json!(size)));
        profile.push((format!("{name}_nbytes"), json!(bytes)));
    }

    /// Returns the description of the array in a schema: a JSON text, of which the first dimension is variable.
    fn schema(&self) -> String {
        let variable = std::iter::once(json!(-1));
        let shape: Vec<Value> = { variable }
            .chain(self.shape.iter().skip(1).map(|length| json!(length)))
            .collect();
        let spec = JsonObject(vec![
            ("dtype".to_owned(), json!(self.element_type)),
            ("shape".to_owned(), json!(shape)),
        ]);
        let tensor = JsonObject(vec![
            ("type".to_owned(), TensorField::Kind("tensor")),
            ("tensor-spec".to_owned(), TensorField::Spec(spec)),
        ]);
        to_python_json(&[tensor])
    }
}

/// Field of a tensor in a schema.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum TensorField {
    Kind(&'static str),
    Spec(JsonObject<Value>),
}

impl fmt::Debug for ArraySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.element_type, self.shape)
    }
}

/// Returns the number of elements of an array; `None` if it does not fit into memory.
fn element_count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, length| count.checked_mul(*length))
}

/// Returns the digest of the arrays.
pub(super) fn digest(features: &ArraySummary, targets: Option<&ArraySummary>) -> String {
    let mut context = md5::Context::new();
    for array in [Some(features), targets].into_iter().flatten() {
        for hash in &array.hashes {
            context.consume(hash.to_le_bytes());
        }
        for length in &array.shape {
            context.consume((*length as u64).to_le_bytes());
        }
    }
    let mut digest = format!("{:x}", context.finalize());
    digest.truncate(DIGEST_CHARS);
    digest
}

/// Returns the schema of the arrays.
pub(super) fn schema(features: &ArraySummary, targets: Option<&ArraySummary>) -> String {
    let tensors = JsonObject(vec![
        ("features".to_owned(), Some(features.schema())),
        ("targets".to_owned(), targets.map(ArraySummary::schema)),
    ]);
    to_python_json(&JsonObject(vec![("mlflow_tensorspec".to_owned(), tensors)]))
}

/// Scatters the bits of a number over 64 bits, as `pandas.util.hash_array` does.
fn scatter(mut bits: u64) -> u64 {
    bits ^= bits >> 30;
    bits = bits.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^= bits >> 27;
    bits = bits.wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of<T: sealed::Element>(elements: &[T]) -> String {
        digest(&ArraySummary::new(elements), None)
    }

    /// The expected digests are those of `mlflow.data.from_numpy` with pandas 3.1.
    #[test]
    fn digests_are_those_of_python() {
        for (name, digest, expected) in [
            (
                "float64",
                digest_of(&[1.5, -0.0, -f64::NAN, f64::INFINITY, 1e300]),
                "e82a10c1",
            ),
            (
                "float32",
                digest_of(&[1.5, -0.0, f32::NAN, f32::NEG_INFINITY]),
                "7ac4b32d",
            ),
            ("int64", digest_of(&[1, -2, 1_i64 << 62]), "258c9895"),
            ("int32", digest_of(&[1_i32, -2, 3]), "01f33fe6"),
            ("int16", digest_of(&[1_i16, -2, 3]), "69ed82fb"),
            ("int8", digest_of(&[1_i8, -2, 3]), "eb3a4abd"),
            ("uint8", digest_of(&[1_u8, 254]), "60565015"),
            ("uint16", digest_of(&[1_u16, 65_534]), "eddcb104"),
            ("uint32", digest_of(&[1, u32::MAX]), "26456484"),
            ("uint64", digest_of(&[1, u64::MAX]), "42aff015"),
            ("bool", digest_of(&[true, false, true]), "fab15d24"),
            ("empty", digest_of::<f64>(&[]), "7dea362b"),
        ] {
            assert_eq!(digest, expected, "{name}");
        }
        let features = ArraySummary::new(&[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
        let targets = ArraySummary::new(&[0_i64, 1, 1]);
        assert_eq!(digest(&features, Some(&targets)), "0b8295ee");
    }

    #[test]
    fn dimensions_count_however_they_are_given() {
        let mut number = 0.0;
        let mut next = || {
            number += 1.0;
            number - 1.0
        };
        let nested: [[[f64; 4]; 3]; 2] =
            [(); 2].map(|()| [(); 3].map(|()| [(); 4].map(|()| next())));
        assert_eq!(digest_of(&nested), "3f5d9eec");
        let mut flat = ArraySummary::new(nested.as_flattened().as_flattened());
        assert!(flat.reshape(&[2, 3, 4]));
        assert_eq!(digest(&flat, None), "3f5d9eec");
        assert!(!flat.reshape(&[2, 3]) && !flat.reshape(&[usize::MAX, 2]));
        assert_eq!(flat.shape(), [2, 3, 4]);
    }

    #[test]
    fn of_a_long_array_only_the_beginning_and_the_shape_count() {
        let numbers: Vec<[f64; 2]> = (0..15_000)
            .map(|row| [f64::from(2 * row) / 7.0, f64::from(2 * row + 1) / 7.0])
            .collect();
        assert_eq!(digest_of(&numbers), "de81ad01");
    }

    #[test]
    fn schema_and_profile_are_those_of_python() {
        let features = ArraySummary::new(&[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
        let targets = ArraySummary::new(&[0_i64, 1, 1]);
        assert_eq!(
            schema(&features, Some(&targets)),
            r#"{"mlflow_tensorspec": {"features": "[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float64\", \"shape\": [-1, 2]}}]", "targets": "[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"int64\", \"shape\": [-1]}}]"}}"#
        );
        let mut profile = Vec::new();
        features.push_profile("features", &mut profile);
        assert_eq!(
            to_python_json(&JsonObject(profile)),
            r#"{"features_shape": [3, 2], "features_size": 6, "features_nbytes": 48}"#
        );
    }
}
