//! [`Flavor`]: the form of a model's files, by which MLflow knows how to load them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, SeekFrom};

use serde_json::{Value, json};

/// Name of the flavor by which Python loads a model as a function.
const PYTHON_FUNCTION: &str = "python_function";
/// Greatest number of fields of an ONNX model that are visited, far more than any model has beside its graph: the
/// thread that logs the model reads them.
const MAX_ONNX_FIELDS: usize = 100_000;
/// Name of the flavor of files that are not what their flavor needs.
const PLAIN_FILES: &str = "files";
/// Largest length of the header of a safetensors file, as the format allows it.
const MAX_SAFETENSORS_HEADER: u64 = 100_000_000;

/// Form of a model's files, by which MLflow knows how to load them.
///
/// ```
/// use mlflow::{Flavor, Model};
///
/// let record = Model::new("digits").bytes("model.mpk", [0x81]).flavor(Flavor::custom("burn_record"));
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// mlflow::log_model(&record);
/// # drop(run);
/// # assert_eq!(fake.runs()[0].models[0].flavor.as_deref(), Some("burn_record"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flavor {
    /// ONNX model: one file whose name ends in `.onnx`. `mlflow.onnx.load_model` and `mlflow.pyfunc.load_model`
    /// load it in Python.
    Onnx,
    /// Tensors in a file whose name ends in `.safetensors`.
    Safetensors,
    /// Any other form, under a name of its own. Python lists the model and downloads its files.
    Custom(String),
}

/// First bytes of a file, from which its form is recognized.
pub(super) trait Content: Read + io::Seek {}

impl<C: Read + io::Seek> Content for C {}

impl Flavor {
    /// Creates a flavor of any name, e.g. `burn_record`.
    pub fn custom(name: impl Into<String>) -> Self {
        Self::Custom(name.into())
    }

    /// Returns the ending of the file that holds the model; `None` if any files do.
    pub(super) fn file_ending(&self) -> Option<&'static str> {
        match self {
            Self::Onnx => Some(".onnx"),
            Self::Safetensors => Some(".safetensors"),
            Self::Custom(_) => None,
        }
    }

    /// Returns the reason why the flavor cannot have its name.
    pub(super) fn find_name_fault(&self) -> Option<String> {
        let Self::Custom(name) = self else {
            return None;
        };
        if name.trim().is_empty() {
            return Some("its flavor has no name".to_owned());
        }
        if name.chars().any(char::is_control) {
            return Some(format!(
                "the name of its flavor, {name:?}, holds a control character"
            ));
        }
        (name == PYTHON_FUNCTION).then(|| {
            format!("{name:?} is the flavor of Python code, which mlflow.pyfunc would try to run")
        })
    }

    /// Returns the flavor of files that are not what their flavor needs.
    pub(super) fn of_plain_files() -> Self {
        Self::custom(PLAIN_FILES)
    }

    /// Returns the flavors as `MLmodel` holds them. `data` is the path of the file that holds the model, and
    /// `onnx_version` the release of ONNX that is needed to read it.
    pub(super) fn to_json(&self, data: Option<&str>, onnx_version: Option<&str>) -> Value {
        match self {
            Self::Onnx => json!({
                "onnx": {
                    "code": null,
                    "data": data,
                    "onnx_session_options": null,
                    "onnx_version": onnx_version,
                    "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
                },
                PYTHON_FUNCTION: { "data": data, "loader_module": "mlflow.onnx" },
            }),
            Self::Safetensors => json!({ "safetensors": { "data": data } }),
            Self::Custom(name) => json!({ name: { "data": data } }),
        }
    }
}

