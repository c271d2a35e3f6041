//! Which PostgreSQL type an Arrow field is: OID, typmod, length and the name that `format_type` prints.
//!
//! The tag of [`sluice_spi::types`] decides where there is one, the Arrow type otherwise. Pure and
//! total: what has no PostgreSQL type of its own is `text` (or `jsonb` for structs and maps), which is
//! how the front sends it. Only built-in OIDs, since clients reject others.

use arrow::datatypes::{DataType, Field};
use sluice_spi::types::NUMERIC_PRECISION;

use super::builtin::{BuiltinType, type_by_name, type_by_oid};

/// `text`, the type of everything that has no better one.
const TEXT_OID: u32 = 25;

/// Header that PostgreSQL adds to the length in a typmod.
const VARHDRSZ: i32 = 4;

/// A column's PostgreSQL type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `atttypmod`: length, precision and scale as PostgreSQL packs them, or -1.
    pub typmod: i32,
    /// `typlen`: bytes, -1 or -2.
    pub len: i16,
}

impl PgType {
    fn new(oid: u32, typmod: i32) -> Self {
        PgType {
            oid,
            typmod,
            len: type_by_oid(oid).map_or(-1, |t| t.len),
        }
    }

    /// The name as `format_type(oid, typmod)` prints it.
    pub fn display(&self) -> String {
        format_type(self.oid, Some(self.typmod))
    }
}

/// The PostgreSQL type of a field.
pub fn pg_type_of(field: &Field) -> PgType {
    match sluice_spi::types::pg_type(field) {
        Some(tag) => from_tag(tag),
        None => from_arrow(field.data_type()),
    }
}

/// The type that a tag spells (`character varying(20)`, `uuid`, `text[]`). Types that are not built in
/// (enums, domains, extension types) travel and show as text.
pub fn from_tag(tag: &str) -> PgType {
    if let Some(item) = tag.strip_suffix("[]") {
        return array_of(from_tag(item));
    }
    let (name, arguments) = split_arguments(tag);
    let Some(found) = type_by_name(&name) else {
        return PgType::new(TEXT_OID, -1);
    };
    PgType::new(found.oid, pack_typmod(found, &name, &arguments))
}

fn from_arrow(data_type: &DataType) -> PgType {
    let plain = |oid| PgType::new(oid, -1);
    match data_type {
        DataType::Boolean => plain(16),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => plain(21),
        DataType::UInt16 | DataType::Int32 => plain(23),
        DataType::UInt32 | DataType::Int64 => plain(20),
        DataType::UInt64 => plain(1700),
        DataType::Float16 | DataType::Float32 => plain(700),
        DataType::Float64 => plain(701),
        // The widest decimal stands for numeric without typmod, also where an expression lost the tag.
        DataType::Decimal256(NUMERIC_PRECISION, _) => plain(1700),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            PgType::new(1700, numeric_typmod(i32::from(*p), i32::from(*s)))
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => plain(17),
        DataType::Date32 | DataType::Date64 => plain(1082),
        DataType::Time32(_) | DataType::Time64(_) => plain(1083),
        DataType::Timestamp(_, None) => plain(1114),
        DataType::Timestamp(_, Some(_)) => plain(1184),
        DataType::Interval(_) | DataType::Duration(_) => plain(1186),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => array_of(pg_type_of(item)),
        DataType::Dictionary(_, value) => from_arrow(value),
        DataType::RunEndEncoded(_, value) => pg_type_of(value),
        DataType::Struct(_) | DataType::Map(_, _) => plain(3802),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null
        | DataType::Union(_, _) => plain(TEXT_OID),
    }
}

/// PostgreSQL has one array type for any number of dimensions.
fn array_of(item: PgType) -> PgType {
    match type_by_oid(item.oid) {
        Some(t) if t.array != 0 => PgType::new(t.array, item.typmod),
        Some(t) if t.element != 0 => PgType::new(t.oid, item.typmod),
        _ => PgType::new(1009, -1),
    }
}

