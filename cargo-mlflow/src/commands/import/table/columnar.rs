//! Tables in Parquet, read row by row.

use std::fs::{self, File};
use std::io;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

use super::TableReader;
use crate::failure::Failure;

impl TableReader<'_> {
    pub(super) fn read_parquet(&mut self) -> Result<(), Failure> {
        let path = &self.table.path;
        let no_parquet = |error: ParquetError| {
            let what = format!("cannot read {} as Parquet", path.display());
            Failure::Io(what, io::Error::other(error))
        };
        let file = File::open(path).map_err(|error| self.cannot_read(error))?;
        let reader = SerializedFileReader::new(file).map_err(no_parquet)?;
        let fields = reader.metadata().file_metadata().schema().get_fields();
        self.columns = fields.iter().map(|field| field.name().to_owned()).collect();
        self.take_header()?;
        for row in reader.get_row_iter(None).map_err(no_parquet)? {
            let row = row.map_err(no_parquet)?;
            self.row += 1;
            self.line = self.row;
            let cells: Vec<String> = row
                .get_column_iter()
                .map(|(_, cell)| text_of(cell))
                .collect();
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            self.take_row(&cells)?;
        }
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.importer.progress.add_bytes(bytes);
        Ok(())
    }
}

/// Returns the value as a CSV file holds it.
fn text_of(cell: &Field) -> String {
    match cell {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        // Their texts would have few digits, or be dates.
        Field::Double(number) => number.to_string(),
        Field::Float(number) => f64::from(*number).to_string(),
        Field::TimestampMillis(time) | Field::TimestampMicros(time) => time.to_string(),
        other => other.to_string(),
    }
}
