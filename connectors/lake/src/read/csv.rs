//! CSV rows: columns by the header's names in each file, errors with their line.

use std::sync::Arc;

use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Decoder;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use sluice_spi::{Error, Result, SqlState};

use super::SplitScan;
use super::rows::Origin;
use super::text::{Prepared, RowDecoder};
use crate::infer::{csv_format, csv_names};
use crate::payload::Piece;

struct CsvDecoder {
    decoder: Decoder,
    columns: Vec<String>,
}

/// A decoder for a file whose first bytes are `head`; `None` where the file has no line at all.
/// `at_start` is false for a later part of a file, which has no header.
pub(super) fn prepare(
    scan: &SplitScan,
    piece: &Piece,
    file: &str,
    head: &[u8],
    at_start: bool,
) -> Result<Option<Prepared>> {
    let text = &scan.payload.text;
    let names = csv_names(file, text, head)?;
    if names.is_empty() {
        return Ok(None);
    }
    let table = &scan.request.schema;
    let file_columns = scan.file_columns();
    let mut fields: Vec<Field> = names
        .iter()
        .map(|name| {
            match table.fields()[..file_columns]
                .iter()
                .find(|f| f.name() == name)
            {
                Some(field) => field.as_ref().clone(),
                // Not in the table: passed over.
                None => Field::new(name, DataType::Utf8, true),
            }
        })
        .collect();
    if !text.header {
        // Declared names count by position, as the file has none.
        for (own, field) in fields.iter_mut().zip(&table.fields()[..file_columns]) {
            *own = field.as_ref().clone();
        }
    }
    let mut projection = Vec::new();
    let origins = scan
        .request
        .projection
        .iter()
        .map(|&column| {
            if column >= file_columns {
                let at = column - file_columns;
                return Ok(Origin::Partition(
                    scan.payload.partitions[at].value(piece.partition[at].as_deref())?,
                ));
            }
            let name = table.field(column).name();
            Ok(match fields.iter().position(|f| f.name() == name) {
                Some(at) => {
                    projection.push(at);
                    Origin::Decoded(projection.len() - 1)
                }
                None => Origin::Missing,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let columns = fields.iter().map(|f| f.name().clone()).collect();
    let has_header = text.header && at_start;
    let decoder = ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_format(csv_format(file, text, has_header)?)
        .with_batch_size(scan.request.batch_rows.max(1))
        .with_projection(projection)
        .build_decoder();
    Ok(Some(Prepared {
        decoder: Box::new(CsvDecoder { decoder, columns }),
        origins,
    }))
}

impl RowDecoder for CsvDecoder {
    fn decode(&mut self, bytes: &[u8]) -> Result<usize, ArrowError> {
        self.decoder.decode(bytes)
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        self.decoder.flush()
    }

    fn explain(&self, file: &str, first_byte: u64, error: &ArrowError) -> Error {
        let text = error.to_string();
        // The reader counts lines from 0 where a value is wrong, from 1 where a field is missing.
        let value = number_after(&text, " at line ").map(|line| line + 1);
        let line = value.or_else(|| number_after(&text, " for line "));
        let place = match line {
            Some(line) if first_byte == 0 => format!("file \"{file}\", line {line}"),
            Some(line) => format!("file \"{file}\", line {line} after byte {first_byte}"),
            None => format!("file \"{file}\""),
        };
        if let Some((bad, data_type)) =
            quoted(&text, "parsing value '").zip(quoted(&text, "as type '"))
        {
            let column = number_after(&text, "for column ")
                .and_then(|at| self.columns.get(at as usize))
                .map_or_else(String::new, |name| format!(", column \"{name}\""));
            return Error::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                format!("invalid value \"{bad}\" for type {data_type}"),
            )
            .with_detail(format!("{place}{column}"))
            .with_hint("The type was inferred from the first rows, or declared; declare the column as text to read it.");
        }
        let what = text.split(": ").last().unwrap_or(&text).to_owned();
        Error::new(
            SqlState::DATA_CORRUPTED,
            format!("malformed CSV in {place}"),
        )
        .with_detail(what)
    }
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let tail = &text[text.find(mark)? + mark.len()..];
    let digits = tail
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(tail.len());
    tail[..digits].parse().ok()
}

fn quoted<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let tail = &text[text.find(mark)? + mark.len()..];
    Some(&tail[..tail.find('\'')?])
}
