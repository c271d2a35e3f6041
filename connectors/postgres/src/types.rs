//! PostgreSQL's types here: how each is read, and as which Arrow type.
//!
//! A type is read in its binary form where [`crate::decode`] knows it, and as the server's own text
//! otherwise, so that no column is ever left out. The Arrow side follows [`sluice_spi::types`].

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};
use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE, tagged, with_enum_labels};
use tokio_postgres::types::{Kind, Type};

/// Digits that Arrow's decimals have at most.
const DECIMAL128_DIGITS: u8 = 38;
const DECIMAL256_DIGITS: u8 = 76;

/// Dimensions of an array at most (PostgreSQL's MAXDIM).
const MAX_DIMENSIONS: i32 = 6;

/// What the catalog's file says about types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TypeMapping {
    /// numeric without typmod is text.
    pub(crate) numeric_as_text: bool,
    /// Arrays are text.
    pub(crate) arrays_as_text: bool,
    /// Infinite dates and timestamps are the extremes of their types.
    pub(crate) keep_infinity: bool,
}

/// How a column is read. Domains have become their base types here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ColumnType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// numeric(p,s) that fits a decimal, as that decimal's precision and scale.
    Numeric {
        precision: u8,
        scale: i8,
    },
    /// numeric without typmod.
    FreeNumeric,
    /// text and varchar.
    Text,
    /// name: text under the byte order.
    Name,
    /// char(n), blank-padded to `length` characters.
    Bpchar {
        length: u32,
    },
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Enum,
    Oid,
    /// An array of one dimension; of several, where its item is a list too.
    List(Box<ListType>),
    /// Anything else, by a cast to text at the source.
    AsText,
    /// inet: its cast to text adds "/32", its output does not.
    AsOutput,
}

/// The items of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListType {
    pub(crate) item: ColumnType,
    /// The items' type in PostgreSQL's words.
    pub(crate) native: String,
}

impl ListType {
    /// The type of an array's values, below all dimensions.
    pub(crate) fn innermost(&self) -> &ColumnType {
        match &self.item {
            ColumnType::List(list) => list.innermost(),
            item => item,
        }
    }
}

/// A type as the catalogs describe it, domains resolved.
#[derive(Debug, Clone)]
pub(crate) struct NativeType {
    /// pg_type.typname
    pub(crate) name: String,
    /// The type is PostgreSQL's own.
    pub(crate) built_in: bool,
    /// pg_type.typtype: b, c, e, m, p or r.
    pub(crate) kind: char,
    pub(crate) typmod: i32,
    /// As `format_type` prints it.
    pub(crate) formatted: String,
    /// The items' type, where this is a true array.
    pub(crate) element: Option<Box<NativeType>>,
    /// Dimensions that an array's column declares. The server stores them and does not hold values to them.
    pub(crate) dimensions: i32,
    /// The labels of an enum, in its order.
    pub(crate) labels: Option<Vec<String>>,
}

impl NativeType {
    /// The field of a column of that type.
    pub(crate) fn field(&self, read_as: &ColumnType, name: &str, nullable: bool) -> Field {
        let field = read_as.field(name, nullable, read_as.shown_as(self));
        match (&self.labels, read_as) {
            (Some(labels), ColumnType::Enum) => with_enum_labels(field, labels),
            _ => field,
        }
    }
}

