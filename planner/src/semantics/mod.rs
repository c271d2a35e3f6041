//! PostgreSQL's meaning of operators, casts and literals, given to a bound plan before it is optimized.
//!
//! The engine binds `+`, `/`, `::int` or `avg` by its own rules of types, rounding and overflow. This pass
//! runs once over each bound plan, when every type is known, and puts in their place expressions that mean
//! what PostgreSQL means ([`operators`], [`scales`], [`comparisons`], [`lists`], [`casts`], [`branches`],
//! [`functions`], [`moments`], [`text`], [`groups`]); [`aggregates`] acts while the plan is being made, since an average
//! becomes two aggregates;
//! [`assignment`] comes last, for rows that are written. Relies on `catalogs::functions::arithmetic` for the
//! functions,
//! which workers have too. Never touches a plan's shape beyond casts, and never asks a source.

mod aggregates;
mod assignment;
mod branches;
mod casts;
mod comparisons;
mod functions;
mod groups;
mod keys;
mod lists;
mod literals;
mod moments;
mod operators;
mod outer_references;
mod scales;
#[cfg(test)]
mod tests;
mod text;
mod types;

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, Union,
    Values, WindowFunctionDefinition,
};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion::prelude::Column;

pub(crate) use aggregates::PgExprPlanner;
pub(crate) use assignment::{assign, bound_type};
pub(crate) use comparisons::compared;

/// Gives a bound plan PostgreSQL's meaning.
pub(crate) fn apply(plan: LogicalPlan) -> Result<LogicalPlan> {
    Pass::over(&plan)?.run(plan)
}

/// One run over one plan.
struct Pass {
    /// Whether untyped integers become `integer`, as they do unless something already relies on bigint.
    narrow: bool,
    /// Whether some node below has other types than before.
    changed: Cell<bool>,
}

