//! Statistics views, whose counters have counted nothing, and the server that foreign tables belong to.

use super::super::oids::{OWNER_NAME, OWNER_OID};
use super::super::relations::RELATIONS;
use super::super::rows::Rows;
use super::super::snapshot::DatabaseSnapshot;
use super::Filler;
use sluice_spi::TableKind;

/// The one foreign server of a database that shows foreign tables: the catalog itself.
const FOREIGN_SERVER_OID: u32 = 13_001;
/// Its wrapper.
const FOREIGN_WRAPPER_OID: u32 = 13_002;

pub(super) fn filler(name: &str) -> Option<Filler> {
    Some(match name {
        "pg_stat_all_tables" => stat_all_tables,
        "pg_stat_user_tables" => stat_user_tables,
        "pg_foreign_table" => foreign_tables,
        "pg_foreign_server" => foreign_servers,
        "pg_foreign_data_wrapper" => foreign_data_wrappers,
        _ => return None,
    })
}

fn stat_all_tables(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let directory = snapshot.directory();
    for relation in RELATIONS.iter().filter(|r| r.kind == "r") {
        push_statistics(rows, relation.oid, relation.schema, relation.name);
    }
    for entry in &directory.tables {
        push_statistics(rows, entry.oid, &entry.schema, &entry.table.name);
    }
}

fn stat_user_tables(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in &snapshot.directory().tables {
        push_statistics(rows, entry.oid, &entry.schema, &entry.table.name);
    }
}

/// One row of a statistics view: the counters exist and have counted nothing.
fn push_statistics(rows: &mut Rows, oid: u32, schema: &str, name: &str) {
    rows.push(&[
        ("relid", oid.into()),
        ("schemaname", schema.into()),
        ("relname", name.into()),
        ("seq_scan", 0i64.into()),
        ("seq_tup_read", 0i64.into()),
        ("n_tup_ins", 0i64.into()),
        ("n_tup_upd", 0i64.into()),
        ("n_tup_del", 0i64.into()),
        ("n_tup_hot_upd", 0i64.into()),
        ("n_tup_newpage_upd", 0i64.into()),
        ("n_live_tup", 0i64.into()),
        ("n_dead_tup", 0i64.into()),
        ("n_mod_since_analyze", 0i64.into()),
        ("n_ins_since_vacuum", 0i64.into()),
        ("vacuum_count", 0i64.into()),
        ("autovacuum_count", 0i64.into()),
        ("analyze_count", 0i64.into()),
        ("autoanalyze_count", 0i64.into()),
    ]);
}

fn foreign_tables(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for entry in snapshot
        .directory()
        .tables
        .iter()
        .filter(|e| e.table.kind == TableKind::ForeignTable)
    {
        rows.push(&[
            ("ftrelid", entry.oid.into()),
            ("ftserver", FOREIGN_SERVER_OID.into()),
        ]);
    }
}

fn has_foreign_tables(snapshot: &DatabaseSnapshot) -> bool {
    snapshot
        .directory()
        .tables
        .iter()
        .any(|e| e.table.kind == TableKind::ForeignTable)
}

fn foreign_servers(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    if has_foreign_tables(snapshot) {
        rows.push(&[
            ("oid", FOREIGN_SERVER_OID.into()),
            ("srvname", snapshot.database.as_str().into()),
            ("srvowner", OWNER_OID.into()),
            ("srvfdw", FOREIGN_WRAPPER_OID.into()),
        ]);
    }
}

fn foreign_data_wrappers(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    if has_foreign_tables(snapshot) {
        rows.push(&[
            ("oid", FOREIGN_WRAPPER_OID.into()),
            ("fdwname", OWNER_NAME.into()),
            ("fdwowner", OWNER_OID.into()),
            ("fdwhandler", 0u32.into()),
            ("fdwvalidator", 0u32.into()),
        ]);
    }
}
