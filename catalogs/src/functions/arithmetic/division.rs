//! Exact division of numerics, `numeric_div`; averages, `average`; and products too wide for the engine's
//! own, `numeric_mul`. `numeric_div_scale` answers the digits after the point that PostgreSQL would give such
//! a quotient. A division whose operands' digits are not those of their types takes them as two further
//! arguments; where one is NULL, or there is none, the digits in use are taken.
//!
//! Digits are kept as PostgreSQL keeps them (select_div_scale in numeric.c): at least sixteen significant
//! ones, rounded half away from zero. A column has one scale in Arrow, so the result's type has room for
//! the smallest quotient that its operands' types allow, and values carry zeros where PostgreSQL stops.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float64Type, Int32Type, Int64Type, i256,
};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sluice_spi::types::{NUMERIC_SCALE, PG_TYPE};
use sluice_spi::{Error, SqlState};

use super::decimal::{
    Decimals, MAX_PRECISION, as_decimal_type, build, decimal_of, digits, divide_rounded,
    division_by_zero, magnitude, numeric_overflow, power_of_ten, rescale, trimmed,
};

/// NUMERIC_MIN_SIG_DIGITS of numeric.c.
const MIN_SIGNIFICANT_DIGITS: i32 = 16;
/// DEC_DIGITS of numeric.c: decimal digits in one of PostgreSQL's digits.
const DIGITS_PER_GROUP: i32 = 4;
/// Three columns of money have a product of so many digits, and nearly never use them: a product of no more
/// stays in 128 bits.
const NARROW_PRODUCT_DIGITS: u8 = 50;
/// A factor of more digits than this is wide because somebody needs them.
const NARROW_FACTOR_DIGITS: u8 = 32;
/// No column gets more digits after the point than this, so that what is computed from it still fits.
const MAX_SCALE: i32 = 40;

pub(super) fn functions() -> Vec<ScalarUDF> {
    [
        Operation::Divide,
        Operation::Scale,
        Operation::Average,
        Operation::Multiply,
        Operation::Quotient,
    ]
    .map(|operation| {
        ScalarUDF::new_from_impl(NumericFunction {
            operation,
            signature: Signature::user_defined(Volatility::Immutable),
        })
    })
    .into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Divide,
    /// The digits after the point of a quotient, an integer.
    Scale,
    Average,
    Multiply,
    /// The whole part of a quotient: PostgreSQL's `div`.
    Quotient,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericFunction {
    operation: Operation,
    signature: Signature,
}

impl NumericFunction {
    /// Both operands, and their scales where they are given.
    fn operands<'a, T>(&self, args: &'a [T]) -> Result<(&'a T, &'a T, &'a [T])> {
        let has_scales = matches!(self.operation, Operation::Divide | Operation::Scale);
        match args {
            [left, right] => Ok((left, right, &[])),
            [left, right, scales @ ..] if has_scales && scales.len() == 2 => {
                Ok((left, right, scales))
            }
            _ => Err(Error::internal(format!("{} takes two operands", self.name())).into()),
        }
    }

    fn result_type(&self, left: &DataType, right: &DataType) -> Result<DataType> {
        if left == &DataType::Float64 {
            return Ok(DataType::Float64);
        }
        let (Some((p1, s1)), Some((p2, s2))) = (decimal_of(left), decimal_of(right)) else {
            return Err(undefined(self.name(), left, right));
        };
        let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
        if self.operation == Operation::Multiply
            && let Some(narrow) = narrow_product(left, right)
        {
            return Ok(narrow);
        }
        let scale = match self.operation {
            Operation::Scale => return Ok(DataType::Int32),
            Operation::Quotient => 0,
            Operation::Multiply => (s1 + s2).min(MAX_SCALE.max(s1).max(s2)),
            Operation::Divide | Operation::Average => {
                // An average has no more digits before the point than what it is of.
                let before = match self.operation {
                    Operation::Average => p1 - s1,
                    _ => p1 - s1 + s2,
                };
                // The smallest quotient: one unit of the left over the largest right.
                let zeros = (s1 + p2 - s2).max(0);
                let wanted =
                    MIN_SIGNIFICANT_DIGITS + DIGITS_PER_GROUP * (zeros / DIGITS_PER_GROUP + 2);
                let room = i32::from(MAX_PRECISION) - before.max(1);
                wanted
                    .max(s1)
                    .max(s2)
                    .min(MAX_SCALE.max(s1).max(s2))
                    .min(room)
                    .max(i32::from(NUMERIC_SCALE))
            }
        };
        let scale = i8::try_from(scale).unwrap_or(i8::MAX);
        Ok(DataType::Decimal256(MAX_PRECISION, scale))
    }
}

