//! The binary COPY format (PostgreSQL manual, COPY, "Binary Format"): a header, tuples, a trailer.
//!
//! The server sends each tuple in a message of its own, but the protocol does not promise that, so a
//! tuple may end in a later piece than it started in.

use bytes::Buf;
use sluice_spi::{Error, Result, SqlState};

use crate::decode::RowDecoder;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, length of the header's extension.
const HEADER_BYTES: usize = 19;

/// Bit 16 and above of the flags: something that a reader must know.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

enum State {
    Header,
    Tuples,
    Ended,
}

/// Takes COPY data apart.
pub(crate) struct CopyReader {
    state: State,
    /// The start of a tuple whose end has not come yet.
    rest: Vec<u8>,
}

impl CopyReader {
    pub(crate) fn new() -> CopyReader {
        CopyReader {
            state: State::Header,
            rest: Vec::new(),
        }
    }

    /// Takes the next piece; its whole tuples go to `rows`.
    pub(crate) fn feed(&mut self, piece: &[u8], rows: &mut RowDecoder) -> Result<()> {
        if self.rest.is_empty() {
            let used = self.take(piece, rows)?;
            self.rest.extend_from_slice(&piece[used..]);
        } else {
            let mut data = std::mem::take(&mut self.rest);
            data.extend_from_slice(piece);
            let used = self.take(&data, rows)?;
            data.drain(..used);
            self.rest = data;
        }
        Ok(())
    }

    /// The data has ended: it must have ended with the trailer.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.state {
            State::Ended => Ok(()),
            _ => Err(broken("ended early")),
        }
    }

    /// Bytes used of `data`.
    fn take(&mut self, data: &[u8], rows: &mut RowDecoder) -> Result<usize> {
        let mut used = 0;
        loop {
            let left = &data[used..];
            match self.state {
                State::Header => match header(left)? {
                    None => return Ok(used),
                    Some(length) => {
                        used += length;
                        self.state = State::Tuples;
                    }
                },
                State::Tuples => match tuple(left, rows)? {
                    Tuple::Unfinished => return Ok(used),
                    Tuple::Row(length) => used += length,
                    Tuple::Trailer => {
                        used += 2;
                        self.state = State::Ended;
                    }
                },
                State::Ended if left.is_empty() => return Ok(used),
                State::Ended => return Err(broken("goes on after its trailer")),
            }
        }
    }
}

fn header(data: &[u8]) -> Result<Option<usize>> {
    if data.len() < HEADER_BYTES {
        return Ok(None);
    }
    let (signature, mut words) = data.split_at(SIGNATURE.len());
    if signature != SIGNATURE || words.get_u32() & CRITICAL_FLAGS != 0 {
        return Err(broken("has an unknown header"));
    }
    let length = HEADER_BYTES + words.get_u32() as usize;
    Ok((data.len() >= length).then_some(length))
}

enum Tuple {
    Unfinished,
    Row(usize),
    Trailer,
}

/// One tuple. Nothing reaches the decoders before all of it is here.
#[inline]
fn tuple(data: &[u8], rows: &mut RowDecoder) -> Result<Tuple> {
    let Some(count) = data.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)) else {
        return Ok(Tuple::Unfinished);
    };
    if count == -1 {
        return Ok(Tuple::Trailer);
    }
    let width = rows.width();
    if usize::try_from(count) != Ok(width) {
        return Err(broken("has another number of columns than its statement"));
    }
    let mut end = 2;
    for _ in 0..width {
        let Some(length) = length_at(data, end) else {
            return Ok(Tuple::Unfinished);
        };
        end += 4 + usize::try_from(length).unwrap_or(0);
    }
    if data.len() < end {
        return Ok(Tuple::Unfinished);
    }
    let mut at = 2;
    for index in 0..width {
        let length = length_at(data, at).unwrap_or(-1);
        at += 4;
        match usize::try_from(length) {
            Ok(length) => {
                rows.field(index, Some(&data[at..at + length]))?;
                at += length;
            }
            Err(_) => rows.field(index, None)?,
        }
    }
    rows.end_row();
    Ok(Tuple::Row(end))
}

#[inline]
fn length_at(data: &[u8], at: usize) -> Option<i32> {
    data.get(at..)?
        .first_chunk()
        .map(|bytes| i32::from_be_bytes(*bytes))
}

fn broken(what: &str) -> Error {
    Error::new(
        SqlState::PROTOCOL_VIOLATION,
        format!("the source's COPY data {what}"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};

    use super::*;
    use crate::types::ColumnType;

    fn data() -> Vec<u8> {
        let mut data = SIGNATURE.to_vec();
        data.extend([0; 8]);
        for row in [Some(7i32), None, Some(-1)] {
            data.extend(2i16.to_be_bytes());
            match row {
                Some(value) => {
                    data.extend(4i32.to_be_bytes());
                    data.extend(value.to_be_bytes());
                }
                None => data.extend((-1i32).to_be_bytes()),
            }
            data.extend(2i32.to_be_bytes());
            data.extend(b"ab");
        }
        data.extend((-1i16).to_be_bytes());
        data
    }

    fn rows() -> RowDecoder {
        let schema = Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("t", DataType::Utf8View, true),
        ]);
        RowDecoder::new(
            &[&ColumnType::Int4, &ColumnType::Text],
            Arc::new(schema),
            100,
            100,
            false,
        )
        .unwrap()
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let data = data();
        for size in 1..=data.len() {
            let (mut reader, mut rows) = (CopyReader::new(), rows());
            for piece in data.chunks(size) {
                reader.feed(piece, &mut rows).unwrap();
            }
            reader.finish().unwrap();
            let batch = rows.finish().unwrap().unwrap();
            let values: Vec<_> = batch.column(0).as_primitive::<Int32Type>().iter().collect();
            assert_eq!(values, [Some(7), None, Some(-1)]);
            assert_eq!(batch.column(1).as_string_view().value(2), "ab");
        }
    }

    #[test]
    fn a_cut_off_copy_is_an_error() {
        let data = data();
        let (mut reader, mut rows) = (CopyReader::new(), rows());
        reader.feed(&data[..data.len() - 2], &mut rows).unwrap();
        assert!(reader.finish().is_err());
        assert!(CopyReader::new().feed(&[b'x'; 19], &mut rows).is_err());
    }
}
