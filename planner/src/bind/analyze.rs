//! `ANALYZE table`: a query over the whole table that finds its figures, for sources that have none or do not
//! let us ask for newer ones.
//!
//! The layout of the query's only row is known here alone: [`AnalyzedTable::figures`] reads it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::expr_fn::octet_length;
use datafusion::functions_aggregate::expr_fn::{approx_distinct, count, max, min, sum};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, lit};
use datafusion::sql::sqlparser::ast::Analyze;
use sluice_catalogs::{Catalog, CatalogTable};
use sluice_spi::{
    ColumnStatistics, Error, Estimate, Result, SqlState, TableMetadata, TableStatistics,
};

use super::{BoundStatement, QueryPlan, StatementKind, names};
use crate::errors::engine_error;
use crate::session::{PlanSession, Planner};

/// The name that the table has in the query.
const ALIAS: &str = "analyzed";

/// A table whose statistics are to be brought up to date.
pub struct AnalyzedTable {
    /// Where it is.
    pub catalog: Arc<Catalog>,
    /// The table.
    pub table: Arc<TableMetadata>,
    /// Finds its figures by reading it. One row, for [`AnalyzedTable::figures`].
    pub reading: QueryPlan,
}

impl Planner {
    pub(super) async fn bind_analyze(
        &self,
        state: &SessionState,
        session: &PlanSession,
        asked: &Analyze,
    ) -> Result<BoundStatement> {
        let reference = analyzed_table(asked)?;
        let (catalog, table, statistics) = names::stored(self, session, &reference).await?;
        let source = provider_as_source(Arc::new(CatalogTable::new(
            self.catalogs.clone(),
            catalog.clone(),
            table.clone(),
            statistics,
            session.pushdown,
        )));
        let mut aggregates = vec![count(lit(1))];
        for column in &table.columns {
            let name = Column::new(Some(ALIAS), column.field.name());
            aggregates.extend(wanted(column.field.data_type()).expressions(&Expr::Column(name)));
        }
        let plan = LogicalPlanBuilder::scan(ALIAS, source, None)
            .and_then(|scan| scan.aggregate(Vec::<Expr>::new(), aggregates))
            .and_then(LogicalPlanBuilder::build)
            .map_err(engine_error)?;
        let kind = StatementKind::Analyze(AnalyzedTable {
            catalog,
            table,
            reading: QueryPlan::new(state, plan)?,
        });
        Ok(BoundStatement::unshared(kind, None, false))
    }
}

/// The one table that is named.
fn analyzed_table(asked: &Analyze) -> Result<TableReference> {
    let Analyze {
        table_name: Some(name),
        partitions: None,
        for_columns: false,
        columns,
        cache_metadata: false,
        noscan: false,
        compute_statistics: false,
        has_table_keyword: false,
    } = asked
    else {
        return Err(one_table());
    };
    if !columns.is_empty() {
        return Err(one_table());
    }
    match names::object_name(name)?.as_slice() {
        [table] => Ok(TableReference::bare(table.as_str())),
        [schema, table] => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => Ok(TableReference::full(
            catalog.as_str(),
            schema.as_str(),
            table.as_str(),
        )),
        _ => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "improper qualified name (too many dotted names)",
        )),
    }
}

fn one_table() -> Error {
    Error::unsupported("ANALYZE without the name of a table, or of some columns, is not supported")
        .with_hint("Write ANALYZE catalog.schema.table.")
}

/// Which figures of a column are worth asking for.
struct Wanted {
    distinct: bool,
    bounds: bool,
    bytes: bool,
}

fn wanted(data_type: &DataType) -> Wanted {
    let text = matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let moment = matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    Wanted {
        // The engine's estimate does not count floats.
        distinct: text || moment || data_type.is_integer() || data_type.is_decimal(),
        // The order of text is the source's.
        bounds: moment || data_type.is_numeric(),
        bytes: text,
    }
}

impl Wanted {
    /// In the order in which [`AnalyzedTable::figures`] reads them.
    fn expressions(&self, column: &Expr) -> Vec<Expr> {
        let mut expressions = vec![count(column.clone())];
        if self.distinct {
            expressions.push(approx_distinct(column.clone()));
        }
        if self.bounds {
            expressions.push(min(column.clone()));
            expressions.push(max(column.clone()));
        }
        if self.bytes {
            let length = cast(octet_length(column.clone()), DataType::Int64);
            expressions.push(sum(length));
        }
        expressions
    }
}

impl AnalyzedTable {
    /// What the row of [`AnalyzedTable::reading`] says. Nothing of it is exact for the next statement.
    pub fn figures(&self, row: &RecordBatch) -> Result<TableStatistics> {
        let mut place = 0..row.num_columns();
        let mut next = || match place.next() {
            Some(at) if row.num_rows() == 1 => {
                ScalarValue::try_from_array(row.column(at), 0).map_err(engine_error)
            }
            _ => Err(Error::internal("a table was read without its figures")),
        };
        let rows = number(&next()?);
        let mut bytes = 0;
        let mut columns = Vec::with_capacity(self.table.columns.len());
        for column in &self.table.columns {
            let data_type = column.field.data_type();
            let wanted = wanted(data_type);
            let mut known = ColumnStatistics::unknown();
            known.nulls = Estimate::About(rows.saturating_sub(number(&next()?)));
            if wanted.distinct {
                known.distinct = Estimate::About(number(&next()?));
            }
            if wanted.bounds {
                known.min = bound(next()?);
                known.max = bound(next()?);
            }
            bytes += match data_type.primitive_width() {
                Some(width) => rows.saturating_mul(width as u64),
                None if wanted.bytes => number(&next()?),
                None => 0,
            };
            columns.push(known);
        }
        Ok(TableStatistics {
            rows: Estimate::About(rows),
            bytes: Estimate::About(bytes),
            columns,
        })
    }
}

fn bound(value: ScalarValue) -> Estimate<ScalarValue> {
    match value.is_null() {
        true => Estimate::Unknown,
        false => Estimate::About(value),
    }
}

/// A count; 0 for a sum over nothing.
fn number(value: &ScalarValue) -> u64 {
    match value {
        ScalarValue::Int64(Some(count)) => u64::try_from(*count).unwrap_or(0),
        ScalarValue::UInt64(Some(count)) => *count,
        _ => 0,
    }
}
