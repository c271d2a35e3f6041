//! The plan that the runs of one prepared statement share, as PostgreSQL's generic plan does: made at the
//! second run, so that a statement that runs once pays nothing for it.
//!
//! Two kinds of plan are kept. One without parameters is kept as it was made. One with parameters is kept
//! where all of them stand in a filter right above its only table: a query `Q` over the rows of `T` that
//! pass `p` is planned once as `Q` over any rows of `T`, and each run hands its own `p`, the values filled
//! in, to the source. The source's own rules look at every value, as they do when a statement is planned;
//! where they do not take a filter exactly, and wherever else a run differs from the plan (NULL, another
//! type, other splits, other workers), the run is planned from its text again.
//!
//! A kept plan is never run: each run gets operators of its own.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result as EngineResult};
use datafusion::datasource::source_as_provider;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{Cast, Placeholder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator, TableScan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::scalar::ScalarValue;
use sluice_catalogs::{CatalogTable, ConnectorScanExec, SluiceOptions, as_scan};
use sluice_spi::Result;
use url::Url;

use crate::bind::QueryPlan;
use crate::errors::engine_error;
use crate::physical::{PhysicalStatement, Placement, physical_plan};

/// A plan that is kept.
pub(crate) struct GenericPlan {
    /// It was made with these workers in sight.
    workers: Vec<Url>,
    /// How many of them the session lets take part.
    pub(crate) worker_limit: Option<usize>,
    /// Operators with one input each, down to the leaf.
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    reason: &'static str,
    schema: SchemaRef,
    logical: LogicalPlan,
    /// Pieces that the splits of its scan may be read in.
    parallelism: usize,
    lookup: Option<Lookup>,
}

/// The filter with parameters that each run gives to the only scan.
struct Lookup {
    source: Arc<dyn datafusion::catalog::TableProvider>,
    conjuncts: Vec<Conjunct>,
    simplifier: ExprSimplifier,
}

/// A conjunct with parameters.
struct Conjunct {
    expr: Expr,
    /// A column compared with a parameter: nothing is left to compute once the value is in.
    is_plain: bool,
}

impl GenericPlan {
    /// The plan to keep for `query`, of which one run was planned as `planned`; `None` where each run needs
    /// a plan of its own.
    pub(crate) async fn new(
        state: &SessionState,
        workers: &[Url],
        worker_limit: Option<usize>,
        query: &QueryPlan,
        planned: &PhysicalStatement,
    ) -> Result<Option<GenericPlan>> {
        let Placement::Coordinator(reason) = planned.placement else {
            return Ok(None);
        };
        let (plan, logical, lookup) = if query.optimized.is_some() {
            (planned.plan.clone(), planned.logical.clone(), None)
        } else {
            let Some((rest, lookup)) = Lookup::of(state, query, workers).map_err(engine_error)?
            else {
                return Ok(None);
            };
            let state = in_one_piece(state);
            let logical = state.optimize(&rest).map_err(engine_error)?;
            let plan = physical_plan(&state, &logical).await?;
            (plan, logical, Some(lookup))
        };
        let scan = match leaf(&plan) {
            // A read in several pieces is planned each time: how many depends on the moment.
            Some(Some(scan)) if scan.groups().len() == 1 => Some(scan),
            Some(None) if lookup.is_none() => None,
            _ => return Ok(None),
        };
        // The run at hand uses the operators that it has made.
        let scan = scan.map(|scan| Arc::new(scan.clone()) as Arc<dyn ExecutionPlan>);
        let scan = scan.map(ExecutionPlan::reset_state).transpose();
        let plan = fresh(&plan, scan.map_err(engine_error)?).map_err(engine_error)?;
        let sluice = SluiceOptions::of(state.config());
        Ok(Some(GenericPlan {
            workers: workers.to_vec(),
            worker_limit,
            plan,
            context: planned.context.clone(),
            reason,
            schema: Arc::new(logical.schema().as_arrow().clone()),
            logical,
            parallelism: state
                .config()
                .target_partitions()
                .saturating_mul(sluice.workers.max(1)),
            lookup,
        }))
    }

    /// The plan of one run; `None` where this run needs a plan of its own.
    pub(crate) async fn run(
        &self,
        query_id: &Arc<str>,
        workers: &[Url],
        parameters: &[ScalarValue],
    ) -> Result<Option<PhysicalStatement>> {
        if workers != self.workers {
            return Ok(None);
        }
        let scan = match leaf(&self.plan) {
            Some(Some(kept)) => {
                let handle = match &self.lookup {
                    None => None,
                    Some(lookup) => match lookup.handle(kept, parameters) {
                        Some(handle) => Some(handle),
                        None => return Ok(None),
                    },
                };
                let again = kept.again(query_id, handle, self.parallelism).await;
                match again.map_err(engine_error)? {
                    Some(scan) => Some(Arc::new(scan) as Arc<dyn ExecutionPlan>),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let plan = fresh(&self.plan, scan).map_err(engine_error)?;
        Ok(Some(PhysicalStatement {
            plan,
            context: self.context.clone(),
            placement: Placement::Coordinator(self.reason),
            schema: self.schema.clone(),
            logical: self.logical.clone(),
        }))
    }
}

/// The same state for plans whose tables are read in one piece, as most runs with a filter read them.
fn in_one_piece(state: &SessionState) -> SessionState {
    let mut state = state.clone();
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    if let Some(sluice) = options.extensions.get_mut::<SluiceOptions>() {
        sluice.workers = 0;
    }
    state
}

/// The leaf of a plan that may be kept: `None` where the plan is of another shape or holds operators that
/// remember a run, `Some(None)` where it reads no table.
fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Option<Option<&ConnectorScanExec>> {
    if let Some(scan) = as_scan(plan.as_ref()) {
        return scan.dynamic_filters().is_empty().then_some(Some(scan));
    }
    if plan.is::<PlaceholderRowExec>() || plan.is::<EmptyExec>() {
        return Some(None);
    }
    // What is not on this list may learn while it runs (a top-N, a join), or take part in other stages.
    let keeps_nothing = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>();
    match plan.children().as_slice() {
        [input] if keeps_nothing => leaf(input),
        _ => None,
    }
}

/// The operators of `plan` made anew over `scan` (or over their own leaf, which holds no state).
fn fresh(
    plan: &Arc<dyn ExecutionPlan>,
    scan: Option<Arc<dyn ExecutionPlan>>,
) -> EngineResult<Arc<dyn ExecutionPlan>> {
    let input = match plan.children().as_slice() {
        [] => return Ok(scan.unwrap_or_else(|| plan.clone())),
        [input, ..] => fresh(input, scan)?,
    };
    // The scan reads one split, as the kept one does: partitions and all else stay as they are.
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    plan.clone().replace_children(vec![input], keep)
}

impl Lookup {
    /// Takes the conjuncts with parameters out of `query`, where they are all that its parameters are for.
    fn of(
        state: &SessionState,
        query: &QueryPlan,
        workers: &[Url],
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
        if !workers.is_empty() && !fixes_a_key(catalog_table, &with) {
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
    fn handle(
        &self,
        scan: &ConnectorScanExec,
        parameters: &[ScalarValue],
    ) -> Option<sluice_spi::TableHandle> {
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

/// Casts that change no value and cannot fail.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Int8, Int16, Int32, Int64, LargeUtf8, Utf8, Utf8View};
    matches!(
        (from, to),
        (Int8, Int16 | Int32 | Int64)
            | (Int16, Int32 | Int64)
            | (Int32, Int64)
            | (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
    )
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
