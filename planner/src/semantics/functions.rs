//! Functions of the engine whose results have another type or rounding in PostgreSQL.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, lit, when};

use super::literals::as_float;
use super::text;
use super::types::{call as arithmetic, cast_to, decimal, digits_of, is_decimal, type_of};

/// The call as PostgreSQL answers it.
pub(super) fn call(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let ScalarFunction { func, args } = call;
    match (func.name(), args.len()) {
        // EXTRACT is numeric, its older sister a float.
        ("date_part", 2) => {
            let extracted = arithmetic("extract_field", args)?;
            return Ok(Transformed::yes(cast_to(extracted, DataType::Float64)));
        }
        ("round", 1)
            if type_of(&args[0], schema).is_some_and(|t| t.is_floating() || t.is_integer()) =>
        {
            let value = as_float(args.into_iter().next().unwrap_or_default())?;
            return Ok(Transformed::yes(arithmetic("float_round", vec![value])?));
        }
        // The nearest whole number may have a digit more: 99.9 becomes 100.
        ("ceil" | "floor" | "round", 1..) => {
            let mut args = args;
            let digits = type_of(&args[0], schema)
                .filter(is_decimal)
                .and_then(|t| digits_of(&t));
            if let Some((precision, scale)) = digits
                && scale > 0
                && let Some(wider) = decimal(precision + 1, scale)
            {
                args[0] = cast_to(std::mem::take(&mut args[0]), wider);
                let call = ScalarFunction { func, args };
                return Ok(Transformed::yes(Expr::ScalarFunction(call)));
            }
            let call = ScalarFunction { func, args };
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        }
        ("signum", 1) => {
            if let Some(data_type) = type_of(&args[0], schema).filter(is_decimal) {
                let value = args.into_iter().next().unwrap_or_default();
                return sign(value, &data_type).map(Transformed::yes);
            }
            let call = ScalarFunction { func, args };
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        }
        // What prints its arguments prints `character(n)` with its padding.
        ("concat" | "concat_ws" | "format" | "octet_length", _) => {
            let mut moved = false;
            let args = args
                .into_iter()
                .map(|arg| {
                    let padded = text::padded(arg, schema);
                    moved |= padded.transformed;
                    padded.data
                })
                .collect();
            let call = Expr::ScalarFunction(ScalarFunction { func, args });
            return Ok(Transformed::new_transformed(call, moved));
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

/// The sign of a numeric, which is a numeric.
fn sign(value: Expr, data_type: &DataType) -> Result<Expr> {
    let number = |sign: i128| lit(ScalarValue::Decimal128(Some(sign), 1, 0));
    let zero = lit(ScalarValue::new_zero(data_type)?);
    when(value.clone().gt(zero.clone()), number(1))
        .when(value.clone().lt(zero), number(-1))
        .when(value.is_not_null(), number(0))
        .end()
}
