//! `UPDATE` and `DELETE`: a query over the table says which rows and which values; they run only where the
//! source takes all of it over exactly.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Delete, FromTable, SelectItem, Statement, TableFactor, TableWithJoins, Update,
};
use sluice_catalogs::{Catalog, CatalogTable};
use sluice_spi::{
    Assigned, Error, Literal, Operation, Output, Pushed, Result, ScalarExpr, SqlState, TableHandle,
    TableMetadata,
};

use super::insert::{column_of, expect_parameter, fixed_value};
use super::{Expected, Purpose, empty_query, no_returning, quoted, select_of, set_column};
use crate::bind::QueryPlan;
use crate::bind::names::{self, table_reference};
use crate::errors::engine_error;
use crate::session::{PlanSession, Planner};

/// Rows and values as the source is told them.
pub struct RowsAtSource {
    /// The catalog that they belong to.
    pub catalog: Arc<Catalog>,
    /// Which rows.
    pub rows: TableHandle,
    /// One value per column of the query, in order.
    pub values: Vec<Assigned>,
    /// Which of the rows' columns each value is, where it is one.
    pub columns: Vec<Option<usize>>,
}

pub(super) async fn update(
    planner: &Planner,
    session: &PlanSession,
    update: Update,
) -> Result<(Statement, Purpose, Expected)> {
    no_returning(update.returning.as_ref())?;
    if update.from.is_some() {
        return Err(needs_one_table("UPDATE with FROM"));
    }
    if update.output.is_some()
        || update.or.is_some()
        || !update.order_by.is_empty()
        || update.limit.is_some()
    {
        return Err(Error::unsupported(
            "this form of UPDATE is not PostgreSQL's",
        ));
    }
    let (target, table) = written(planner, session, &update.table).await?;
    let mut expected = Expected::default();
    let (mut fields, mut values, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken: Vec<String> = Vec::new();
    for mut assignment in update.assignments {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(Error::unsupported(
                "SET of several columns at once is not supported",
            ));
        };
        let column = set_column(name)?;
        let field = column_of(&table, &column)?;
        if taken.contains(&column) {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                format!("multiple assignments to same column \"{column}\""),
            ));
        }
        taken.push(column.clone());
        quoted::make_bytes(&mut assignment.value, &field)?;
        match fixed_value(&assignment.value, &field) {
            Some(value) => fixed.push((column, value)),
            None => {
                expect_parameter(&assignment.value, &field, &mut expected.parameters);
                fields.push(field);
                values.push(assignment.value);
            }
        }
    }
    let mut query = empty_query()?;
    let select = select_of(&mut query)?;
    if !values.is_empty() {
        select.projection = values.into_iter().map(SelectItem::UnnamedExpr).collect();
    }
    select.from = vec![update.table];
    select.selection = update.selection;
    let purpose = Purpose::Update {
        target,
        fields,
        fixed,
    };
    Ok((Statement::Query(Box::new(query)), purpose, expected))
}

pub(super) async fn delete(
    planner: &Planner,
    session: &PlanSession,
    delete: Delete,
) -> Result<(Statement, Purpose)> {
    no_returning(delete.returning.as_ref())?;
    if delete.using.is_some() {
        return Err(needs_one_table("DELETE with USING"));
    }
    if delete.output.is_some()
        || !delete.order_by.is_empty()
        || delete.limit.is_some()
        || !delete.tables.is_empty()
    {
        return Err(Error::unsupported(
            "this form of DELETE is not PostgreSQL's",
        ));
    }
    let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = delete.from;
    let (Some(table), true) = (from.pop(), from.is_empty()) else {
        return Err(needs_one_table("DELETE from several tables"));
    };
    let (target, _) = written(planner, session, &table).await?;
    let mut query = empty_query()?;
    let select = select_of(&mut query)?;
    select.from = vec![table];
    select.selection = delete.selection;
    let purpose = Purpose::Delete { target };
    Ok((Statement::Query(Box::new(query)), purpose))
}

async fn written(
    planner: &Planner,
    session: &PlanSession,
    table: &TableWithJoins,
) -> Result<(crate::bind::TargetTable, Arc<TableMetadata>)> {
    let TableFactor::Table {
        name, args: None, ..
    } = &table.relation
    else {
        return Err(needs_one_table("a statement that changes rows"));
    };
    if !table.joins.is_empty() {
        return Err(needs_one_table("a statement that changes rows"));
    }
    names::written_table(planner, session, &table_reference(name)?).await
}

fn needs_one_table(what: &str) -> Error {
    Error::unsupported(format!(
        "{what} is not supported: it may use its one table only"
    ))
}

