//! Rows as multisets: equal when each row is there as often, in any order.

use arrow::array::{Array, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::PhysicalExpr;

/// One batch of many.
pub(super) fn concat(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, String> {
    concat_batches(schema, batches).map_err(|e| e.to_string())
}

/// Rows, sorted by their bytes.
pub(super) struct RowSet {
    converter: Option<RowConverter>,
    names: Vec<String>,
    rows: Vec<Vec<u8>>,
}

impl RowSet {
    pub(super) fn of(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RowSet, String> {
        let names = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        if schema.fields().is_empty() {
            let count = batches.iter().map(RecordBatch::num_rows).sum();
            return Ok(RowSet {
                converter: None,
                names,
                rows: vec![Vec::new(); count],
            });
        }
        let fields = schema
            .fields()
            .iter()
            .map(|f| SortField::new(f.data_type().clone()))
            .collect();
        let converter = RowConverter::new(fields).map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        for batch in batches {
            let converted = converter
                .convert_columns(batch.columns())
                .map_err(|e| e.to_string())?;
            rows.extend(converted.iter().map(|row| row.data().to_vec()));
        }
        rows.sort_unstable();
        Ok(RowSet {
            converter: Some(converter),
            names,
            rows,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// True where a row is there twice.
    pub(super) fn has_duplicates(&self) -> bool {
        self.rows.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// True where each row of `self` is in `all`, as often.
    pub(super) fn is_within(&self, all: &RowSet) -> bool {
        let mut rest = all.rows.iter();
        self.rows.iter().all(|row| rest.any(|other| other == row))
    }

    /// What `found` lacks or has too much; `None` where both are equal.
    pub(super) fn difference(&self, found: &RowSet) -> Option<String> {
        if self.rows == found.rows {
            return None;
        }
        let missing = first_extra(&self.rows, &found.rows);
        let extra = first_extra(&found.rows, &self.rows);
        let mut text = format!(
            "{} rows expected, {} found",
            self.rows.len(),
            found.rows.len()
        );
        if let Some(row) = missing {
            text.push_str(&format!("; missing {}", self.show(row)));
        }
        if let Some(row) = extra {
            text.push_str(&format!("; not expected {}", self.show(row)));
        }
        Some(text)
    }

    fn show(&self, row: &[u8]) -> String {
        let shown = self.converter.as_ref().and_then(|converter| {
            let parser = converter.parser();
            let columns = converter.convert_rows([parser.parse(row)]).ok()?;
            let options = FormatOptions::default().with_null("NULL");
            let cells = columns.iter().zip(&self.names).map(|(column, name)| {
                let formatter = ArrayFormatter::try_new(column.as_ref(), &options).ok()?;
                Some(format!("{name}={:?}", formatter.value(0).to_string()))
            });
            Some(cells.collect::<Option<Vec<_>>>()?.join(" "))
        });
        shown.unwrap_or_else(|| "a row".into())
    }
}

/// The first of `left` that is there more often than in `right`. Both are sorted.
fn first_extra<'a>(left: &'a [Vec<u8>], right: &[Vec<u8>]) -> Option<&'a [u8]> {
    let mut others = right.iter().peekable();
    for row in left {
        while others.next_if(|other| *other < row).is_some() {}
        if others.next_if(|other| *other == row).is_none() {
            return Some(row);
        }
    }
    None
}

/// The rows for which `predicate` is true, by the engine.
pub(super) fn filter(
    batch: &RecordBatch,
    predicate: &dyn PhysicalExpr,
) -> Result<RecordBatch, String> {
    let value = predicate.evaluate(batch).map_err(|e| e.to_string())?;
    let array = value
        .into_array(batch.num_rows())
        .map_err(|e| e.to_string())?;
    let mask = array
        .as_any()
        .downcast_ref::<BooleanArray>()
        .ok_or("the predicate is no boolean")?;
    filter_record_batch(batch, mask).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_rows_are_found_by_how_often_they_are_there() {
        let rows = |texts: &[&str]| {
            texts
                .iter()
                .map(|t| t.as_bytes().to_vec())
                .collect::<Vec<_>>()
        };
        let (once, twice) = (rows(&["a", "b"]), rows(&["a", "b", "b"]));
        assert_eq!(first_extra(&twice, &once), Some(b"b".as_slice()));
        assert_eq!(first_extra(&once, &twice), None);
        assert_eq!(
            first_extra(&rows(&["a"]), &rows(&["0", "b"])),
            Some(b"a".as_slice())
        );
    }
}
