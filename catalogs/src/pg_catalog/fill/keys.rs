//! Keys as PostgreSQL shows them: an index and a constraint each, and foreign keys.

use sluice_spi::ReferentialAction;

use super::super::builtin::type_by_oid;
use super::super::names::index_definition;
use super::super::oids::{KeyEntry, RelationRef, TableEntry};
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

/// The columns of a key, in key order.
pub(super) fn key_columns<'a>(
    entry: &'a TableEntry,
    key: &'a KeyEntry,
) -> impl Iterator<Item = &'a sluice_spi::ColumnMetadata> {
    let columns = &entry.table.columns;
    let at = key.numbers.iter().map(|n| usize::try_from(*n - 1).ok());
    at.filter_map(|at| columns.get(at?))
}

fn all_keys(snapshot: &DatabaseSnapshot) -> impl Iterator<Item = (&TableEntry, &KeyEntry)> {
    let tables = &snapshot.directory().tables;
    tables
        .iter()
        .flat_map(|entry| entry.keys.iter().map(move |key| (entry, key)))
}

fn ints(numbers: &[i16]) -> Value<'static> {
    Value::Ints(numbers.iter().map(|n| i64::from(*n)).collect())
}

fn indexes(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (entry, key) in all_keys(snapshot) {
        let zeros = vec![0i64; key.numbers.len()];
        let collations = key_columns(entry, key)
            .map(|c| {
                type_by_oid(pg_types::pg_type_of(&c.field).oid)
                    .map_or(0, |t| i64::from(t.collation))
            })
            .collect();
        rows.push(&[
            ("indexrelid", key.index_oid.into()),
            ("indrelid", entry.oid.into()),
            ("indnatts", (key.numbers.len() as i64).into()),
            ("indnkeyatts", (key.numbers.len() as i64).into()),
            ("indisunique", true.into()),
            ("indnullsnotdistinct", false.into()),
            ("indisprimary", key.primary.into()),
            ("indisexclusion", false.into()),
            ("indimmediate", true.into()),
            ("indisclustered", false.into()),
            ("indisvalid", true.into()),
            ("indcheckxmin", false.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indisreplident", false.into()),
            ("indkey", ints(&key.numbers)),
            ("indcollation", Value::Ints(collations)),
            ("indclass", Value::Ints(zeros.clone())),
            ("indoption", Value::Ints(zeros)),
        ]);
    }
}

fn constraints(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (entry, key) in all_keys(snapshot) {
        let Some(oid) = key.constraint_oid else {
            continue;
        };
        rows.push(&[
            ("oid", oid.into()),
            ("conname", key.name.as_str().into()),
            ("connamespace", entry.schema_oid.into()),
            ("contype", if key.primary { "p" } else { "u" }.into()),
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
            ("conkey", ints(&key.numbers)),
        ]);
    }
    let directory = snapshot.directory();
    for entry in &directory.tables {
        for foreign in &entry.foreign_keys {
            let index = match directory.relation(foreign.referenced_oid) {
                Some(RelationRef::Table(table)) => referenced_key(table, &foreign.key.referenced),
                _ => None,
            };
            rows.push(&[
                ("oid", foreign.oid.into()),
                ("conname", foreign.key.name.as_str().into()),
                ("connamespace", entry.schema_oid.into()),
                ("contype", "f".into()),
                ("condeferrable", false.into()),
                ("condeferred", false.into()),
                ("convalidated", true.into()),
                ("conrelid", entry.oid.into()),
                ("contypid", 0u32.into()),
                ("conindid", index.map_or(0, |key| key.index_oid).into()),
                ("conparentid", 0u32.into()),
                ("confrelid", foreign.referenced_oid.into()),
                ("confupdtype", letter(foreign.key.on_update).into()),
                ("confdeltype", letter(foreign.key.on_delete).into()),
                ("confmatchtype", "s".into()),
                ("conislocal", true.into()),
                ("coninhcount", 0i64.into()),
                ("connoinherit", true.into()),
                ("conkey", ints(&foreign.numbers)),
                ("confkey", ints(&foreign.referenced_numbers)),
            ]);
        }
    }
}

/// The key that a foreign key refers to: the one of the same columns, in whichever order.
pub(super) fn referenced_key<'a>(
    table: &'a TableEntry,
    columns: &[String],
) -> Option<&'a KeyEntry> {
    let same = |key: &&KeyEntry| {
        key.columns.len() == columns.len() && columns.iter().all(|c| key.columns.contains(c))
    };
    table.keys.iter().find(same)
}

/// `pg_constraint.confupdtype` and `confdeltype`.
fn letter(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "a",
        ReferentialAction::Restrict => "r",
        ReferentialAction::Cascade => "c",
        ReferentialAction::SetNull => "n",
        ReferentialAction::SetDefault => "d",
    }
}

fn index_definitions(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (entry, key) in all_keys(snapshot) {
        let definition = index_definition(RelationRef::Index(entry, key));
        rows.push(&[
            ("schemaname", entry.schema.as_str().into()),
            ("tablename", entry.table.name.as_str().into()),
            ("indexname", key.name.as_str().into()),
            ("indexdef", Value::text(definition)),
        ]);
    }
}