impl Planner {
    /// What the source is told about the rows of `query`: the whole of it, or the reason why not. `None`
    /// where no row can be meant. `what` names the statement in messages, `targets` the columns that get its
    /// values.
    pub fn rows_at_source(
        &self,
        session: &PlanSession,
        query: &QueryPlan,
        targets: &[String],
        parameters: Vec<ScalarValue>,
        what: &str,
    ) -> Result<Option<RowsAtSource>> {
        let state = self.statement_state(session, 0);
        let plan = query.unpushed(&state, parameters)?;
        let Some(parts) = Dissected::of(plan, what)? else {
            return Ok(None);
        };
        let (catalog, metadata) = (&parts.table.0, &parts.table.1);
        let refuse = |reason: &str, part: &Expr| {
            Error::unsupported(format!(
                "{what} cannot run at the source of catalog \"{}\"",
                catalog.name()
            ))
            .with_detail(format!("{}: {reason}.", part.human_display()))
            .with_hint(
                "Sluice changes rows only where the source takes the whole condition over exactly.",
            )
        };
        let mut rows = metadata.handle.clone();
        let pushdown = catalog.connector().pushdown();
        if !parts.conjuncts.is_empty() {
            let Some(pushdown) = pushdown else {
                return Err(refuse(
                    "the connector takes no filters",
                    &parts.conjuncts[0],
                ));
            };
            let answer = pushdown.apply_filter(metadata, &rows, &parts.conjuncts);
            for (conjunct, outcome) in parts.conjuncts.iter().zip(&answer.outcome) {
                match outcome {
                    Pushed::Exactly => {}
                    Pushed::Superset(reason) | Pushed::No(reason) => {
                        return Err(refuse(&reason.0, conjunct));
                    }
                }
            }
            rows = answer.handle;
        }
        let schema = DFSchema::try_from(metadata.arrow_schema()).map_err(engine_error)?;
        let mut values = Vec::with_capacity(parts.values.len());
        let mut columns = Vec::with_capacity(parts.values.len());
        for (at, value) in parts.values.iter().enumerate() {
            columns.push(match value {
                Expr::Column(column) => schema.index_of_column_by_name(None, &column.name),
                _ => None,
            });
            values.push(match value {
                Expr::Literal(constant, _) if constant.is_null() => Assigned::Null,
                Expr::Literal(constant, _) => Literal::from_scalar(constant)
                    .map(|literal| Assigned::Expr(ScalarExpr::Literal(literal)))
                    .ok_or_else(|| refuse("a constant that no source is sent", value))?,
                // Every source gives a column to another of the same type as it is.
                Expr::Column(column) => Assigned::Expr(ScalarExpr::Column(column.name.clone())),
                other => {
                    check_constant(other, &state)?;
                    let target = targets.get(at).map(String::as_str);
                    let before = match target {
                        Some(_) => before_assignment(other, &schema),
                        None => other,
                    };
                    let expr = ScalarExpr::typed(before, &schema)
                        .map_err(|reason| refuse(&reason.0, other))?;
                    let exact = exactly(pushdown, &rows, target, &expr, before, &schema);
                    exact.map_err(|reason| refuse(&reason, other))?;
                    Assigned::Expr(expr)
                }
            });
        }
        Ok(Some(RowsAtSource {
            catalog: catalog.clone(),
            rows,
            values,
            columns,
        }))
    }
}

/// Fails where an expression over nothing does: the optimizer leaves it as it is.
fn check_constant(expr: &Expr, state: &SessionState) -> Result<()> {
    if expr
        .exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_))))
        .unwrap_or(false)
    {
        return Err(needs_one_table("a subquery in UPDATE"));
    }
    if expr.any_column_refs() || expr.is_volatile() {
        return Ok(());
    }
    let row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .map_err(|error| Error::internal(error.to_string()))?;
    state
        .create_physical_expr(expr.clone(), &DFSchema::empty())
        .and_then(|expr| expr.evaluate(&row))
        .map(|_| ())
        .map_err(engine_error)
}

/// A number as it is before its assignment cast, which the source makes itself: every one of them rounds exact
/// numbers as PostgreSQL does, half away from zero, and refuses what does not fit.
fn before_assignment<'a>(value: &'a Expr, schema: &DFSchema) -> &'a Expr {
    let is_exact = |expr: &Expr| {
        expr.get_type(schema)
            .is_ok_and(|t| t.is_integer() || t.is_decimal())
    };
    let inner = match value {
        Expr::Cast(cast) => Some(cast.expr.as_ref()),
        Expr::ScalarFunction(call)
            if matches!(
                call.name(),
                "cast_numeric" | "cast_int2" | "cast_int4" | "cast_int8"
            ) =>
        {
            call.args.first()
        }
        _ => None,
    };
    inner
        .filter(|inner| is_exact(inner) && is_exact(value))
        .unwrap_or(value)
}

