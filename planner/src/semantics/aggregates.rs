//! Averages as quotients of sums and counts, and EXTRACT as a numeric, while a statement is being bound.
//!
//! `avg(x)` becomes `average(sum(x), count(x))`: the engine's own averages keep four digits more than their
//! argument has. A sum that the statement asks for beside the average is computed once.

use datafusion::error::Result;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr,
};
use datafusion::logical_expr::{Expr, WindowFunctionDefinition};
use sluice_catalogs::functions::arithmetic;

use super::types;

/// The engine's hook for expressions that are not yet typed.
#[derive(Debug)]
pub(crate) struct PgExprPlanner;

impl ExprPlanner for PgExprPlanner {
    fn plan_aggregate(&self, raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
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

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(types::call("extract_field", args)?))
    }
}
