//! Takes from a bound plan what the engine would conclude too much from: keys.
//!
//! Where an aggregate groups by a key of one joined relation and a column of another, the engine holds the
//! key alone for unique among the groups. It then drops the other column from an outer GROUP BY, DISTINCT
//! or ORDER BY, and rows are lost or come in another order. So once binding is over (which needs keys:
//! PostgreSQL lets a query select any column of a table that it groups by its primary key), tables have
//! none, and what a subquery groups by is named anew where it is joined below another aggregate.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableScan};
use sluice_catalogs::CatalogTable;
use sluice_catalogs::functions::same;

/// The plan without keys.
pub(super) fn forget(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = hide_group_keys(plan)?;
    let mut changed = false;
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => {
            let scan = forget_primary_key(scan)?;
            changed |= scan.transformed;
            Ok(scan.update_data(LogicalPlan::TableScan))
        }
        // A schema says which columns determine others: up to the root, each is made again.
        other if changed => other.recompute_schema().map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn forget_primary_key(scan: TableScan) -> Result<Transformed<TableScan>> {
    let Ok(provider) = source_as_provider(&scan.source) else {
        return Ok(Transformed::no(scan));
    };
    let Some(table) = provider.downcast_ref::<CatalogTable>() else {
        return Ok(Transformed::no(scan));
    };
    if table.metadata().primary_key.is_empty() {
        return Ok(Transformed::no(scan));
    }
    let source = provider_as_source(Arc::new(table.without_key()));
    TableScanBuilder::new(scan.table_name, source)
        .with_projection(scan.projection)
        .with_filters(scan.filters)
        .with_fetch(scan.fetch)
        .build()
        .map(Transformed::yes)
}

/// Below each aggregate, the inputs of joins that are grouped themselves.
fn hide_group_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut grouped_above = false;
    plan.apply_with_subqueries(|node| {
        grouped_above |= groups(node);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !grouped_above {
        return Ok(plan);
    }
    let plan = plan.transform_up_with_subqueries(|node| {
        if !groups(&node) {
            return Ok(Transformed::no(node));
        }
        node.map_children(below_group)
    })?;
    Ok(plan.data)
}

fn groups(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_))
}

/// Looks for joins through the nodes that keep a column's identity.
fn below_group(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Join(join) => {
            let left = named_anew(join.left)?;
            let right = named_anew(join.right)?;
            let changed = left.transformed || right.transformed;
            let join = Join {
                left: left.data,
                right: right.data,
                ..join
            };
            let plan = LogicalPlan::Join(join);
            if changed {
                plan.recompute_schema().map(Transformed::yes)
            } else {
                Ok(Transformed::no(plan))
            }
        }
        passes if keeps_identity(&passes) => {
            let inner = passes.map_children(below_group)?;
            if inner.transformed {
                inner.map_data(LogicalPlan::recompute_schema)
            } else {
                Ok(inner)
            }
        }
        other => Ok(Transformed::no(other)),
    }
}

fn keeps_identity(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Window(_)
    )
}

/// One side of a join: joins in it are searched too, and where it is grouped, its columns get new names.
fn named_anew(side: Arc<LogicalPlan>) -> Result<Transformed<Arc<LogicalPlan>>> {
    let side = Arc::unwrap_or_clone(side);
    if !is_grouped(&side) {
        let searched = below_group(side)?;
        return Ok(searched.update_data(Arc::new));
    }
    let function = Arc::new(same());
    let outputs: Vec<Expr> = side
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Column::new(qualifier.cloned(), field.name());
            call(&function, Expr::Column(column)).alias_qualified(qualifier.cloned(), field.name())
        })
        .collect();
    let plan = LogicalPlanBuilder::from(side).project(outputs)?.build()?;
    Ok(Transformed::yes(Arc::new(plan)))
}

fn is_grouped(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => !aggregate.group_expr.is_empty(),
        LogicalPlan::Distinct(_) => true,
        passes if keeps_identity(passes) => passes.inputs().into_iter().any(is_grouped),
        _ => false,
    }
}

fn call(function: &Arc<ScalarUDF>, argument: Expr) -> Expr {
    function.call(vec![argument])
}