/// The 128-bit type of a product of 128-bit factors. Up to [`NARROW_PRODUCT_DIGITS`] it is worth the risk of
/// an overflow, which is an error.
fn narrow_product(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2))
            if p1 + p2 <= NARROW_PRODUCT_DIGITS
                && *p1.max(p2) <= NARROW_FACTOR_DIGITS
                && s1 + s2 <= 38 =>
        {
            Some(DataType::Decimal128((p1 + p2).min(38), s1 + s2))
        }
        _ => None,
    }
}

fn multiply_narrow(
    left: &Decimal128Array,
    right: &Decimal128Array,
    data_type: &DataType,
) -> Result<ArrayRef> {
    const LIMIT: u128 = 10u128.pow(38);
    let product =
        arrow::compute::try_binary::<_, _, _, Decimal128Type>(left, right, |a, b| {
            match a.checked_mul(b) {
                Some(product) if product.unsigned_abs() < LIMIT => Ok(product),
                _ => Err(ArrowError::ArithmeticOverflow(String::new())),
            }
        })
        .map_err(|_| numeric_overflow())?;
    Ok(Arc::new(product.with_data_type(data_type.clone())))
}

fn undefined(name: &str, left: &DataType, right: &DataType) -> datafusion::error::DataFusionError {
    Error::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("function {name}({left}, {right}) does not exist"),
    )
    .with_hint("You might need to add explicit type casts.")
    .into()
}