/// `timestamp(3) with time zone` → (`timestamp with time zone`, `[3]`).
fn split_arguments(tag: &str) -> (String, Vec<i32>) {
    match (tag.find('('), tag.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let name = format!("{}{}", tag[..open].trim_end(), &tag[close + 1..]);
            let arguments = tag[open + 1..close]
                .split(',')
                .filter_map(|a| a.trim().parse().ok())
                .collect();
            (name, arguments)
        }
        _ => (tag.to_owned(), Vec::new()),
    }
}

fn numeric_typmod(precision: i32, scale: i32) -> i32 {
    // numeric.c, make_numeric_typmod: the scale may be negative since version 15.
    ((precision << 16) | (scale & 0x7ff)) + VARHDRSZ
}

fn pack_typmod(ty: &BuiltinType, name: &str, arguments: &[i32]) -> i32 {
    match (ty.name, arguments) {
        ("numeric", [precision]) => numeric_typmod(*precision, 0),
        ("numeric", [precision, scale]) => numeric_typmod(*precision, *scale),
        ("varchar" | "bpchar", [length]) => length + VARHDRSZ,
        // The bare word means one character; `bpchar` means any number.
        ("bpchar", []) if name == "character" || name == "char" => 1 + VARHDRSZ,
        ("time" | "timetz" | "timestamp" | "timestamptz" | "bit" | "varbit", [n]) => *n,
        _ => -1,
    }
}

/// PostgreSQL's `format_type(oid, typmod)`: `???` for an OID that is no type, `-` for 0.
pub fn format_type(oid: u32, typmod: Option<i32>) -> String {
    let Some(ty) = type_by_oid(oid) else {
        return if oid == 0 {
            "-".to_owned()
        } else {
            "???".to_owned()
        };
    };
    // The vector types have elements too, but print as themselves: they are stored plain.
    let is_array = ty.element != 0 && ty.category == "A" && ty.storage != "p";
    if let Some(element) = is_array.then(|| type_by_oid(ty.element)).flatten() {
        return format!("{}[]", format_type(element.oid, typmod));
    }
    let Some(typmod) = typmod else {
        return ty.display.to_owned();
    };
    if typmod < 0 {
        // With an explicit "no typmod" the bare word would mean character(1).
        return if ty.name == "bpchar" {
            "bpchar".to_owned()
        } else {
            ty.display.to_owned()
        };
    }
    match ty.name {
        "varchar" | "bpchar" => format!("{}({})", ty.display, typmod - VARHDRSZ),
        "numeric" => {
            let packed = typmod - VARHDRSZ;
            let scale = ((packed & 0x7ff) ^ 1024) - 1024;
            format!("numeric({},{scale})", (packed >> 16) & 0xffff)
        }
        "time" | "timetz" | "timestamp" | "timestamptz" => {
            let (head, tail) = ty.display.split_once(' ').unwrap_or((ty.display, ""));
            format!("{head}({typmod}) {tail}")
        }
        "bit" | "varbit" => format!("{}({typmod})", ty.display),
        _ => ty.display.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_spi::types::tagged;

    #[test]
    fn a_tag_and_its_display_are_the_same_words() {
        for tag in [
            "character varying(20)",
            "character(3)",
            "uuid",
            "jsonb",
            "numeric",
            "numeric(12,2)",
            "name",
            "\"char\"",
            "timestamp(3) with time zone",
            "text[]",
            "character varying(5)[]",
            "oid",
            "int2vector",
            "inet",
        ] {
            assert_eq!(from_tag(tag).display(), tag);
        }
        assert_eq!(from_tag("mood").oid, TEXT_OID);
    }

    #[test]
    fn arrow_types_without_a_tag() {
        let check = |data_type: DataType, display: &str| {
            assert_eq!(
                pg_type_of(&Field::new("c", data_type, true)).display(),
                display
            );
        };
        check(DataType::Int32, "integer");
        check(DataType::Decimal128(12, 2), "numeric(12,2)");
        check(
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
            "timestamp with time zone",
        );
        check(
            DataType::List(std::sync::Arc::new(Field::new(
                "item",
                DataType::Utf8View,
                true,
            ))),
            "text[]",
        );
        let item = tagged("item", DataType::Utf8, true, "uuid");
        check(DataType::List(std::sync::Arc::new(item)), "uuid[]");
        check(DataType::UInt64, "numeric");
    }
}
