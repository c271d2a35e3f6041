//! A connector's table as the engine's planner sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Constraint, Constraints, DFSchema, Result, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::conjunction;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use parking_lot::Mutex;
use sluice_spi::{
    FilterPushdown, Pushed, Reason, Relation, SplitRequest, TableHandle, TableKind, TableMetadata,
    TableStatistics,
};

use crate::keys::key_limits;
use crate::options::SluiceOptions;
use crate::scan::{ConnectorScanExec, PushdownNote, ScanTarget};
use crate::{Catalog, Catalogs, statistics};

/// One reference to a table in one statement.
pub struct CatalogTable {
    catalogs: Arc<Catalogs>,
    catalog: Arc<Catalog>,
    metadata: Arc<TableMetadata>,
    schema: SchemaRef,
    constraints: Constraints,
    statistics: Arc<TableStatistics>,
    pushdown: bool,
    /// What the planner offered so far. The planner offers a conjunct more than once.
    notes: Mutex<Vec<PushdownNote>>,
}

impl std::fmt::Debug for CatalogTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "CatalogTable({}.{}.{})",
            self.catalog.name(),
            self.metadata.schema,
            self.metadata.name
        )
    }
}

impl CatalogTable {
    /// A reference to `metadata` of `catalog`.
    pub fn new(
        catalogs: Arc<Catalogs>,
        catalog: Arc<Catalog>,
        metadata: Arc<TableMetadata>,
        statistics: Arc<TableStatistics>,
        pushdown: bool,
    ) -> Self {
        let schema = metadata.arrow_schema();
        let key: Option<Vec<usize>> = metadata
            .primary_key
            .iter()
            .map(|name| schema.index_of(name).ok())
            .collect();
        let constraints = match key {
            Some(key) if !key.is_empty() => {
                Constraints::new_unverified(vec![Constraint::PrimaryKey(key)])
            }
            _ => Constraints::default(),
        };
        let notes = Mutex::default();
        CatalogTable {
            catalogs,
            catalog,
            metadata,
            schema,
            constraints,
            statistics,
            pushdown,
            notes,
        }
    }

    /// The same table without its primary key: see `bind/keys.rs` of the planner.
    #[must_use]
    pub fn without_key(&self) -> Self {
        CatalogTable {
            catalogs: self.catalogs.clone(),
            catalog: self.catalog.clone(),
            metadata: self.metadata.clone(),
            schema: self.schema.clone(),
            constraints: Constraints::default(),
            statistics: self.statistics.clone(),
            pushdown: self.pushdown,
            notes: Mutex::default(),
        }
    }

    /// The catalog it belongs to.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Its description.
    pub fn metadata(&self) -> &Arc<TableMetadata> {
        &self.metadata
    }

    /// Every catalog of this process.
    pub fn catalogs(&self) -> &Arc<Catalogs> {
        &self.catalogs
    }

    /// Whether anything is offered to the source.
    pub fn is_offered(&self) -> bool {
        self.pushdown && self.catalog.connector().pushdown().is_some()
    }

    /// The handle with `filters`, where the source takes all of them exactly; else the reason of one that it
    /// does not.
    pub fn exactly(&self, filters: &[Expr]) -> std::result::Result<TableHandle, Reason> {
        let answer = self.offer(filters);
        for outcome in answer.outcome {
            if let Pushed::Superset(reason) | Pushed::No(reason) = outcome {
                return Err(reason);
            }
        }
        Ok(answer.handle)
    }

    /// What was noted so far.
    pub fn notes(&self) -> Vec<PushdownNote> {
        self.notes.lock().clone()
    }

