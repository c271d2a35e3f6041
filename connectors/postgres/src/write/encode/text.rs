//! COPY's text format, for types that only their own input functions know: values with tabs between, `\N`
//! for NULL, a line per row.
//!
//! Slower than [`super::binary`], and used for all columns of a table that needs it for one.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use datafusion::scalar::ScalarValue;
use sluice_spi::{Error, Literal, Result, SqlState};

use super::Target;
use crate::literal::input_text;

/// Appends the rows of `batch` to `out`.
pub(super) fn encode(columns: &[Target], batch: &RecordBatch, out: &mut BytesMut) -> Result<()> {
    for row in 0..batch.num_rows() {
        for (index, (target, values)) in columns.iter().zip(batch.columns()).enumerate() {
            if index > 0 {
                out.put_u8(b'\t');
            }
            match text_of(&target.name, values, row)? {
                None => out.put_slice(b"\\N"),
                Some(text) => escaped(&text, out),
            }
        }
        out.put_u8(b'\n');
    }
    Ok(())
}

/// What has a meaning in the format gets a backslash before it.
fn escaped(text: &str, out: &mut BytesMut) {
    for byte in text.bytes() {
        let letter = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0b => b'v',
            0x0c => b'f',
            plain => {
                out.put_u8(plain);
                continue;
            }
        };
        out.put_slice(&[b'\\', letter]);
    }
}

/// A value as its type's input function reads it; `None` for NULL.
fn text_of(column: &str, values: &ArrayRef, row: usize) -> Result<Option<String>> {
    if values.is_null(row) {
        return Ok(None);
    }
    match values.data_type() {
        DataType::List(_) => {
            let items = values.as_list::<i32>().value(row);
            return array_text(column, &items).map(Some);
        }
        DataType::LargeList(_) => {
            let items = values.as_list::<i64>().value(row);
            return array_text(column, &items).map(Some);
        }
        _ => {}
    }
    let no_text = || {
        Error::new(
            SqlState::DATA_EXCEPTION,
            format!("a value of column \"{column}\" has no text at the source"),
        )
    };
    let value = ScalarValue::try_from_array(values, row)
        .map_err(|error| Error::internal(error.to_string()))?;
    if value.is_null() {
        return Ok(None);
    }
    let text = match &value {
        // The server has no place for less than a microsecond, and nothing is rounded here.
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.nanoseconds % 1_000 == 0 => {
            interval_text(*interval)
        }
        // Wider than the literals of statements.
        ScalarValue::Decimal256(Some(_), ..) => decimal_text(values, row)?,
        other => Literal::from_scalar(other)
            .and_then(|literal| input_text(&literal))
            .ok_or_else(no_text)?,
    };
    if text.contains('\0') {
        return Err(Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(Some(text))
}

fn decimal_text(values: &ArrayRef, row: usize) -> Result<String> {
    arrow::util::display::array_value_to_string(values, row)
        .map_err(|error| Error::internal(error.to_string()))
}

/// `{"a","b",NULL}`.
fn array_text(column: &str, items: &ArrayRef) -> Result<String> {
    let mut text = String::from("{");
    for index in 0..items.len() {
        if index > 0 {
            text.push(',');
        }
        match text_of(column, items, index)? {
            // The server would take it for an item.
            None if items.data_type().is_nested() => {
                return Err(Error::new(
                    SqlState::from_source("2202E"),
                    "multidimensional arrays must have sub-arrays with matching dimensions",
                )
                .with_detail(format!("In column \"{column}\".")));
            }
            None => text.push_str("NULL"),
            // An inner list is a further dimension.
            Some(inner) if items.data_type().is_nested() => text.push_str(&inner),
            Some(item) => {
                text.push('"');
                for character in item.chars() {
                    if matches!(character, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(character);
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    Ok(text)
}

fn interval_text(value: IntervalMonthDayNano) -> String {
    let micros = value.nanoseconds / 1_000;
    let mut text = String::new();
    // A String takes everything.
    let _ = write!(
        text,
        "{} months {} days {} microseconds",
        value.months, value.days, micros
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_ends_it() {
        let mut out = BytesMut::new();
        escaped("a\tb\nc\\d\re", &mut out);
        assert_eq!(&out[..], b"a\\tb\\nc\\\\d\\re");
    }

    #[test]
    fn arrays_quote_their_items() {
        let items: ArrayRef = std::sync::Arc::new(arrow::array::StringArray::from(vec![
            Some("a\"b"),
            None,
            Some("c\\,{}"),
            Some("NULL"),
        ]));
        assert_eq!(
            array_text("c", &items).unwrap(),
            r#"{"a\"b",NULL,"c\\,{}","NULL"}"#
        );
    }
}
