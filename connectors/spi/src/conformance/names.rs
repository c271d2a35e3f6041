//! Listings, descriptions, keys: what the catalog says about itself.

use std::collections::HashSet;

use super::{Behaviour, Fixture, Report};
use crate::{Connector, HANDLE_VERSION, TableMetadata};

/// Names that no fixture holds, some of them as hostile as a name can be.
const UNKNOWN_NAMES: [&str; 6] = [
    "no_such_name",
    "",
    "a\"b'c\\d",
    "x; drop table y",
    "%",
    "ünknown name ",
];

pub(super) async fn check(connector: &dyn Connector, fixture: &Fixture, report: &mut Report) {
    let names = Behaviour::Names;
    let metadata = connector.metadata();
    let ping = connector.ping().await.map_err(|e| e.to_string());
    report.expect(names, "ping", ping);
    let listed = metadata.schemas().await.map_err(|e| e.to_string());
    if let Some(schemas) = report.expect(names, "schemas", listed) {
        report.check(names, schemas.contains(&fixture.schema), || {
            format!("schemas() lacks {}", fixture.schema)
        });
        report.check(
            names,
            schemas.iter().collect::<HashSet<_>>().len() == schemas.len(),
            || "schemas() names one twice".into(),
        );
    }
    let listed = metadata
        .tables(&fixture.schema)
        .await
        .map_err(|e| e.to_string());
    let Some(listing) = report.expect(names, "tables", listed) else {
        return;
    };
    let unique: HashSet<&str> = listing
        .iter()
        .map(|summary| summary.name.as_str())
        .collect();
    report.check(names, unique.len() == listing.len(), || {
        "tables() names one twice".into()
    });
    for name in &fixture.tables {
        report.check(names, unique.contains(name.as_str()), || {
            format!("tables() lacks {name}")
        });
    }
    for summary in &listing {
        let found = metadata
            .table(&fixture.schema, &summary.name)
            .await
            .map_err(|e| e.to_string());
        if let Some(found) = report.expect(names, &summary.name, found) {
            let agrees = found
                .as_ref()
                .is_some_and(|table| table.kind == summary.kind);
            report.check(names, agrees, || {
                format!("{}: table() and tables() differ", summary.name)
            });
            if let Some(table) = found {
                describe(connector, fixture, &table, &summary.name, report);
            }
        }
    }
    let described = metadata
        .describe_schema(&fixture.schema)
        .await
        .map_err(|e| e.to_string());
    if let Some(described) = report.expect(names, "describe_schema", described) {
        report.check(names, described.len() == listing.len(), || {
            format!(
                "describe_schema() has {} tables, tables() {}",
                described.len(),
                listing.len()
            )
        });
        for table in &described {
            let alone = metadata
                .table(&fixture.schema, &table.name)
                .await
                .ok()
                .flatten();
            let agrees = alone.is_some_and(|alone| {
                alone.columns == table.columns && alone.handle == table.handle
            });
            report.check(names, agrees, || {
                format!("{}: describe_schema() and table() differ", table.name)
            });
        }
    }
    check_unknown(connector, fixture, &unique, report).await;
}

async fn check_unknown(
    connector: &dyn Connector,
    fixture: &Fixture,
    known: &HashSet<&str>,
    report: &mut Report,
) {
    let metadata = connector.metadata();
    let upper: Vec<String> = fixture
        .tables
        .iter()
        .map(|name| name.to_uppercase())
        .collect();
    let tables = UNKNOWN_NAMES
        .into_iter()
        .chain(upper.iter().map(String::as_str));
    for name in tables.filter(|name| !known.contains(name)) {
        let found = metadata.table(&fixture.schema, name).await;
        report.check(Behaviour::Names, matches!(found, Ok(None)), || {
            format!("table {name:?} should be unknown, not {found:?}")
        });
    }
    for name in UNKNOWN_NAMES {
        let found = metadata.tables(name).await;
        report.check(
            Behaviour::Names,
            matches!(&found, Ok(list) if list.is_empty()),
            || format!("schema {name:?} should hold nothing, not {found:?}"),
        );
        if let Some(table) = fixture.tables.first() {
            let found = metadata.table(name, table).await;
            report.check(Behaviour::Names, matches!(found, Ok(None)), || {
                format!("table {table} of schema {name:?} should be unknown, not {found:?}")
            });
        }
    }
}

fn describe(
    connector: &dyn Connector,
    fixture: &Fixture,
    table: &TableMetadata,
    listed: &str,
    report: &mut Report,
) {
    let mut check = |holds: bool, message: &str| {
        report.check(Behaviour::Names, holds, || format!("{listed}: {message}"));
    };
    check(
        table.name == listed && table.schema == fixture.schema,
        "is described under another name",
    );
    check(
        table.handle.version == HANDLE_VERSION,
        "its handle has another version",
    );
    check(
        !table.handle.catalog.is_empty(),
        "its handle names no catalog",
    );
    let columns: Vec<&str> = table
        .columns
        .iter()
        .map(|c| c.field.name().as_str())
        .collect();
    let remote = table.handle.relation.columns();
    check(
        columns
            .iter()
            .copied()
            .eq(remote.iter().map(|c| c.name.as_str())),
        "the columns of its handle are not the columns of its schema",
    );
    check(
        columns.iter().collect::<HashSet<_>>().len() == columns.len(),
        "two columns have one name",
    );
    check(
        table
            .columns
            .iter()
            .zip(remote)
            .all(|(c, r)| c.field.is_nullable() == r.nullable),
        "schema and handle differ on NOT NULL",
    );
    check(
        table.columns.iter().all(|c| !c.native_type.is_empty()),
        "a column has no native type",
    );
    check(
        table
            .primary_key
            .iter()
            .all(|key| columns.contains(&key.as_str())),
        "the primary key names a column that is not there",
    );
    check(
        table.handle.relation.predicates().is_empty(),
        "its handle filters before anything was pushed",
    );
    let all: Vec<usize> = (0..columns.len()).collect();
    let described = connector.describe(&table.handle, &all, None);
    let pure = described == connector.describe(&table.handle, &all, None);
    check(pure, "describe() answers differently the second time");
}
