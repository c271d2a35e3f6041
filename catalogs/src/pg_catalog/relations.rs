//! The shape of every system relation: which exist, and their columns with true types.
//!
//! The list is data (`data/relations.txt`, one line per relation in PostgreSQL 16's column order), so
//! that a newer PostgreSQL is a new file and not new code. Knows no contents: those are in `fill`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef, TimeUnit};
use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE, PG_TYPE};

/// One system table or view.
#[derive(Debug)]
pub struct SystemRelation {
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// `r` or `v`, as in `pg_class.relkind`.
    pub kind: &'static str,
    /// Its OID in PostgreSQL (views have no fixed one there; here it is fixed by the list).
    pub oid: u32,
    /// Name and PostgreSQL type of each column, in order.
    pub columns: Vec<(&'static str, &'static str)>,
    /// The same as an Arrow schema with type tags.
    pub arrow: SchemaRef,
}

impl SystemRelation {
    /// Where a column stands.
    pub(crate) fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == column)
    }
}

/// Every system relation, in the order of the list.
pub static RELATIONS: LazyLock<Vec<SystemRelation>> = LazyLock::new(|| {
    include_str!("data/relations.txt")
        .lines()
        .filter_map(parse_line)
        .collect()
});

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), usize>> = LazyLock::new(|| {
    RELATIONS
        .iter()
        .enumerate()
        .map(|(index, r)| ((r.schema, r.name), index))
        .collect()
});

/// The relation of that name.
pub fn relation(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    BY_NAME.get(&(schema, name)).map(|index| &RELATIONS[*index])
}

fn parse_line(line: &'static str) -> Option<SystemRelation> {
    let (head, columns) = line.split_once(": ")?;
    let mut head = head.split(' ');
    let (schema, name) = head.next()?.split_once('.')?;
    let kind = head.next()?;
    let oid = head.next()?.parse().ok()?;
    let columns: Vec<(&str, &str)> = columns
        .split(", ")
        .filter_map(|c| c.split_once(' '))
        .collect();
    let fields: Vec<FieldRef> = columns
        .iter()
        .map(|(name, ty)| Arc::new(arrow_field(name, ty)))
        .collect();
    Some(SystemRelation {
        schema,
        name,
        kind,
        oid,
        columns,
        arrow: Arc::new(Schema::new(fields)),
    })
}

/// The Arrow field that stands for a column of a system relation.
///
/// OIDs and their named kin are `UInt32`: exactly their range, and they compare with any integer.
fn arrow_field(name: &str, pg_type: &str) -> Field {
    let field = |data_type| Field::new(name, data_type, true);
    let tagged = |data_type| sluice_spi::types::tagged(name, data_type, true, pg_type);
    match pg_type {
        "boolean" => field(DataType::Boolean),
        "smallint" => field(DataType::Int16),
        "integer" => field(DataType::Int32),
        "bigint" => field(DataType::Int64),
        "real" => field(DataType::Float32),
        "double precision" => field(DataType::Float64),
        "text" => field(DataType::Utf8),
        "bytea" => field(DataType::Binary),
        "interval" => field(DataType::Interval(IntervalUnit::MonthDayNano)),
        "numeric" => tagged(DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE)),
        "oid" | "regproc" | "regtype" | "xid" => tagged(DataType::UInt32),
        "int2vector" => tagged(list_of(DataType::Int16, "smallint")),
        "oidvector" => tagged(list_of(DataType::UInt32, "oid")),
        "anyarray" => field(list_of(DataType::Utf8, "text")),
        _ if pg_type.starts_with("timestamp") => field(DataType::Timestamp(
            TimeUnit::Microsecond,
            Some("UTC".into()),
        )),
        _ => match pg_type.strip_suffix("[]") {
            Some(item) => {
                let inner = arrow_field("item", item);
                field(list_of(inner.data_type().clone(), item))
            }
            None => tagged(DataType::Utf8),
        },
    }
}

/// `LIST` whose items carry their own tag where the Arrow type does not say it all.
fn list_of(item: DataType, pg_type: &str) -> DataType {
    let mut field = Field::new("item", item, true);
    if !matches!(
        pg_type,
        "smallint" | "integer" | "bigint" | "text" | "boolean" | "real" | "double precision"
    ) {
        field = field.with_metadata(HashMap::from([(PG_TYPE.to_owned(), pg_type.to_owned())]));
    }
    DataType::List(Arc::new(field))
}
