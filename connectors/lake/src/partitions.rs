//! Hive-style partitions: `key=value` folders become columns.
//!
//! Values are URL-decoded; `__HIVE_DEFAULT_PARTITION__` is NULL. A column whose values are all integers
//! is a bigint, all ISO dates a date, anything else text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use sluice_spi::{Error, Result, ScalarExpr, ScalarValue, SqlState};

use crate::predicate::physical_predicate;

/// What Hive writes for NULL.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// A partition column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartitionColumn {
    pub(crate) name: String,
    pub(crate) kind: PartitionKind,
}

/// Its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PartitionKind {
    Integer,
    Date,
    Text,
}

impl PartitionColumn {
    pub(crate) fn data_type(&self) -> DataType {
        match self.kind {
            PartitionKind::Integer => DataType::Int64,
            PartitionKind::Date => DataType::Date32,
            PartitionKind::Text => DataType::Utf8View,
        }
    }

    pub(crate) fn field(&self) -> FieldRef {
        Arc::new(Field::new(&self.name, self.data_type(), true))
    }

    /// The value of one file. Fails where a folder appeared whose value is not of the type that the
    /// others have.
    pub(crate) fn value(&self, text: Option<&str>) -> Result<ScalarValue> {
        let Some(text) = text else {
            return ScalarValue::try_from(&self.data_type())
                .map_err(|e| Error::internal(e.to_string()));
        };
        match self.kind {
            PartitionKind::Integer => parse_integer(text).map(|v| ScalarValue::Int64(Some(v))),
            PartitionKind::Date => parse_date(text).map(|v| ScalarValue::Date32(Some(v))),
            PartitionKind::Text => Some(ScalarValue::Utf8View(Some(text.to_owned()))),
        }
        .ok_or_else(|| {
            Error::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                format!("partition \"{}={text}\" is not of the type of the column's other partitions", self.name),
            )
            .with_hint("The folder is newer than the table's cached description; flush the catalog's metadata.")
        })
    }
}

/// Keys and values of the folders between a table's root and a file, in order.
pub(crate) fn folders(root: &Path, file: &Path) -> Vec<(String, Option<String>)> {
    let Some(parts) = file.prefix_match(root) else {
        return Vec::new();
    };
    let parts: Vec<_> = parts.collect();
    let folders = parts.len().saturating_sub(1);
    parts[..folders]
        .iter()
        .filter_map(|part| part.as_ref().split_once('='))
        .map(|(key, value)| {
            let value = decode(value);
            (decode(key), (value != NULL_PARTITION).then_some(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    // A store may hand out its own encoding of the folder's name around Hive's: once is what Hive wrote.
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The narrowest kind that holds every value.
pub(crate) fn infer_kind<'a>(
    values: impl Iterator<Item = Option<&'a str>> + Clone,
) -> PartitionKind {
    let mut known = values.flatten().peekable();
    if known.peek().is_none() {
        return PartitionKind::Text;
    }
    if known.clone().all(|v| parse_integer(v).is_some()) {
        return PartitionKind::Integer;
    }
    if known.all(|v| parse_date(v).is_some()) {
        PartitionKind::Date
    } else {
        PartitionKind::Text
    }
}

/// Only the one way in which a number prints: `007` and `+7` are text, or two folders would be equal.
fn parse_integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|v| v.to_string() == text)
}

fn parse_date(text: &str) -> Option<i32> {
    let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let days = date
        .signed_duration_since(chrono::NaiveDate::default())
        .num_days();
    (date.format("%Y-%m-%d").to_string() == text).then_some(i32::try_from(days).ok()?)
}

/// Which of the rows of partition values satisfy every predicate: the engine's own evaluation, so that
/// the answer is exact.
pub(crate) fn matching(
    columns: &[PartitionColumn],
    rows: &[Vec<ScalarValue>],
    predicates: &[ScalarExpr],
) -> Result<Vec<bool>> {
    if predicates.is_empty() || rows.is_empty() {
        return Ok(vec![true; rows.len()]);
    }
    let failed = |e: &dyn std::fmt::Display| {
        Error::internal(format!("could not evaluate a partition filter: {e}"))
    };
    let schema = Arc::new(Schema::new(
        columns
            .iter()
            .map(PartitionColumn::field)
            .collect::<Vec<_>>(),
    ));
    let arrays = (0..columns.len())
        .map(|i| ScalarValue::iter_to_array(rows.iter().map(|row| row[i].clone())))
        .collect::<Result<Vec<ArrayRef>, _>>()
        .map_err(|e| failed(&e))?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|e| failed(&e))?;
    let predicate = physical_predicate(predicates, &schema)?;
    let kept = predicate
        .evaluate(&batch)
        .and_then(|v| v.into_array(rows.len()))
        .map_err(|e| failed(&e))?;
    let kept = kept
        .as_any()
        .downcast_ref::<BooleanArray>()
        .ok_or_else(|| Error::internal("a partition filter is not boolean"))?;
    // NULL is not true.
    Ok(kept.iter().map(|keep| keep == Some(true)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_keys_and_values() {
        let root = Path::parse("lake/web/hits").unwrap();
        let file = Path::parse(
            "lake/web/hits/day=2024-01-02/city=S%C3%A3o Paulo/part=__HIVE_DEFAULT_PARTITION__/x.parquet",
        );
        let found = folders(&root, &file.unwrap());
        assert_eq!(
            found,
            [
                ("day".into(), Some("2024-01-02".into())),
                ("city".into(), Some("São Paulo".into())),
                ("part".into(), None)
            ]
        );
    }

    #[test]
    fn kinds_are_as_narrow_as_the_values_allow() {
        let check = |values: &[&str], kind| {
            assert_eq!(
                infer_kind(values.iter().map(|v| Some(*v))),
                kind,
                "{values:?}"
            );
        };
        check(&["1", "-20"], PartitionKind::Integer);
        check(&["01", "02"], PartitionKind::Text);
        check(&["2024-02-29", "1969-12-31"], PartitionKind::Date);
        check(&["2024-02-30"], PartitionKind::Text);
        check(&["1", "x"], PartitionKind::Text);
        assert_eq!(infer_kind([None, None].into_iter()), PartitionKind::Text);
    }
}
