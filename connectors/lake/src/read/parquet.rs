//! Parquet through DataFusion's own source: one plan node per piece, with the pushed predicates and the
//! run-time filters as its pruning predicate.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_expr::conjunction;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use object_store::ObjectStore;
use sluice_spi::{BatchStream, Error, PhysicalExpr, Result, ScalarExpr, ScanMetrics};
use url::Url;

use super::{SplitScan, rows, sample};
use crate::error::parquet_error;
use crate::metadata::footer_guess;
use crate::predicate::physical_predicate;
use crate::pushdown::is_float_type;
use crate::schema::check_file;
use crate::store::PinnedStore;

/// Reads the Parquet pieces of a split.
pub(super) struct ParquetReader {
    scan: Arc<SplitScan>,
    table_schema: TableSchema,
    context: Arc<TaskContext>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    row_filter: bool,
}

/// What one pass over a piece returns.
pub(super) struct Pass<'a> {
    pub(super) projection: &'a [usize],
    pub(super) output: SchemaRef,
    pub(super) predicate: Option<&'a Arc<dyn PhysicalExpr>>,
    pub(super) row_filter: bool,
    pub(super) limit: Option<usize>,
}

impl ParquetReader {
    /// Builds the predicates, and decides by a sample whether the run-time filters are worth applying to
    /// single rows.
    pub(super) async fn prepare(scan: Arc<SplitScan>) -> Result<Self> {
        let file_columns = scan.file_columns();
        let fields = scan.request.schema.fields();
        let file_schema = Arc::new(Schema::new(fields[..file_columns].to_vec()));
        let table_schema = TableSchema::builder(file_schema)
            .with_table_partition_cols(fields[file_columns..].to_vec())
            .build();

        let pushed: Vec<ScalarExpr> = scan
            .request
            .handle
            .relation
            .predicates()
            .iter()
            .filter(|p| !scan.payload.is_partition_predicate(p))
            .cloned()
            .collect();
        let pushed = match pushed.as_slice() {
            [] => None,
            some => Some(physical_predicate(some, &scan.request.schema)?),
        };
        let run_time: Vec<_> = scan
            .request
            .dynamic_filters
            .iter()
            .filter(|filter| !touches_floats(filter, &scan.request.schema))
            .cloned()
            .collect();

        let session = SessionConfig::new().with_batch_size(scan.request.batch_rows.max(1));
        let runtime = pinned_runtime(&scan.store.runtime, scan.pinned.clone())?;
        let context = Arc::new(TaskContext::new(
            None,
            scan.request.query_id.to_string(),
            session,
            Default::default(),
            Default::default(),
            Default::default(),
            Default::default(),
            runtime,
        ));
        let mut reader = ParquetReader {
            scan,
            table_schema,
            context,
            predicate: None,
            row_filter: false,
        };
        if !run_time.is_empty() {
            reader.row_filter =
                sample::is_selective(&reader, &conjunction(run_time.clone())).await?;
        }
        // Where rows are tested, the cheap tests come first: a number against a constant before a hash
        // lookup, a lookup that drops nearly every row before a pattern against text.
        let all: Vec<_> = match pushed {
            Some(pushed) if reads_fixed_widths(&pushed, &reader.scan.request.schema) => {
                [pushed].into_iter().chain(run_time).collect()
            }
            pushed => run_time.into_iter().chain(pushed).collect(),
        };
        reader.predicate = (!all.is_empty()).then(|| conjunction(all));
        Ok(reader)
    }

    pub(super) fn scan(&self) -> &SplitScan {
        &self.scan
    }

    /// The batches of a piece.
    pub(super) fn open(&self, index: usize) -> Result<BatchStream> {
        // A predicate only prunes here, so a limit may not count rows below it; the stream is cut above.
        let limit = self.scan.request.limit.filter(|_| self.predicate.is_none());
        self.pass(
            index,
            Pass {
                projection: &self.scan.request.projection,
                output: self.scan.output.clone(),
                predicate: self.predicate.as_ref(),
                row_filter: self.row_filter,
                limit,
            },
        )
    }

