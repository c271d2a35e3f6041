//! The kit tests itself: an honest table passes, and each kind of lie is found.

// Helpers beside the tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::DFSchema;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, stream};
use sluice_spi::conformance::{self, Behaviour, Fixture, Report};
use sluice_spi::{
    BatchStream, ColumnMetadata, ColumnStatistics, CompareOp, Connector, Error, Estimate, Expr,
    FilterPushdown, Generated, Literal, Metadata, Operation, Pushdown, Pushed, ReadRequest, Reader,
    Reason, RelColumn, Relation, Result, ScalarExpr, ScanDescription, Split, SplitRequest,
    SplitSource, TableHandle, TableKind, TableMetadata, TableStatistics, TableSummary,
};

/// What the table does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// Compares text like a case-insensitive collation and says that it is exact.
    IgnoresCase,
    /// Compares text like `char(n)`, which may lose rows even as a superset.
    TrimsBlanksOnOrder,
    /// NOT IN (…, NULL) is true for what is not in the list.
    NotInIsTwoValued,
    /// Counts rows before the filter.
    CountsUnfiltered,
    /// Splits overlap.
    Overlaps,
    /// Returns a row less under a limit.
    StopsEarly,
    /// Columns in the table's order, whatever was asked for.
    IgnoresOrder,
    /// Statistics that are off by one.
    Miscounts,
    /// An unknown table is an error.
    Shouts,
    /// Takes a dynamic filter for a limit.
    DropsDynamicRows,
    /// Takes operations and forgets them.
    ForgetsOperations,
}

struct Table {
    lie: Lie,
    rows: RecordBatch,
    context: SessionContext,
}

impl Table {
    fn new(lie: Lie) -> Self {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("t", DataType::Utf8, true),
            Field::new("u", DataType::Utf8, true),
            Field::new("f", DataType::Float64, true),
            Field::new("n", DataType::Decimal128(38, 3), true),
            Field::new("d", DataType::Date32, true),
            Field::new(
                "ts",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            Field::new("b", DataType::Boolean, true),
        ]));
        Table {
            lie,
            rows: conformance::awkward_rows(&schema).unwrap(),
            context: SessionContext::new(),
        }
    }

    fn keeps(&self, predicate: &ScalarExpr) -> BooleanArray {
        let schema = DFSchema::try_from(self.rows.schema()).unwrap();
        let text = |name: &str| {
            self.rows
                .column_by_name(name)
                .and_then(|c| c.as_string_opt::<i32>().cloned())
        };
        if let ScalarExpr::Compare { op, left, right } = predicate
            && let (ScalarExpr::Column(name), ScalarExpr::Literal(Literal::Text(value))) =
                (&**left, &**right)
            && let Some(column) = text(name)
        {
            match (self.lie, op) {
                (Lie::IgnoresCase, CompareOp::Eq) => {
                    return column
                        .iter()
                        .map(|v| v.map(|v| v.to_lowercase() == value.to_lowercase()))
                        .collect();
                }
                (Lie::TrimsBlanksOnOrder, CompareOp::Gt) => {
                    return column
                        .iter()
                        .map(|v| v.map(|v| v.trim_end() > value.trim_end()))
                        .collect();
                }
                _ => {}
            }
        }
        let physical = self
            .context
            .create_physical_expr(predicate.to_expr(), &schema)
            .unwrap();
        let value = physical
            .evaluate(&self.rows)
            .unwrap()
            .into_array(self.rows.num_rows())
            .unwrap();
        value.as_boolean().clone()
    }

    fn matching(&self, relation: &Relation) -> RecordBatch {
        let mut keep = BooleanArray::from(vec![true; self.rows.num_rows()]);
        for predicate in relation.predicates() {
            // NULL is not true, before masks are combined.
            let mask: BooleanArray = self
                .keeps(predicate)
                .iter()
                .map(|keep| Some(keep == Some(true)))
                .collect();
            keep = arrow::compute::and(&keep, &mask).unwrap();
        }
        filter_record_batch(&self.rows, &keep).unwrap()
    }
}

