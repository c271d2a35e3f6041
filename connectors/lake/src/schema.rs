//! Column types: what Parquet says, in types that the front can show; and one schema out of many files'.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::datasource::physical_plan::parquet::Int96Coercer;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::LogicalType;
use parquet::file::metadata::ParquetMetaData;
use sluice_spi::types::{PG_TYPE, tagged};
use sluice_spi::{Error, Result, SqlState};

use crate::error::broken;

/// A column of some files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileColumn {
    pub(crate) field: FieldRef,
    /// The type in the file's own words.
    pub(crate) native_type: String,
}

/// The columns of a Parquet file.
pub(crate) fn parquet_columns(file: &str, metadata: &ParquetMetaData) -> Result<Vec<FileColumn>> {
    let about = metadata.file_metadata();
    let descriptor = about.schema_descr();
    let schema = parquet_to_arrow_schema(descriptor, about.key_value_metadata())
        .map_err(|e| broken(file, "Parquet", &e.to_string()))?;
    // INT96 in nanoseconds ends in 2262; writers use it for any time.
    let schema = Int96Coercer::new(descriptor, &schema, &TimeUnit::Microsecond)
        .coerce()
        .unwrap_or(schema);
    let parts = descriptor.root_schema().get_fields();
    Ok(schema
        .fields()
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let data_type = shown_type(field.data_type());
            let logical = parts
                .get(i)
                .and_then(|part| part.get_basic_info().logical_type_ref());
            let shown =
                if matches!(logical, Some(LogicalType::Json)) && data_type == DataType::Utf8View {
                    tagged(field.name(), data_type, field.is_nullable(), "json")
                } else {
                    Field::new(field.name(), data_type, field.is_nullable())
                };
            FileColumn {
                field: Arc::new(shown),
                native_type: field.data_type().to_string(),
            }
        })
        .collect())
}

/// The type in which a column is read: the engine's views for text and bytes, microseconds for times,
/// UTC for instants, plain values for dictionaries.
pub(crate) fn shown_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, value) => shown_type(value),
        DataType::Timestamp(unit, zone) => {
            let unit = if *unit == TimeUnit::Nanosecond {
                TimeUnit::Nanosecond
            } else {
                TimeUnit::Microsecond
            };
            DataType::Timestamp(unit, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Time32(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Date64 => DataType::Date32,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        other => other.clone(),
    }
}

/// The type that holds every value of both, without loss; `None` where there is none.
pub(crate) fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::*;
    if a == b {
        return Some(a.clone());
    }
    let signed = |t: &DataType| match t {
        Int8 => Some(8),
        Int16 => Some(16),
        Int32 => Some(32),
        Int64 => Some(64),
        _ => None,
    };
    let unsigned = |t: &DataType| match t {
        UInt8 => Some(8),
        UInt16 => Some(16),
        UInt32 => Some(32),
        UInt64 => Some(64),
        _ => None,
    };
    let float = |t: &DataType| match t {
        Float32 => Some(24),
        Float64 => Some(53),
        _ => None,
    };
    if let (Some(x), Some(y)) = (signed(a), signed(b)) {
        return Some(if x > y { a.clone() } else { b.clone() });
    }
    if let (Some(x), Some(y)) = (unsigned(a), unsigned(b)) {
        return Some(if x > y { a.clone() } else { b.clone() });
    }
    if float(a).is_some() && float(b).is_some() {
        return Some(Float64);
    }
    match (a, b) {
        (Decimal128(p, s), Decimal128(q, t)) => {
            let scale = *s.max(t);
            let whole = (*p as i16 - *s as i16).max(*q as i16 - *t as i16);
            let precision = u8::try_from(whole + scale as i16).ok()?;
            (precision <= DECIMAL128_MAX_PRECISION).then_some(Decimal128(precision, scale))
        }
        (Timestamp(_, x), Timestamp(_, y)) if x == y => {
            Some(Timestamp(TimeUnit::Nanosecond, x.clone()))
        }
        _ => {
            // Signed with narrower unsigned; integers that a double holds exactly.
            let (int, other) = if signed(a).is_some() || unsigned(a).is_some() {
                (a, b)
            } else {
                (b, a)
            };
            if let Some(bits) = unsigned(int).filter(|_| signed(other).is_some()) {
                return match bits.max(signed(other)? - 1) {
                    8..=15 => Some(Int16),
                    16..=31 => Some(Int32),
                    32..=63 => Some(Int64),
                    _ => None,
                };
            }
            if let Some(bits) = signed(int).filter(|_| unsigned(other).is_some()) {
                return match unsigned(other)?.max(bits - 1) {
                    8..=15 => Some(Int16),
                    16..=31 => Some(Int32),
                    32..=63 => Some(Int64),
                    _ => None,
                };
            }
            let bits = signed(int).or_else(|| unsigned(int))?;
            (float(other).is_some() && bits <= 32).then_some(Float64)
        }
    }
}

/// The columns of a table out of its files', by name, in the order of their first appearance. A column
/// that some file lacks is NULL there.
#[derive(Debug, Default)]
pub(crate) struct SchemaUnion {
    columns: Vec<(FileColumn, usize, String)>,
    by_name: HashMap<String, usize>,
    files: usize,
}

