//! `information_schema._pg_expandarray` as an array of pairs, which `rewrite` unnests: what the JDBC driver
//! reads the columns of a key with.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sluice_spi::Error;

/// The function.
pub(super) fn pg_expandarray() -> ScalarUDF {
    ScalarUDF::new_from_impl(ExpandArray {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExpandArray {
    signature: Signature,
}

/// `(x, n)`: an element and its place from 1, whatever the array's own first subscript.
fn pair_fields() -> Fields {
    Fields::from(vec![
        Field::new("x", DataType::Int32, true),
        Field::new("n", DataType::Int32, true),
    ])
}

impl ScalarUDFImpl for ExpandArray {
    fn name(&self) -> &str {
        "pg_expandarray"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new(
            "item",
            DataType::Struct(pair_fields()),
            true,
        ))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let Some(lists) = array.as_list_opt::<i32>() else {
            return Err(Error::unsupported("_pg_expandarray takes an array of integers").into());
        };
        let mut lengths = Vec::with_capacity(lists.len());
        let mut values: Vec<ArrayRef> = Vec::new();
        let mut places = Vec::new();
        for row in 0..lists.len() {
            let length = if lists.is_null(row) {
                0
            } else {
                lists.value_length(row)
            };
            if length > 0 {
                values.push(cast(&lists.value(row), &DataType::Int32)?);
            }
            places.extend(1..=length);
            lengths.push(usize::try_from(length).unwrap_or_default());
        }
        let parts: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let values = if parts.is_empty() {
            Arc::new(Int32Array::from(Vec::<i32>::new())) as ArrayRef
        } else {
            arrow::compute::concat(&parts)?
        };
        let pairs = StructArray::new(
            pair_fields(),
            vec![values, Arc::new(Int32Array::from(places))],
            None,
        );
        let item = Arc::new(Field::new("item", DataType::Struct(pair_fields()), true));
        let list = ListArray::new(
            item,
            OffsetBuffer::from_lengths(lengths),
            Arc::new(pairs),
            lists.nulls().cloned(),
        );
        Ok(ColumnarValue::Array(Arc::new(list)))
    }
}