#[async_trait]
impl Connector for Table {
    fn metadata(&self) -> &dyn Metadata {
        self
    }
    fn splits(&self) -> &dyn SplitSource {
        self
    }
    fn reader(&self) -> &dyn Reader {
        self
    }
    fn pushdown(&self) -> Option<&dyn Pushdown> {
        Some(self)
    }
    fn describe(&self, _: &TableHandle, _: &[usize], _: Option<usize>) -> ScanDescription {
        ScanDescription::default()
    }
    async fn ping(&self) -> Result<String> {
        Ok("here".into())
    }
}

#[async_trait]
impl Metadata for Table {
    async fn schemas(&self) -> Result<Vec<String>> {
        Ok(vec!["s".into()])
    }
    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        let summary = TableSummary {
            name: "t".into(),
            kind: TableKind::Table,
            comment: None,
        };
        Ok(if schema == "s" {
            vec![summary]
        } else {
            Vec::new()
        })
    }
    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        if (schema, table) != ("s", "t") {
            return if self.lie == Lie::Shouts {
                Err(Error::internal("no such table"))
            } else {
                Ok(None)
            };
        }
        let fields = self.rows.schema().fields().clone();
        let columns = fields.iter().map(|field| RelColumn {
            name: field.name().clone(),
            native_type: field.data_type().to_string(),
            collation: None,
            deterministic: true,
            nullable: field.is_nullable(),
        });
        let relation = Relation::Scan {
            schema: "s".into(),
            table: "t".into(),
            columns: columns.collect(),
        };
        Ok(Some(TableMetadata {
            schema: "s".into(),
            name: "t".into(),
            kind: TableKind::Table,
            comment: None,
            columns: fields
                .iter()
                .map(|field| ColumnMetadata {
                    field: field.clone(),
                    native_type: field.data_type().to_string(),
                    comment: None,
                    default: None,
                    generated: Generated::No,
                })
                .collect(),
            primary_key: Vec::new(),
            handle: TableHandle::new("self", relation, Vec::new()),
        }))
    }
    async fn statistics(&self, _: &TableMetadata) -> Result<TableStatistics> {
        let rows = self.rows.num_rows() as u64 + u64::from(self.lie == Lie::Miscounts);
        Ok(TableStatistics {
            rows: Estimate::Exact(rows),
            bytes: Estimate::Unknown,
            columns: vec![ColumnStatistics::unknown(); self.rows.num_columns()],
        })
    }
}

#[async_trait]
impl SplitSource for Table {
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let rows = self.matching(&handle.relation).num_rows();
        let count = request.parallelism.clamp(1, 3);
        let step = rows.div_ceil(count).max(1);
        let overlap = usize::from(self.lie == Lie::Overlaps);
        Ok((0..count)
            .map(|i| (i * step, ((i + 1) * step + overlap).min(rows)))
            .filter(|(from, to)| from < to)
            .map(|(from, to)| Split {
                payload: format!("{from} {to}").into_bytes(),
                rows: None,
                bytes: None,
                label: format!("rows {from}..{to}"),
            })
            .collect())
    }
}

impl Reader for Table {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let payload = String::from_utf8(request.split.payload.clone()).unwrap();
        let (from, to) = payload.split_once(' ').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let mut rows = self
            .matching(&request.handle.relation)
            .slice(from, to - from);
        if self.lie == Lie::CountsUnfiltered && request.projection.is_empty() {
            rows = self.rows.clone();
        }
        if self.lie == Lie::DropsDynamicRows && !request.dynamic_filters.is_empty() {
            rows = rows.slice(0, rows.num_rows() / 2);
        }
        if let Some(limit) = request.limit {
            let limit = limit - usize::from(self.lie == Lie::StopsEarly);
            rows = rows.slice(0, limit.min(rows.num_rows()));
        }
        let mut projection = request.projection.clone();
        if self.lie == Lie::IgnoresOrder {
            projection.sort_unstable();
        }
        let rows = rows.project(&projection).unwrap();
        let step = request.batch_rows.max(1);
        let count = rows.num_rows();
        let batches: Vec<_> = (0..count)
            .step_by(step)
            .map(|start| Ok(rows.slice(start, step.min(count - start))))
            .collect();
        Ok(stream::iter(batches).boxed())
    }
}

