//! What must be known while a statement is being bound: averages as quotients of sums and counts, EXTRACT as
//! a numeric, numeric arithmetic whose types the engine would refuse, and the types of row numbers.
//!
//! `avg(x)` becomes `average(sum(x), count(x))`: the engine's own averages keep four digits more than their
//! argument has. A sum that the statement asks for beside the average is computed once.
//!
//! The engine's names leave casts out, and it refuses two columns of one name: an argument with a cast gets a
//! name of its own, or there could be no `min(x), min(x::text)`.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawWindowExpr,
};
use datafusion::logical_expr::{Expr, Operator, WindowFunctionDefinition};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use sluice_catalogs::functions::arithmetic;

use super::{operators, types};

/// The engine's hook for expressions that are not yet typed.
#[derive(Debug)]
pub(crate) struct PgExprPlanner;

impl ExprPlanner for PgExprPlanner {
    fn plan_aggregate(&self, raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        let raw = RawAggregateExpr {
            args: raw.args.into_iter().map(named).collect::<Result<_>>()?,
            ..raw
        };
        if raw.func.name() != "avg" || raw.args.len() != 1 {
            return Ok(PlannerResult::Original(raw));
        }
        let part = |func| {
            Expr::AggregateFunction(AggregateFunction::new_udf(
                func,
                raw.args.clone(),
                raw.distinct,
                raw.filter.clone(),
                raw.order_by.clone(),
                raw.null_treatment,
            ))
        };
        let parts = vec![part(arithmetic::sum()), part(count_udaf())];
        Ok(PlannerResult::Planned(types::call("average", parts)?))
    }

    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let is_average = matches!(
            &raw.func_def,
            WindowFunctionDefinition::AggregateUDF(f) if f.name() == "avg"
        );
        if let Some(data_type) = numbering(&raw.func_def) {
            let RawWindowExpr {
                func_def,
                args,
                partition_by,
                order_by,
                window_frame,
                ..
            } = raw;
            let (filter, null_treatment, distinct) = (raw.filter, raw.null_treatment, raw.distinct);
            let number = Expr::WindowFunction(Box::new(WindowFunction {
                fun: func_def,
                params: WindowFunctionParams {
                    args,
                    partition_by,
                    order_by,
                    window_frame,
                    filter,
                    null_treatment,
                    distinct,
                },
            }));
            return Ok(PlannerResult::Planned(types::cast_to(number, data_type)));
        }
        if !is_average || raw.args.len() != 1 {
            return Ok(PlannerResult::Original(raw));
        }
        let part = |func| {
            Expr::WindowFunction(Box::new(WindowFunction {
                fun: WindowFunctionDefinition::AggregateUDF(func),
                params: WindowFunctionParams {
                    args: raw.args.clone(),
                    partition_by: raw.partition_by.clone(),
                    order_by: raw.order_by.clone(),
                    window_frame: raw.window_frame.clone(),
                    filter: raw.filter.clone(),
                    null_treatment: raw.null_treatment,
                    distinct: raw.distinct,
                },
            }))
        };
        let parts = vec![part(arithmetic::sum()), part(count_udaf())];
        Ok(PlannerResult::Planned(types::call("average", parts)?))
    }

    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        operators::check(&raw.left, &raw.op, &raw.right, schema)?;
        let op = match raw.op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        Ok(match operators::early(&raw.left, op, &raw.right, schema)? {
            Some(expr) => PlannerResult::Planned(expr),
            None => PlannerResult::Original(raw),
        })
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(types::call("extract_field", args)?))
    }
}

/// The argument, under a name that tells its casts.
fn named(arg: Expr) -> Result<Expr> {
    let casts = |e: &Expr| matches!(e, Expr::Cast(cast) if cast.expr.any_column_refs());
    Ok(match arg.exists(|e| Ok(casts(e)))? {
        true => {
            let name = arg.to_string();
            arg.alias(name)
        }
        false => arg,
    })
}

/// PostgreSQL's type of a function that numbers rows; the engine's own are unsigned.
fn numbering(function: &WindowFunctionDefinition) -> Option<DataType> {
    match function {
        WindowFunctionDefinition::WindowUDF(f) => match f.name() {
            "row_number" | "rank" | "dense_rank" => Some(DataType::Int64),
            "ntile" => Some(DataType::Int32),
            _ => None,
        },
        WindowFunctionDefinition::AggregateUDF(_) => None,
    }
}
