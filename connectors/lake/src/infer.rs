//! Columns of text files: as the catalog's file declares them, or from the first rows.
//!
//! Inferred types are few: bigint, double precision, boolean, date, timestamp, text, and whatever nests
//! in JSON. A value further down that does not fit is an error that names file and line.

use std::io::Cursor;
use std::sync::Arc;

use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::reader::infer_json_schema;
use bytes::Bytes;
use futures::TryStreamExt;
use regex::Regex;
use sluice_spi::types::tagged;
use sluice_spi::{Error, Result, SqlState};

use crate::config::{ColumnConfig, FileFormat, TextOptions};
use crate::error::broken;
use crate::schema::{FileColumn, shown_type};

/// Bytes (uncompressed) looked at in each file.
const SAMPLE_BYTES: usize = 1 << 20;
/// Files looked at: the first ones.
pub(crate) const SAMPLE_FILES: usize = 8;
/// Rows looked at in each file.
const SAMPLE_ROWS: usize = 10_000;

/// The Arrow type of a declared column; `None` for an unknown name.
pub(crate) fn column_type(name: &str) -> Option<DataType> {
    let lower = name.trim().to_ascii_lowercase();
    let (base, argument) = match lower.split_once('(') {
        Some((base, rest)) => (base.trim(), Some(rest.strip_suffix(')')?)),
        None => (lower.as_str(), None),
    };
    Some(match (base, argument) {
        ("boolean" | "bool", None) => DataType::Boolean,
        ("smallint" | "int2", None) => DataType::Int16,
        ("integer" | "int" | "int4", None) => DataType::Int32,
        ("bigint" | "int8", None) => DataType::Int64,
        ("real" | "float4", None) => DataType::Float32,
        ("double precision" | "float8" | "double", None) => DataType::Float64,
        ("numeric" | "decimal", Some(argument)) => {
            let (precision, scale) = argument.split_once(',').unwrap_or((argument, "0"));
            let (precision, scale) = (
                precision.trim().parse::<u8>().ok()?,
                scale.trim().parse::<i8>().ok()?,
            );
            if precision == 0 || precision > 38 || scale < 0 || scale > precision as i8 {
                return None;
            }
            DataType::Decimal128(precision, scale)
        }
        ("text" | "json" | "jsonb" | "uuid" | "varchar" | "character varying", _) => {
            DataType::Utf8View
        }
        ("date", None) => DataType::Date32,
        ("time", None) => DataType::Time64(TimeUnit::Microsecond),
        ("timestamp", None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        ("timestamptz" | "timestamp with time zone", None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        _ => return None,
    })
}

/// Declared columns.
pub(crate) fn declared(columns: &[ColumnConfig]) -> Result<Vec<FileColumn>> {
    columns
        .iter()
        .map(|column| {
            let data_type = column_type(&column.data_type).ok_or_else(|| {
                Error::internal(format!("unchecked column type \"{}\"", column.data_type))
            })?;
            let lower = column.data_type.trim().to_ascii_lowercase();
            let field = if data_type == DataType::Utf8View && lower != "text" {
                tagged(&column.name, data_type, true, lower)
            } else {
                Field::new(&column.name, data_type, true)
            };
            Ok(FileColumn {
                field: Arc::new(field),
                native_type: column.data_type.clone(),
            })
        })
        .collect()
}

/// What the sample of a file says.
pub(crate) struct Sample {
    pub(crate) schema: Schema,
    pub(crate) rows: usize,
    /// Bytes, uncompressed, of those rows.
    pub(crate) bytes: usize,
}

/// Looks at a file's first rows.
pub(crate) async fn sample(
    file: &str,
    format: FileFormat,
    text: &TextOptions,
    mut bytes: impl futures::Stream<Item = Result<Bytes>> + Unpin,
) -> Result<Sample> {
    let mut head = Vec::new();
    let mut complete = false;
    while head.len() < SAMPLE_BYTES {
        match bytes.try_next().await? {
            Some(chunk) => head.extend_from_slice(&chunk),
            None => {
                complete = true;
                break;
            }
        }
    }
    if !complete {
        // The last line is cut off somewhere.
        let end = head
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(head.len(), |at| at + 1);
        head.truncate(end);
    }
    let head = without_mark(&head);
    let (schema, rows) = match format {
        FileFormat::Json => infer_json_schema(Cursor::new(head), Some(SAMPLE_ROWS))
            .map_err(|e| broken(file, "JSON", &e.to_string()))?,
        _ => {
            // A cut may fall inside of a quoted field, so the last record may be short.
            let format = csv_format(file, text, text.header)?.with_truncated_rows(!complete);
            let (schema, rows) = format
                .infer_schema(Cursor::new(head), Some(SAMPLE_ROWS))
                .map_err(|e| broken(file, "CSV", &e.to_string()))?;
            let names = unique_names(schema.fields().iter().map(|f| f.name().clone()));
            let fields: Vec<_> = schema
                .fields()
                .iter()
                .zip(names)
                .map(|(f, name)| f.as_ref().clone().with_name(name))
                .collect();
            (Schema::new(fields), rows)
        }
    };
    Ok(Sample {
        schema,
        rows,
        bytes: head.len(),
    })
}

/// The CSV reader's view of the options.
pub(crate) fn csv_format(file: &str, text: &TextOptions, header: bool) -> Result<Format> {
    let lower = file.to_ascii_lowercase();
    let by_name = if lower.contains(".tsv") { '\t' } else { ',' };
    let mut format = Format::default()
        .with_header(header)
        .with_delimiter(text.delimiter.unwrap_or(by_name) as u8)
        .with_quote(text.quote as u8);
    if let Some(escape) = text.escape {
        format = format.with_escape(escape as u8);
    }
    if let Some(comment) = text.comment {
        format = format.with_comment(comment as u8);
    }
    if let Some(null) = &text.null {
        let pattern = Regex::new(&format!("^{}$", regex::escape(null))).map_err(|e| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("\"null\" cannot be used: {e}"),
            )
        })?;
        format = format.with_null_regex(pattern);
    }
    Ok(format)
}