impl ColumnType {
    /// How a column of that type is read.
    pub(crate) fn of(native: &NativeType, mapping: TypeMapping) -> ColumnType {
        if let Some(element) = &native.element {
            if mapping.arrays_as_text {
                return ColumnType::AsText;
            }
            let mut list = ListType {
                item: ColumnType::of(element, mapping),
                native: element.formatted.clone(),
            };
            for _ in 1..native.dimensions.min(MAX_DIMENSIONS) {
                list = ListType {
                    native: list.native.clone(),
                    item: ColumnType::List(Box::new(list)),
                };
            }
            return ColumnType::List(Box::new(list));
        }
        if native.kind == 'e' {
            return ColumnType::Enum;
        }
        if !native.built_in {
            return ColumnType::AsText;
        }
        match native.name.as_str() {
            "bool" => ColumnType::Bool,
            "int2" => ColumnType::Int2,
            "int4" => ColumnType::Int4,
            "int8" => ColumnType::Int8,
            "float4" => ColumnType::Float4,
            "float8" => ColumnType::Float8,
            "numeric" => match numeric(native.typmod) {
                ColumnType::FreeNumeric if mapping.numeric_as_text => ColumnType::AsText,
                other => other,
            },
            "text" | "varchar" => ColumnType::Text,
            "name" => ColumnType::Name,
            // char(n) stores n + 4; bpchar without a length is text whose trailing blanks do not count.
            "bpchar" if native.typmod > 4 => ColumnType::Bpchar {
                length: (native.typmod - 4).unsigned_abs(),
            },
            "bpchar" => ColumnType::Bpchar { length: 0 },
            "bytea" => ColumnType::Bytea,
            "date" => ColumnType::Date,
            "time" => ColumnType::Time,
            "timestamp" => ColumnType::Timestamp,
            "timestamptz" => ColumnType::TimestampTz,
            "interval" => ColumnType::Interval,
            "uuid" => ColumnType::Uuid,
            "json" => ColumnType::Json,
            "jsonb" => ColumnType::Jsonb,
            "oid" => ColumnType::Oid,
            "inet" => ColumnType::AsOutput,
            _ => ColumnType::AsText,
        }
    }

    /// The Arrow type.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Int2 => DataType::Int16,
            ColumnType::Int4 => DataType::Int32,
            ColumnType::Int8 | ColumnType::Oid => DataType::Int64,
            ColumnType::Float4 => DataType::Float32,
            ColumnType::Float8 => DataType::Float64,
            ColumnType::Numeric { precision, scale } if *precision <= DECIMAL128_DIGITS => {
                DataType::Decimal128(*precision, *scale)
            }
            ColumnType::Numeric { precision, scale } => DataType::Decimal256(*precision, *scale),
            ColumnType::FreeNumeric => DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE),
            ColumnType::Bytea => DataType::Binary,
            ColumnType::Date => DataType::Date32,
            ColumnType::Time => DataType::Time64(TimeUnit::Microsecond),
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnType::TimestampTz => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            ColumnType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            ColumnType::List(list) => {
                DataType::List(Arc::new(list.item.field("item", true, &list.native)))
            }
            ColumnType::Text
            | ColumnType::Name
            | ColumnType::Bpchar { .. }
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::Jsonb
            | ColumnType::Enum
            | ColumnType::AsText
            | ColumnType::AsOutput => DataType::Utf8View,
        }
    }

    /// The Arrow field, with the PostgreSQL type where Arrow's does not say it. `native` is the type as
    /// `format_type` prints it.
    pub(crate) fn field(&self, name: &str, nullable: bool, native: &str) -> Field {
        let tag = match self {
            ColumnType::FreeNumeric => Some("numeric"),
            ColumnType::Text if native == "text" => None,
            ColumnType::Text
            | ColumnType::Name
            | ColumnType::Bpchar { .. }
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::Jsonb
            | ColumnType::Enum
            | ColumnType::Oid
            | ColumnType::AsText
            | ColumnType::AsOutput => Some(native),
            _ => None,
        };
        match tag {
            Some(tag) => tagged(name, self.data_type(), nullable, tag),
            None => Field::new(name, self.data_type(), nullable),
        }
    }

    /// What the column is to the engine: `native` as it is, or text where it was told to be.
    pub(crate) fn shown_as<'a>(&self, native: &'a NativeType) -> &'a str {
        let told = native.element.is_some() || native.built_in && native.name == "numeric";
        match self {
            ColumnType::AsText if told && native.typmod < 0 => "text",
            _ => &native.formatted,
        }
    }

    /// The column in a select list. `column` is already quoted.
    pub(crate) fn select(&self, column: &str) -> String {
        match self {
            ColumnType::AsText => format!("{column}::text"),
            ColumnType::AsOutput => {
                format!("CASE WHEN {column} IS NULL THEN NULL ELSE format('%s', {column}) END")
            }
            // By the array's own text, which is made of its items' outputs.
            ColumnType::List(list) if *list.innermost() == ColumnType::AsOutput => {
                format!("{column}::text::text[]")
            }
            ColumnType::List(list) if *list.innermost() == ColumnType::AsText => {
                format!("{column}::text[]")
            }
            _ => column.to_owned(),
        }
    }

    /// Whether the server's description of the select list's column is what this type's decoder reads.
    /// It is not when the column changed at the source after its description here was cached.
    pub(crate) fn reads(&self, wire: &Type) -> bool {
        if let Kind::Domain(base) = wire.kind() {
            return self.reads(base);
        }
        match self {
            ColumnType::Bool => *wire == Type::BOOL,
            ColumnType::Int2 => *wire == Type::INT2,
            ColumnType::Int4 => *wire == Type::INT4,
            ColumnType::Int8 => *wire == Type::INT8,
            ColumnType::Float4 => *wire == Type::FLOAT4,
            ColumnType::Float8 => *wire == Type::FLOAT8,
            ColumnType::Numeric { .. } | ColumnType::FreeNumeric => *wire == Type::NUMERIC,
            ColumnType::Text => *wire == Type::TEXT || *wire == Type::VARCHAR,
            ColumnType::Name => *wire == Type::NAME,
            ColumnType::Bpchar { .. } => *wire == Type::BPCHAR,
            ColumnType::Bytea => *wire == Type::BYTEA,
            ColumnType::Date => *wire == Type::DATE,
            ColumnType::Time => *wire == Type::TIME,
            ColumnType::Timestamp => *wire == Type::TIMESTAMP,
            ColumnType::TimestampTz => *wire == Type::TIMESTAMPTZ,
            ColumnType::Interval => *wire == Type::INTERVAL,
            ColumnType::Uuid => *wire == Type::UUID,
            ColumnType::Json => *wire == Type::JSON,
            ColumnType::Jsonb => *wire == Type::JSONB,
            ColumnType::Enum => matches!(wire.kind(), Kind::Enum(_)),
            ColumnType::Oid => *wire == Type::OID,
            ColumnType::AsText | ColumnType::AsOutput => *wire == Type::TEXT,
            ColumnType::List(list) => match wire.kind() {
                Kind::Array(item) => list.innermost().reads(item),
                _ => false,
            },
        }
    }
}