    pub(super) fn pass(&self, index: usize, pass: Pass<'_>) -> Result<BatchStream> {
        let scan = &self.scan;
        let piece = &scan.pieces[index];
        let file = scan.file(piece)?;
        let failed = |e| parquet_error(&file, &e);

        let mut options = TableParquetOptions::default();
        options.global.coerce_int96 = Some("us".to_owned());
        options.global.pushdown_filters = pass.row_filter;
        let store: Arc<dyn ObjectStore> = scan.pinned.clone();
        let footers = scan.store.runtime.cache_manager.get_file_metadata_cache();
        let mut source = ParquetSource::new(self.table_schema.clone())
            .with_table_parquet_options(options)
            .with_metadata_size_hint(footer_guess(piece.size))
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store, footers,
            )));
        if let Some(predicate) = pass.predicate {
            source = source.with_predicate(predicate.clone());
        }
        let mut part = PartitionedFile::new_from_meta(piece.meta()?);
        part.partition_values = scan
            .payload
            .partitions
            .iter()
            .zip(&piece.partition)
            .map(|(column, text)| column.value(text.as_deref()))
            .collect::<Result<_>>()?;
        if let Some((start, end)) = piece.range {
            part = part.with_range(start as i64, end as i64);
        }
        let config = FileScanConfigBuilder::new(pinned_url()?, Arc::new(source))
            .with_file(part)
            .with_limit(pass.limit)
            .with_projection_indices(Some(pass.projection.to_vec()))
            .map_err(failed)?
            .with_expr_adapter(Some(Arc::new(CheckedAdapters { file: file.clone() })))
            .build();
        let plan = DataSourceExec::from_data_source(config);
        let batches = plan.execute(0, self.context.clone()).map_err(failed)?;
        let counts = CountsAtEnd {
            plan,
            metrics: scan.request.metrics.clone(),
        };
        let output = pass.output;
        Ok(batches
            .map(move |batch| {
                // Dropped with the stream, however that ends.
                let _ = &counts;
                rows::with_schema(batch.map_err(|e| parquet_error(&file, &e))?, &output, &file)
            })
            .boxed())
    }
}

/// True where a filter reads a floating-point column, whose statistics leave NaN out: a top-N or a join
/// would lose the rows that hold it.
fn touches_floats(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    collect_columns(filter).iter().any(|c| {
        schema
            .fields()
            .get(c.index())
            .is_none_or(|f| is_float_type(f.data_type()))
    })
}

/// True where a predicate reads columns of numbers, dates and the like alone.
fn reads_fixed_widths(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    collect_columns(predicate).iter().all(|c| {
        schema
            .fields()
            .get(c.index())
            .is_some_and(|f| f.data_type().primitive_width().is_some())
    })
}

/// Adds the reader's own counts to the scan's when the stream ends or is dropped.
struct CountsAtEnd {
    plan: Arc<dyn ExecutionPlan>,
    metrics: Arc<dyn ScanMetrics>,
}

impl Drop for CountsAtEnd {
    fn drop(&mut self) {
        let Some(metrics) = self.plan.metrics() else {
            return;
        };
        for metric in metrics.iter() {
            let (name, count) = match metric.value() {
                MetricValue::PruningMetrics {
                    name,
                    pruning_metrics,
                } => {
                    let name = match name.as_ref() {
                        "row_groups_pruned_statistics" => "row groups pruned",
                        "row_groups_pruned_bloom_filter" => "row groups pruned by bloom filter",
                        "page_index_pages_pruned" => "pages pruned",
                        "files_ranges_pruned_statistics" => "files pruned",
                        _ => continue,
                    };
                    (name, pruning_metrics.pruned())
                }
                MetricValue::Count { name, count } => {
                    let name = match name.as_ref() {
                        "row_groups_pruned_dynamic_filter" => "row groups pruned at run time",
                        "pushdown_rows_pruned" => "rows filtered at the source",
                        _ => continue,
                    };
                    (name, count.value())
                }
                _ => continue,
            };
            if count > 0 {
                self.metrics.add_count(name, count);
            }
        }
    }
}

/// The engine's own adaptation of a file's columns to the table's, for types that hold every value.
#[derive(Debug)]
struct CheckedAdapters {
    file: String,
}

impl PhysicalExprAdapterFactory for CheckedAdapters {
    fn create(
        &self,
        table: SchemaRef,
        physical: SchemaRef,
    ) -> datafusion::error::Result<Arc<dyn PhysicalExprAdapter>> {
        check_file(&self.file, &table, &physical)?;
        // The adapter casts wherever fields differ, be it in metadata or nullability alone, and a cast
        // column is lost for bloom filters: so equal types are equal fields.
        let fields: Vec<_> = table
            .fields()
            .iter()
            .map(|field| match physical.field_with_name(field.name()) {
                Ok(own) if own.data_type() == field.data_type() => Arc::new(own.clone()),
                _ => field.clone(),
            })
            .collect();
        DefaultPhysicalExprAdapterFactory.create(Arc::new(Schema::new(fields)), physical)
    }
}

/// The one store of a read.
#[derive(Debug)]
struct PinnedRegistry(Arc<PinnedStore>);

impl ObjectStoreRegistry for PinnedRegistry {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, _: &Url) -> datafusion::error::Result<Arc<dyn ObjectStore>> {
        Ok(self.0.clone())
    }
}

fn pinned_runtime(shared: &RuntimeEnv, pinned: Arc<PinnedStore>) -> Result<Arc<RuntimeEnv>> {
    RuntimeEnvBuilder::from_runtime_env(shared)
        .with_object_store_registry(Arc::new(PinnedRegistry(pinned)))
        .build_arc()
        .map_err(|e| Error::internal(format!("could not set up the reader: {e}")))
}

/// A name for [`PinnedRegistry`], which answers to any.
fn pinned_url() -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse("lake://pinned").map_err(|e| Error::internal(e.to_string()))
}