impl Pushdown for Table {
    fn apply_filter(
        &self,
        _: &TableMetadata,
        handle: &TableHandle,
        conjuncts: &[Expr],
    ) -> FilterPushdown {
        let mut pushed = Vec::new();
        let outcome = conjuncts.iter().map(|conjunct| {
            let mut conjunct = conjunct.clone();
            if let (Lie::NotInIsTwoValued, Expr::InList(list)) = (self.lie, &mut conjunct) {
                list.list
                    .retain(|item| !matches!(item, Expr::Literal(value, _) if value.is_null()));
            }
            match ScalarExpr::from_expr(&conjunct) {
                Some(expr) if evaluates(self, &expr) => {
                    pushed.push(expr);
                    match self.lie {
                        Lie::TrimsBlanksOnOrder => Pushed::Superset(Reason("blanks".into())),
                        _ => Pushed::Exactly,
                    }
                }
                _ => Pushed::No(Reason("not on the list".into())),
            }
        });
        let outcome = outcome.collect();
        FilterPushdown {
            handle: handle.with_relation(handle.relation.filtered(pushed)),
            outcome,
        }
    }

    fn apply(
        &self,
        input: &TableHandle,
        operation: &Operation<'_>,
    ) -> std::result::Result<TableHandle, Reason> {
        match (self.lie, operation) {
            (Lie::ForgetsOperations, Operation::Limit { .. }) => Ok(input.clone()),
            _ => Err(Reason(format!("the table takes no {operation}"))),
        }
    }
}

/// The allow-list: what the engine itself runs after the way through Sluice's own tree.
fn evaluates(table: &Table, expr: &ScalarExpr) -> bool {
    let schema = DFSchema::try_from(table.rows.schema()).unwrap();
    let physical = table.context.create_physical_expr(expr.to_expr(), &schema);
    physical.is_ok_and(|p| {
        p.evaluate(&table.rows)
            .is_ok_and(|v| v.data_type() == DataType::Boolean)
    })
}

async fn report(lie: Lie) -> Report {
    conformance::run(&Table::new(lie), &Fixture::new("s", ["t"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_table_passes() {
    let report = report(Lie::None).await;
    println!("{report}");
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.checks_of(Behaviour::Predicates) > 500, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_found() {
    for (lie, behaviour) in [
        (Lie::IgnoresCase, "Predicates"),
        (Lie::TrimsBlanksOnOrder, "Predicates"),
        (Lie::NotInIsTwoValued, "Predicates"),
        (Lie::CountsUnfiltered, "Predicates"),
        (Lie::Overlaps, "Splits"),
        (Lie::StopsEarly, "Limits"),
        (Lie::IgnoresOrder, "Projections"),
        (Lie::Miscounts, "Statistics"),
        (Lie::Shouts, "Names"),
        (Lie::DropsDynamicRows, "DynamicFilters"),
        (Lie::ForgetsOperations, "Operations"),
    ] {
        let report = report(lie).await;
        let found = report
            .failures()
            .iter()
            .any(|failure| failure.starts_with(behaviour));
        assert!(found, "{lie:?} was not found\n{report}");
    }
}

#[tokio::test]
async fn a_waived_behaviour_is_left_out_and_an_empty_fixture_fails() {
    let fixture = Fixture::new("s", ["t"])
        .without(Behaviour::Statistics, "it lies")
        .predicates_max(10);
    let report = conformance::run(&Table::new(Lie::Miscounts), &fixture).await;
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.to_string().contains("left out Statistics: it lies"));
    let nothing = Fixture::new("s", Vec::<String>::new());
    assert!(
        !conformance::run(&Table::new(Lie::None), &nothing)
            .await
            .failures()
            .is_empty()
    );
}
