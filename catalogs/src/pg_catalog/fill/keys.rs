//! Primary keys as PostgreSQL shows them: an index and a constraint each.

use super::super::builtin::type_by_oid;
use super::super::names::index_definition;
use super::super::oids::{RelationRef, TableEntry};
use super::super::pg_types;
use super::super::rows::{Rows, Value};
use super::super::snapshot::DatabaseSnapshot;
use super::Filler;

pub(super) fn filler(name: &str) -> Option<Filler> {
    Some(match name {
        "pg_index" => indexes,
        "pg_constraint" => constraints,
        "pg_indexes" => index_definitions,
        _ => return None,
    })
}

/// The columns of a table's primary key, in key order.
pub(super) fn key_columns(entry: &TableEntry) -> impl Iterator<Item = &sluice_spi::ColumnMetadata> {
    let numbers = entry.primary_key.iter().flat_map(|key| &key.columns);
    numbers.filter_map(|n| entry.table.columns.get(usize::try_from(*n - 1).ok()?))
}

fn indexes(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in &snapshot.directory().tables {
        let Some(key) = &entry.primary_key else {
            continue;
        };
        let numbers: Vec<i64> = key.columns.iter().map(|n| i64::from(*n)).collect();
        let zeros = vec![0i64; numbers.len()];
        let collations = key_columns(entry)
            .map(|c| {
                type_by_oid(pg_types::pg_type_of(&c.field).oid)
                    .map_or(0, |t| i64::from(t.collation))
            })
            .collect();
        rows.push(&[
            ("indexrelid", key.index_oid.into()),
            ("indrelid", entry.oid.into()),
            ("indnatts", (numbers.len() as i64).into()),
            ("indnkeyatts", (numbers.len() as i64).into()),
            ("indisunique", true.into()),
            ("indnullsnotdistinct", false.into()),
            ("indisprimary", true.into()),
            ("indisexclusion", false.into()),
            ("indimmediate", true.into()),
            ("indisclustered", false.into()),
            ("indisvalid", true.into()),
            ("indcheckxmin", false.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indisreplident", false.into()),
            ("indkey", Value::Ints(numbers)),
            ("indcollation", Value::Ints(collations)),
            ("indclass", Value::Ints(zeros.clone())),
            ("indoption", Value::Ints(zeros)),
        ]);
    }
}

fn constraints(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in &snapshot.directory().tables {
        let Some(key) = &entry.primary_key else {
            continue;
        };
        rows.push(&[
            ("oid", key.constraint_oid.into()),
            ("conname", key.name.as_str().into()),
            ("connamespace", entry.schema_oid.into()),
            ("contype", "p".into()),
            ("condeferrable", false.into()),
            ("condeferred", false.into()),
            ("convalidated", true.into()),
            ("conrelid", entry.oid.into()),
            ("contypid", 0u32.into()),
            ("conindid", key.index_oid.into()),
            ("conparentid", 0u32.into()),
            ("confrelid", 0u32.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("coninhcount", 0i64.into()),
            ("connoinherit", true.into()),
            (
                "conkey",
                Value::Ints(key.columns.iter().map(|n| i64::from(*n)).collect()),
            ),
        ]);
    }
}

fn index_definitions(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in &snapshot.directory().tables {
        let Some(key) = &entry.primary_key else {
            continue;
        };
        let definition = index_definition(RelationRef::Index(entry, key));
        rows.push(&[
            ("schemaname", entry.schema.as_str().into()),
            ("tablename", entry.table.name.as_str().into()),
            ("indexname", key.name.as_str().into()),
            ("indexdef", Value::text(definition)),
        ]);
    }
}
