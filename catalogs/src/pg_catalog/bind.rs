//! What PostgreSQL does with OID types once it knows the types of a statement's expressions.
//!
//! Runs over the plan that the engine's planner made, before optimization: text forms of `regclass` and its
//! kin, comparisons with untyped literals, subscripts of the vector types, correlated scalar subqueries that
//! the engine cannot unnest, and names instead of numbers in the result. Cheap for a statement that has
//! none of these, and it changes no other.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{BinaryExpr, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, lit,
};
use datafusion::prelude::Column;
use sluice_spi::types::pg_type;
use sluice_spi::{Error, SqlState};

use super::arrays::parse_array;
use super::decorrelate;
use super::names::{self, RegKind};
use crate::functions::{SessionFacts, catalog::reg_text};

/// Finishes the plan of a statement for a session.
pub fn finish(plan: LogicalPlan, facts: &Arc<SessionFacts>) -> Result<LogicalPlan> {
    let plan = plan
        .transform_up_with_subqueries(|node| bind_node(node, facts))?
        .data;
    let plan = decorrelate::unnest_scalar_subqueries(plan)?;
    name_outputs(plan, facts)
}

fn bind_node(node: LogicalPlan, facts: &Arc<SessionFacts>) -> Result<Transformed<LogicalPlan>> {
    let mut any = false;
    node.apply_expressions(|expr| {
        expr.apply(|e| {
            any |= is_candidate(e);
            Ok(if any {
                TreeNodeRecursion::Stop
            } else {
                TreeNodeRecursion::Continue
            })
        })
    })?;
    if !any {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let bound = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let bound = expr.transform_up(|e| bind_expr(e, &schema, facts))?;
        Ok(bound.update_data(|e| name.restore(e)))
    })?;
    if bound.transformed {
        bound.map_data(LogicalPlan::recompute_schema)
    } else {
        Ok(bound)
    }
}

/// The shapes that [`bind_expr`] looks at more closely.
fn is_candidate(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(_) => true,
        Expr::BinaryExpr(b) => is_text_literal(&b.left) || is_text_literal(&b.right),
        Expr::ScalarFunction(f) => f.func.name() == "array_element",
        _ => false,
    }
}

fn is_text_literal(expr: &Expr) -> bool {
    text_literal(expr).is_some()
}

fn text_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            Some(text)
        }
        _ => None,
    }
}

fn field_of(expr: &Expr, schema: &DFSchema) -> Option<Arc<Field>> {
    expr.to_field(schema).ok().map(|(_, field)| field)
}

/// The OID type of an expression, if it is one that has names.
fn reg_kind(field: &Field) -> Option<RegKind> {
    if field.data_type() != &DataType::UInt32 {
        return None;
    }
    RegKind::from_type_name(pg_type(field)?)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn bind_expr(
    expr: Expr,
    schema: &DFSchema,
    facts: &Arc<SessionFacts>,
) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(Cast { expr: inner, field }) => {
            let Some(from) = field_of(&inner, schema) else {
                return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field })));
            };
            if is_text(field.data_type())
                && let Some(kind) = reg_kind(&from)
            {
                return Ok(Transformed::yes(reg_text(facts, kind).call(vec![*inner])));
            }
            if matches!(field.data_type(), DataType::List(_)) && is_text(from.data_type()) {
                // The engine would make an array of one element of it.
                return Err(Error::unsupported(
                    "cannot cast text that is not a constant to an array",
                )
                .with_hint("Use string_to_array().")
                .into());
            }
            Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (left, moved) = bind_literal(*left, &right, schema, facts)?;
            let (right, also) = bind_literal(*right, &left, schema, facts)?;
            let bound = Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
            Ok(if moved || also {
                Transformed::yes(bound)
            } else {
                Transformed::no(bound)
            })
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "array_element" => {
            let vector = args
                .first()
                .and_then(|a| field_of(a, schema))
                .is_some_and(|f| matches!(pg_type(&f), Some("int2vector" | "oidvector")));
            if !vector || args.len() != 2 {
                return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction {
                    func,
                    args,
                })));
            }
            // The first element of a vector is number 0.
            let shifted = Expr::BinaryExpr(BinaryExpr::new(
                Box::new(args[1].clone()),
                Operator::Plus,
                Box::new(lit(1i64)),
            ));
            let args = vec![args[0].clone(), shifted];
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction {
                func,
                args,
            })))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// An untyped literal takes the type of what it is compared with.
fn bind_literal(
    expr: Expr,
    other: &Expr,
    schema: &DFSchema,
    facts: &Arc<SessionFacts>,
) -> Result<(Expr, bool)> {
    let Some(text) = text_literal(&expr) else {
        return Ok((expr, false));
    };
    let Some(field) = field_of(other, schema) else {
        return Ok((expr, false));
    };
    if let Some(kind) = reg_kind(&field) {
        let oid = names::resolve_reg(&facts.host.snapshot(), kind, text)?;
        return Ok((lit(oid), true));
    }
    if let DataType::List(item) = field.data_type() {
        let parsed = parse_array(text)?;
        let values: Vec<ScalarValue> = parsed.into_iter().map(ScalarValue::Utf8).collect();
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8));
        let typed = list.cast_to(&DataType::List(item.clone())).map_err(|_| {
            Error::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                format!("malformed array literal: \"{text}\""),
            )
        })?;
        return Ok((Expr::Literal(typed, None), true));
    }
    Ok((expr, false))
}

/// A result shows names where PostgreSQL prints names: `'t'::regclass`, `pg_type.typinput`.
fn name_outputs(plan: LogicalPlan, facts: &Arc<SessionFacts>) -> Result<LogicalPlan> {
    let returns_rows = !matches!(
        plan,
        LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_)
    );
    if !returns_rows || !plan.schema().fields().iter().any(|f| reg_kind(f).is_some()) {
        return Ok(plan);
    }
    let outputs: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            match reg_kind(field) {
                Some(kind) => reg_text(facts, kind)
                    .call(vec![column])
                    .alias_qualified(qualifier.cloned(), field.name()),
                None => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(outputs)?.build()
}
