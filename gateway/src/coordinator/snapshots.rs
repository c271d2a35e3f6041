//! One snapshot per source and query: opened after the plan is final, held until the query ends.
//!
//! A source that is read by one statement is asked for none: that statement's own snapshot is enough, and a
//! key lookup must not pay for another connection.

use std::any::Any;
use std::collections::BTreeMap;

use futures::future::try_join_all;
use sluice_catalogs::Catalogs;
use sluice_planner::{CatalogReads, PhysicalStatement};
use sluice_spi::{OpenSnapshot, Result};

/// Dropped when the query ends, which frees the snapshots at their sources.
pub(super) type SnapshotGuards = Vec<Box<dyn Any + Send + Sync>>;

/// Opens the snapshots that `statement` needs, at all sources at once, and tells its scans.
pub(super) async fn open(
    catalogs: &Catalogs,
    statement: &mut PhysicalStatement,
) -> Result<SnapshotGuards> {
    let reads: Vec<_> = statement
        .reads()
        .into_iter()
        .filter(|(_, reads)| reads.statements() > 1)
        .collect();
    if reads.is_empty() {
        return Ok(Vec::new());
    }
    let opened = try_join_all(
        reads
            .iter()
            .map(|(catalog, reads)| open_one(catalogs, catalog, reads)),
    )
    .await?;
    let mut tokens = BTreeMap::new();
    let mut guards = SnapshotGuards::new();
    for ((catalog, _), snapshot) in reads.iter().zip(opened) {
        if let Some(snapshot) = snapshot {
            tokens.insert(catalog.clone(), snapshot.token);
            guards.push(snapshot.guard);
        }
    }
    if !tokens.is_empty() {
        statement.share_snapshots(&tokens)?;
    }
    Ok(guards)
}

async fn open_one(
    catalogs: &Catalogs,
    catalog: &str,
    reads: &CatalogReads,
) -> Result<Option<OpenSnapshot>> {
    match catalogs.require(catalog)?.connector().snapshots() {
        Some(snapshots) => snapshots.open(&reads.reads()).await,
        None => Ok(None),
    }
}
