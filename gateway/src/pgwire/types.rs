//! The one map between Arrow types and PostgreSQL types: object ids, lengths, type modifiers.
//!
//! Relies on the tags of `sluice_spi::types`; without a tag the Arrow type decides. Only types whose
//! text *and* binary form the encoders can write keep their own object id; everything else (enums,
//! inet, xml, …) travels as `text`, so that no driver is told of a binary form that we don't speak.
//!
//! Never writes or reads a value; `encode` and `decode` do.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use sluice_spi::types::{self, NUMERIC_PRECISION, NUMERIC_SCALE};

/// PostgreSQL's built-in object ids.
pub mod oid {
    #![allow(missing_docs)]
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const CHAR: u32 = 18;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT2VECTOR: u32 = 22;
    pub const INT4: u32 = 23;
    pub const REGPROC: u32 = 24;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const XID: u32 = 28;
    pub const CID: u32 = 29;
    pub const OIDVECTOR: u32 = 30;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const NUMERIC: u32 = 1700;
    pub const REGPROCEDURE: u32 = 2202;
    pub const REGCLASS: u32 = 2205;
    pub const REGTYPE: u32 = 2206;
    pub const VOID: u32 = 2278;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
    pub const REGNAMESPACE: u32 = 4089;
    pub const REGROLE: u32 = 4096;
}

/// One built-in type: its name as `format_type` prints it, other spellings, id, id of its array, length.
struct Builtin {
    name: &'static str,
    aliases: &'static [&'static str],
    oid: u32,
    array: u32,
    length: i16,
}

const fn builtin(
    name: &'static str,
    aliases: &'static [&'static str],
    oid: u32,
    array: u32,
    length: i16,
) -> Builtin {
    Builtin {
        name,
        aliases,
        oid,
        array,
        length,
    }
}

/// `pg_type`, as far as the encoders speak it.
const BUILTINS: &[Builtin] = &[
    builtin("boolean", &["bool"], oid::BOOL, 1000, 1),
    builtin("bytea", &[], oid::BYTEA, 1001, -1),
    builtin("\"char\"", &[], oid::CHAR, 1002, 1),
    builtin("name", &[], oid::NAME, 1003, 64),
    builtin("bigint", &["int8"], oid::INT8, 1016, 8),
    builtin("smallint", &["int2"], oid::INT2, 1005, 2),
    builtin("int2vector", &[], oid::INT2VECTOR, 1006, -1),
    builtin("integer", &["int", "int4"], oid::INT4, 1007, 4),
    builtin("regproc", &[], oid::REGPROC, 1008, 4),
    builtin("text", &[], oid::TEXT, 1009, -1),
    builtin("oid", &[], oid::OID, 1028, 4),
    builtin("xid", &[], oid::XID, 1011, 4),
    builtin("cid", &[], oid::CID, 1012, 4),
    builtin("oidvector", &[], oid::OIDVECTOR, 1013, -1),
    builtin("json", &[], oid::JSON, 199, -1),
    builtin("real", &["float4"], oid::FLOAT4, 1021, 4),
    builtin(
        "double precision",
        &["float8", "float"],
        oid::FLOAT8,
        1022,
        8,
    ),
    builtin("character", &["char", "bpchar"], oid::BPCHAR, 1014, -1),
    builtin("character varying", &["varchar"], oid::VARCHAR, 1015, -1),
    builtin("date", &[], oid::DATE, 1182, 4),
    builtin("time without time zone", &["time"], oid::TIME, 1183, 8),
    builtin(
        "timestamp without time zone",
        &["timestamp"],
        oid::TIMESTAMP,
        1115,
        8,
    ),
    builtin(
        "timestamp with time zone",
        &["timestamptz"],
        oid::TIMESTAMPTZ,
        1185,
        8,
    ),
    builtin("interval", &[], oid::INTERVAL, 1187, 16),
    builtin("numeric", &["decimal"], oid::NUMERIC, 1231, -1),
    builtin("regprocedure", &[], oid::REGPROCEDURE, 2207, 4),
    builtin("regclass", &[], oid::REGCLASS, 2210, 4),
    builtin("regtype", &[], oid::REGTYPE, 2211, 4),
    builtin("void", &[], oid::VOID, 0, 4),
    builtin("uuid", &[], oid::UUID, 2951, 16),
    builtin("jsonb", &[], oid::JSONB, 3807, -1),
    builtin("regnamespace", &[], oid::REGNAMESPACE, 4090, 4),
    builtin("regrole", &[], oid::REGROLE, 4097, 4),
];

