//! Arrow fields to the types of columns that are made at the source.
//!
//! A field's PostgreSQL tag decides where it names a type that the server has; else the Arrow type does.
//! A type's name becomes part of a statement here, so nothing of a tag is copied that was not understood
//! (built-in types) or spelled by the server itself (all others).

use arrow::datatypes::{DataType, Field};
use sluice_spi::{Error, Result, types::pg_type};

/// A column type as far as this side can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypeName {
    /// Ready for a statement.
    Known(String),
    /// A name of the user's own: the server is asked whether it has such a type, and `text` is taken
    /// where it has none.
    Ask {
        name: String,
        /// Of an array of it; 0 for the type itself.
        dimensions: usize,
    },
}

/// Types of PostgreSQL's own that travel as text, and may stand in a statement as they are.
const BUILT_IN: &[&str] = &[
    "uuid",
    "json",
    "jsonb",
    "xml",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "oid",
    "numeric",
    "text",
    "bpchar",
    "character varying",
    "tsvector",
    "tsquery",
    "pg_lsn",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
    "interval",
    "bit varying",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "boolean",
    "bytea",
    "date",
];

/// Built-in types that take numbers in parentheses.
const WITH_MODIFIERS: &[&str] = &[
    "character varying",
    "character",
    "bit varying",
    "bit",
    "numeric",
];

/// The type for a column like `field`.
pub(crate) fn column_type(field: &Field) -> Result<TypeName> {
    if let DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) =
        field.data_type()
    {
        return Ok(match column_type(item)? {
            TypeName::Known(name) => TypeName::Known(format!("{name}[]")),
            TypeName::Ask { name, dimensions } => TypeName::Ask {
                name,
                dimensions: dimensions + 1,
            },
        });
    }
    match pg_type(field) {
        Some(tag) if is_built_in(tag) => Ok(TypeName::Known(tag.to_owned())),
        Some(tag) => Ok(TypeName::Ask {
            name: tag.to_owned(),
            dimensions: 0,
        }),
        None => of_arrow(field).map(TypeName::Known),
    }
}

fn is_built_in(tag: &str) -> bool {
    if BUILT_IN.contains(&tag) {
        return true;
    }
    let Some((name, modifiers)) = tag.strip_suffix(')').and_then(|tag| tag.split_once('(')) else {
        return false;
    };
    WITH_MODIFIERS.contains(&name)
        && modifiers
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b',')
}

fn of_arrow(field: &Field) -> Result<String> {
    let name = match field.data_type() {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20,0)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            // Zeros before the point, for servers that know no negative scale.
            let (precision, scale) = match u8::try_from(*scale) {
                Ok(scale) => ((*precision).max(scale), scale),
                Err(_) => (precision.saturating_add(scale.unsigned_abs()), 0),
            };
            return Ok(format!("numeric({precision},{scale})"));
        }
        // A column of NULLs without a type.
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Date64 | DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) => "interval",
        DataType::Dictionary(_, value) => {
            return of_arrow(&field.clone().with_data_type(value.as_ref().clone()));
        }
        _ => return Err(unknown(field)),
    };
    Ok(name.to_owned())
}

fn unknown(field: &Field) -> Error {
    Error::unsupported(format!(
        "column \"{}\" is of type {}, which has no counterpart at the source",
        field.name(),
        field.data_type()
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_spi::types::tagged;

    use super::*;

    #[test]
    fn tags_decide_and_are_never_copied_blindly() {
        let known = |field: Field| match column_type(&field).unwrap() {
            TypeName::Known(name) => name,
            TypeName::Ask { name, dimensions } => format!("ask {name}{}", "[]".repeat(dimensions)),
        };
        let tag = |tag: &str| known(tagged("c", DataType::Utf8View, true, tag));
        assert_eq!(tag("uuid"), "uuid");
        assert_eq!(tag("character varying(10)"), "character varying(10)");
        assert_eq!(
            tag("text); DROP TABLE t; --"),
            "ask text); DROP TABLE t; --"
        );
        assert_eq!(tag("numeric(1); DROP"), "ask numeric(1); DROP");
        assert_eq!(tag("bit(1;)"), "ask bit(1;)");
        assert_eq!(tag("mood"), "ask mood");
        assert_eq!(
            known(Field::new("c", DataType::Decimal128(5, -2), true)),
            "numeric(7,0)"
        );
        let item = Arc::new(tagged("item", DataType::Utf8View, true, "uuid"));
        let list = DataType::List(item);
        assert_eq!(known(Field::new("c", list.clone(), true)), "uuid[]");
        let list = DataType::List(Arc::new(Field::new("item", list, true)));
        assert_eq!(known(Field::new("c", list, true)), "uuid[][]");
        let item = Arc::new(tagged("item", DataType::Utf8View, true, "mood"));
        let list = Field::new("c", DataType::List(item), true);
        assert_eq!(known(list), "ask mood[]");
    }
}