/// The source computes the expression as the engine does.
fn exactly(
    pushdown: Option<&dyn sluice_spi::Pushdown>,
    rows: &TableHandle,
    target: Option<&str>,
    expr: &ScalarExpr,
    engine: &Expr,
    schema: &DFSchema,
) -> std::result::Result<(), String> {
    let pushdown = pushdown.ok_or("the connector takes no expressions")?;
    let (_, field) = engine.to_field(schema).map_err(|e| e.to_string())?;
    let output = Output {
        expr: expr.clone(),
        field: Arc::new(field.as_ref().clone().with_name("value")),
    };
    match target {
        Some(column) => pushdown.apply_assignment(rows, column, &output),
        None => {
            let outputs = std::slice::from_ref(&output);
            let operation = Operation::Project { outputs };
            pushdown.apply(rows, &operation).map(|_| ())
        }
    }
    .map_err(|reason| reason.0)
}

/// A query over one table, in parts.
struct Dissected {
    /// The query's columns, over the table's.
    values: Vec<Expr>,
    conjuncts: Vec<Expr>,
    table: (Arc<Catalog>, Arc<TableMetadata>),
}

impl Dissected {
    /// `None` where the query has no rows.
    fn of(plan: LogicalPlan, what: &str) -> Result<Option<Dissected>> {
        let mut values: Option<Vec<Expr>> = None;
        let mut conjuncts = Vec::new();
        let mut plan = plan;
        loop {
            plan = match plan {
                LogicalPlan::Projection(projection) => {
                    let exprs: Vec<Expr> = projection.expr.into_iter().map(Expr::unalias).collect();
                    let names = projection.schema.columns();
                    let through = |expr: Expr| replaced(expr, &names, &exprs);
                    conjuncts = conjuncts
                        .into_iter()
                        .map(through)
                        .collect::<Result<Vec<_>>>()?;
                    values = Some(match values {
                        None => exprs.clone(),
                        Some(values) => values
                            .into_iter()
                            .map(through)
                            .collect::<Result<Vec<_>>>()?,
                    });
                    Arc::unwrap_or_clone(projection.input)
                }
                LogicalPlan::Filter(filter) => {
                    conjuncts.extend(split_conjunction_owned(filter.predicate));
                    Arc::unwrap_or_clone(filter.input)
                }
                LogicalPlan::SubqueryAlias(alias) => Arc::unwrap_or_clone(alias.input),
                LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => return Ok(None),
                LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                    conjuncts.extend(scan.filters);
                    let table = source_as_provider(&scan.source)
                        .ok()
                        .and_then(|provider| {
                            let table = provider.downcast_ref::<CatalogTable>()?;
                            Some((table.catalog().clone(), table.metadata().clone()))
                        })
                        .ok_or_else(|| needs_one_table(what))?;
                    let bare = |expr| bare_names(expr).map_err(engine_error);
                    // Where nothing is computed, the scan itself has the query's columns.
                    let read = || scan.projected_schema.columns();
                    return Ok(Some(Dissected {
                        values: values
                            .unwrap_or_else(|| read().into_iter().map(Expr::Column).collect())
                            .into_iter()
                            .map(bare)
                            .collect::<Result<Vec<_>>>()?,
                        conjuncts: conjuncts
                            .into_iter()
                            .map(bare)
                            .collect::<Result<Vec<_>>>()?,
                        table,
                    }));
                }
                _ => return Err(needs_one_table(what)),
            }
        }
    }
}

/// `expr` over the input of a projection: its columns replaced by what they stand for.
fn replaced(expr: Expr, names: &[Column], exprs: &[Expr]) -> Result<Expr> {
    expr.transform(|e| {
        Ok(match &e {
            Expr::Column(column) => {
                let found = names.iter().position(|name| name == column);
                match found.and_then(|index| exprs.get(index)) {
                    Some(inner) => Transformed::yes(inner.clone()),
                    None => Transformed::no(e),
                }
            }
            _ => Transformed::no(e),
        })
    })
    .map(|transformed| transformed.data)
    .map_err(engine_error)
}

fn bare_names(expr: Expr) -> datafusion::common::Result<Expr> {
    expr.transform(|e| {
        Ok(match e {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::from_name(column.name))),
            other => Transformed::no(other),
        })
    })
    .map(|transformed| transformed.data)
}