/// Built-in types that clients name for parameters and that travel as text here.
const TEXT_ALIASES: &[(u32, &str)] = &[
    (142, "xml"),
    (650, "cidr"),
    (790, "money"),
    (829, "macaddr"),
    (869, "inet"),
    (1266, "time with time zone"),
    (1560, "bit"),
    (1562, "bit varying"),
];

/// A column's type as `RowDescription` announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `pg_type.typlen`: bytes, or -1 for variable length.
    pub length: i16,
    /// `pg_attribute.atttypmod`, or -1.
    pub modifier: i32,
}

impl PgType {
    const fn plain(oid: u32, length: i16) -> Self {
        PgType {
            oid,
            length,
            modifier: -1,
        }
    }

    /// The type of a field: its tag if the encoders can honour it, else its Arrow type's.
    pub fn of_field(field: &Field) -> PgType {
        if let Some(tag) = types::pg_type(field)
            && let Some(found) = of_tag(tag, field.data_type())
        {
            return found;
        }
        of_data_type(field.data_type())
    }

    /// The id of the array over this type; `text[]` where there is none.
    pub fn array_oid(self) -> u32 {
        BUILTINS
            .iter()
            .find(|b| b.oid == self.oid && b.array != 0)
            .map_or(1009, |b| b.array)
    }
}

/// The element type of an array type's id.
pub fn element_oid(array: u32) -> Option<u32> {
    BUILTINS
        .iter()
        .find(|b| b.array == array && array != 0)
        .map(|b| b.oid)
}

/// How `format_type` spells a built-in type, for messages.
pub fn type_name(oid: u32) -> String {
    if let Some(found) = BUILTINS.iter().find(|b| b.oid == oid) {
        return found.name.to_owned();
    }
    match element_oid(oid) {
        Some(element) => format!("{}[]", type_name(element)),
        None => TEXT_ALIASES
            .iter()
            .find(|(o, _)| *o == oid)
            .map_or("text", |(_, name)| name)
            .to_owned(),
    }
}

/// `character varying(10)` → (`character varying`, `[10]`); the modifier may stand inside of the name.
fn split_modifier(name: &str) -> (String, Vec<i32>) {
    let Some((head, rest)) = name.split_once('(') else {
        return (name.trim().to_lowercase(), Vec::new());
    };
    let Some((inner, tail)) = rest.split_once(')') else {
        return (name.trim().to_lowercase(), Vec::new());
    };
    let numbers = inner
        .split(',')
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    let base = format!("{} {}", head.trim(), tail.trim());
    (base.trim().to_lowercase(), numbers)
}

fn find_name(base: &str) -> Option<&'static Builtin> {
    let base = base.strip_prefix("pg_catalog.").unwrap_or(base);
    BUILTINS
        .iter()
        .find(|b| b.name == base || b.aliases.contains(&base))
}

fn modifier_of(oid: u32, numbers: &[i32]) -> i32 {
    match (oid, numbers) {
        (oid::VARCHAR | oid::BPCHAR, [n]) => n + 4,
        (oid::NUMERIC, [precision]) => numeric_modifier(*precision, 0),
        (oid::NUMERIC, [precision, scale]) => numeric_modifier(*precision, *scale),
        (oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ, [digits]) => *digits,
        _ => -1,
    }
}

fn numeric_modifier(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7ff)) + 4
}

fn of_tag(tag: &str, data_type: &DataType) -> Option<PgType> {
    if tag.ends_with("[]") {
        return None;
    }
    let (base, numbers) = split_modifier(tag);
    let found = find_name(&base)?;
    let fits = match found.oid {
        oid::BOOL => matches!(data_type, DataType::Boolean),
        oid::BYTEA => is_bytes(data_type),
        oid::INT2 | oid::INT4 | oid::INT8 => data_type.is_integer(),
        oid::OID
        | oid::XID
        | oid::CID
        | oid::REGPROC
        | oid::REGPROCEDURE
        | oid::REGCLASS
        | oid::REGTYPE
        | oid::REGNAMESPACE
        | oid::REGROLE => data_type.is_integer(),
        oid::INT2VECTOR | oid::OIDVECTOR => {
            matches!(data_type, DataType::List(item) if item.data_type().is_integer())
        }
        oid::FLOAT4 | oid::FLOAT8 => data_type.is_floating(),
        oid::NUMERIC => is_decimal(data_type) || matches!(data_type, DataType::UInt64),
        oid::UUID => is_string(data_type) || matches!(data_type, DataType::FixedSizeBinary(16)),
        oid::DATE | oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::INTERVAL => {
            of_data_type(data_type).oid == found.oid
        }
        oid::VOID => true,
        _ => is_string(data_type),
    };
    fits.then(|| PgType {
        oid: found.oid,
        length: found.length,
        modifier: modifier_of(found.oid, &numbers),
    })
}

fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        DataType::RunEndEncoded(_, values) => is_string(values.data_type()),
        _ => false,
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

fn of_data_type(data_type: &DataType) -> PgType {
    match data_type {
        DataType::Boolean => PgType::plain(oid::BOOL, 1),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => PgType::plain(oid::INT2, 2),
        DataType::UInt16 | DataType::Int32 => PgType::plain(oid::INT4, 4),
        DataType::UInt32 | DataType::Int64 => PgType::plain(oid::INT8, 8),
        DataType::UInt64 => PgType {
            oid: oid::NUMERIC,
            length: -1,
            modifier: numeric_modifier(20, 0),
        },
        DataType::Float16 | DataType::Float32 => PgType::plain(oid::FLOAT4, 4),
        DataType::Float64 => PgType::plain(oid::FLOAT8, 8),
        // The widest decimal stands for numeric without typmod, also where an expression lost the tag.
        DataType::Decimal256(NUMERIC_PRECISION, _) => PgType {
            oid: oid::NUMERIC,
            length: -1,
            modifier: -1,
        },
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => PgType {
            oid: oid::NUMERIC,
            length: -1,
            modifier: numeric_modifier(i32::from(*p), i32::from(*s)),
        },
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => PgType::plain(oid::BYTEA, -1),
        DataType::Date32 | DataType::Date64 => PgType::plain(oid::DATE, 4),
        DataType::Time32(_) | DataType::Time64(_) => PgType::plain(oid::TIME, 8),
        DataType::Timestamp(_, None) => PgType::plain(oid::TIMESTAMP, 8),
        DataType::Timestamp(_, Some(_)) => PgType::plain(oid::TIMESTAMPTZ, 8),
        DataType::Interval(_) | DataType::Duration(_) => PgType::plain(oid::INTERVAL, 16),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => PgType::plain(array_of(item), -1),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => {
            PgType::plain(oid::JSONB, -1)
        }
        DataType::Dictionary(_, values) => of_data_type(values),
        DataType::RunEndEncoded(_, values) => PgType::of_field(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            PgType::plain(oid::TEXT, -1)
        }
    }
}

/// The array type over a list's items: PostgreSQL's arrays of arrays have the innermost element's type.
fn array_of(item: &Field) -> u32 {
    match item.data_type() {
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::ListView(inner)
        | DataType::LargeListView(inner) => array_of(inner),
        _ => PgType::of_field(item).array_oid(),
    }
}

/// The field that a parameter of this type has, tag included; `None` for `unknown` and for ids that no
/// built-in type has.
pub fn field_for_oid(type_oid: u32) -> Option<FieldRef> {
    if let Some(element) = element_oid(type_oid) {
        let item = field_for_oid(element)?.as_ref().clone().with_name("item");
        return Some(Arc::new(Field::new(
            "",
            DataType::List(Arc::new(item)),
            true,
        )));
    }
    if let Some((_, name)) = TEXT_ALIASES.iter().find(|(o, _)| *o == type_oid) {
        return Some(Arc::new(types::tagged("", DataType::Utf8, true, *name)));
    }
    let found = BUILTINS.iter().find(|b| b.oid == type_oid)?;
    let tagged = |data_type| Arc::new(types::tagged("", data_type, true, found.name));
    let plain = |data_type| Arc::new(Field::new("", data_type, true));
    Some(match type_oid {
        oid::BOOL => plain(DataType::Boolean),
        oid::BYTEA => plain(DataType::Binary),
        oid::INT2 => plain(DataType::Int16),
        oid::INT4 => plain(DataType::Int32),
        oid::INT8 => plain(DataType::Int64),
        oid::TEXT => plain(DataType::Utf8),
        oid::OID
        | oid::XID
        | oid::CID
        | oid::REGPROC
        | oid::REGPROCEDURE
        | oid::REGCLASS
        | oid::REGTYPE
        | oid::REGNAMESPACE
        | oid::REGROLE => tagged(DataType::Int64),
        oid::INT2VECTOR | oid::OIDVECTOR => tagged(DataType::List(Arc::new(Field::new(
            "item",
            DataType::Int64,
            true,
        )))),
        oid::FLOAT4 => plain(DataType::Float32),
        oid::FLOAT8 => plain(DataType::Float64),
        oid::DATE => plain(DataType::Date32),
        oid::TIME => plain(DataType::Time64(TimeUnit::Microsecond)),
        oid::TIMESTAMP => plain(DataType::Timestamp(TimeUnit::Microsecond, None)),
        oid::TIMESTAMPTZ => plain(DataType::Timestamp(
            TimeUnit::Microsecond,
            Some("UTC".into()),
        )),
        oid::INTERVAL => plain(DataType::Interval(IntervalUnit::MonthDayNano)),
        oid::NUMERIC => tagged(DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE)),
        oid::VOID => return None,
        _ => tagged(DataType::Utf8),
    })
}