impl Pass {
    fn over(plan: &LogicalPlan) -> Result<Self> {
        let mut recursive = false;
        plan.apply_with_subqueries(|node| {
            recursive |= matches!(node, LogicalPlan::RecursiveQuery(_));
            Ok(if recursive {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })?;
        // The working table of a recursive query was typed when it was bound.
        Ok(Pass {
            narrow: !recursive,
            changed: Cell::new(false),
        })
    }

    fn run(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        Ok(plan.transform_up(|node| self.node(node))?.data)
    }

    /// A node whose inputs are done.
    fn node(&self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let outer = merge_schema(&node.inputs());
        // Subqueries are bound to columns of these inputs, whose types may have changed.
        let node = node.map_subqueries(|subquery| {
            let subquery = match self.changed.get() {
                true => outer_references::retyped(subquery, &outer)?,
                false => subquery,
            };
            self.run(subquery).map(Transformed::yes)
        })?;
        let (node, had_subqueries) = (node.data, node.transformed);
        let done = self.node_itself(node)?;
        Ok(Transformed::new_transformed(
            done.data,
            done.transformed || had_subqueries,
        ))
    }

    fn node_itself(&self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        match node {
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            LogicalPlan::Join(join) => {
                let join = keys::of_one_type(join)?;
                self.expressions(LogicalPlan::Join(join))
            }
            LogicalPlan::Limit(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Ddl(_) => self.recomputed(node),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::Union(union) => self.union(union),
            node => self.expressions(node),
        }
    }

    fn recomputed(&self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if self.changed.get() {
            Ok(Transformed::yes(node.recompute_schema()?))
        } else {
            Ok(Transformed::no(node))
        }
    }

    fn expressions(&self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let compares = matches!(node, LogicalPlan::Join(_) | LogicalPlan::Sort(_));
        let groups = match &node {
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.len(),
            _ => 0,
        };
        let mut at = 0;
        let mapped = node.map_expressions(|expr| {
            let is_group = at < groups;
            at += 1;
            // Its members' names would change with them.
            if matches!(expr, Expr::GroupingSet(_)) {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let mut expr = expr.transform_up(|e| self.expr(e, &schema))?;
            if compares {
                expr = expr.transform_data(|e| comparisons::key(e, &schema))?;
            } else if is_group {
                expr = expr.transform_data(|e| Ok(comparisons::group_key(e, &schema)))?;
            }
            Ok(expr.update_data(|e| name.restore(e)))
        })?;
        if mapped.transformed {
            self.changed.set(true);
        }
        let transformed = mapped.transformed;
        let recomputed = self.recomputed(mapped.data)?;
        if let LogicalPlan::Aggregate(aggregate) = recomputed.data {
            let shown = match aggregate.group_expr.as_slice() {
                [Expr::GroupingSet(sets)] => {
                    let members = self.members(sets, &schema)?;
                    self.changed.set(true);
                    groups::of_sets(aggregate, members)
                }
                _ => groups::shown(aggregate),
            };
            return shown.map(Transformed::yes);
        }
        Ok(Transformed::new_transformed(
            recomputed.data,
            transformed || recomputed.transformed,
        ))
    }

    /// Each member of the sets once, and what it means.
    fn members(&self, sets: &GroupingSet, schema: &DFSchema) -> Result<Vec<(Expr, Expr)>> {
        sets.distinct_expr()
            .into_iter()
            .map(|member| {
                let meant = member.clone().transform_up(|e| self.expr(e, schema))?;
                Ok((member.clone(), meant.data))
            })
            .collect()
    }

    fn expr(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Literal(value, metadata) => Ok(literals::narrowed(value, metadata, self.narrow)),
            Expr::Negative(inner) => operators::negative(*inner, schema),
            Expr::BinaryExpr(binary) => operators::binary(binary, schema),
            Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_) => Ok(comparisons::truth(expr)),
            Expr::Between(between) => lists::between(between, schema),
            Expr::InList(list) => lists::in_list(list, schema),
            Expr::Like(like) => text::like(like, schema),
            Expr::Cast(cast) => casts::cast(cast, schema),
            Expr::Case(case) => branches::case(case, schema),
            Expr::InSubquery(test) => keys::in_subquery(test, schema),
            Expr::AggregateFunction(call) if groups::compares_intervals(&call, schema) => {
                groups::of_intervals(call).map(Transformed::yes)
            }
            Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
                // The engine knows `count(*)` by its bigint literal.
                let mut moved = func.name() == "count" && literals::widen(&mut params.args);
                if params.distinct {
                    moved |= as_keys(&mut params.args, schema)?;
                }
                moved |= as_keys(params.order_by.iter_mut().map(|by| &mut by.expr), schema)?;
                let expr = Expr::AggregateFunction(AggregateFunction { func, params });
                Ok(Transformed::new_transformed(expr, moved))
            }
            Expr::WindowFunction(mut window) => {
                let WindowFunction { fun, params } = window.as_mut();
                groups::refuse_windows_of_intervals(fun, &params.args, schema)?;
                // Offsets and counts of window functions are read as bigint.
                let mut moved = match fun {
                    WindowFunctionDefinition::WindowUDF(_) => literals::widen(&mut params.args),
                    WindowFunctionDefinition::AggregateUDF(f) => {
                        f.name() == "count" && literals::widen(&mut params.args)
                    }
                };
                moved |= as_keys(&mut params.partition_by, schema)?;
                moved |= as_keys(params.order_by.iter_mut().map(|by| &mut by.expr), schema)?;
                Ok(Transformed::new_transformed(
                    Expr::WindowFunction(window),
                    moved,
                ))
            }
            Expr::ScalarFunction(call) => functions::call(call, schema),
            other => Ok(Transformed::no(other)),
        }
    }

    fn distinct_on(&self, distinct: DistinctOn) -> Result<Transformed<LogicalPlan>> {
        let done = self.expressions(LogicalPlan::Distinct(Distinct::On(distinct)))?;
        let LogicalPlan::Distinct(Distinct::On(mut distinct)) = done.data else {
            return Ok(done);
        };
        let schema = Arc::clone(distinct.input.schema());
        // The first keys of the order are those of the rows that are one, and stay so.
        let mut moved = as_keys(&mut distinct.on_expr, &schema)?;
        if let Some(order) = &mut distinct.sort_expr {
            moved |= as_keys(order.iter_mut().map(|by| &mut by.expr), &schema)?;
        }
        let distinct = LogicalPlan::Distinct(Distinct::On(distinct));
        Ok(Transformed::new_transformed(
            distinct,
            moved || done.transformed,
        ))
    }

    fn distinct(&self, input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
        let schema = Arc::clone(input.schema());
        let is_interval = |field: &FieldRef| matches!(field.data_type(), DataType::Interval(_));
        if schema.fields().iter().any(is_interval) {
            // The same as grouping by every column, which knows how to show intervals.
            let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
            let grouped = Aggregate::try_new(input, columns, Vec::new())?;
            return self.expressions(LogicalPlan::Aggregate(grouped));
        }
        let mut moved = false;
        let columns = schema
            .iter()
            .map(|(qualifier, field)| {
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                let key = comparisons::key(column, &schema)?;
                moved |= key.transformed;
                Ok(match key.transformed {
                    true => key.data.alias_qualified(qualifier.cloned(), field.name()),
                    false => key.data,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        if !moved {
            return self.recomputed(LogicalPlan::Distinct(Distinct::All(input)));
        }
        LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
            .project(columns)?
            .distinct()?
            .build()
            .map(Transformed::yes)
    }

    /// `VALUES (1), (2)` has a column of type integer.
    fn values(&self, values: Values) -> Result<Transformed<LogicalPlan>> {
        let values = self.cells(values)?;
        let fits = |at: usize| {
            values.values.iter().all(|row| match row.get(at) {
                Some(Expr::Literal(ScalarValue::Int64(Some(v)), _)) => i32::try_from(*v).is_ok(),
                Some(Expr::Literal(value, _)) => value.is_null(),
                _ => false,
            })
        };
        let columns: Vec<DataType> = values
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| match field.data_type() {
                DataType::Int64 if self.narrow && fits(at) => DataType::Int32,
                other => literals::microseconds(other),
            })
            .collect();
        let same = |(field, column): (&FieldRef, &DataType)| field.data_type() == column;
        if values.schema.fields().iter().zip(&columns).all(same) {
            return Ok(Transformed::no(LogicalPlan::Values(values)));
        }
        let fields = values
            .schema
            .iter()
            .zip(&columns)
            .map(|((qualifier, field), column)| {
                let field = field.as_ref().clone().with_data_type(column.clone());
                (qualifier.cloned(), Arc::new(field))
            })
            .collect();
        let schema = DFSchema::new_with_metadata(fields, values.schema.metadata().clone())?;
        let rows = values
            .values
            .into_iter()
            .map(|row| {
                let cells = row.into_iter().zip(&columns);
                cells
                    .map(|(cell, column)| match cell {
                        Expr::Literal(value, metadata) if value.data_type() != *column => {
                            Ok(Expr::Literal(value.cast_to(column)?, metadata))
                        }
                        other => Ok(other),
                    })
                    .collect::<Result<Vec<_>>>()
            })
            .collect::<Result<Vec<_>>>()?;
        self.changed.set(true);
        Ok(Transformed::yes(LogicalPlan::Values(Values {
            schema: Arc::new(schema),
            values: rows,
        })))
    }

    /// The cells of VALUES have the types of their columns, by the engine's own casts: they are made again.
    fn cells(&self, mut values: Values) -> Result<Values> {
        let none = DFSchema::empty();
        values.schema = with_floats(&values)?;
        let columns = Arc::clone(&values.schema);
        for row in &mut values.values {
            for (cell, column) in row.iter_mut().zip(columns.fields()) {
                if matches!(cell, Expr::Literal(..)) {
                    continue;
                }
                let given = match std::mem::take(cell) {
                    // Its own, which the column asked for; a cast with a tag is the user's.
                    Expr::Cast(cast)
                        if cast.field.data_type() == column.data_type()
                            && cast.field.metadata().is_empty()
                            && !column.data_type().is_binary()
                            && !is_untyped_parameter(&cast.expr) =>
                    {
                        *cast.expr
                    }
                    other => other,
                };
                let given = given.transform_up(|e| self.expr(e, &none))?.data;
                *cell = match types::field_of(&given, &none) {
                    Some(found) if found.data_type() != column.data_type() => {
                        assignment::check_cell(&found, column)?;
                        assignment::assigned(given, column, &none)?
                    }
                    // A parameter gets its type from its column.
                    None if !matches!(given, Expr::Placeholder(_)) => {
                        types::cast_to(given, column.data_type().clone())
                    }
                    _ => given,
                };
            }
        }
        Ok(values)
    }

    /// The inputs of a union get one type here rather than later, so that the types a client is told are
    /// the types it gets.
    fn union(&self, union: Union) -> Result<Transformed<LogicalPlan>> {
        let same = |input: &Arc<LogicalPlan>| {
            let fields = input.schema().fields().iter().zip(union.schema.fields());
            fields.fold(true, |all, (a, b)| all && a.data_type() == b.data_type())
        };
        if union.inputs.iter().all(same) {
            return Ok(Transformed::no(LogicalPlan::Union(union)));
        }
        self.changed.set(true);
        let inputs = with_common_moments(with_common_numbers(union.inputs)?)?;
        let union = Union::try_new_with_loose_types(inputs)?;
        Ok(Transformed::yes(TypeCoercionRewriter::coerce_union(union)?))
    }
}

/// Makes what is compared with itself comparable; true where something changed.
fn as_keys<'a>(exprs: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> Result<bool> {
    let mut moved = false;
    for expr in exprs {
        let key = comparisons::key(std::mem::take(expr), schema)?;
        moved |= key.transformed;
        *expr = key.data;
    }
    Ok(moved)
}

/// The columns of VALUES, where numbers and floats together are floats: the engine makes numerics of them.
fn with_floats(values: &Values) -> Result<DFSchemaRef> {
    let none = DFSchema::empty();
    let has_float = |at: usize| {
        values
            .values
            .iter()
            .filter_map(|row| row.get(at))
            .any(|cell| {
                let given = match cell {
                    Expr::Cast(cast) if types::is_decimal(cast.field.data_type()) => &cast.expr,
                    other => other,
                };
                types::type_of(given, &none).is_some_and(|t| t.is_floating())
            })
    };
    let mut changed = false;
    let fields = values
        .schema
        .iter()
        .enumerate()
        .map(|(at, (qualifier, field))| {
            let mut field = Arc::clone(field);
            if types::is_decimal(field.data_type()) && has_float(at) {
                changed = true;
                field = Arc::new(field.as_ref().clone().with_data_type(DataType::Float64));
            }
            (qualifier.cloned(), field)
        })
        .collect();
    if !changed {
        return Ok(Arc::clone(&values.schema));
    }
    DFSchema::new_with_metadata(fields, values.schema.metadata().clone()).map(Arc::new)
}

fn is_untyped_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(parameter) if parameter.field.is_none())
}

/// The inputs of a union with instants in each column where some input has them.
fn with_common_moments(inputs: Vec<Arc<LogicalPlan>>) -> Result<Vec<Arc<LogicalPlan>>> {
    let width = inputs
        .first()
        .map_or(0, |input| input.schema().fields().len());
    let instants: Vec<bool> = (0..width)
        .map(|at| {
            let types = inputs
                .iter()
                .map(|input| input.schema().field(at).data_type());
            moments::are_instants(types)
        })
        .collect();
    if !instants.contains(&true) {
        return Ok(inputs);
    }
    inputs
        .into_iter()
        .map(|input| {
            let columns = input
                .schema()
                .iter()
                .zip(&instants)
                .map(|((qualifier, field), to_instant)| {
                    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                    match (to_instant, field.data_type()) {
                        (true, DataType::Date32 | DataType::Timestamp(_, None)) => {
                            let instant = moments::as_instant(column, field.data_type())?;
                            Ok(instant.alias_qualified(qualifier.cloned(), field.name()))
                        }
                        _ => Ok(column),
                    }
                })
                .collect::<Result<Vec<_>>>()?;
            LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
                .project(columns)?
                .build()
                .map(Arc::new)
        })
        .collect()
}

/// The inputs of a union with one type for each column of numbers that are not all of one: the engine
/// knows none for decimals of different widths.
fn with_common_numbers(inputs: Vec<Arc<LogicalPlan>>) -> Result<Vec<Arc<LogicalPlan>>> {
    let width = inputs
        .first()
        .map_or(0, |input| input.schema().fields().len());
    let targets: Vec<Option<DataType>> = (0..width)
        .map(|at| {
            let mut types = inputs
                .iter()
                .map(|input| input.schema().field(at).data_type());
            let decimal = types.clone().any(types::is_decimal);
            let first = types.next()?;
            let mixed = types.clone().any(|t| t != first);
            (decimal && mixed)
                .then(|| branches::common(std::iter::once(first).chain(types)))
                .flatten()
        })
        .collect();
    if targets.iter().all(Option::is_none) {
        return Ok(inputs);
    }
    inputs
        .into_iter()
        .map(|input| {
            let columns: Vec<Expr> = input
                .schema()
                .iter()
                .zip(&targets)
                .map(|((qualifier, field), target)| {
                    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                    match target {
                        Some(target) if target != field.data_type() => {
                            types::cast_to(column, target.clone())
                                .alias_qualified(qualifier.cloned(), field.name())
                        }
                        _ => column,
                    }
                })
                .collect();
            LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
                .project(columns)?
                .build()
                .map(Arc::new)
        })
        .collect()
}
