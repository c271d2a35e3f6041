//! The one leaf of every plan: reads splits of a table handle through its connector.
//!
//! It carries a catalog's name, never a connection: each process resolves the name in its own
//! [`Catalogs`]. On a worker it arrives through [`crate::SluiceCodec`] with the splits of its task.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::utils::reassign_expr_columns;
use datafusion::physical_expr::{DynamicFilterTracking, EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt};
use sluice_spi::{
    ColumnMetadata, Generated, Pushed, ReadRequest, RunTimeKeys, ScanDescription, ScanMetrics,
    Split, SplitRequest, TableHandle, TableKind, TableMetadata,
};

use crate::keys::{Keyed, KeyedScan, SharedKeys};
use crate::{Catalogs, SluiceOptions};

/// What happened to a conjunct or an operation on its way to the source, for EXPLAIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushdownNote {
    /// The conjunct as the user would write it, or the operation in a few words.
    pub subject: String,
    /// How far it went, and why not further.
    pub outcome: Pushed,
}

/// What a scan reads. Shared by all copies of one scan in a plan.
#[derive(Debug)]
pub struct ScanTarget {
    /// The query.
    pub query_id: Arc<str>,
    /// Schema and table as the user knows them.
    pub schema_name: String,
    /// See `schema_name`.
    pub table_name: String,
    /// The handle, pushdowns included.
    pub handle: TableHandle,
    /// The Arrow schema of all of the handle's columns.
    pub schema: SchemaRef,
    /// True where only the coordinator's process has the data.
    pub coordinator_only: bool,
    /// Keys of a column (by its index in `schema`) beyond which they are not sent one by one.
    pub key_limits: BTreeMap<usize, usize>,
    /// What was pushed and what not. Empty on workers.
    pub notes: Vec<PushdownNote>,
}

impl ScanTarget {
    /// What is read, for people: `catalog.schema.table`, or the catalog and the operations that it does.
    pub fn label(&self) -> String {
        let (catalog, relation) = (&self.handle.catalog, &self.handle.relation);
        match relation.is_plain() {
            true => format!("{catalog}.{}.{}", self.schema_name, self.table_name),
            false => format!("{catalog}: {relation}"),
        }
    }
}

impl ScanTarget {
    /// The table as a connector is asked about it while it is read.
    pub(crate) fn metadata(&self) -> TableMetadata {
        let native = self.handle.relation.columns();
        let columns = self.schema.fields().iter().enumerate();
        TableMetadata {
            schema: self.schema_name.clone(),
            name: self.table_name.clone(),
            kind: TableKind::Table,
            comment: None,
            columns: columns
                .map(|(index, field)| ColumnMetadata {
                    field: field.clone(),
                    native_type: native
                        .get(index)
                        .map(|column| column.native_type.clone())
                        .unwrap_or_default(),
                    comment: None,
                    default: None,
                    generated: Generated::No,
                })
                .collect(),
            primary_key: Vec::new(),
            handle: self.handle.clone(),
        }
    }
}

