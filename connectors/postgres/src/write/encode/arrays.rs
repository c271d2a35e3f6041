//! Arrays' binary form: the dimensions, whether there are NULLs, the items' type, each dimension's length,
//! and then the items, row after row.
//!
//! A list of lists is an array of two dimensions, which must have the shape of a box: an inner NULL and
//! inner lists of several lengths have no place in PostgreSQL's arrays.

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};
use sluice_spi::{Error, Result, SqlState};

use super::binary::Column;
use super::wire::Wire;

/// The values of an array column.
pub(super) struct ArrayValues {
    /// The lists of each dimension, the outermost first.
    levels: Vec<ListArray>,
    items: Box<Column<'static>>,
    /// The items' type at the server.
    oid: u32,
}

impl ArrayValues {
    /// Over lists as [`Wire::prepared`] makes them.
    pub(super) fn new(item: &Wire, oid: u32, values: &ArrayRef) -> Result<ArrayValues> {
        let mut levels = vec![values.as_list::<i32>().clone()];
        let mut items = values.as_list::<i32>().values().clone();
        while let DataType::List(_) = items.data_type() {
            let inner = items.as_list::<i32>().clone();
            items = inner.values().clone();
            levels.push(inner);
        }
        Ok(ArrayValues {
            levels,
            items: Box::new(Column::new("item", item, &items)?),
            oid,
        })
    }

    /// Appends the array of one row, which is not NULL.
    pub(super) fn put(&self, column: &str, row: usize, out: &mut BytesMut) -> Result<()> {
        // The range of lists, and in the end of items, that the row has at each level.
        let (mut start, mut end) = (row, row + 1);
        let mut lengths = Vec::with_capacity(self.levels.len());
        for (depth, lists) in self.levels.iter().enumerate() {
            let offsets = lists.value_offsets();
            let length = |at: usize| offsets[at + 1] - offsets[at];
            let first = length(start);
            let is_box = (start..end).all(|at| length(at) == first);
            if !is_box || (depth > 0 && (start..end).any(|at| lists.is_null(at))) {
                return Err(Error::new(
                    SqlState::from_source("2202E"),
                    "multidimensional arrays must have sub-arrays with matching dimensions",
                )
                .with_detail(format!("In column \"{column}\".")));
            }
            if first == 0 {
                // No dimensions, no NULLs.
                out.put_i32(0);
                out.put_i32(0);
                out.put_u32(self.oid);
                return Ok(());
            }
            lengths.push(first);
            (start, end) = (index(offsets[start]), index(offsets[end]));
        }
        out.put_i32(i32::try_from(lengths.len()).unwrap_or(i32::MAX));
        let has_nulls = (start..end).any(|item| self.items.is_null(item));
        out.put_i32(has_nulls.into());
        out.put_u32(self.oid);
        for length in lengths {
            out.put_i32(length);
            // Arrays start at 1.
            out.put_i32(1);
        }
        (start..end).try_for_each(|item| self.items.put(item, out))
    }
}

/// Offsets of Arrow lists are never negative.
#[inline]
fn index(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::types::Int32Type;
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;

    use super::*;

    /// One row: inner lists of those lengths over 1, 2, 3, ….
    fn put(lengths: &[usize], inner_null: bool) -> Result<BytesMut> {
        let count = i32::try_from(lengths.iter().sum::<usize>()).unwrap();
        let items: ArrayRef = Arc::new(arrow::array::Int32Array::from_iter_values(1..=count));
        let field = Arc::new(Field::new("item", DataType::Int32, true));
        let nulls = inner_null.then(|| vec![false; lengths.len()].into());
        let inner = ListArray::new(
            field,
            OffsetBuffer::from_lengths(lengths.iter().copied()),
            items,
            nulls,
        );
        let outer: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new("item", inner.data_type().clone(), true)),
            OffsetBuffer::from_lengths([lengths.len()]),
            Arc::new(inner),
            None,
        ));
        let mut out = BytesMut::new();
        ArrayValues::new(&Wire::Int4, 23, &outer)?.put("c", 0, &mut out)?;
        Ok(out)
    }

    #[test]
    fn lists_of_lists_are_boxes() {
        let out = put(&[2, 2], false).unwrap();
        let head: [i32; 7] = [2, 0, 23, 2, 1, 2, 1];
        let head: Vec<u8> = head.iter().flat_map(|n| n.to_be_bytes()).collect();
        assert_eq!(out[..28], head[..]);
        assert_eq!(out.len(), 28 + 4 * 8);
        assert_eq!(put(&[], false).unwrap().len(), 12);
        assert_eq!(put(&[0, 0], false).unwrap().len(), 12);
        for (lengths, null) in [(vec![1, 2], false), (vec![0, 1], false), (vec![1, 1], true)] {
            let error = put(&lengths, null).unwrap_err();
            assert_eq!(error.code.code(), "2202E", "{lengths:?}");
        }
    }

    #[test]
    fn one_dimension_with_nulls() {
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(
            vec![Some(7), None],
        )]));
        let mut out = BytesMut::new();
        ArrayValues::new(&Wire::Int4, 23, &lists)
            .unwrap()
            .put("c", 0, &mut out)
            .unwrap();
        let words: Vec<i32> = out
            .chunks(4)
            .map(|word| i32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [1, 1, 23, 2, 1, 4, 7, -1]);
    }
}
