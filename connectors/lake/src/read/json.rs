//! Newline-delimited JSON: columns by key, errors with their line.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use arrow::record_batch::RecordBatch;
use sluice_spi::{Error, Result, SqlState};

use super::SplitScan;
use super::rows::Origin;
use super::text::{Prepared, RowDecoder};
use crate::payload::Piece;

struct JsonDecoder {
    decoder: Decoder,
    schema: SchemaRef,
    /// Line breaks in what was flushed.
    lines: u64,
    /// What was taken since, so that an error can name its line.
    taken: Vec<u8>,
}

/// A decoder for the columns that are asked for; other keys are passed over.
pub(super) fn prepare(scan: &SplitScan, piece: &Piece, _file: &str) -> Result<Prepared> {
    let table = &scan.request.schema;
    let file_columns = scan.file_columns();
    let mut fields = Vec::new();
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
            fields.push(table.fields()[column].clone());
            Ok(Origin::Decoded(fields.len() - 1))
        })
        .collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(Schema::new(fields));
    let decoder = decoder(&schema, scan.request.batch_rows.max(1)).map_err(|e| {
        Error::unsupported(format!("the table's types cannot be read from JSON: {e}"))
    })?;
    let decoder = JsonDecoder {
        decoder,
        schema,
        lines: 0,
        taken: Vec::new(),
    };
    Ok(Prepared {
        decoder: Box::new(decoder),
        origins,
    })
}

fn decoder(schema: &SchemaRef, batch_rows: usize) -> Result<Decoder, ArrowError> {
    // Numbers and booleans in a text column read as they are written.
    ReaderBuilder::new(schema.clone())
        .with_batch_size(batch_rows)
        .with_coerce_primitive(true)
        .build_decoder()
}

impl RowDecoder for JsonDecoder {
    fn decode(&mut self, bytes: &[u8]) -> Result<usize, ArrowError> {
        match self.decoder.decode(bytes) {
            Ok(taken) => {
                self.taken.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
            Err(error) => {
                self.taken.extend_from_slice(bytes);
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let batch = self.decoder.flush()?;
        self.lines += line_breaks(&self.taken);
        self.taken.clear();
        Ok(batch)
    }

    fn explain(&self, file: &str, first_byte: u64, error: &ArrowError) -> Error {
        // Decoding the lines again, one by one, finds the first that fails.
        let wrong = self.taken.split(|b| *b == b'\n').position(|line| {
            !line.trim_ascii().is_empty()
                && decoder(&self.schema, 1)
                    .and_then(|mut d| d.decode(line).and_then(|_| d.flush()))
                    .is_err()
        });
        let line = self.lines + wrong.unwrap_or(0) as u64 + 1;
        let place = match first_byte {
            0 => format!("file \"{file}\", line {line}"),
            byte => format!("file \"{file}\", line {line} after byte {byte}"),
        };
        Error::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("malformed JSON in {place}"),
        )
        .with_detail(error.to_string())
    }
}

fn line_breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}
