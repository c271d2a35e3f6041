//! `PushFiltersByPosition`: the engine's filter pushdown, with each column followed by its position.
//!
//! The engine's own rule finds a filter's columns in a node's input by their names. Two columns may have
//! one name (`a.id`, `b.id`), and then the filter, or the run-time filter of a join or a top-N, tests the
//! first of them: rows are lost, or kept that should go. Here the rule follows positions. What a node adds
//! of its own, and what it does with the answers of its inputs, it still decides itself.
//!
//! Equal in every case: a filter goes below a node only where it tests the same values there, and a node
//! keeps what its inputs do not take over.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterPushdownResult, ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
    PushedDown,
};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::build_join_schema;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;

type Filter = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;
type Pushed = FilterPushdownPropagation<Plan>;

/// For each column of a node: what it is in one input, if it is there. An input without a route is closed: not
/// even a filter without columns may pass.
type Route = Vec<Option<Filter>>;

/// See the module. Takes the place of the engine's two rules, one for each phase.
#[derive(Debug)]
pub(crate) struct PushFiltersByPosition(pub(crate) FilterPushdownPhase);

impl PhysicalOptimizerRule for PushFiltersByPosition {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let pushed = push(&plan, Vec::new(), config, self.0)?;
        Ok(pushed.updated_node.unwrap_or(plan))
    }

    fn name(&self) -> &str {
        match self.0 {
            FilterPushdownPhase::Pre => "PushFiltersByPosition",
            FilterPushdownPhase::Post => "PushFiltersByPosition(Post)",
        }
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Sends the filters of the nodes above into `node` and below. Answers for each of them, in their order,
/// whether it is taken over.
fn push(
    node: &Plan,
    parents: Vec<Filter>,
    config: &ConfigOptions,
    phase: FilterPushdownPhase,
) -> Result<Pushed> {
    let (kept_from, parents) = withheld(node, parents, phase);
    let own = node
        .gather_filters_for_pushdown(phase, Vec::new(), config)?
        .self_filters();
    let routes = routes(node)?;
    let mut answers: Vec<Vec<PushedDown>> = vec![Vec::new(); parents.len()];
    let mut own_answers = Vec::with_capacity(own.len());
    let mut children = Vec::with_capacity(own.len());
    for (at, child) in node.children().into_iter().enumerate() {
        let own = own.get(at).cloned().unwrap_or_default();
        let route = routes.get(at).and_then(Option::as_ref);
        // Which filter each one that goes down is: of this node's own first, then of its parents'.
        let own_sent = own.iter().filter(|filter| is_stable(filter));
        let mut sent: Vec<Filter> = own_sent.map(Arc::clone).collect();
        let own_count = sent.len();
        let routed: Vec<Option<Filter>> = parents
            .iter()
            .map(|filter| through(filter, route))
            .collect::<Result<_>>()?;
        sent.extend(routed.iter().flatten().map(Arc::clone));
        let result = push(child, sent, config, phase)?;
        children.push(result.updated_node.unwrap_or_else(|| Arc::clone(child)));
        let mut results = result.filters.into_iter();
        let mut of_own = results
            .by_ref()
            .take(own_count)
            .collect::<Vec<_>>()
            .into_iter();
        own_answers.push(
            own.into_iter()
                .map(|filter| {
                    let answer = match is_stable(&filter) {
                        true => of_own.next().unwrap_or(PushedDown::No),
                        false => PushedDown::No,
                    };
                    answer.wrap_expression(filter)
                })
                .collect(),
        );
        for (filter, answers) in routed.iter().zip(&mut answers) {
            let answer = filter.as_ref().and_then(|_| results.next());
            answers.push(answer.unwrap_or(PushedDown::No));
        }
    }
    let updated = replace_children_if_necessary(Arc::clone(node), children)?;
    let mut result = updated.handle_child_pushdown_result(
        phase,
        ChildPushdownResult {
            parent_filters: parents
                .into_iter()
                .zip(answers)
                .map(|(filter, child_results)| ChildFilterPushdownResult {
                    filter,
                    child_results,
                })
                .collect(),
            self_filters: own_answers,
        },
        config,
    )?;
    if result.updated_node.is_none() && !Arc::ptr_eq(&updated, node) {
        result.updated_node = Some(updated);
    }
    let mut answered = result.filters.into_iter();
    result.filters = kept_from
        .into_iter()
        .map(|kept_from| match kept_from {
            true => PushedDown::No,
            false => answered.next().unwrap_or(PushedDown::No),
        })
        .collect();
    Ok(result)
}

/// A node that stops after some rows would choose others among fewer. A filter with columns that its
/// projection drops or renames cannot absorb what its input does not take over: the engine looks for the
/// columns by name. Says for each of the filters whether the node never hears of it, and returns those it does.
fn withheld(
    node: &Plan,
    parents: Vec<Filter>,
    phase: FilterPushdownPhase,
) -> (Vec<bool>, Vec<Filter>) {
    let by_name = phase == FilterPushdownPhase::Pre
        && node
            .downcast_ref::<FilterExec>()
            .is_some_and(|filter| filter.projection().is_some());
    let kept_from =
        node.fetch().is_some() || by_name && has_namesakes(&node.children()[0].schema());
    let flags = vec![kept_from; parents.len()];
    (flags, if kept_from { Vec::new() } else { parents })
}

fn has_namesakes(schema: &arrow::datatypes::Schema) -> bool {
    let mut names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// Where a node's columns come from, for each of its inputs; empty where nothing may pass.
fn routes(node: &Plan) -> Result<Vec<Option<Route>>> {
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let input = filter.input().schema();
        let route = match filter.projection().as_ref() {
            Some(projection) => projection.iter().map(|at| column(&input, *at)).collect(),
            None => same(&input),
        };
        return Ok(vec![Some(route)]);
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let expr = |expr: &Filter| is_stable(expr).then(|| Arc::clone(expr));
        let route = projection.expr().iter().map(|e| expr(&e.expr)).collect();
        return Ok(vec![Some(route)]);
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return Ok(join_routes(join));
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return Ok(vec![aggregate_route(aggregate)]);
    }
    let passes = node.is::<RepartitionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<CooperativeExec>()
        || node.is::<BufferExec>()
        || node.is::<UnionExec>()
        || node.is::<SortExec>();
    if !passes {
        return Ok(Vec::new());
    }
    Ok(node
        .children()
        .iter()
        .map(|child| Some(same(&child.schema())))
        .collect())
}

fn column(schema: &arrow::datatypes::Schema, at: usize) -> Option<Filter> {
    let field = schema.fields().get(at)?;
    Some(Arc::new(Column::new(field.name(), at)))
}

fn same(schema: &arrow::datatypes::Schema) -> Route {
    (0..schema.fields().len())
        .map(|at| column(schema, at))
        .collect()
}

/// A side of a join takes filters on its columns where a row that the filter drops makes no row of the join
/// that the filter would keep. The other side of a semi-join has rows that matter only by their keys, and
/// the keys of a row that comes out are equal on both.
fn join_routes(join: &HashJoinExec) -> Vec<Option<Route>> {
    use JoinType::{
        Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi,
    };
    let (left, right) = (join.left().schema(), join.right().schema());
    let (_, columns) = build_join_schema(&left, &right, join.join_type());
    let columns: Vec<_> = match &join.projection {
        Some(projection) => projection.iter().map(|at| columns[*at].clone()).collect(),
        None => columns,
    };
    let side = |side: JoinSide| -> Route {
        let schema = if side == JoinSide::Left {
            &left
        } else {
            &right
        };
        let of_side = columns.iter().map(|c| (c.side == side).then_some(c.index));
        of_side
            .map(|at| at.and_then(|at| column(schema, at)))
            .collect()
    };
    // The keys of the side that comes out, as the other side's.
    let keys = |out: JoinSide| -> Route {
        let other = |at: usize| {
            join.on().iter().find_map(|(l, r)| {
                let (own, other) = if out == JoinSide::Left {
                    (l, r)
                } else {
                    (r, l)
                };
                let same_type = || {
                    let field = |key: &Filter, schema| key.data_type(schema).ok();
                    field(l, left.as_ref()) == field(r, right.as_ref())
                };
                let is_it = own
                    .downcast_ref::<Column>()
                    .is_some_and(|c| c.index() == at);
                (is_it && same_type()).then(|| Arc::clone(other))
            })
        };
        let of_side = columns.iter().map(|c| (c.side == out).then_some(c.index));
        of_side.map(|at| at.and_then(other)).collect()
    };
    match join.join_type() {
        Inner => vec![Some(side(JoinSide::Left)), Some(side(JoinSide::Right))],
        Left | LeftAnti | LeftMark => vec![Some(side(JoinSide::Left)), None],
        Right | RightAnti | RightMark => vec![None, Some(side(JoinSide::Right))],
        Full => vec![None, None],
        LeftSemi => vec![Some(side(JoinSide::Left)), Some(keys(JoinSide::Left))],
        RightSemi => vec![Some(keys(JoinSide::Right)), Some(side(JoinSide::Right))],
    }
}

/// Filters on what is grouped by choose groups. Not so where groups exist without a row, and not on a
/// column that some grouping set leaves out.
fn aggregate_route(aggregate: &AggregateExec) -> Option<Route> {
    let group_by = aggregate.group_expr();
    let sets = group_by.groups();
    let is_whole = |set: &Vec<bool>| set.iter().all(|is_null| *is_null);
    if group_by.is_true_no_grouping() || sets.iter().any(is_whole) {
        return None;
    }
    let mut route: Route = group_by
        .expr()
        .iter()
        .enumerate()
        .map(|(at, (expr, _))| {
            let everywhere = sets.iter().all(|set| set.get(at) != Some(&true));
            (everywhere && is_stable(expr)).then(|| Arc::clone(expr))
        })
        .collect();
    route.resize(aggregate.schema().fields().len(), None);
    Some(route)
}

/// The filter as it reads below, `None` where some column is not there.
fn through(filter: &Filter, route: Option<&Route>) -> Result<Option<Filter>> {
    let Some(route) = route.filter(|_| is_stable(filter)) else {
        return Ok(None);
    };
    let mut everywhere = true;
    let below = Arc::clone(filter).transform_down(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else {
            return Ok(Transformed::no(expr));
        };
        // What takes the column's place is not looked into again.
        match route.get(column.index()).and_then(Option::as_ref) {
            Some(below) => Ok(Transformed::new(
                Arc::clone(below),
                true,
                TreeNodeRecursion::Jump,
            )),
            None => {
                everywhere = false;
                Ok(Transformed::complete(expr))
            }
        }
    })?;
    Ok(everywhere.then_some(below.data))
}

/// False for what has another value each time.
fn is_stable(expr: &Filter) -> bool {
    let mut stable = true;
    let visited = expr.apply(|e| {
        stable &= !is_volatile(e);
        Ok(if stable {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    });
    visited.is_ok() && stable
}