/// numeric's typmod holds precision and scale; since PostgreSQL 15 the scale may be negative or larger
/// than the precision.
fn numeric(typmod: i32) -> ColumnType {
    if typmod < 4 {
        return ColumnType::FreeNumeric;
    }
    let packed = typmod - 4;
    let precision = (packed >> 16) & 0xffff;
    // Eleven bits, signed.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    // numeric(3,-2) holds up to 99900: five digits, none after the point. numeric(2,5) holds 0.00099.
    let (precision, scale) = if scale < 0 {
        (precision - scale, 0)
    } else {
        (precision.max(scale), scale)
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if precision <= DECIMAL256_DIGITS => {
            ColumnType::Numeric { precision, scale }
        }
        _ => ColumnType::AsText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typmod(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    #[test]
    fn numerics_become_the_decimal_that_holds_them_all() {
        assert_eq!(
            numeric(typmod(15, 2)),
            ColumnType::Numeric {
                precision: 15,
                scale: 2
            }
        );
        assert_eq!(
            numeric(typmod(3, -2)),
            ColumnType::Numeric {
                precision: 5,
                scale: 0
            }
        );
        assert_eq!(
            numeric(typmod(2, 5)),
            ColumnType::Numeric {
                precision: 5,
                scale: 5
            }
        );
        assert_eq!(
            numeric(typmod(50, 10)).data_type(),
            DataType::Decimal256(50, 10)
        );
        assert_eq!(numeric(typmod(77, 0)), ColumnType::AsText);
        assert_eq!(numeric(typmod(1000, 1000)), ColumnType::AsText);
        assert_eq!(numeric(-1), ColumnType::FreeNumeric);
    }
}
