//! One-dimensional arrays into Arrow lists.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::FieldRef;
use sluice_spi::{Error, Result, SqlState};

use super::{Decoder, Fault};
use crate::types::ColumnType;

/// Fills one array column.
pub(crate) struct ListDecoder {
    field: FieldRef,
    items: Decoder,
    item_count: i32,
    offsets: Vec<i32>,
    validity: NullBufferBuilder,
}

impl ListDecoder {
    pub(super) fn new(item: &ColumnType, field: FieldRef, rows: usize) -> Result<ListDecoder> {
        Ok(ListDecoder {
            items: Decoder::new(item, field.data_type(), rows)?,
            field,
            item_count: 0,
            offsets: vec![0],
            validity: NullBufferBuilder::new(rows),
        })
    }

    pub(super) fn append(&mut self, raw: &[u8]) -> std::result::Result<(), Fault> {
        let mut reader = Words(raw);
        let dimensions = reader.word()?;
        let _has_nulls = reader.word()?;
        let _item_type = reader.word()?;
        match dimensions {
            0 => {}
            1 => {
                let length = reader.word()?;
                if reader.word()? != 1 {
                    return Err(shape("is an array that does not start at index 1"));
                }
                for _ in 0..length {
                    match usize::try_from(reader.word()?) {
                        Ok(length) => self.items.append(reader.bytes(length)?)?,
                        Err(_) => self.items.append_null(),
                    }
                    self.item_count = self
                        .item_count
                        .checked_add(1)
                        .ok_or_else(|| shape("is an array too long for one batch"))?;
                }
            }
            _ => return Err(shape("is an array of more than one dimension")),
        }
        self.offsets.push(self.item_count);
        self.validity.append_non_null();
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        self.offsets.push(self.item_count);
        self.validity.append_null();
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        self.item_count = 0;
        let list = ListArray::try_new(
            self.field.clone(),
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            self.items.finish()?,
            self.validity.finish(),
        );
        Ok(Arc::new(list.map_err(|e| {
            Error::internal(format!("an array column does not fit together: {e}"))
        })?))
    }
}

fn shape(what: &str) -> Fault {
    Fault::value(SqlState::FEATURE_NOT_SUPPORTED, what)
}

/// Reads the array's header and items.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn word(&mut self) -> std::result::Result<i32, Fault> {
        match self.0 {
            [a, b, c, d, rest @ ..] => {
                let word = i32::from_be_bytes([*a, *b, *c, *d]);
                self.0 = rest;
                Ok(word)
            }
            _ => Err(Fault::broken("is an array that ends early")),
        }
    }

    fn bytes(&mut self, length: usize) -> std::result::Result<&'a [u8], Fault> {
        match self.0.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok(bytes)
            }
            None => Err(Fault::broken("is an array that ends early")),
        }
    }
}
