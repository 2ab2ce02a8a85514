//! The file of a table, as MLflow's `log_table` writes it and its page shows it.
//!
//! The format is the orientation "split" of pandas without an index (`mlflow/tracking/client.py`, `log_table`):
//! `{"columns":["a","b"],"data":[[1,"x"],[2,null]]}`. A row on its way to a table is a JSON object of its
//! columns, or a JSON array, whose values get the columns `0`, `1` and so on, as in pandas.
//!
//! Invariants: a value keeps the digits that it was written with. A column that some rows lack is `null` there.
//! The columns stand in the order in which the rows first name them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use rustc_hash::FxHashMap;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Table, read from its file.
pub(crate) struct TableFile<'a> {
    columns: Vec<Cow<'a, str>>,
    /// Rows as JSON arrays.
    rows: Vec<Cow<'a, str>>,
    indices: FxHashMap<Cow<'a, str>, usize>,
}

/// Reason why bytes are no table.
#[derive(Debug)]
pub(crate) struct TableFault(serde_json::Error);

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is no table of the form {{\"columns\": […], \"data\": [[…], …]}}: {}",
            self.0
        )
    }
}

impl<'a> TableFile<'a> {
    /// Creates a table without columns and rows.
    pub(crate) fn new() -> Self {
        Self {
            columns: Vec::new(),
            rows: Vec::new(),
            indices: FxHashMap::default(),
        }
    }

    /// Reads a table from the bytes of its file. An index, which Python's client does not write, is ignored.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, TableFault> {
        #[derive(Deserialize)]
        struct Split<'a> {
            #[serde(borrow)]
            columns: Vec<ColumnName<'a>>,
            #[serde(borrow)]
            data: Vec<&'a RawValue>,
        }
        let Split { columns, data } = serde_json::from_slice(bytes).map_err(TableFault)?;
        let mut table = Self::new();
        for ColumnName(name) in columns {
            table.column_index(name);
        }
        table.rows = data.into_iter().map(|row| row.get().into()).collect();
        Ok(table)
    }

    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the rows, each read from an object of its columns.
    pub(crate) fn read_rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, TableFault> {
        let read = |row: &Cow<'_, str>| {
            let cells: Vec<&RawValue> = serde_json::from_str(row)?;
            let mut object = String::from("{");
            for (index, (name, cell)) in self.columns.iter().zip(cells).enumerate() {
                if index > 0 {
                    object.push(',');
                }
                object.push_str(&serde_json::to_string(name)?);
                object.push(':');
                object.push_str(cell.get());
            }
            object.push('}');
            serde_json::from_str(&object)
        };
        let rows = self.rows.iter().map(read);
        rows.collect::<Result<_, _>>().map_err(TableFault)
    }

    /// Appends the row that a line of JSON holds.
    pub(crate) fn push_line(&mut self, line: &'a str) -> Result<(), TableFault> {
        let row: RowFields<'a> = serde_json::from_str(line).map_err(TableFault)?;
        let mut cells: Vec<&str> = vec!["null"; self.columns.len()];
        for (name, value) in row.0 {
            let index = self.column_index(name);
            if index >= cells.len() {
                cells.resize(index + 1, "null");
            }
            if let Some(cell) = cells.get_mut(index) {
                *cell = value.get();
            }
        }
        self.rows.push(format!("[{}]", cells.join(",")).into());
        Ok(())
    }

    /// Returns a checksum of the values in the rows of `range`; `None` if there are not as many rows. Numbers count
    /// with the precision of an `f32`, so that rows are recognized after pandas has written them anew.
    pub(crate) fn checksum(&self, range: Range<usize>) -> Option<u32> {
        let rows = self.rows.get(range)?;
        let mut checksum = 0;
        for row in rows {
            // The missing last values of a row are `null`.
            let mut cells: Vec<Value> = serde_json::from_str(row).ok()?;
            while cells.last().is_some_and(Value::is_null) {
                cells.pop();
            }
            for cell in &cells {
                checksum = append_checksum(checksum, cell);
            }
            checksum = crc32c::crc32c_append(checksum, b"\n");
        }
        Some(checksum)
    }

    /// Returns the bytes of the table's file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let length: usize = self.rows.iter().map(|row| row.len() + 1).sum();
        let mut bytes = Vec::with_capacity(length + 64 * (self.columns.len() + 1));
        bytes.extend_from_slice(b"{\"columns\":[");
        for (index, name) in self.columns.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            // Serializing a text to memory cannot fail.
            let _ = serde_json::to_writer(&mut bytes, name);
        }
        bytes.extend_from_slice(b"],\"data\":[");
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            self.write_row(row, &mut bytes);
        }
        bytes.extend_from_slice(b"]}");
        bytes
    }

    /// Writes a row with a value for each column.
    fn write_row(&self, row: &str, bytes: &mut Vec<u8>) {
        let missing = match serde_json::from_str::<Vec<IgnoredAny>>(row) {
            Ok(values) => self.columns.len().saturating_sub(values.len()),
            Err(_) => 0,
        };
        let Some(open) = row.trim_end().strip_suffix(']').filter(|_| missing > 0) else {
            bytes.extend_from_slice(row.as_bytes());
            return;
        };
        bytes.extend_from_slice(open.as_bytes());
        let is_empty = open.trim_start() == "[";
        for index in 0..missing {
            let separator: &[u8] = if index == 0 && is_empty { b"" } else { b"," };
            bytes.extend_from_slice(separator);
            bytes.extend_from_slice(b"null");
        }
        bytes.push(b']');
    }

    /// Returns the index of a column, which is added if there is none with this name.
    fn column_index(&mut self, name: Cow<'a, str>) -> usize {
        if let Some(index) = self.indices.get(&name) {
            return *index;
        }
        let index = self.columns.len();
        self.columns.push(name.clone());
        self.indices.insert(name, index);
        index
    }
}