impl ScalarUDFImpl for NumericFunction {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Divide => "numeric_div",
            Operation::Scale => "numeric_div_scale",
            Operation::Average => "average",
            Operation::Multiply => "numeric_mul",
            Operation::Quotient => "div",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let (left, right, _) = self.operands(arg_types)?;
        self.result_type(left, right)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        let data_type = self.return_type(&types)?;
        let field = Field::new(self.name(), data_type, true);
        // A product has exactly its factors' digits; everything else stops where it is exact enough.
        let exact = self.operation == Operation::Multiply
            && matches!(field.data_type(), DataType::Decimal128(..));
        let is_numeric =
            decimal_of(field.data_type()).is_some() && self.operation != Operation::Scale;
        Ok(Arc::new(if exact || !is_numeric {
            field
        } else {
            field.with_metadata([(PG_TYPE.to_owned(), "numeric".to_owned())].into())
        }))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let (left, right, scales) = self.operands(arg_types)?;
        if self.operation == Operation::Average && left.is_floating() {
            return Ok(vec![DataType::Float64, DataType::Int64]);
        }
        match (as_decimal_type(left), as_decimal_type(right)) {
            (Some(left), Some(right)) => Ok([left, right]
                .into_iter()
                .chain(scales.iter().map(|_| DataType::Int32))
                .collect()),
            _ => Err(undefined(self.name(), left, right)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let (left, right, scales) = self.operands(&args.args)?;
        let left = left.to_array(rows)?;
        let right = right.to_array(rows)?;
        let scales = scales
            .iter()
            .map(|scale| scale.to_array(rows))
            .collect::<Result<Vec<_>>>()?;
        // The digits after the point of a row's operand.
        let shown = |at: usize, row: usize, value: i256, scale: i32| {
            scales
                .get(at)
                .and_then(|given| given.as_primitive_opt::<Int32Type>())
                .filter(|given| given.is_valid(row))
                .map_or_else(|| display_scale(value, scale), |given| given.value(row))
        };
        let narrow = match (left.as_primitive_opt(), right.as_primitive_opt()) {
            (Some(l), Some(r))
                if self.operation == Operation::Multiply
                    && matches!(args.return_field.data_type(), DataType::Decimal128(..)) =>
            {
                Some((l, r))
            }
            _ => None,
        };
        let result = if let Some((l, r)) = narrow {
            multiply_narrow(l, r, args.return_field.data_type())?
        } else if let Some(sums) = left.as_primitive_opt::<Float64Type>() {
            let counts = right.as_primitive::<Int64Type>();
            let means: Float64Array = sums
                .iter()
                .zip(counts)
                .map(|(sum, count)| {
                    sum.zip(count.filter(|c| *c != 0))
                        .map(|(s, c)| s / c as f64)
                })
                .collect();
            Arc::new(means)
        } else {
            let (Some(l), Some(r)) = (Decimals::of(&left), Decimals::of(&right)) else {
                return Err(undefined(self.name(), left.data_type(), right.data_type()));
            };
            let data_type = args.return_field.data_type();
            let scale = decimal_of(data_type).map_or(0, |(_, s)| i32::from(s));
            let digits = |row: usize, a: i256, b: i256| {
                let shown = (shown(0, row, a, l.scale()), shown(1, row, b, r.scale()));
                quotient_scale((a, l.scale()), (b, r.scale()), shown)
            };
            if self.operation == Operation::Scale {
                let scales: Int32Array = (0..rows)
                    .map(|row| l.get(row).zip(r.get(row)).map(|(a, b)| digits(row, a, b)))
                    .collect();
                return Ok(if constant {
                    ColumnarValue::Scalar(ScalarValue::try_from_array(&scales, 0)?)
                } else {
                    ColumnarValue::Array(Arc::new(scales))
                });
            }
            let values = (0..rows).map(|row| {
                let Some((a, b)) = l.get(row).zip(r.get(row)) else {
                    return Ok(None);
                };
                match self.operation {
                    Operation::Multiply => multiply(a, l.scale(), b, r.scale(), scale).map(Some),
                    Operation::Quotient => whole_quotient(a, l.scale(), b, r.scale()).map(Some),
                    Operation::Average if b == i256::ZERO => Ok(None),
                    _ => {
                        let digits = digits(row, a, b).min(scale);
                        divide((a, l.scale()), (b, r.scale()), digits, scale).map(Some)
                    }
                }
            });
            build(values, data_type)?
        };
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

/// Weight and first group of a numeric in PostgreSQL's form: groups of four decimal digits, counted from
/// the point.
fn leading_group(value: i256, scale: i32) -> (i32, i256) {
    if value == i256::ZERO {
        return (0, i256::ZERO);
    }
    let exponent = digits(value) - 1 - scale;
    let weight = exponent.div_euclid(DIGITS_PER_GROUP);
    let shift = scale + DIGITS_PER_GROUP * weight;
    let value = magnitude(value);
    let group = match (shift >= 0, power_of_ten(shift.abs())) {
        (true, Some(divisor)) => value.wrapping_div(divisor),
        (false, Some(factor)) => value.wrapping_mul(factor),
        (_, None) => i256::ZERO,
    };
    (weight, group)
}

/// The digits after the point that PostgreSQL would show of a value: those of its type, and of a
/// quotient's the digits in use.
fn display_scale(value: i256, scale: i32) -> i32 {
    let own = i32::from(NUMERIC_SCALE);
    match scale {
        s if s < own => s,
        s if s == own => trimmed(value, s).1,
        s => trimmed(value, s).1.max(MIN_SIGNIFICANT_DIGITS),
    }
}

/// Digits after the point of a quotient (select_div_scale), of values with their scales; `shown` are those
/// that PostgreSQL would show of either.
fn quotient_scale(a: (i256, i32), b: (i256, i32), shown: (i32, i32)) -> i32 {
    let (a_weight, a_first) = leading_group(a.0, a.1);
    let (b_weight, b_first) = leading_group(b.0, b.1);
    let mut weight = a_weight - b_weight;
    if a_first <= b_first {
        weight -= 1;
    }
    (MIN_SIGNIFICANT_DIGITS - weight * DIGITS_PER_GROUP)
        .max(shown.0)
        .max(shown.1)
        .max(0)
}

/// The quotient of values with their scales, rounded to so many digits after the point.
fn divide(
    (a, a_scale): (i256, i32),
    (b, b_scale): (i256, i32),
    digits: i32,
    scale: i32,
) -> Result<i256> {
    if b == i256::ZERO {
        return Err(division_by_zero().into());
    }
    if a == i256::ZERO {
        return Ok(a);
    }
    let shift = digits + b_scale - a_scale;
    let quotient = if shift < 0 {
        power_of_ten(-shift)
            .and_then(|factor| b.checked_mul(factor))
            .map_or(i256::ZERO, |divisor| divide_rounded(a, divisor))
    } else {
        match power_of_ten(shift).and_then(|factor| a.checked_mul(factor)) {
            Some(dividend) => divide_rounded(dividend, b),
            None => divide_long(a, b, shift).ok_or_else(numeric_overflow)?,
        }
    };
    Ok(rescale(quotient, digits, scale).ok_or_else(numeric_overflow)?)
}

/// Towards zero.
fn whole_quotient(a: i256, a_scale: i32, b: i256, b_scale: i32) -> Result<i256> {
    if b == i256::ZERO {
        return Err(division_by_zero().into());
    }
    let scale = a_scale.max(b_scale);
    let a = rescale(a, a_scale, scale).ok_or_else(numeric_overflow)?;
    let b = rescale(b, b_scale, scale).ok_or_else(numeric_overflow)?;
    Ok(a.wrapping_div(b))
}

/// Digit by digit, where the dividend would not fit with all its zeros.
fn divide_long(a: i256, b: i256, shift: i32) -> Option<i256> {
    let negative = (a < i256::ZERO) != (b < i256::ZERO);
    let (a, b) = (magnitude(a), magnitude(b));
    let ten = i256::from_i128(10);
    let mut quotient = a.wrapping_div(b);
    let mut rest = a.wrapping_rem(b);
    for _ in 0..shift {
        rest = rest.checked_mul(ten)?;
        quotient = quotient
            .checked_mul(ten)?
            .checked_add(rest.wrapping_div(b))?;
        rest = rest.wrapping_rem(b);
    }
    if rest >= b.wrapping_sub(rest) {
        quotient = quotient.checked_add(i256::ONE)?;
    }
    Some(if negative {
        quotient.wrapping_neg()
    } else {
        quotient
    })
}

/// Exact, or an error: digits are never cut.
fn multiply(a: i256, a_scale: i32, b: i256, b_scale: i32, scale: i32) -> Result<i256> {
    let (a, a_scale) = trimmed(a, a_scale);
    let (b, b_scale) = trimmed(b, b_scale);
    let product = a.checked_mul(b).ok_or_else(numeric_overflow)?;
    let (product, product_scale) = trimmed(product, a_scale + b_scale);
    if product_scale > scale {
        return Err(numeric_overflow()
            .with_detail(format!(
                "The product has {product_scale} digits after the point, and there is room for {scale}."
            ))
            .with_hint("Round a factor, or cast it to double precision.")
            .into());
    }
    Ok(rescale(product, product_scale, scale).ok_or_else(numeric_overflow)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server: dividend, its scale, divisor, its scale, digits after the point, and the
    /// quotient's digits.
    #[test]
    fn quotients_have_postgresqls_digits() {
        for (a, sa, b, sb, digits, expected) in [
            (1i128, 0, 3i128, 0, 20, "33333333333333333333"),
            (2, 0, 3, 0, 20, "66666666666666666667"),
            (10, 0, 3, 0, 16, "33333333333333333"),
            (-1, 0, 3, 0, 20, "-33333333333333333333"),
            (100, 2, 300, 2, 20, "33333333333333333333"),
            (1, 0, 30000, 0, 24, "33333333333333333333"),
            (123_456_789, 0, 7, 0, 12, "17636684142857142857"),
        ] {
            let (a, b) = (i256::from_i128(a), i256::from_i128(b));
            let shown = (display_scale(a, sa), display_scale(b, sb));
            let (a, b) = ((a, sa), (b, sb));
            assert_eq!(quotient_scale(a, b, shown), digits, "{a:?}/{b:?}");
            assert_eq!(divide(a, b, digits, digits).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn long_division_agrees() {
        let (a, b) = (i256::from_i128(-123_456_789), i256::from_i128(700));
        assert_eq!(
            divide_long(a, b, 12),
            Some(divide((a, 0), (b, 0), 12, 12).unwrap())
        );
    }
}