/// Returns the release of ONNX that is needed to read the content, or the reason why the content is no ONNX
/// model. The fields of the model are visited, not their values.
pub(super) fn onnx_version(content: &mut dyn Content) -> Result<&'static str, String> {
    /// Number of the field with the version of the format.
    const IR_VERSION: u64 = 1;
    /// Number of the field with the graph.
    const GRAPH: u64 = 7;
    let unreadable = |error: io::Error| format!("it is no ONNX model: {error}");
    let length = content.seek(SeekFrom::End(0)).map_err(unreadable)?;
    content.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut reader = SeekableReader {
        reader: BufReader::new(content),
        position: 0,
        length,
    };
    let (mut ir_version, mut has_graph) = (None, false);
    let mut fields = 0;
    while reader.position < length {
        fields += 1;
        if fields > MAX_ONNX_FIELDS {
            return Err(format!(
                "it is no ONNX model: it has more than {MAX_ONNX_FIELDS} fields"
            ));
        }
        let tag = reader.varint().map_err(unreadable)?;
        let value = match tag & 7 {
            0 => Some(reader.varint().map_err(unreadable)?),
            1 => reader.skip(8).map(|()| None).map_err(unreadable)?,
            2 => {
                let size = reader.varint().map_err(unreadable)?;
                reader.skip(size).map(|()| None).map_err(unreadable)?
            }
            5 => reader.skip(4).map(|()| None).map_err(unreadable)?,
            kind => return Err(format!("it is no ONNX model: a field has the type {kind}")),
        };
        match tag >> 3 {
            IR_VERSION => ir_version = value,
            GRAPH => has_graph = true,
            _ => {}
        }
    }
    match ir_version {
        Some(version) if has_graph => Ok(oldest_release(version)),
        Some(_) => Err("it is no ONNX model: it has no graph".to_owned()),
        None => Err("it is no ONNX model: it has no version".to_owned()),
    }
}

/// Returns the oldest release of ONNX that reads a version of the format (onnx/docs/Versioning.md).
fn oldest_release(ir_version: u64) -> &'static str {
    match ir_version {
        ..=3 => "1.0.0",
        4 => "1.4.1",
        5 => "1.5.0",
        6 => "1.6.0",
        7 => "1.7.0",
        8 => "1.10.0",
        9 => "1.14.0",
        10 => "1.16.0",
        11 => "1.18.0",
        12 => "1.19.0",
        _ => "1.20.0",
    }
}

/// Reader of the fields of a protobuf message.
struct SeekableReader<'c> {
    reader: BufReader<&'c mut dyn Content>,
    position: u64,
    length: u64,
}

impl SeekableReader<'_> {
    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.reader.fill_buf()?.first().copied();
            let byte = byte.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.reader.consume(1);
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(io::Error::other("a number has more than 64 bits"))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.position.checked_add(bytes);
        let Some(end) = end.filter(|end| *end <= self.length) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let distance = i64::try_from(bytes).map_err(io::Error::other)?;
        self.reader.seek_relative(distance)?;
        self.position = end;
        Ok(())
    }
}

/// Returns the reason why the content is no safetensors file; `None` if it is one.
pub(super) fn safetensors_fault(content: &mut dyn Content) -> Option<String> {
    let mut start = [0; 9];
    if let Err(error) = content.read_exact(&mut start) {
        return Some(format!("it is no safetensors file: {error}"));
    }
    let [length @ .., first] = start;
    let is_header = u64::from_le_bytes(length) <= MAX_SAFETENSORS_HEADER && first == b'{';
    (!is_header).then(|| "it is no safetensors file: it has no header".to_owned())
}

/// Returns the file as content.
pub(super) fn open_content(path: &std::path::Path) -> Result<Box<dyn Content>, String> {
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn an_onnx_model_is_recognized_by_its_fields() {
        // ir_version 8, producer_name "x", an empty graph
        let model = [0x08, 8, 0x12, 1, b'x', 0x3a, 0];
        assert_eq!(onnx_version(&mut Cursor::new(model)), Ok("1.10.0"));
        let bad: [&[u8]; 6] = [
            b"",
            b"hello world",
            &model[..5],
            &model[..6],
            &model[2..],
            &[
                0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
        ];
        for bytes in bad {
            assert!(onnx_version(&mut Cursor::new(bytes)).is_err(), "{bytes:?}");
        }
        // A file of nothing but tiny fields is not read to its end.
        let tiny = [0x08, 8].repeat(MAX_ONNX_FIELDS + 1);
        let refused = onnx_version(&mut Cursor::new(tiny));
        assert!(refused.is_err_and(|fault| fault.contains("fields")));
    }

    #[test]
    fn a_safetensors_file_is_recognized_by_its_header() {
        assert_eq!(
            safetensors_fault(&mut Cursor::new(b"\x02\0\0\0\0\0\0\0{}")),
            None
        );
        for bytes in [&b""[..], b"{}", b"\x02\0\0\0\0\0\0\0[]", &[b'{'; 20]] {
            assert!(safetensors_fault(&mut Cursor::new(bytes)).is_some());
        }
    }
}
