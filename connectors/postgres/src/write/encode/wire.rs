//! The binary forms that are written, and the one Arrow type that each is written from.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use sluice_spi::{Error, Result, SqlState};
use tokio_postgres::types::{Kind, Type};

/// A type's binary form (`typsend`/`typreceive`), domains resolved: the server checks their constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    /// Four bytes without a sign.
    Oid,
    Float4,
    Float8,
    Numeric,
    /// The text itself: text, varchar, char(n), name, json, xml, enums, citext.
    Text,
    /// A version byte and the text.
    Jsonb,
    Uuid,
    Bytea,
    Date,
    Time,
    /// With or without time zone.
    Timestamp,
    Interval,
    /// With as many dimensions as the values have, whatever the column declares.
    Array {
        item: Box<Wire>,
        /// The items' type at this server.
        oid: u32,
    },
}

impl Wire {
    /// `None` for types whose binary form is not written here.
    pub(crate) fn of(column_type: &Type) -> Option<Wire> {
        // Arrays whose first place is 0.
        if matches!(*column_type, Type::INT2_VECTOR | Type::OID_VECTOR) {
            return None;
        }
        match column_type.kind() {
            Kind::Domain(base) => return Wire::of(base),
            Kind::Enum(_) => return Some(Wire::Text),
            Kind::Array(item) => {
                let wire = Wire::of(item)?;
                return (!matches!(wire, Wire::Array { .. })).then(|| Wire::Array {
                    item: Box::new(wire),
                    oid: item.oid(),
                });
            }
            _ => {}
        }
        Some(match *column_type {
            Type::BOOL => Wire::Bool,
            Type::INT2 => Wire::Int2,
            Type::INT4 => Wire::Int4,
            Type::INT8 => Wire::Int8,
            Type::OID => Wire::Oid,
            Type::FLOAT4 => Wire::Float4,
            Type::FLOAT8 => Wire::Float8,
            Type::NUMERIC => Wire::Numeric,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::XML => {
                Wire::Text
            }
            Type::JSONB => Wire::Jsonb,
            Type::UUID => Wire::Uuid,
            Type::BYTEA => Wire::Bytea,
            Type::DATE => Wire::Date,
            Type::TIME => Wire::Time,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => Wire::Timestamp,
            Type::INTERVAL => Wire::Interval,
            _ if column_type.name() == "citext" => Wire::Text,
            _ => return None,
        })
    }

    /// The Arrow type that values are written from, where they come as `found`.
    fn written_from(&self, found: &DataType) -> DataType {
        match self {
            Wire::Bool => DataType::Boolean,
            Wire::Int2 => DataType::Int16,
            Wire::Int4 => DataType::Int32,
            Wire::Int8 | Wire::Oid => DataType::Int64,
            Wire::Float4 => DataType::Float32,
            Wire::Float8 => DataType::Float64,
            Wire::Numeric => match found {
                DataType::Decimal128(..) | DataType::Decimal256(..) => found.clone(),
                DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                    DataType::Decimal128(*precision, *scale)
                }
                // A numeric that no decimal holds travels as text.
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
                // Any 64-bit integer.
                _ => DataType::Decimal128(20, 0),
            },
            Wire::Text | Wire::Jsonb | Wire::Uuid => DataType::Utf8View,
            Wire::Bytea => DataType::BinaryView,
            Wire::Date => DataType::Date32,
            Wire::Time => DataType::Time64(TimeUnit::Microsecond),
            Wire::Timestamp => {
                let zone = match found {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                DataType::Timestamp(TimeUnit::Microsecond, zone)
            }
            Wire::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Wire::Array { item, .. } => {
                let item = match found {
                    DataType::List(field)
                    | DataType::LargeList(field)
                    | DataType::FixedSizeList(field, _) => match field.data_type() {
                        inner if inner.is_nested() => self.written_from(inner),
                        inner => item.written_from(inner),
                    },
                    other => item.written_from(other),
                };
                DataType::List(Arc::new(Field::new("item", item, true)))
            }
        }
    }

    /// False for text that only the type's input function can read.
    pub(super) fn is_made_of(&self, found: &DataType) -> bool {
        !is_text(found) || is_text(&self.written_from(found))
    }

    /// The values in the Arrow type that they are written from.
    pub(super) fn prepared(&self, column: &str, values: &ArrayRef) -> Result<ArrayRef> {
        let found = values.data_type();
        let wanted = self.written_from(found);
        if *found == wanted {
            return Ok(values.clone());
        }
        if !goes_together(found, &wanted) {
            return Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!("column \"{column}\" does not take values of type {found}"),
            ));
        }
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let cast = |values: &ArrayRef, to: &DataType| {
            cast_with_options(values, to, &options)
                .map_err(|error| super::out_of_range(column, &error.to_string()))
        };
        let written = cast(values, &wanted)?;
        // Nothing is cut: the server has no place for less than a microsecond.
        if is_finer(found) && cast(&written, found)?.to_data() != values.to_data() {
            return Err(Error::new(
                SqlState::DATETIME_OVERFLOW,
                format!(
                    "column \"{column}\" does not take times that are finer than a microsecond"
                ),
            )
            .with_hint("Cast them, or cut them with date_trunc."));
        }
        Ok(written)
    }
}

fn is_finer(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Time64(TimeUnit::Nanosecond) => {
            true
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_finer(item.data_type())
        }
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// True where a cast from one to the other keeps each value, or fails.
fn goes_together(found: &DataType, wanted: &DataType) -> bool {
    use DataType as D;
    match (found, wanted) {
        (D::Null, _) => true,
        (D::Dictionary(_, values), _) => values.as_ref() == wanted || goes_together(values, wanted),
        (D::List(found) | D::LargeList(found) | D::FixedSizeList(found, _), D::List(wanted)) => {
            found.data_type() == wanted.data_type()
                || goes_together(found.data_type(), wanted.data_type())
        }
        (found, D::Decimal128(..)) if found.is_integer() => true,
        (D::Decimal32(..) | D::Decimal64(..), D::Decimal128(..)) => true,
        (found, wanted) if found.is_integer() && wanted.is_integer() => true,
        (D::Float16, D::Float32 | D::Float64) | (D::Float32, D::Float64) => true,
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, D::Utf8View) => true,
        (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), D::BinaryView) => true,
        (D::Date32 | D::Date64, D::Date32) => true,
        (D::Time32(_) | D::Time64(_), D::Time64(_)) => true,
        (D::Timestamp(_, from), D::Timestamp(_, to)) => from.is_some() == to.is_some(),
        (D::Interval(_), D::Interval(_)) => true,
        _ => false,
    }
}
