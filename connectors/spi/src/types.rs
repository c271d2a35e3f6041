//! PostgreSQL's type of a column, beside its Arrow type.
//!
//! Arrow has no uuid, jsonb or `varchar(10)`. Such columns travel as plain Arrow types whose field
//! carries the PostgreSQL type, spelled as `format_type` prints it, under [`PG_TYPE`]. Without a tag the
//! front chooses by Arrow type.
//!
//! | PostgreSQL | Arrow | tag |
//! | --- | --- | --- |
//! | boolean, smallint, integer, bigint, real, double precision | Boolean, Int16/32/64, Float32/64 | none |
//! | numeric(p,s), p ≤ 38 / p ≤ 76 | Decimal128(p,s) / Decimal256(p,s) | none |
//! | numeric without typmod | Decimal256([`NUMERIC_PRECISION`], [`NUMERIC_SCALE`]) | `numeric` |
//! | text | Utf8View or Utf8 | none |
//! | varchar(n), char(n), name | Utf8View or Utf8 | `character varying(n)`, `character(n)`, `name` |
//! | uuid, json, jsonb, enums, inet, xml, … (as text) | Utf8View or Utf8 | their name |
//! | bytea | Binary or BinaryView | none |
//! | date, time, timestamp | Date32, Time64(µs), Timestamp(µs) | none |
//! | timestamptz | Timestamp(µs, "UTC") | none |
//! | interval | Interval(MonthDayNano) | none |
//! | T\[\] | List(T) | none (the item field carries its own tag) |

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};

/// The key in a field's metadata.
pub const PG_TYPE: &str = "sluice.pg_type";

/// The key of an enum's labels in a field's metadata: a JSON array, in the order of the type.
const ENUM_LABELS: &str = "sluice.enum_labels";

/// Digits of a numeric without typmod.
pub const NUMERIC_PRECISION: u8 = 76;

/// Digits after the point of a numeric without typmod: values that need more are an error, never rounded.
pub const NUMERIC_SCALE: i8 = 20;

/// A field with a PostgreSQL type tag.
pub fn tagged(
    name: impl Into<String>,
    data_type: DataType,
    nullable: bool,
    pg_type: impl Into<String>,
) -> Field {
    Field::new(name, data_type, nullable)
        .with_metadata(HashMap::from([(PG_TYPE.to_owned(), pg_type.into())]))
}

/// The field of an enum's values with the type's labels, so that a constant can be held against them.
pub fn with_enum_labels(mut field: Field, labels: &[String]) -> Field {
    // A list of strings is always JSON.
    if let Ok(labels) = serde_json::to_string(labels) {
        let mut metadata = field.metadata().clone();
        metadata.insert(ENUM_LABELS.to_owned(), labels);
        field.set_metadata(metadata);
    }
    field
}

/// The labels of an enum's field, where its source has told them.
pub fn enum_labels(field: &Field) -> Option<Vec<String>> {
    serde_json::from_str(field.metadata().get(ENUM_LABELS)?).ok()
}

/// The tag of a field.
pub fn pg_type(field: &Field) -> Option<&str> {
    field.metadata().get(PG_TYPE).map(String::as_str)
}

/// A cast that keeps every value and their order, and cannot fail: a value can be taken back through it.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Int8, Int16, Int32, Int64, LargeUtf8, Utf8, Utf8View};
    let is_text = |t: &DataType| matches!(t, Utf8 | LargeUtf8 | Utf8View);
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (from, to) => is_text(from) && is_text(to),
    }
}
