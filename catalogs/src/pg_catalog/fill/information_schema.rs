//! The SQL standard's view of the same facts: schemas, tables, columns, keys.
//!
//! Views that describe what Sluice does not have (triggers, domains, sequences, routines of users …)
//! are empty.

use super::super::builtin::type_by_oid;
use super::super::oids::{ForeignKeyEntry, OWNER_NAME, RelationRef, TableEntry};
use super::super::pg_types::{PgType, from_tag, pg_type_of};
use super::super::relations::RELATIONS;
use super::super::rows::{Rows, Value};
use super::super::snapshot::DatabaseSnapshot;
use super::Filler;
use super::keys::referenced_key;
use sluice_spi::TableKind;

/// Bytes that one character of a bounded string may take in UTF-8.
const MAX_BYTES_PER_CHARACTER: i64 = 4;
/// What PostgreSQL reports as the octet length of unbounded text.
const MAX_FIELD_BYTES: i64 = 1 << 30;

pub(super) fn filler(name: &str) -> Option<Filler> {
    Some(match name {
        "information_schema_catalog_name" => catalog_name,
        "schemata" => schemata,
        "tables" => tables,
        "columns" => columns,
        "views" => views,
        "table_constraints" => table_constraints,
        "key_column_usage" => key_column_usage,
        "referential_constraints" => referential_constraints,
        "constraint_column_usage" => constraint_column_usage,
        "character_sets" => character_sets,
        "collations" => collations,
        "enabled_roles" => enabled_roles,
        "table_privileges" | "role_table_grants" => table_privileges,
        _ => return None,
    })
}

fn catalog_name(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    rows.push(&[("catalog_name", snapshot.database.as_str().into())]);
}

fn schemata(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, _) in &snapshot.directory().schemas {
        rows.push(&[
            ("catalog_name", snapshot.database.as_str().into()),
            ("schema_name", name.as_str().into()),
            ("schema_owner", OWNER_NAME.into()),
        ]);
    }
}

fn tables(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let mut push = |schema: &str, name: &str, kind: &'static str, writable: bool| {
        rows.push(&[
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", schema.into()),
            ("table_name", name.into()),
            ("table_type", kind.into()),
            ("is_insertable_into", yes_or_no(writable)),
            ("is_typed", "NO".into()),
        ]);
    };
    for relation in RELATIONS.iter() {
        push(
            relation.schema,
            relation.name,
            if relation.kind == "v" {
                "VIEW"
            } else {
                "BASE TABLE"
            },
            false,
        );
    }
    for entry in &snapshot.directory().tables {
        let kind = match entry.table.kind {
            TableKind::Table | TableKind::PartitionedTable => "BASE TABLE",
            TableKind::View => "VIEW",
            TableKind::ForeignTable => "FOREIGN",
            // The standard has no materialized views, and PostgreSQL leaves them out.
            TableKind::MaterializedView => continue,
        };
        push(&entry.schema, &entry.table.name, kind, kind == "BASE TABLE");
    }
}

fn columns(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for relation in RELATIONS.iter() {
        for ((name, ty), number) in relation.columns.iter().zip(1i64..) {
            let place = (relation.schema, relation.name, *name);
            push_column(
                snapshot,
                rows,
                place,
                number,
                from_tag(ty),
                number != 1,
                None,
            );
        }
    }
    for entry in &snapshot.directory().tables {
        if entry.table.kind == TableKind::MaterializedView {
            continue;
        }
        for (column, number) in entry.table.columns.iter().zip(1i64..) {
            let field = &column.field;
            let place = (
                entry.schema.as_str(),
                entry.table.name.as_str(),
                field.name().as_str(),
            );
            let default = column.default.as_deref();
            push_column(
                snapshot,
                rows,
                place,
                number,
                pg_type_of(field),
                field.is_nullable(),
                default,
            );
        }
    }
}