impl SchemaUnion {
    /// Adds a file's columns. Fails where a column's type has nothing in common with the other files'.
    pub(crate) fn add(&mut self, file: &str, columns: Vec<FileColumn>) -> Result<()> {
        self.files += 1;
        for column in columns {
            let Some(&at) = self.by_name.get(column.field.name()) else {
                self.by_name
                    .insert(column.field.name().clone(), self.columns.len());
                self.columns.push((column, 1, file.to_owned()));
                continue;
            };
            let (known, seen, other) = &mut self.columns[at];
            *seen += 1;
            let Some(data_type) = common_type(known.field.data_type(), column.field.data_type())
            else {
                return Err(mismatch(
                    known.field.name(),
                    &known.native_type,
                    other,
                    &column.native_type,
                    file,
                ));
            };
            // A tag that only some files carry promises too much of the others.
            let same_tag =
                known.field.metadata().get(PG_TYPE) == column.field.metadata().get(PG_TYPE);
            if data_type != *column.field.data_type() && data_type != *known.field.data_type() {
                known.native_type = data_type.to_string();
            } else if data_type != *known.field.data_type() {
                known.native_type = column.native_type;
            }
            let nullable = known.field.is_nullable() || column.field.is_nullable();
            let merged = Field::new(known.field.name(), data_type, nullable);
            known.field = Arc::new(if same_tag {
                merged.with_metadata(known.field.metadata().clone())
            } else {
                merged
            });
        }
        Ok(())
    }

    /// The table's columns. With `complete`, every file was added, so that "not null" holds for all.
    pub(crate) fn finish(self, complete: bool) -> Vec<FileColumn> {
        let files = self.files;
        self.columns
            .into_iter()
            .map(|(column, seen, _)| {
                let nullable = !complete || seen < files || column.field.is_nullable();
                let field = Arc::new(column.field.as_ref().clone().with_nullable(nullable));
                FileColumn { field, ..column }
            })
            .collect()
    }
}

fn mismatch(column: &str, type_a: &str, file_a: &str, type_b: &str, file_b: &str) -> Error {
    Error::new(
        SqlState::DATATYPE_MISMATCH,
        format!("column \"{column}\" is {type_a} in \"{file_a}\" and {type_b} in \"{file_b}\""),
    )
    .with_hint("Files of one table must agree on their columns' types.")
}

/// Fails where a file's column cannot be read as the table's without loss.
pub(crate) fn check_file(file: &str, table: &Schema, physical: &Schema) -> Result<()> {
    for field in table.fields() {
        let Ok(own) = physical.field_with_name(field.name()) else {
            continue;
        };
        let shown = shown_type(own.data_type());
        if common_type(&shown, field.data_type()).as_ref() != Some(field.data_type()) {
            return Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" is {} in \"{file}\" and {} in the table",
                    field.name(),
                    own.data_type(),
                    field.data_type()
                ),
            )
            .with_hint("Files of one table must agree on their columns' types."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    #[test]
    fn types_widen_without_loss_or_not_at_all() {
        let check = |a: DataType, b: DataType, common: Option<DataType>| {
            assert_eq!(common_type(&a, &b), common, "{a} {b}");
            assert_eq!(common_type(&b, &a), common, "{b} {a}");
        };
        check(Int8, Int64, Some(Int64));
        check(UInt8, Int8, Some(Int16));
        check(UInt32, Int16, Some(Int64));
        check(UInt64, Int64, None);
        check(UInt16, UInt64, Some(UInt64));
        check(Int32, Float32, Some(Float64));
        check(Int64, Float64, None);
        check(Float32, Float64, Some(Float64));
        check(
            Decimal128(10, 2),
            Decimal128(12, 6),
            Some(Decimal128(14, 6)),
        );
        check(Decimal128(38, 0), Decimal128(38, 10), None);
        check(Utf8View, Int64, None);
        check(Date32, Timestamp(TimeUnit::Microsecond, None), None);
    }

    #[test]
    fn a_union_takes_every_column_once() {
        let column = |name: &str, data_type: DataType| FileColumn {
            native_type: data_type.to_string(),
            field: Arc::new(Field::new(name, data_type, false)),
        };
        let mut union = SchemaUnion::default();
        union
            .add("1.parquet", vec![column("a", Int32), column("b", Utf8View)])
            .unwrap();
        union
            .add("2.parquet", vec![column("c", Date32), column("a", Int64)])
            .unwrap();
        let error = union
            .add("3.parquet", vec![column("b", Int32)])
            .unwrap_err();
        assert_eq!(
            error.message,
            "column \"b\" is Utf8View in \"1.parquet\" and Int32 in \"3.parquet\""
        );
        let mut union = SchemaUnion::default();
        union
            .add("1.parquet", vec![column("a", Int32), column("b", Utf8View)])
            .unwrap();
        union
            .add("2.parquet", vec![column("c", Date32), column("a", Int64)])
            .unwrap();
        let found: Vec<_> = union
            .finish(true)
            .into_iter()
            .map(|c| {
                (
                    c.field.name().clone(),
                    c.field.data_type().clone(),
                    c.field.is_nullable(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("a".into(), Int64, false),
                ("b".into(), Utf8View, true),
                ("c".into(), Date32, true)
            ]
        );
    }
}
