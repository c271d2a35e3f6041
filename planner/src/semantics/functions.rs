//! Functions of the engine whose results have another type or rounding in PostgreSQL.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use super::literals::as_float;
use super::types::{call as arithmetic, cast_to, type_of};

/// The call as PostgreSQL answers it.
pub(super) fn call(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let ScalarFunction { func, args } = call;
    match (func.name(), args.len()) {
        // EXTRACT is numeric, its older sister a float.
        ("date_part", 2) => {
            let extracted = arithmetic("extract_field", args)?;
            return Ok(Transformed::yes(cast_to(extracted, DataType::Float64)));
        }
        ("round", 1) => {
            let argument = type_of(&args[0], schema);
            if argument.is_some_and(|t| t.is_floating() || t.is_integer()) {
                let value = as_float(args.into_iter().next().unwrap_or_default())?;
                return Ok(Transformed::yes(arithmetic("float_round", vec![value])?));
            }
        }
        _ => {}
    }
    let expr = Expr::ScalarFunction(ScalarFunction { func, args });
    // Lengths and positions in arrays are unsigned in the engine.
    if type_of(&expr, schema) == Some(DataType::UInt64) {
        return Ok(Transformed::yes(cast_to(expr, DataType::Int32)));
    }
    Ok(Transformed::no(expr))
}