fn push_column(
    snapshot: &DatabaseSnapshot,
    rows: &mut Rows,
    (schema, table, column): (&str, &str, &str),
    number: i64,
    ty: PgType,
    nullable: bool,
    default: Option<&str>,
) {
    let builtin = type_by_oid(ty.oid);
    let is_array = builtin.is_some_and(|t| t.category == "A");
    let facts = TypeFacts::of(ty);
    rows.push(&[
        ("table_catalog", snapshot.database.as_str().into()),
        ("table_schema", schema.into()),
        ("table_name", table.into()),
        ("column_name", column.into()),
        ("ordinal_position", number.into()),
        ("column_default", Value::text(default)),
        ("is_nullable", yes_or_no(nullable)),
        (
            "data_type",
            if is_array {
                "ARRAY"
            } else {
                builtin.map_or("text", |t| t.display)
            }
            .into(),
        ),
        ("character_maximum_length", Value::int(facts.characters)),
        ("character_octet_length", Value::int(facts.octets)),
        ("numeric_precision", Value::int(facts.precision)),
        ("numeric_precision_radix", Value::int(facts.radix)),
        ("numeric_scale", Value::int(facts.scale)),
        ("datetime_precision", Value::int(facts.datetime_precision)),
        ("udt_catalog", snapshot.database.as_str().into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", builtin.map_or("text", |t| t.name).into()),
        ("dtd_identifier", Value::Text(number.to_string())),
        ("is_self_referencing", "NO".into()),
        ("is_identity", "NO".into()),
        ("identity_cycle", "NO".into()),
        ("is_generated", "NEVER".into()),
        ("is_updatable", "NO".into()),
    ]);
}

/// The measures of a type, as the standard splits them over columns.
#[derive(Default)]
struct TypeFacts {
    characters: Option<i64>,
    octets: Option<i64>,
    precision: Option<i64>,
    radix: Option<i64>,
    scale: Option<i64>,
    datetime_precision: Option<i64>,
}

impl TypeFacts {
    /// The rules of PostgreSQL's `_pg_char_max_length` and its siblings (information_schema.sql).
    fn of(ty: PgType) -> Self {
        let binary = |bits, scale| TypeFacts {
            precision: Some(bits),
            radix: Some(2),
            scale,
            ..TypeFacts::default()
        };
        let bounded = (ty.typmod >= 0).then_some(i64::from(ty.typmod) - 4);
        match ty.oid {
            21 => binary(16, Some(0)),
            23 => binary(32, Some(0)),
            20 => binary(64, Some(0)),
            700 => binary(24, None),
            701 => binary(53, None),
            1700 => TypeFacts {
                radix: Some(10),
                precision: bounded.map(|packed| (packed >> 16) & 0xffff),
                scale: bounded.map(|packed| ((packed & 0x7ff) ^ 1024) - 1024),
                ..TypeFacts::default()
            },
            1042 | 1043 => TypeFacts {
                characters: bounded,
                octets: Some(bounded.map_or(MAX_FIELD_BYTES, |n| n * MAX_BYTES_PER_CHARACTER)),
                ..TypeFacts::default()
            },
            25 => TypeFacts {
                octets: Some(MAX_FIELD_BYTES),
                ..TypeFacts::default()
            },
            1082 => TypeFacts {
                datetime_precision: Some(0),
                ..TypeFacts::default()
            },
            1083 | 1114 | 1184 | 1266 | 1186 => TypeFacts {
                datetime_precision: Some(if ty.typmod < 0 {
                    6
                } else {
                    i64::from(ty.typmod)
                }),
                ..TypeFacts::default()
            },
            _ => TypeFacts::default(),
        }
    }
}

fn views(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in snapshot
        .directory()
        .tables
        .iter()
        .filter(|e| e.table.kind == TableKind::View)
    {
        rows.push(&[
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", entry.schema.as_str().into()),
            ("table_name", entry.table.name.as_str().into()),
            ("view_definition", Value::text(entry.view_query.as_deref())),
            ("check_option", "NONE".into()),
            ("is_updatable", "NO".into()),
            ("is_insertable_into", "NO".into()),
            ("is_trigger_updatable", "NO".into()),
            ("is_trigger_deletable", "NO".into()),
            ("is_trigger_insertable_into", "NO".into()),
        ]);
    }
}

/// A key or foreign key as the standard's views show it.
struct KeyRow<'a> {
    entry: &'a TableEntry,
    name: &'a str,
    kind: &'static str,
    columns: &'a [String],
    /// The foreign key's other end.
    foreign: Option<&'a ForeignKeyEntry>,
}

/// Every key that is a constraint, and every foreign key.
fn each_key<'a>(snapshot: &'a DatabaseSnapshot, mut visit: impl FnMut(&KeyRow<'a>)) {
    for entry in &snapshot.directory().tables {
        for key in entry.keys.iter().filter(|k| k.constraint_oid.is_some()) {
            visit(&KeyRow {
                entry,
                name: &key.name,
                kind: key.words(),
                columns: &key.columns,
                foreign: None,
            });
        }
        for foreign in &entry.foreign_keys {
            visit(&KeyRow {
                entry,
                name: &foreign.key.name,
                kind: "FOREIGN KEY",
                columns: &foreign.key.columns,
                foreign: Some(foreign),
            });
        }
    }
}

fn table_constraints(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    each_key(snapshot, |key| {
        rows.push(&[
            ("constraint_catalog", snapshot.database.as_str().into()),
            ("constraint_schema", key.entry.schema.as_str().into()),
            ("constraint_name", key.name.into()),
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", key.entry.schema.as_str().into()),
            ("table_name", key.entry.table.name.as_str().into()),
            ("constraint_type", key.kind.into()),
            ("is_deferrable", "NO".into()),
            ("initially_deferred", "NO".into()),
            ("enforced", "YES".into()),
        ]);
    });
}