fn append_checksum(checksum: u32, cell: &Value) -> u32 {
    match cell {
        #[allow(clippy::cast_possible_truncation)] // the precision that is wanted
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default() as f32;
            crc32c::crc32c_append(checksum, &number.to_bits().to_le_bytes())
        }
        Value::String(text) => crc32c::crc32c_append(checksum, text.as_bytes()),
        other => crc32c::crc32c_append(checksum, other.to_string().as_bytes()),
    }
}

/// Name of a column, which pandas may write as a number.
struct ColumnName<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for ColumnName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &'a RawValue = Deserialize::deserialize(deserializer)?;
        let name = serde_json::from_str::<TextName<'a>>(raw.get());
        Ok(Self(name.map_or_else(|_| raw.get().into(), |name| name.0)))
    }
}

/// Text that is borrowed where it holds no escape.
#[derive(Deserialize)]
struct TextName<'a>(#[serde(borrow)] Cow<'a, str>);

/// Values of a row with their columns, in the order of the row.
struct RowFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RowFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowVisitor;

        impl<'de> Visitor<'de> for RowVisitor {
            type Value = RowFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row: an object of columns, or an array of values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((TextName(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(RowFields(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(value) = seq.next_element()? {
                    fields.push((fields.len().to_string().into(), value));
                }
                Ok(RowFields(fields))
            }
        }

        deserializer.deserialize_any(RowVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(existing: &str, lines: &[&str]) -> String {
        let mut table = TableFile::parse(existing.as_bytes()).expect("a table");
        for line in lines {
            table.push_line(line).expect("a row");
        }
        String::from_utf8(table.to_bytes()).expect("UTF-8")
    }

    #[test]
    fn rows_are_appended_under_their_columns() {
        let text = appended(
            r#"{"columns":["a","b"],"data":[[1,"x"],[2,null]]}"#,
            &[r#"{"b":"\"q\"","a":1e-7}"#, r#"{"a":12345678901234567890}"#],
        );
        assert_eq!(
            text,
            r#"{"columns":["a","b"],"data":[[1,"x"],[2,null],[1e-7,"\"q\""],[12345678901234567890,null]]}"#
        );
    }

    #[test]
    fn a_column_that_comes_later_is_null_in_the_rows_before() {
        let text = appended(
            r#"{"columns":[],"data":[]}"#,
            &[r#"{"ä":1}"#, "{}", r#"{"b":[1,{"c":2}],"ä":3}"#],
        );
        assert_eq!(
            text,
            r#"{"columns":["ä","b"],"data":[[1,null],[null,null],[3,[1,{"c":2}]]]}"#
        );
    }

    #[test]
    fn rows_without_names_have_numbered_columns_as_in_pandas() {
        let text = appended(r#"{"columns":[0],"index":[7],"data":[[5]]}"#, &["[6,7]"]);
        assert_eq!(text, r#"{"columns":["0","1"],"data":[[5,null],[6,7]]}"#);
    }

    #[test]
    fn rows_are_recognized_after_pandas_has_written_them_anew() {
        let table = |text: &'static str| TableFile::parse(text.as_bytes()).expect("a table");
        let ours = table(r#"{"columns":["a","b"],"data":[[0],[1,"x"],[0.30000000000000004]]}"#);
        let again = table(r#"{"columns":["a","b"],"data":[[0,null],[1.0,"x"],[0.3,null]]}"#);
        assert_eq!(ours.checksum(1..3), again.checksum(1..3));
        assert_ne!(ours.checksum(0..2), again.checksum(1..3));
        assert_eq!(ours.checksum(2..4), None);
    }

    #[test]
    fn other_files_are_refused_with_what_was_expected() {
        for bytes in ["", "[]", r#"{"columns":["a"]}"#, "a,b\n1,2\n"] {
            let Err(fault) = TableFile::parse(bytes.as_bytes()) else {
                panic!("{bytes} is no table");
            };
            assert!(fault.to_string().contains("\"columns\""), "{fault}");
        }
    }
}
