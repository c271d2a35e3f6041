//! Schemas, relations, columns, defaults and comments: what `\d` reads first.

use super::super::builtin::type_by_oid;
use super::super::oids::{OWNER_NAME, OWNER_OID};
use super::super::pg_types::{self, PgType};
use super::super::relations::RELATIONS;
use super::super::rows::{Rows, Value};
use super::super::snapshot::DatabaseSnapshot;
use super::{Filler, relkind};
use sluice_spi::TableKind;

/// `pg_class.oid` of pg_class, to say what a comment is on.
const PG_CLASS_OID: u32 = 1259;
/// `pg_class.oid` of pg_namespace.
const PG_NAMESPACE_OID: u32 = 2615;
/// The access method of tables, as `\d+` and `\dt+` show it.
const HEAP_AM_OID: u32 = 2;
/// The access method of keys.
const BTREE_AM_OID: u32 = 403;

pub(super) fn filler(name: &str) -> Option<Filler> {
    Some(match name {
        "pg_namespace" => namespaces,
        "pg_class" => classes,
        "pg_attribute" => attributes,
        "pg_attrdef" => defaults,
        "pg_description" => descriptions,
        "pg_tables" => tables,
        "pg_views" => views,
        "pg_matviews" => materialized_views,
        _ => return None,
    })
}

fn namespaces(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, oid) in &snapshot.directory().schemas {
        rows.push(&[
            ("oid", (*oid).into()),
            ("nspname", name.as_str().into()),
            ("nspowner", OWNER_OID.into()),
        ]);
    }
}

/// What `pg_class` says of one relation.
struct Class<'a> {
    oid: u32,
    name: &'a str,
    schema_oid: u32,
    kind: &'a str,
    access_method: u32,
    columns: usize,
    has_index: bool,
    has_triggers: bool,
    is_shared: bool,
}

fn classes(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let directory = snapshot.directory();
    for relation in RELATIONS.iter() {
        push_class(
            rows,
            &Class {
                oid: relation.oid,
                name: relation.name,
                schema_oid: directory.schema_oid(relation.schema).unwrap_or_default(),
                kind: relation.kind,
                access_method: if relation.kind == "r" { HEAP_AM_OID } else { 0 },
                columns: relation.columns.len(),
                has_index: false,
                has_triggers: false,
                is_shared: matches!(
                    relation.name,
                    "pg_database" | "pg_authid" | "pg_auth_members" | "pg_tablespace"
                ),
            },
        );
    }
    for entry in &directory.tables {
        let stored = matches!(
            entry.table.kind,
            TableKind::Table | TableKind::MaterializedView
        );
        push_class(
            rows,
            &Class {
                oid: entry.oid,
                name: &entry.table.name,
                schema_oid: entry.schema_oid,
                kind: relkind(entry.table.kind),
                access_method: if stored { HEAP_AM_OID } else { 0 },
                columns: entry.table.columns.len(),
                has_index: !entry.keys.is_empty(),
                // PostgreSQL keeps foreign keys by triggers on both sides.
                has_triggers: !entry.foreign_keys.is_empty() || entry.is_referenced,
                is_shared: false,
            },
        );
        for key in &entry.keys {
            push_class(
                rows,
                &Class {
                    oid: key.index_oid,
                    name: &key.name,
                    schema_oid: entry.schema_oid,
                    kind: "i",
                    access_method: BTREE_AM_OID,
                    columns: key.columns.len(),
                    has_index: false,
                    has_triggers: false,
                    is_shared: false,
                },
            );
        }
    }
}

fn push_class(rows: &mut Rows, class: &Class<'_>) {
    rows.push(&[
        ("oid", class.oid.into()),
        ("relname", class.name.into()),
        ("relnamespace", class.schema_oid.into()),
        ("reltype", 0u32.into()),
        ("reloftype", 0u32.into()),
        ("relowner", OWNER_OID.into()),
        ("relam", class.access_method.into()),
        ("relfilenode", 0u32.into()),
        ("reltablespace", 0u32.into()),
        ("relpages", 0i64.into()),
        // -1 is PostgreSQL's "never counted".
        ("reltuples", Value::Float(-1.0)),
        ("relallvisible", 0i64.into()),
        ("reltoastrelid", 0u32.into()),
        ("relhasindex", class.has_index.into()),
        ("relisshared", class.is_shared.into()),
        ("relpersistence", "p".into()),
        ("relkind", class.kind.into()),
        ("relnatts", (class.columns as i64).into()),
        ("relchecks", 0i64.into()),
        ("relhasrules", (class.kind == "v").into()),
        ("relhastriggers", class.has_triggers.into()),
        ("relhassubclass", false.into()),
        ("relrowsecurity", false.into()),
        ("relforcerowsecurity", false.into()),
        ("relispopulated", true.into()),
        (
            "relreplident",
            if class.kind == "r" { "d" } else { "n" }.into(),
        ),
        ("relispartition", false.into()),
        ("relrewrite", 0u32.into()),
        ("relfrozenxid", 0u32.into()),
        ("relminmxid", 0u32.into()),
    ]);
}