    /// Notes what happened to work on its way to the source, once.
    pub fn add_note(&self, note: PushdownNote) {
        let mut notes = self.notes.lock();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// `handle`, a handle of this table, with further conjuncts inside; `None` unless the source takes each
    /// of them exactly. For plans that are kept while the constants in their filters change: every
    /// constant goes through the connector's own rules.
    pub fn narrow(&self, handle: &TableHandle, conjuncts: &[Expr]) -> Option<TableHandle> {
        if !self.pushdown || !reads_rows_of_table(&handle.relation) {
            return None;
        }
        let pushdown = self.catalog.connector().pushdown()?;
        let answer = pushdown.apply_filter(&self.metadata, handle, conjuncts);
        let exact = answer.outcome.len() == conjuncts.len()
            && answer.outcome.iter().all(|o| matches!(o, Pushed::Exactly));
        exact.then_some(answer.handle)
    }

    fn offer(&self, conjuncts: &[Expr]) -> FilterPushdown {
        let handle = &self.metadata.handle;
        let refuse = |reason: &str| FilterPushdown {
            handle: handle.clone(),
            outcome: vec![Pushed::No(Reason(reason.to_owned())); conjuncts.len()],
        };
        if !self.pushdown {
            return refuse("switched off by sluice.pushdown");
        }
        match self.catalog.connector().pushdown() {
            Some(pushdown) => pushdown.apply_filter(&self.metadata, handle, conjuncts),
            None => refuse("the connector takes no filters"),
        }
    }

    fn note(&self, conjuncts: &[Expr], outcome: &[Pushed]) {
        for (expr, outcome) in conjuncts.iter().zip(outcome) {
            self.add_note(PushdownNote {
                subject: expr.human_display().to_string(),
                outcome: outcome.clone(),
            });
        }
    }
}

#[async_trait]
impl TableProvider for CatalogTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn table_type(&self) -> TableType {
        match self.metadata.kind {
            TableKind::View | TableKind::MaterializedView => TableType::View,
            TableKind::Table | TableKind::ForeignTable | TableKind::PartitionedTable => {
                TableType::Base
            }
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics::to_engine(&self.statistics, &self.schema))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let conjuncts: Vec<Expr> = filters.iter().map(|e| (*e).clone()).collect();
        let outcome = self.offer(&conjuncts).outcome;
        self.note(&conjuncts, &outcome);
        Ok(outcome
            .iter()
            .map(|pushed| match pushed {
                Pushed::Exactly => TableProviderFilterPushDown::Exact,
                Pushed::Superset(_) => TableProviderFilterPushDown::Inexact,
                Pushed::No(_) => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = SluiceOptions::of(state.config());
        let answer = self.offer(filters);
        let projection = projection
            .cloned()
            .unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let partitions = state.config().target_partitions();
        let query_id: Arc<str> = options.query_id.as_str().into();
        let request = SplitRequest {
            query_id: query_id.clone(),
            parallelism: partitions.saturating_mul(options.workers.max(1)),
            limit,
        };
        let splits = self
            .catalog
            .connector()
            .splits()
            .splits(&answer.handle, &request)
            .await?;
        // Only what the source does exactly changes the number of rows that come out of the scan: for a
        // superset the engine's own filter above does the counting.
        let exact: Vec<Expr> = filters
            .iter()
            .zip(&answer.outcome)
            .filter(|(_, outcome)| matches!(outcome, Pushed::Exactly))
            .map(|(filter, _)| filter.clone())
            .collect();
        let statistics = self.estimate(state, &exact)?;
        let target = Arc::new(ScanTarget {
            query_id,
            schema_name: self.metadata.schema.clone(),
            table_name: self.metadata.name.clone(),
            handle: answer.handle,
            schema: self.schema.clone(),
            coordinator_only: self.catalog.connector().coordinator_only(),
            key_limits: key_limits(
                self.catalog.connector().pushdown(),
                || statistics::to_engine(&self.statistics, &self.schema),
                statistics.num_rows.get_value().copied(),
            ),
            notes: self.notes.lock().clone(),
        });
        let scan = ConnectorScanExec::try_new(
            self.catalogs.clone(),
            target,
            projection.clone(),
            Vec::new(),
            limit,
        )?
        .with_statistics(
            statistics::project(statistics, &self.schema, &projection).with_fetch(limit, 0, 1)?,
        )
        .with_splits(splits, partitions)?;
        Ok(Arc::new(scan))
    }
}

impl CatalogTable {
    /// The statistics of the whole table after `filters`: estimated by the engine's own filter operator, and
    /// guessed where it would take an unknown for everything.
    pub fn estimate(&self, state: &dyn Session, filters: &[Expr]) -> Result<Statistics> {
        let whole = statistics::to_engine(&self.statistics, &self.schema);
        if filters.is_empty() || matches!(whole.num_rows, Precision::Absent) {
            return Ok(whole);
        }
        let filters = filters
            .iter()
            .cloned()
            .map(unqualified)
            .collect::<Result<Vec<Expr>>>()?;
        let (known, guessed) = statistics::split_guessed(filters, &self.schema, &whole);
        if known.is_empty() {
            return Ok(statistics::thinned(whole, guessed));
        }
        let columns = DFSchema::try_from(self.schema.clone())?;
        let predicates = known
            .iter()
            .map(|filter| state.create_physical_expr(filter.clone(), &columns))
            .collect::<Result<Vec<Arc<dyn PhysicalExpr>>>>()?;
        let target = Arc::new(ScanTarget {
            query_id: "".into(),
            schema_name: String::new(),
            table_name: String::new(),
            handle: self.metadata.handle.clone(),
            schema: self.schema.clone(),
            coordinator_only: false,
            key_limits: BTreeMap::new(),
            notes: Vec::new(),
        });
        let all = (0..self.schema.fields().len()).collect();
        let scan =
            ConnectorScanExec::try_new(self.catalogs.clone(), target, all, Vec::new(), None)?
                .with_statistics(whole);
        let filter: Arc<dyn ExecutionPlan> = Arc::new(FilterExec::try_new(
            conjunction(predicates),
            Arc::new(scan),
        )?);
        let estimated =
            StatisticsContext::new().compute(filter.as_ref(), &StatisticsArgs::new())?;
        let estimated = Statistics::clone(&estimated).to_inexact();
        Ok(statistics::thinned(estimated, guessed))
    }
}

/// True where a filter above the relation is a filter on the table's own rows.
fn reads_rows_of_table(relation: &Relation) -> bool {
    match relation {
        Relation::Scan { .. } => true,
        Relation::Filter { input, .. } => reads_rows_of_table(input),
        _ => false,
    }
}

/// The same expression with bare column names, as a table's own schema has them.
fn unqualified(expr: Expr) -> Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    expr.transform(|e| {
        Ok(match e {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::from_name(column.name))),
            other => Transformed::no(other),
        })
    })
    .map(|t| t.data)
}
