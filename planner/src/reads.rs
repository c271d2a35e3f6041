//! What a final plan reads of each catalog, so that a source which is read by several statements can give
//! them all one snapshot. Opens nothing: the coordinator does.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion_distributed::{DistributedExec, DistributedLeafExec, NetworkBoundaryExt};
use sluice_catalogs::{ConnectorScanExec, SluiceOptions, as_scan};
use sluice_spi::{Result, SnapshotRead, SnapshotToken};

use crate::physical::PhysicalStatement;

/// The scans of one catalog.
#[derive(Debug, Default)]
pub struct CatalogReads {
    scans: Vec<Arc<dyn ExecutionPlan>>,
    statements: usize,
}

impl CatalogReads {
    /// Statements that the source will run: two at least where one scan runs again and again.
    pub fn statements(&self) -> usize {
        self.statements
    }

    /// Each scan with all of its splits.
    pub fn reads(&self) -> Vec<SnapshotRead<'_>> {
        self.scans
            .iter()
            .filter_map(|plan| as_scan(plan.as_ref()))
            .map(|scan| SnapshotRead {
                handle: &scan.target().handle,
                splits: scan.splits().collect(),
            })
            .collect()
    }
}

impl PhysicalStatement {
    /// What it reads, by catalog.
    pub fn reads(&self) -> BTreeMap<String, CatalogReads> {
        let mut found = BTreeMap::new();
        collect(&self.plan, false, &mut found);
        found
    }

    /// Has its scans read under these snapshots, in this process and on workers.
    pub fn share_snapshots(&mut self, tokens: &BTreeMap<String, SnapshotToken>) -> Result<()> {
        let mut config = self.context.session_config().clone();
        let mut options = SluiceOptions::of(&config);
        options.set_snapshots(tokens)?;
        config.options_mut().extensions.insert(options);
        let old = &self.context;
        self.context = Arc::new(TaskContext::new(
            old.task_id(),
            old.session_id(),
            config,
            old.scalar_functions().clone(),
            old.higher_order_functions().clone(),
            old.aggregate_functions().clone(),
            old.window_functions().clone(),
            old.runtime_env(),
        ));
        Ok(())
    }
}

fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    repeated: bool,
    found: &mut BTreeMap<String, CatalogReads>,
) {
    // A leaf that was dealt out to tasks holds the whole scan beside its shares.
    if let Some(leaf) = plan.downcast_ref::<DistributedLeafExec>() {
        return collect(leaf.original(), repeated, found);
    }
    if let Some(scan) = as_scan(plan.as_ref()) {
        let reads = found.entry(catalog_of(scan)).or_default();
        let times = if repeated { 2 } else { 1 };
        reads.statements += scan.splits().count() * times;
        reads.scans.push(plan.clone());
        return;
    }
    let repeated = repeated || plan.is::<RecursiveQueryExec>();
    if let Some(distributed) = plan.downcast_ref::<DistributedExec>() {
        for child in distributed.children() {
            collect(child, repeated, found);
        }
        return;
    }
    match plan.as_network_boundary() {
        Some(boundary) => {
            if let Some(below) = boundary.input_stage().local_plan() {
                collect(below, repeated, found);
            }
        }
        None => {
            for child in plan.children() {
                collect(child, repeated, found);
            }
        }
    }
}

fn catalog_of(scan: &ConnectorScanExec) -> String {
    scan.target().handle.catalog.clone()
}