fn attributes(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for relation in RELATIONS.iter() {
        for ((name, ty), number) in relation.columns.iter().zip(1i64..) {
            // The system's own tables have a first column that is never NULL, which is as much as
            // clients rely on; the rest is shown as nullable.
            push_attribute(
                rows,
                relation.oid,
                name,
                number,
                pg_types::from_tag(ty),
                number == 1,
                false,
            );
        }
    }
    for entry in &snapshot.directory().tables {
        for (column, number) in entry.table.columns.iter().zip(1i64..) {
            let field = &column.field;
            let ty = pg_types::pg_type_of(field);
            push_attribute(
                rows,
                entry.oid,
                field.name(),
                number,
                ty,
                !field.is_nullable(),
                column.default.is_some(),
            );
        }
        for key in &entry.keys {
            for (column, number) in super::keys::key_columns(entry, key).zip(1i64..) {
                let ty = pg_types::pg_type_of(&column.field);
                push_attribute(
                    rows,
                    key.index_oid,
                    column.field.name(),
                    number,
                    ty,
                    false,
                    false,
                );
            }
        }
    }
}

fn push_attribute(
    rows: &mut Rows,
    relation: u32,
    name: &str,
    number: i64,
    ty: PgType,
    not_null: bool,
    has_default: bool,
) {
    let builtin = type_by_oid(ty.oid);
    let is_array = builtin.is_some_and(|t| t.category == "A");
    rows.push(&[
        ("attrelid", relation.into()),
        ("attname", name.into()),
        ("atttypid", ty.oid.into()),
        ("attlen", i64::from(ty.len).into()),
        ("attnum", number.into()),
        ("attndims", i64::from(is_array).into()),
        ("attcacheoff", (-1i64).into()),
        ("atttypmod", i64::from(ty.typmod).into()),
        ("attbyval", builtin.is_some_and(|t| t.by_value).into()),
        ("attalign", builtin.map_or("i", |t| t.align).into()),
        ("attstorage", builtin.map_or("x", |t| t.storage).into()),
        ("attcompression", "".into()),
        ("attnotnull", not_null.into()),
        ("atthasdef", has_default.into()),
        ("atthasmissing", false.into()),
        ("attidentity", "".into()),
        ("attgenerated", "".into()),
        ("attisdropped", false.into()),
        ("attislocal", true.into()),
        ("attinhcount", 0i64.into()),
        ("attstattarget", (-1i64).into()),
        ("attcollation", builtin.map_or(0, |t| t.collation).into()),
    ]);
}

fn defaults(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in &snapshot.directory().tables {
        for (number, oid) in &entry.defaults {
            let column = entry
                .table
                .columns
                .get(usize::try_from(*number - 1).unwrap_or(usize::MAX));
            rows.push(&[
                ("oid", (*oid).into()),
                ("adrelid", entry.oid.into()),
                ("adnum", i64::from(*number).into()),
                // PostgreSQL keeps a parse tree here, which only pg_get_expr() reads; here it is the text.
                (
                    "adbin",
                    Value::text(column.and_then(|c| c.default.as_deref())),
                ),
            ]);
        }
    }
}

fn descriptions(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let mut push = |object: u32, class: u32, part: i64, text: &str| {
        rows.push(&[
            ("objoid", object.into()),
            ("classoid", class.into()),
            ("objsubid", part.into()),
            ("description", text.into()),
        ]);
    };
    let directory = snapshot.directory();
    push(
        super::super::oids::PG_CATALOG_OID,
        PG_NAMESPACE_OID,
        0,
        "system catalog schema",
    );
    for entry in &directory.tables {
        if let Some(comment) = &entry.table.comment {
            push(entry.oid, PG_CLASS_OID, 0, comment);
        }
        for (column, number) in entry.table.columns.iter().zip(1i64..) {
            if let Some(comment) = &column.comment {
                push(entry.oid, PG_CLASS_OID, number, comment);
            }
        }
    }
}

fn tables(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let mut push = |schema: &str, name: &str, has_index: bool| {
        rows.push(&[
            ("schemaname", schema.into()),
            ("tablename", name.into()),
            ("tableowner", OWNER_NAME.into()),
            ("hasindexes", has_index.into()),
            ("hasrules", false.into()),
            ("hastriggers", false.into()),
            ("rowsecurity", false.into()),
        ]);
    };
    for relation in RELATIONS.iter().filter(|r| r.kind == "r") {
        push(relation.schema, relation.name, false);
    }
    for entry in &snapshot.directory().tables {
        // As in PostgreSQL: ordinary and partitioned tables only.
        if matches!(
            entry.table.kind,
            TableKind::Table | TableKind::PartitionedTable
        ) {
            push(&entry.schema, &entry.table.name, !entry.keys.is_empty());
        }
    }
}

fn views(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let mut push = |schema: &str, name: &str, query: Option<&str>| {
        rows.push(&[
            ("schemaname", schema.into()),
            ("viewname", name.into()),
            ("viewowner", OWNER_NAME.into()),
            ("definition", Value::text(query)),
        ]);
    };
    for relation in RELATIONS.iter().filter(|r| r.kind == "v") {
        push(relation.schema, relation.name, None);
    }
    for entry in snapshot
        .directory()
        .tables
        .iter()
        .filter(|e| e.table.kind == TableKind::View)
    {
        let query = entry.view_query.as_deref();
        push(&entry.schema, &entry.table.name, query);
    }
}

fn materialized_views(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in snapshot
        .directory()
        .tables
        .iter()
        .filter(|e| e.table.kind == TableKind::MaterializedView)
    {
        rows.push(&[
            ("schemaname", entry.schema.as_str().into()),
            ("matviewname", entry.table.name.as_str().into()),
            ("matviewowner", OWNER_NAME.into()),
            ("hasindexes", (!entry.keys.is_empty()).into()),
            ("ispopulated", true.into()),
            ("definition", Value::text(entry.view_query.as_deref())),
        ]);
    }
}
