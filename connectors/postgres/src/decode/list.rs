//! Arrays into Arrow lists, one level of lists per declared dimension.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef};
use sluice_spi::{Error, Result, SqlState};

use super::{Decoder, Fault, KeepInfinity};
use crate::types::ColumnType;

/// The lists of one dimension.
struct Level {
    field: FieldRef,
    /// Where each list ends among the lists, or items, of the next dimension.
    offsets: Vec<i32>,
}

/// Fills one array column.
pub(crate) struct ListDecoder {
    /// The outermost first.
    levels: Vec<Level>,
    items: Decoder,
    /// Of the outermost lists: the server's arrays have no NULLs between.
    validity: NullBufferBuilder,
}

impl Level {
    /// A list of `length` more.
    fn append(&mut self, length: i32) -> std::result::Result<(), Fault> {
        let end = self
            .offsets
            .last()
            .and_then(|end| end.checked_add(length))
            .ok_or_else(|| shape("is an array too long for one batch"))?;
        self.offsets.push(end);
        Ok(())
    }
}

impl ListDecoder {
    pub(super) fn new(
        item: &ColumnType,
        field: FieldRef,
        rows: usize,
        keep_infinity: KeepInfinity,
    ) -> Result<ListDecoder> {
        let (mut item, mut field) = (item, field);
        let mut levels = Vec::with_capacity(1);
        loop {
            let inner = match field.data_type() {
                DataType::List(inner) => Some(inner.clone()),
                _ => None,
            };
            levels.push(Level {
                field: field.clone(),
                offsets: vec![0],
            });
            match (item, inner) {
                (ColumnType::List(list), Some(inner)) => (item, field) = (&list.item, inner),
                _ => break,
            }
        }
        Ok(ListDecoder {
            items: Decoder::new(item, field.data_type(), rows, keep_infinity)?,
            levels,
            validity: NullBufferBuilder::new(rows),
        })
    }

    pub(super) fn append(&mut self, raw: &[u8]) -> std::result::Result<(), Fault> {
        let mut reader = Words(raw);
        let dimensions = reader.word()?;
        let _has_nulls = reader.word()?;
        let _item_type = reader.word()?;
        let count = match usize::try_from(dimensions) {
            Ok(0) => {
                self.levels[0].append(0)?;
                0
            }
            Ok(count) if count == self.levels.len() => self.nest(&mut reader)?,
            _ => {
                return Err(shape(format!(
                    "is an array of {dimensions} dimensions, where its column declares {}",
                    self.levels.len()
                )));
            }
        };
        for _ in 0..count {
            match usize::try_from(reader.word()?) {
                Ok(length) => self.items.append(reader.bytes(length)?)?,
                Err(_) => self.items.append_null(),
            }
        }
        self.validity.append_non_null();
        Ok(())
    }

    /// Opens the lists of a value that is not empty, and says how many items they hold.
    fn nest(&mut self, reader: &mut Words<'_>) -> std::result::Result<usize, Fault> {
        let broken = || Fault::broken("is an array of impossible dimensions");
        let mut lengths = Vec::with_capacity(self.levels.len());
        let mut count: usize = 1;
        for _ in &self.levels {
            let length = reader.word()?;
            if reader.word()? != 1 {
                return Err(shape("is an array that does not start at index 1"));
            }
            count = usize::try_from(length)
                .ok()
                .and_then(|length| count.checked_mul(length))
                .ok_or_else(broken)?;
            lengths.push(length);
        }
        // Each item has a length of four bytes at least, so that a lie does not make room for itself.
        if count.saturating_mul(4) > reader.0.len() {
            return Err(broken());
        }
        let mut lists = 1;
        for (level, length) in self.levels.iter_mut().zip(lengths) {
            for _ in 0..lists {
                level.append(length)?;
            }
            lists *= usize::try_from(length).map_err(|_| broken())?;
        }
        Ok(count)
    }

    pub(super) fn append_null(&mut self) {
        let outer = &mut self.levels[0].offsets;
        outer.push(outer[outer.len() - 1]);
        self.validity.append_null();
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let mut below = self.items.finish()?;
        let mut validity = Some(self.validity.finish());
        for (depth, level) in self.levels.iter_mut().enumerate().rev() {
            let offsets = std::mem::replace(&mut level.offsets, vec![0]);
            let nulls = if depth == 0 { validity.take() } else { None };
            let list = ListArray::try_new(
                level.field.clone(),
                OffsetBuffer::new(ScalarBuffer::from(offsets)),
                below,
                nulls.flatten(),
            );
            below = Arc::new(list.map_err(|e| {
                Error::internal(format!("an array column does not fit together: {e}"))
            })?);
        }
        Ok(below)
    }
}

fn shape(what: impl Into<String>) -> Fault {
    Fault::value(SqlState::FEATURE_NOT_SUPPORTED, what).or_set("arrays = \"text\"")
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