/// The column names of one CSV file, from its first bytes.
pub(crate) fn csv_names(file: &str, text: &TextOptions, head: &[u8]) -> Result<Vec<String>> {
    let (schema, _) = csv_format(file, text, text.header)?
        .infer_schema(Cursor::new(without_mark(head)), Some(0))
        .map_err(|e| broken(file, "CSV", &e.to_string()))?;
    Ok(unique_names(
        schema.fields().iter().map(|f| f.name().clone()),
    ))
}

/// A byte order mark is no part of the first column's name.
pub(crate) fn without_mark(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)
}

/// Header names as column names: trimmed, none empty, none twice.
fn unique_names(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for (i, name) in names.enumerate() {
        let name = name.trim();
        let base = if name.is_empty() {
            format!("column_{}", i + 1)
        } else {
            name.to_owned()
        };
        let mut unique = base.clone();
        let mut n = 2;
        while taken.contains(&unique) {
            unique = format!("{base}_{n}");
            n += 1;
        }
        taken.push(unique);
    }
    taken
}

/// The columns of a table out of its files' samples. Where samples disagree, numbers widen and anything
/// else is text.
pub(crate) fn unite(samples: &[Sample]) -> Vec<FileColumn> {
    let mut columns: Vec<(String, DataType)> = Vec::new();
    for field in samples.iter().flat_map(|s| s.schema.fields()) {
        match columns.iter_mut().find(|(name, _)| name == field.name()) {
            Some((_, known)) => *known = wider(known, field.data_type()),
            None => columns.push((field.name().clone(), field.data_type().clone())),
        }
    }
    columns
        .into_iter()
        .map(|(name, data_type)| {
            let data_type = shown_type(&plain(&data_type));
            FileColumn {
                native_type: data_type.to_string(),
                field: Arc::new(Field::new(name, data_type, true)),
            }
        })
        .collect()
}

/// Nanoseconds are never needed for what a text file says; the front shows microseconds.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

fn wider(a: &DataType, b: &DataType) -> DataType {
    use DataType::*;
    match (plain(a), plain(b)) {
        (a, b) if a == b => a,
        (Null, other) | (other, Null) => other,
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => Timestamp(unit, zone),
        _ => Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_postgres_names() {
        assert_eq!(
            column_type("numeric(12, 2)"),
            Some(DataType::Decimal128(12, 2))
        );
        assert_eq!(column_type("Double Precision"), Some(DataType::Float64));
        assert_eq!(column_type("varchar(10)"), Some(DataType::Utf8View));
        assert_eq!(column_type("numeric(40,2)"), None);
        assert_eq!(column_type("money"), None);
    }

    #[test]
    fn headers_become_unique_names() {
        let names = ["a", "", "a", " b "].map(str::to_owned);
        assert_eq!(
            unique_names(names.into_iter()),
            ["a", "column_2", "a_2", "b"]
        );
    }
}
