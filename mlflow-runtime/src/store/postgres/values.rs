//! Values of the mapping as PostgreSQL sends and receives them, in its binary formats.
//!
//! Invariant: the server decides on the type of a parameter or column, and a value is converted to it, or there is an
//! error. No value is cut or rounded, except for a real number in a column of single precision.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use bytes::{BufMut as _, BytesMut};
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::Row;

use crate::store::sql::{SqlError, SqlRow, SqlValue};

/// Value that is bound to a parameter. Its `Debug`, which the driver writes to its own log, does not show the value.
pub(super) struct Bound<'a>(pub(super) &'a SqlValue<'a>);

impl fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl ToSql for Bound<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            SqlValue::Null => return Ok(IsNull::Yes),
            SqlValue::Flag(flag) => match *ty {
                Type::BOOL => out.put_u8(u8::from(*flag)),
                _ => return write_integer(i64::from(*flag), ty, out),
            },
            SqlValue::Integer(number) => return write_integer(*number, ty, out),
            SqlValue::Real(number) => match *ty {
                Type::FLOAT8 => out.put_f64(*number),
                #[allow(clippy::cast_possible_truncation, reason = "the column is narrower")]
                Type::FLOAT4 => out.put_f32(*number as f32),
                _ => return write_text(&number.to_string(), ty, out),
            },
            SqlValue::Text(text) => return write_text(text, ty, out),
        }
        Ok(IsNull::No)
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn write_integer(
    number: i64,
    ty: &Type,
    out: &mut BytesMut,
) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    match *ty {
        Type::INT2 => out.put_i16(number.try_into()?),
        Type::INT4 => out.put_i32(number.try_into()?),
        Type::INT8 => out.put_i64(number),
        Type::BOOL if number == 0 || number == 1 => out.put_u8(u8::from(number == 1)),
        #[allow(clippy::cast_precision_loss, reason = "the same as in SQLite")]
        Type::FLOAT8 => out.put_f64(number as f64),
        _ => return write_text(&number.to_string(), ty, out),
    }
    Ok(IsNull::No)
}

fn write_text(
    text: &str,
    ty: &Type,
    out: &mut BytesMut,
) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    match *ty {
        Type::INT2 | Type::INT4 | Type::INT8 => return write_integer(text.parse()?, ty, out),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
            out.put_slice(text.as_bytes());
        }
        _ => return Err(format!("a text for a parameter of the type {ty}").into()),
    }
    Ok(IsNull::No)
}

/// Row of a result.
pub(super) struct PostgresRow<'a>(pub(super) &'a Row);

impl PostgresRow<'_> {
    fn read<'a, T: FromSql<'a>>(&'a self, column: usize) -> Result<Option<T>, SqlError> {
        self.0
            .try_get(column)
            .map_err(|_| super::error::unexpected_value_error())
    }

    /// Returns the type of a column.
    fn column_type(&self, column: usize) -> &Type {
        self.0
            .columns()
            .get(column)
            .map_or(&Type::UNKNOWN, |column| column.type_())
    }
}

impl SqlRow for PostgresRow<'_> {
    fn integer(&self, column: usize) -> Result<Option<i64>, SqlError> {
        Ok(match *self.column_type(column) {
            Type::INT2 => self.read::<i16>(column)?.map(i64::from),
            Type::INT4 => self.read::<i32>(column)?.map(i64::from),
            Type::BOOL => self.read::<bool>(column)?.map(i64::from),
            _ => self.read::<i64>(column)?,
        })
    }

    fn real(&self, column: usize) -> Result<Option<f64>, SqlError> {
        Ok(match *self.column_type(column) {
            Type::FLOAT4 => self.read::<f32>(column)?.map(f64::from),
            Type::FLOAT8 => self.read::<f64>(column)?,
            #[allow(clippy::cast_precision_loss, reason = "the same as in SQLite")]
            _ => self.integer(column)?.map(|number| number as f64),
        })
    }

    fn flag(&self, column: usize) -> Result<Option<bool>, SqlError> {
        Ok(match *self.column_type(column) {
            Type::BOOL => self.read::<bool>(column)?,
            _ => self.integer(column)?.map(|number| number != 0),
        })
    }

    fn text(&self, column: usize) -> Result<Option<Cow<'_, str>>, SqlError> {
        let text = self.read::<Text<'_>>(column)?;
        Ok(text.map(|text| String::from_utf8_lossy(text.0)))
    }
}

/// Bytes of a text. A database whose encoding is `SQL_ASCII` may have texts that are not UTF-8.
struct Text<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Text<'a> {
    fn from_sql(_ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON
        )
    }
}
