//! The rows of each system relation. A relation that no function here fills is empty: it exists for
//! clients that ask, and describes something that Sluice does not have.

mod classes;
mod information_schema;
mod keys;
mod server;
mod statistics;
mod types;

use arrow::array::RecordBatch;
use sluice_spi::{Result, TableKind};

use super::relations::SystemRelation;
use super::rows::Rows;
use super::snapshot::DatabaseSnapshot;

type Filler = fn(&DatabaseSnapshot, &mut Rows);

/// All rows of one relation.
pub(super) fn rows_of(
    snapshot: &DatabaseSnapshot,
    relation: &'static SystemRelation,
) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation);
    let filler: Option<Filler> = match relation.schema {
        "information_schema" => information_schema::filler(relation.name),
        _ => classes::filler(relation.name)
            .or_else(|| keys::filler(relation.name))
            .or_else(|| statistics::filler(relation.name))
            .or_else(|| server::filler(relation.name))
            .or_else(|| types::filler(relation.name)),
    };
    if let Some(fill) = filler {
        fill(snapshot, &mut rows);
    }
    rows.finish()
}

/// `pg_class.relkind` of a table.
pub(super) fn relkind(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Table => "r",
        TableKind::View => "v",
        TableKind::MaterializedView => "m",
        TableKind::ForeignTable => "f",
        TableKind::PartitionedTable => "p",
    }
}
