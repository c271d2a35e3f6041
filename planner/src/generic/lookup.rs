//! The filter with parameters of a statement that reads one table: taken out when the statement is planned
//! for all runs, filled in and handed to the source by each.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result as EngineResult};
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator, TableScan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::scalar::ScalarValue;
use sluice_catalogs::{CatalogTable, ConnectorScanExec};
use sluice_spi::TableHandle;
use sluice_spi::types::widens;

use crate::bind::QueryPlan;

/// The filter with parameters that each run gives to the only scan.
pub(super) struct Lookup {
    source: Arc<dyn TableProvider>,
    conjuncts: Vec<Conjunct>,
    simplifier: ExprSimplifier,
}

/// A conjunct with parameters.
struct Conjunct {
    expr: Expr,
    /// A column compared with a parameter: nothing is left to compute once the value is in.
    is_plain: bool,
}

impl Lookup {
    /// Takes the conjuncts with parameters out of `query`, where they are all that its parameters are for.
    pub(super) fn of(
        state: &SessionState,
        query: &QueryPlan,
        has_workers: bool,
    ) -> EngineResult<Option<(LogicalPlan, Lookup)>> {
        // Typed, so that each parameter is cast to what it is compared with.
        let plan = state.analyzer().execute_and_check(
            query.bound.clone(),
            state.config_options(),
            |_, _| {},
        )?;
        let Some(filter) = only_filter_with_parameters(&plan)?.cloned() else {
            return Ok(None);
        };
        let Some(table) = table_below(&filter.input) else {
            return Ok(None);
        };
        let source = source_as_provider(&table.source)?;
        let Some(catalog_table) = source.downcast_ref::<CatalogTable>() else {
            return Ok(None);
        };
        let (with, without): (Vec<Expr>, Vec<Expr>) =
            split_conjunction_owned(filter.predicate.clone())
                .into_iter()
                .partition(has_placeholder);
        // With workers, whether a run takes them depends on how much it reads: one row is never worth it.
        if has_workers && !fixes_a_key(catalog_table, &with) {
            return Ok(None);
        }
        let schema = filter.input.schema().clone();
        let conjuncts: Option<Vec<_>> = with.into_iter().map(Conjunct::new).collect();
        let Some(conjuncts) = conjuncts else {
            return Ok(None);
        };
        let rest = plan.transform_down(|node| match node {
            LogicalPlan::Filter(found) if found == filter => {
                let input = Arc::unwrap_or_clone(found.input.clone());
                Ok(Transformed::yes(match conjunction(without.clone()) {
                    Some(predicate) => {
                        LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)
                    }
                    None => input,
                }))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let lookup = Lookup {
            source,
            conjuncts,
            simplifier: simplifier(state, schema),
        };
        Ok(Some((rest.data, lookup)))
    }

    /// The handle of the kept scan with the values' filter inside.
    pub(super) fn handle(
        &self,
        scan: &ConnectorScanExec,
        parameters: &[ScalarValue],
    ) -> Option<TableHandle> {
        let conjuncts = self
            .conjuncts
            .iter()
            .map(|conjunct| conjunct.fill(parameters, &self.simplifier))
            .collect::<Option<Vec<_>>>()?;
        self.source
            .downcast_ref::<CatalogTable>()?
            .narrow(&scan.target().handle, &conjuncts)
    }
}

impl Conjunct {
    fn new(expr: Expr) -> Option<Conjunct> {
        let mut may_stay = !expr.is_volatile();
        let looked = expr.apply(|e| {
            may_stay &= match e {
                Expr::Placeholder(parameter) => parameter.field.is_some(),
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => false,
                Expr::SetComparison(_) | Expr::OuterReferenceColumn(..) => false,
                _ => true,
            };
            Ok(TreeNodeRecursion::Continue)
        });
        let is_plain = match &expr {
            Expr::BinaryExpr(binary) if compares(binary.op) => {
                let is_column = |e: &Expr| matches!(e, Expr::Column(_));
                (is_column(&binary.left) && is_parameter(&binary.right))
                    || (is_parameter(&binary.left) && is_column(&binary.right))
            }
            _ => false,
        };
        (looked.is_ok() && may_stay).then_some(Conjunct { expr, is_plain })
    }

    /// The conjunct with a run's values; `None` where one of them is not what the plan was made for, or
    /// makes more of the conjunct than a filter.
    fn fill(&self, parameters: &[ScalarValue], simplifier: &ExprSimplifier) -> Option<Expr> {
        let filled = self.expr.clone().transform_up(|e| match &e {
            Expr::Placeholder(parameter) => match value_of(parameter, parameters) {
                Some(value) => Ok(Transformed::yes(Expr::Literal(value, None))),
                None => Ok(Transformed::no(e)),
            },
            Expr::Cast(cast) => match cast.expr.as_ref() {
                Expr::Literal(value, None)
                    if widens(&value.data_type(), cast.field.data_type()) =>
                {
                    let value = value.cast_to(cast.field.data_type())?;
                    Ok(Transformed::yes(Expr::Literal(value, None)))
                }
                _ => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        });
        let filled = filled.ok()?.data;
        if has_placeholder(&filled) {
            return None;
        }
        if self.is_plain {
            return Some(filled);
        }
        match simplifier.simplify(filled).ok()? {
            Expr::Literal(..) => None,
            simplified => Some(simplified),
        }
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// The value of a parameter: of the very type that was planned, and not NULL, which is no filter.
fn value_of(parameter: &Placeholder, values: &[ScalarValue]) -> Option<ScalarValue> {
    let number: usize = parameter.id.strip_prefix('$')?.parse().ok()?;
    let value = values.get(number.checked_sub(1)?)?;
    let is_typed = parameter
        .field
        .as_ref()
        .is_some_and(|field| *field.data_type() == value.data_type());
    (is_typed && !value.is_null()).then(|| value.clone())
}

/// A parameter, or one that is cast to a wider type of its kind.
fn is_parameter(expr: &Expr) -> bool {
    match expr {
        Expr::Placeholder(_) => true,
        Expr::Cast(Cast { expr, field }) => match expr.as_ref() {
            Expr::Placeholder(parameter) => parameter
                .field
                .as_ref()
                .is_some_and(|from| widens(from.data_type(), field.data_type())),
            _ => false,
        },
        _ => false,
    }
}

fn has_placeholder(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::Placeholder(_))))
        .unwrap_or(true)
}

/// True where the conjuncts fix every column of the table's primary key.
fn fixes_a_key(table: &CatalogTable, conjuncts: &[Expr]) -> bool {
    let fixed: Vec<&str> = conjuncts
        .iter()
        .filter_map(|conjunct| match conjunct {
            Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
                match (binary.left.as_ref(), binary.right.as_ref()) {
                    (Expr::Column(column), other) | (other, Expr::Column(column))
                        if is_parameter(other) =>
                    {
                        Some(column.name.as_str())
                    }
                    _ => None,
                }
            }
            _ => None,
        })
        .collect();
    let key = &table.metadata().primary_key;
    !key.is_empty() && key.iter().all(|column| fixed.contains(&column.as_str()))
}

/// The one filter of `plan` that has parameters; `None` where there are others, parameters elsewhere, or
/// more tables than one.
fn only_filter_with_parameters(plan: &LogicalPlan) -> EngineResult<Option<&Filter>> {
    let (mut tables, mut filters, mut elsewhere) = (0usize, 0usize, false);
    plan.apply_with_subqueries(|node| {
        let mut has_parameters = false;
        node.apply_expressions(|expr| {
            has_parameters |= has_placeholder(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        match node {
            LogicalPlan::TableScan(_) => tables += 1,
            LogicalPlan::Filter(_) => filters += usize::from(has_parameters),
            _ => elsewhere |= has_parameters,
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if (tables, filters, elsewhere) != (1, 1, false) {
        return Ok(None);
    }
    // Down the one path of inputs: a filter in a subquery is not there.
    let mut found = None;
    let mut node = plan;
    loop {
        if let LogicalPlan::Filter(filter) = node
            && has_placeholder(&filter.predicate)
        {
            found = Some(filter);
        }
        match node.inputs().as_slice() {
            [] => return Ok(found),
            [input] => node = input,
            _ => return Ok(None),
        }
    }
}

/// The table right below a filter.
fn table_below(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(table) if table.filters.is_empty() && table.fetch.is_none() => {
            Some(table)
        }
        LogicalPlan::SubqueryAlias(alias) => table_below(&alias.input),
        _ => None,
    }
}

fn simplifier(state: &SessionState, schema: DFSchemaRef) -> ExprSimplifier {
    let context = SimplifyContext::builder()
        .with_schema(schema)
        .with_config_options(Arc::clone(state.config_options()))
        .build();
    ExprSimplifier::new(context)
}