/// The field for a type name as users write it: `int`, `varchar(10)`, `numeric(10,2)`, `text[]`.
pub fn field_for_name(name: &str) -> Option<FieldRef> {
    let name = name.trim();
    if let Some(element) = name.strip_suffix("[]") {
        let item = field_for_name(element)?.as_ref().clone().with_name("item");
        return Some(Arc::new(Field::new(
            "",
            DataType::List(Arc::new(item)),
            true,
        )));
    }
    let (base, numbers) = split_modifier(name);
    let Some(found) = find_name(&base) else {
        let (type_oid, _) = TEXT_ALIASES.iter().find(|(_, alias)| *alias == base)?;
        return field_for_oid(*type_oid);
    };
    match (found.oid, numbers.as_slice()) {
        (oid::NUMERIC, [precision, rest @ ..]) => {
            let precision = u8::try_from(*precision)
                .ok()
                .filter(|p| (1..=76).contains(p))?;
            let scale = i8::try_from(rest.first().copied().unwrap_or(0)).ok()?;
            let data_type = if precision <= 38 {
                DataType::Decimal128(precision, scale)
            } else {
                DataType::Decimal256(precision, scale)
            };
            Some(Arc::new(Field::new("", data_type, true)))
        }
        (oid::VARCHAR | oid::BPCHAR, [n]) => Some(Arc::new(types::tagged(
            "",
            DataType::Utf8,
            true,
            format!("{}({n})", found.name),
        ))),
        _ => field_for_oid(found.oid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_win_where_they_fit() {
        let varchar = types::tagged("c", DataType::Utf8View, true, "character varying(10)");
        assert_eq!(
            PgType::of_field(&varchar),
            PgType {
                oid: oid::VARCHAR,
                length: -1,
                modifier: 14
            }
        );
        let mood = types::tagged("c", DataType::Utf8, true, "mood");
        assert_eq!(PgType::of_field(&mood).oid, oid::TEXT);
        let broken = types::tagged("c", DataType::Utf8, true, "integer");
        assert_eq!(PgType::of_field(&broken).oid, oid::TEXT);
        let numeric = types::tagged("c", DataType::Decimal256(76, 20), true, "numeric");
        assert_eq!(PgType::of_field(&numeric).modifier, -1);
        let price = Field::new("c", DataType::Decimal128(15, 2), true);
        assert_eq!(PgType::of_field(&price).modifier, 983_046);
    }

    #[test]
    fn arrays_have_the_innermost_element() {
        let inner = Arc::new(types::tagged("item", DataType::Utf8, true, "uuid"));
        let list = DataType::List(Arc::new(Field::new("item", DataType::List(inner), true)));
        assert_eq!(PgType::of_field(&Field::new("c", list, true)).oid, 2951);
        assert_eq!(element_oid(2951), Some(oid::UUID));
        assert_eq!(element_oid(0), None);
    }

    #[test]
    fn every_built_in_comes_back_from_its_parameter_field() {
        for found in BUILTINS.iter().filter(|b| b.oid != oid::VOID) {
            let field = field_for_oid(found.oid).expect(found.name);
            assert_eq!(PgType::of_field(&field).oid, found.oid, "{}", found.name);
            assert_eq!(type_name(found.oid), found.name);
        }
        assert_eq!(
            field_for_name("timestamp(3) with time zone").map(|f| PgType::of_field(&f).oid),
            Some(1184)
        );
        assert_eq!(
            field_for_name("varchar(3)[]").map(|f| PgType::of_field(&f).oid),
            Some(1015)
        );
        assert!(field_for_name("nonsense").is_none());
    }
}
