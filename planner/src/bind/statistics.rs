//! `SHOW STATS FOR table`: what the planner believes of a table, in the columns that Trino shows.
//!
//! The figures are those that plans are made with, from the metadata cache; a source that does not know
//! one leaves it NULL. The last row, without a column's name, is the whole table's.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::sql::sqlparser::ast::{Ident, Statement};
use sluice_spi::{
    ColumnStatistics, Error, Estimate, Result, SqlState, TableMetadata, TableStatistics,
};

use super::{BoundStatement, QueryPlan, StatementKind, names};
use crate::errors::engine_error;
use crate::session::{PlanSession, Planner};

/// The columns of the answer.
const COLUMNS: [&str; 7] = [
    "column_name",
    "data_size",
    "distinct_values_count",
    "nulls_fraction",
    "row_count",
    "low_value",
    "high_value",
];

/// The table that a `SHOW STATS FOR` names.
pub(super) fn shown_table(statement: &Statement) -> Option<Result<TableReference>> {
    let Statement::ShowVariable { variable } = statement else {
        return None;
    };
    let [stats, of, name @ ..] = variable.as_slice() else {
        return None;
    };
    let is = |ident: &Ident, word: &str| {
        ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case(word)
    };
    if !is(stats, "stats") || !is(of, "for") {
        return None;
    }
    let folded = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    Some(match name {
        [table] => Ok(TableReference::bare(folded(table))),
        [schema, table] => Ok(TableReference::partial(folded(schema), folded(table))),
        [catalog, schema, table] => Ok(TableReference::full(
            folded(catalog),
            folded(schema),
            folded(table),
        )),
        _ => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "SHOW STATS FOR takes the name of one table",
        )),
    })
}

impl Planner {
    /// Answers from what is known: the plan holds the figures themselves.
    pub(super) async fn bind_statistics(
        &self,
        state: &SessionState,
        session: &PlanSession,
        table: &TableReference,
    ) -> Result<BoundStatement> {
        let (_, metadata, statistics) = names::stored(self, session, table).await?;
        let plan = rows(&metadata, &statistics).map_err(engine_error)?;
        let output = Arc::new(plan.schema().as_arrow().clone());
        let kind = StatementKind::Query(QueryPlan::new(state, plan)?);
        // Local: seen as they are, not as they were when it was prepared.
        Ok(BoundStatement::unshared(kind, Some(output), true))
    }
}

fn rows(
    metadata: &TableMetadata,
    statistics: &TableStatistics,
) -> datafusion::error::Result<LogicalPlan> {
    let rows = count(&statistics.rows);
    let mut values = Vec::with_capacity(metadata.columns.len() + 1);
    for (index, column) in metadata.columns.iter().enumerate() {
        let known = statistics.columns.get(index);
        let of =
            |figure: fn(&ColumnStatistics) -> &Estimate<u64>| known.and_then(|c| count(figure(c)));
        let nulls = match (of(|c| &c.nulls), rows) {
            (Some(nulls), Some(rows)) if rows > 0.0 => Some((nulls / rows).min(1.0)),
            _ => None,
        };
        values.push(vec![
            text(Some(column.field.name().clone())),
            double(None),
            double(of(|c| &c.distinct)),
            double(nulls),
            double(None),
            text(known.and_then(|c| printed(&c.min))),
            text(known.and_then(|c| printed(&c.max))),
        ]);
    }
    let size = count(&statistics.bytes);
    values.push(vec![
        text(None),
        double(size),
        double(None),
        double(None),
        double(rows),
        text(None),
        text(None),
    ]);
    let names = (1..)
        .zip(COLUMNS)
        .map(|(place, name)| col(format!("column{place}")).alias(name));
    LogicalPlanBuilder::values(
        values
            .into_iter()
            .map(|row| row.into_iter().map(lit).collect())
            .collect(),
    )?
    .project(names)?
    .build()
}

fn count(estimate: &Estimate<u64>) -> Option<f64> {
    match estimate {
        Estimate::Exact(value) | Estimate::About(value) => Some(*value as f64),
        Estimate::Unknown => None,
    }
}

fn printed(estimate: &Estimate<ScalarValue>) -> Option<String> {
    let (Estimate::Exact(value) | Estimate::About(value)) = estimate else {
        return None;
    };
    match value.cast_to(&DataType::Utf8) {
        Ok(ScalarValue::Utf8(Some(text))) => Some(match value.data_type() {
            // ISO 8601 with PostgreSQL's blank.
            DataType::Timestamp(..) => text.replacen('T', " ", 1),
            _ => text,
        }),
        _ => None,
    }
}

fn text(value: Option<String>) -> ScalarValue {
    ScalarValue::Utf8(value)
}

fn double(value: Option<f64>) -> ScalarValue {
    ScalarValue::Float64(value)
}