/// Reads the splits of a table. Partition `i` reads the splits of group `i`, one after the other.
#[derive(Debug, Clone)]
pub struct ConnectorScanExec {
    catalogs: Arc<Catalogs>,
    target: Arc<ScanTarget>,
    projection: Vec<usize>,
    groups: Vec<Vec<Split>>,
    limit: Option<usize>,
    is_one_task: bool,
    /// Filters over the scan's output that other operators fill while they run.
    dynamic_filters: Vec<Arc<dyn PhysicalExpr>>,
    /// What becomes of them where the source takes keys.
    keys: Arc<SharedKeys>,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ConnectorScanExec {
    /// A scan of `groups`, one partition per group (at least one).
    pub fn try_new(
        catalogs: Arc<Catalogs>,
        target: Arc<ScanTarget>,
        projection: Vec<usize>,
        mut groups: Vec<Vec<Split>>,
        limit: Option<usize>,
    ) -> Result<Self> {
        if groups.is_empty() {
            groups.push(Vec::new());
        }
        let schema = Arc::new(target.schema.project(&projection)?);
        // No ordering and no hash partitioning is declared: spreading splits over tasks breaks both.
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Ok(ConnectorScanExec {
            catalogs,
            target,
            projection,
            groups,
            limit,
            is_one_task: false,
            dynamic_filters: Vec::new(),
            keys: Arc::default(),
            statistics: Arc::new(Statistics::new_unknown(&schema)),
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan with statistics of its output.
    #[must_use]
    pub fn with_statistics(mut self, statistics: Statistics) -> Self {
        self.statistics = Arc::new(statistics);
        self
    }

    /// The same scan with filters over its output that are filled at run time.
    #[must_use]
    pub fn with_dynamic_filters(mut self, filters: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        self.dynamic_filters = filters;
        self.keys = Arc::default();
        self
    }

    /// The same scan with its splits spread anew over `partitions`.
    pub fn with_splits(&self, splits: Vec<Split>, partitions: usize) -> Result<Self> {
        let mut scan = Self::try_new(
            self.catalogs.clone(),
            self.target.clone(),
            self.projection.clone(),
            spread(splits, partitions),
            self.limit,
        )?;
        scan.dynamic_filters.clone_from(&self.dynamic_filters);
        scan.statistics = self.statistics.clone();
        scan.is_one_task = self.is_one_task;
        Ok(scan)
    }

    /// The same scan for another query, of `handle` where its filters changed. Splits are asked for anew:
    /// `None` where there is not just one, and where this scan has several partitions or depends on operators
    /// above it.
    pub async fn again(
        &self,
        query_id: &Arc<str>,
        handle: Option<TableHandle>,
        parallelism: usize,
    ) -> Result<Option<Self>> {
        if !self.dynamic_filters.is_empty() || self.groups.len() != 1 {
            return Ok(None);
        }
        let handle = handle.unwrap_or_else(|| self.target.handle.clone());
        let request = SplitRequest {
            query_id: query_id.clone(),
            parallelism,
            limit: self.limit,
        };
        let connector = self.catalogs.require(&handle.catalog)?.connector();
        let splits = connector.splits().splits(&handle, &request).await?;
        if splits.len() != 1 {
            return Ok(None);
        }
        let target = ScanTarget {
            query_id: query_id.clone(),
            schema_name: self.target.schema_name.clone(),
            table_name: self.target.table_name.clone(),
            handle,
            schema: self.target.schema.clone(),
            coordinator_only: self.target.coordinator_only,
            key_limits: self.target.key_limits.clone(),
            notes: Vec::new(),
        };
        Ok(Some(ConnectorScanExec {
            target: Arc::new(target),
            groups: vec![splits],
            keys: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            ..self.clone()
        }))
    }

    /// One scan per task; together they read every split once. All have the same number of partitions.
    pub fn for_tasks(&self, tasks: usize, partitions: usize) -> Result<Vec<Self>> {
        let shares = spread(self.splits().cloned().collect(), tasks);
        let widest = shares
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or(0)
            .clamp(1, partitions.max(1));
        (0..tasks)
            .map(|task| {
                let share = shares.get(task).cloned().unwrap_or_default();
                let mut scan = self.with_splits(share, widest)?;
                scan.pad_groups(widest);
                Ok(scan)
            })
            .collect()
    }

    fn pad_groups(&mut self, partitions: usize) {
        self.groups.resize(partitions, Vec::new());
        let properties = PlanProperties::clone(&self.properties);
        self.properties =
            Arc::new(properties.with_partitioning(Partitioning::UnknownPartitioning(partitions)));
    }

    /// What it reads.
    pub fn target(&self) -> &ScanTarget {
        &self.target
    }

    /// The same scan, not to be spread over tasks.
    #[must_use]
    pub fn in_one_task(mut self) -> Self {
        self.is_one_task = true;
        self
    }

    /// True where it must not be spread over tasks.
    pub fn is_one_task(&self) -> bool {
        self.is_one_task || self.target.coordinator_only
    }

    /// Columns of the handle that it returns, in order.
    pub fn projection(&self) -> &[usize] {
        &self.projection
    }

    /// Its splits by partition.
    pub fn groups(&self) -> &[Vec<Split>] {
        &self.groups
    }

    /// All of its splits.
    pub fn splits(&self) -> impl Iterator<Item = &Split> {
        self.groups.iter().flatten()
    }

    /// Rows after which it may stop.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Filters that are filled at run time.
    pub fn dynamic_filters(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.dynamic_filters
    }

    /// What its source takes of keys that become known at run time.
    pub fn run_time_keys(&self) -> Option<RunTimeKeys> {
        let catalog = self.catalogs.get(&self.target.handle.catalog)?;
        catalog.connector().run_time_keys()
    }

    pub(crate) fn shared_keys(&self) -> &SharedKeys {
        &self.keys
    }

    /// What the connector says it will do at the source.
    pub fn describe(&self) -> ScanDescription {
        match self.catalogs.get(&self.target.handle.catalog) {
            Some(catalog) => {
                catalog
                    .connector()
                    .describe(&self.target.handle, &self.projection, self.limit)
            }
            None => ScanDescription::default(),
        }
    }
}

/// Spreads splits over at most `bins` groups of about the same weight, the heavy ones first.
fn spread(splits: Vec<Split>, bins: usize) -> Vec<Vec<Split>> {
    let bins = bins.min(splits.len()).max(1);
    let weight = |split: &Split| split.bytes.or(split.rows).unwrap_or(1).max(1);
    let mut order: Vec<usize> = (0..splits.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(weight(&splits[i])));
    let mut loads = vec![0u64; bins];
    let mut bin_of = vec![0usize; splits.len()];
    for i in order {
        let lightest = (0..bins).min_by_key(|&bin| loads[bin]).unwrap_or(0);
        loads[lightest] = loads[lightest].saturating_add(weight(&splits[i]));
        bin_of[i] = lightest;
    }
    let mut groups = vec![Vec::new(); bins];
    // In the source's own order inside of each group: neighbours are read one after the other.
    for (split, bin) in splits.into_iter().zip(bin_of) {
        groups[bin].push(split);
    }
    groups
}

/// Counts of one partition, registered as they appear.
struct PartitionMetrics {
    set: ExecutionPlanMetricsSet,
    partition: usize,
    source_bytes: Count,
}

impl ScanMetrics for PartitionMetrics {
    fn add_source_bytes(&self, bytes: usize) {
        self.source_bytes.add(bytes);
    }

    fn add_count(&self, name: &'static str, count: usize) {
        MetricBuilder::new(&self.set)
            .counter(name, self.partition)
            .add(count);
    }
}

impl DisplayAs for ConnectorScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ConnectorScanExec: {}, splits={}",
            self.target.label(),
            self.splits().count()
        )
    }
}

impl ExecutionPlan for ConnectorScanExec {
    fn name(&self) -> &str {
        "ConnectorScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for filter in &self.dynamic_filters {
            next = f(filter)?;
            if next == TreeNodeRecursion::Stop {
                break;
            }
        }
        Ok(next)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return internal_err!("a scan has no children");
        }
        Ok(self)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut fresh = Self::clone(&self);
        fresh.metrics = ExecutionPlanMetricsSet::new();
        // Their joins forget them too, so the keys of the last run would stay in them.
        fresh.dynamic_filters.clear();
        fresh.keys = Arc::default();
        Ok(Arc::new(fresh))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(splits) = self.groups.get(partition).cloned() else {
            return internal_err!(
                "a scan of {} partitions has no {partition}",
                self.groups.len()
            );
        };
        let connector = self
            .catalogs
            .require(&self.target.handle.catalog)?
            .connector()
            .clone();
        let dynamic_filters = self
            .dynamic_filters
            .iter()
            .map(|filter| reassign_expr_columns(filter.clone(), &self.target.schema))
            .collect::<Result<Vec<_>>>()?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let metrics: Arc<dyn ScanMetrics> = Arc::new(PartitionMetrics {
            source_bytes: MetricBuilder::new(&self.metrics).counter("source_bytes", partition),
            set: self.metrics.clone(),
            partition,
        });
        let options = SluiceOptions::inside(context.session_config());
        let snapshot = match options {
            Some(options) => options.snapshot(&self.target.handle.catalog)?,
            None => None,
        };
        let keyed = connector
            .run_time_keys()
            .filter(|_| !dynamic_filters.is_empty())
            .map(|limits| KeyedScan {
                connector: connector.clone(),
                target: self.target.clone(),
                filters: dynamic_filters.clone(),
                limits,
                wait: options.and_then(SluiceOptions::dynamic_filter_wait),
                metrics: self.metrics.clone(),
                partition,
            });
        let keys = self.keys.clone();
        let handle = self.target.handle.clone();
        // Asked for at the first poll: by then, the joins above have usually read their other side.
        let start = async move {
            Ok::<_, DataFusionError>(match keyed {
                None => Some(handle),
                Some(wish) => match keys.resolve(&wish).await? {
                    Keyed::Handle(handle) => Some(*handle),
                    Keyed::Nothing => None,
                },
            })
        };
        let request = move |split: Split,
                            handle: &TableHandle,
                            target: &ScanTarget,
                            projection: &[usize],
                            limit| ReadRequest {
            query_id: target.query_id.clone(),
            handle: handle.clone(),
            split,
            schema: target.schema.clone(),
            projection: projection.to_vec(),
            limit,
            dynamic_filters: dynamic_filters.clone(),
            snapshot: snapshot.clone(),
            batch_rows: context.session_config().batch_size(),
            metrics: metrics.clone(),
        };
        let (target, projection, limit) =
            (self.target.clone(), self.projection.clone(), self.limit);
        let batches = futures::stream::once(start)
            .map_ok(move |handle| {
                let (connector, request) = (connector.clone(), request.clone());
                let (target, projection) = (target.clone(), projection.clone());
                let splits = if handle.is_some() {
                    splits.clone()
                } else {
                    Vec::new()
                };
                let handle = handle.unwrap_or_else(|| target.handle.clone());
                futures::stream::iter(splits)
                    .map(move |split| {
                        let request = request(split, &handle, &target, &projection, limit);
                        connector
                            .reader()
                            .read(request)
                            .map(|s| s.map_err(DataFusionError::from))
                    })
                    .map_err(DataFusionError::from)
                    .try_flatten()
            })
            .try_flatten()
            .inspect(move |batch| {
                if let Ok(batch) = batch {
                    baseline.record_output(batch.num_rows());
                }
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        if args.partition().is_some() {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema())));
        }
        Ok(self.statistics.clone())
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let offered = child_pushdown_result.parent_filters;
        // "No" to all: a dynamic filter only ever saves work, so whoever made it still checks.
        let filters = vec![PushedDown::No; offered.len()];
        let dynamic: Vec<_> = offered
            .into_iter()
            .map(|f| f.filter)
            .filter(|f| DynamicFilterTracking::classify(f).contains_dynamic_filter())
            .collect();
        // A limit picks its rows before a filter above it sees them.
        let is_limited = self.limit.is_some();
        if !matches!(phase, FilterPushdownPhase::Post) || dynamic.is_empty() || is_limited {
            return Ok(FilterPushdownPropagation {
                filters,
                updated_node: None,
            });
        }
        let mut scan = self.clone();
        scan.dynamic_filters.extend(dynamic);
        scan.keys = Arc::default();
        Ok(FilterPushdownPropagation {
            filters,
            updated_node: Some(Arc::new(scan)),
        })
    }
}

/// The scan inside of `plan`, where `plan` is one.
pub fn as_scan(plan: &dyn ExecutionPlan) -> Option<&ConnectorScanExec> {
    // The engine's own downcast looks through wrappers that add metrics.
    plan.downcast_ref::<ConnectorScanExec>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(bytes: u64) -> Split {
        Split {
            payload: Vec::new(),
            rows: None,
            bytes: Some(bytes),
            label: String::new(),
        }
    }

    #[test]
    fn splits_are_spread_by_weight_and_none_is_lost() {
        let groups = spread([8, 1, 1, 1, 5].map(split).to_vec(), 2);
        let weights: Vec<u64> = groups
            .iter()
            .map(|g| g.iter().filter_map(|s| s.bytes).sum())
            .collect();
        assert_eq!(weights, [8, 8]);
        assert_eq!(spread(Vec::new(), 4).len(), 1);
        assert_eq!(spread([1, 1].map(split).to_vec(), 4).len(), 2);
    }
}