fn key_column_usage(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let directory = snapshot.directory();
    each_key(snapshot, |key| {
        let referenced =
            key.foreign.and_then(
                |foreign| match directory.relation(foreign.referenced_oid)? {
                    RelationRef::Table(table) => referenced_key(table, &foreign.key.referenced),
                    _ => None,
                },
            );
        for (at, column) in key.columns.iter().enumerate() {
            // Where the column that it refers to stands in the key that it refers to.
            let there = key.foreign.and_then(|foreign| {
                let column = foreign.key.referenced.get(at)?;
                let place = referenced?.columns.iter().position(|c| c == column)?;
                i64::try_from(place + 1).ok()
            });
            rows.push(&[
                ("constraint_catalog", snapshot.database.as_str().into()),
                ("constraint_schema", key.entry.schema.as_str().into()),
                ("constraint_name", key.name.into()),
                ("table_catalog", snapshot.database.as_str().into()),
                ("table_schema", key.entry.schema.as_str().into()),
                ("table_name", key.entry.table.name.as_str().into()),
                ("column_name", column.as_str().into()),
                ("ordinal_position", (at as i64 + 1).into()),
                ("position_in_unique_constraint", Value::int(there)),
            ]);
        }
    });
}

fn constraint_column_usage(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    each_key(snapshot, |key| {
        // The columns that a foreign key refers to, not those that it is made of.
        let (schema, table, columns) = match key.foreign {
            Some(foreign) => (
                foreign.referenced_schema.as_str(),
                foreign.key.table.as_str(),
                foreign.key.referenced.as_slice(),
            ),
            None => (
                key.entry.schema.as_str(),
                key.entry.table.name.as_str(),
                key.columns,
            ),
        };
        for column in columns {
            rows.push(&[
                ("table_catalog", snapshot.database.as_str().into()),
                ("table_schema", schema.into()),
                ("table_name", table.into()),
                ("column_name", column.as_str().into()),
                ("constraint_catalog", snapshot.database.as_str().into()),
                ("constraint_schema", key.entry.schema.as_str().into()),
                ("constraint_name", key.name.into()),
            ]);
        }
    });
}

fn referential_constraints(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let directory = snapshot.directory();
    each_key(snapshot, |key| {
        let Some(foreign) = key.foreign else { return };
        let referenced = match directory.relation(foreign.referenced_oid) {
            Some(RelationRef::Table(table)) => referenced_key(table, &foreign.key.referenced),
            _ => None,
        };
        // A unique index that no constraint declares has no name in the standard.
        let referenced = referenced.filter(|key| key.constraint_oid.is_some());
        let there = |text: &str| Value::text(referenced.is_some().then(|| text.to_owned()));
        rows.push(&[
            ("constraint_catalog", snapshot.database.as_str().into()),
            ("constraint_schema", key.entry.schema.as_str().into()),
            ("constraint_name", key.name.into()),
            ("unique_constraint_catalog", there(&snapshot.database)),
            (
                "unique_constraint_schema",
                there(&foreign.referenced_schema),
            ),
            (
                "unique_constraint_name",
                Value::text(referenced.map(|key| key.name.as_str())),
            ),
            ("match_option", "NONE".into()),
            ("update_rule", foreign.key.on_update.words().into()),
            ("delete_rule", foreign.key.on_delete.words().into()),
        ]);
    });
}

fn character_sets(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    rows.push(&[
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", snapshot.database.as_str().into()),
        ("default_collate_schema", "pg_catalog".into()),
        ("default_collate_name", "C".into()),
    ]);
}

fn collations(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for name in ["C", "POSIX"] {
        rows.push(&[
            ("collation_catalog", snapshot.database.as_str().into()),
            ("collation_schema", "pg_catalog".into()),
            ("collation_name", name.into()),
            ("pad_attribute", "NO PAD".into()),
        ]);
    }
}

fn enabled_roles(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    rows.push(&[("role_name", snapshot.user.as_str().into())]);
}

fn table_privileges(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in &snapshot.directory().tables {
        rows.push(&[
            ("grantor", OWNER_NAME.into()),
            ("grantee", snapshot.user.as_str().into()),
            ("table_catalog", snapshot.database.as_str().into()),
            ("table_schema", entry.schema.as_str().into()),
            ("table_name", entry.table.name.as_str().into()),
            ("privilege_type", "SELECT".into()),
            ("is_grantable", "NO".into()),
            ("with_hierarchy", "YES".into()),
        ]);
    }
}

fn yes_or_no(value: bool) -> Value<'static> {
    Value::Str(if value { "YES" } else { "NO" })
}
