//! Functions of the engine whose results have another type or rounding in PostgreSQL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Case, Expr, Operator, ScalarUDF, lit, when};

use super::casts;
use super::comparisons::comparison;
use super::literals::{as_float, typed_as};
use super::moments;
use super::text;
use super::types::{call as arithmetic, cast_to, decimal, digits_of, is_decimal, type_of};

/// The call as PostgreSQL answers it.
pub(super) fn call(call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let ScalarFunction { func, args } = call;
    match (func.name(), args.len()) {
        // EXTRACT is numeric, its older sister a float.
        ("date_part", 2) => {
            let zoned = is_instant(&args[1], schema);
            let name = if zoned {
                "extract_here"
            } else {
                "extract_field"
            };
            let extracted = arithmetic(name, args)?;
            return Ok(Transformed::yes(cast_to(extracted, DataType::Float64)));
        }
        // By the clocks of the session's zone.
        ("extract_field", 2) if is_instant(&args[1], schema) => {
            return Ok(Transformed::yes(arithmetic("extract_here", args)?));
        }
        ("to_char", 2) if is_instant(&args[0], schema) => {
            return Ok(Transformed::yes(arithmetic("to_char_here", args)?));
        }
        ("date_trunc", 2 | 3) | ("timezone", 2) => {
            return moments::in_zone(func, args, schema);
        }
        ("coalesce" | "greatest" | "least" | "nullif", 2..) if moments::mix(&args, schema) => {
            let args = args
                .into_iter()
                .map(|arg| {
                    let data_type = type_of(&arg, schema).unwrap_or(DataType::Null);
                    moments::as_instant(arg, &data_type)
                })
                .collect::<Result<Vec<_>>>()?;
            return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction {
                func,
                args,
            })));
        }
        ("age", 1 | 2) => return moments::age(args, schema).map(Transformed::yes),
        // Integers make a series of integers.
        ("generate_series" | "range", 2 | 3)
            if args.iter().all(|arg| {
                matches!(
                    type_of(arg, schema),
                    Some(DataType::Int16 | DataType::Int32)
                )
            }) =>
        {
            let item = Field::new_list_field(DataType::Int32, true);
            let series = Expr::ScalarFunction(ScalarFunction { func, args });
            let list = DataType::List(Arc::new(item));
            return Ok(Transformed::yes(cast_to(series, list)));
        }
        ("round", 1)
            if type_of(&args[0], schema).is_some_and(|t| t.is_floating() || t.is_integer()) =>
        {
            let value = as_float(args.into_iter().next().unwrap_or_default())?;
            return Ok(Transformed::yes(arithmetic("float_round", vec![value])?));
        }
        ("ceil" | "floor" | "round" | "trunc", 1 | 2) => return rounded(func, args, schema),
        ("signum", 1) => {
            if let Some(data_type) = type_of(&args[0], schema).filter(is_decimal) {
                let value = args.into_iter().next().unwrap_or_default();
                return sign(value, &data_type).map(Transformed::yes);
            }
            let call = ScalarFunction { func, args };
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        }
        ("nullif", 2) => return nullif(func, args, schema),
        ("greatest" | "least", 1..)
            if args
                .iter()
                .any(|arg| matches!(type_of(arg, schema), Some(DataType::Interval(_)))) =>
        {
            return extreme_interval(func.name() == "greatest", args, schema).map(Transformed::yes);
        }
        // What prints its arguments prints them as PostgreSQL does, `character(n)` with its padding.
        ("concat" | "concat_ws" | "format" | "octet_length", _) => {
            let mut moved = false;
            let args = args
                .into_iter()
                .map(|arg| {
                    let padded = text::padded(arg, schema);
                    let printed = match func.name() {
                        "octet_length" => Transformed::no(padded.data),
                        _ => casts::printed(padded.data, schema)?,
                    };
                    moved |= padded.transformed || printed.transformed;
                    Ok(printed.data)
                })
                .collect::<Result<Vec<_>>>()?;
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

/// NULL where the arguments are equal, by a comparison that the engine's own would not make.
fn nullif(func: Arc<ScalarUDF>, args: Vec<Expr>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let as_it_is = |args| {
        Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction {
            func,
            args,
        })))
    };
    let (Some(l), Some(r)) = (type_of(&args[0], schema), type_of(&args[1], schema)) else {
        return as_it_is(args);
    };
    let test = comparison(args[0].clone(), Operator::Eq, args[1].clone(), schema)?;
    // The result has the type of what is compared: beside a float or a numeric, an integer is one.
    let keeps_type = !l.is_integer() || l == r;
    let becomes_float = l.is_numeric() && !l.is_floating() && r.is_floating();
    if !test.transformed || !(keeps_type || becomes_float) {
        return as_it_is(args);
    }
    let value = args.into_iter().next().unwrap_or_default();
    let value = match becomes_float {
        true => as_float(value)?,
        false => value,
    };
    when(test.data, lit(ScalarValue::Null))
        .otherwise(value)
        .map(Transformed::yes)
}

/// The longest or the shortest interval; of several that are equal the first.
fn extreme_interval(longest: bool, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    let args = args
        .into_iter()
        .map(|arg| typed_as(arg, &interval).map(|typed| typed.data))
        .collect::<Result<Vec<_>>>()?;
    let op = match longest {
        true => Operator::GtEq,
        false => Operator::LtEq,
    };
    let mut branches = Vec::with_capacity(args.len());
    for (at, arg) in args.iter().enumerate() {
        let mut wins = arg.clone().is_not_null();
        for (_, other) in args.iter().enumerate().filter(|(other, _)| *other != at) {
            let beats = comparison(arg.clone(), op, other.clone(), schema)?.data;
            wins = wins.and(other.clone().is_null().or(beats));
        }
        branches.push((Box::new(wins), Box::new(arg.clone())));
    }
    Ok(Expr::Case(Case::new(None, branches, None)))
}

/// `round`, `trunc`, `ceil` and `floor` of a numeric, with as many digits behind the point as are asked for.
fn rounded(
    func: Arc<ScalarUDF>,
    mut args: Vec<Expr>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let digits = type_of(&args[0], schema)
        .filter(is_decimal)
        .and_then(|t| digits_of(&t));
    let places = match args.get(1) {
        None => Some(0),
        Some(Expr::Literal(ScalarValue::Int32(Some(n)), _)) => Some((*n).max(0)),
        Some(Expr::Literal(ScalarValue::Int64(Some(n)), _)) => {
            i32::try_from(*n).ok().map(|n| n.max(0))
        }
        Some(_) => None,
    };
    let Some((precision, scale)) = digits else {
        let call = Expr::ScalarFunction(ScalarFunction { func, args });
        return Ok(Transformed::no(call));
    };
    // The nearest whole number may have a digit more: 99.9 becomes 100.
    let wider = decimal(precision + 1, scale).filter(|_| scale > 0);
    let moved = wider.is_some();
    if let Some(wider) = wider {
        args[0] = cast_to(std::mem::take(&mut args[0]), wider);
    }
    let call = Expr::ScalarFunction(ScalarFunction { func, args });
    let shown = places.and_then(|places| decimal(precision - scale + 1 + places, places));
    Ok(match shown {
        Some(shown) => Transformed::yes(cast_to(call, shown)),
        None => Transformed::new_transformed(call, moved),
    })
}

fn is_instant(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(type_of(expr, schema), Some(DataType::Timestamp(_, Some(_))))
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
