//! Arithmetic of floats that raises an error where IEEE has an infinity: `float_add`, `float_sub` and
//! `float_mul` 22003, `float_div` 22012; and `float_round`, half to even as PostgreSQL's
//! `round(double precision)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::physical_expr_common::datum::apply;
use sluice_spi::{Error, SqlState};

use super::decimal::division_by_zero;

pub(super) fn functions() -> Vec<ScalarUDF> {
    let two = |data_type: DataType| TypeSignature::Exact(vec![data_type.clone(), data_type]);
    let mut functions: Vec<ScalarUDF> = [Checked::Add, Checked::Subtract, Checked::Multiply]
        .map(|operation| {
            ScalarUDF::new_from_impl(FloatChecked {
                operation,
                signature: Signature::one_of(
                    vec![two(DataType::Float64), two(DataType::Float32)],
                    Volatility::Immutable,
                ),
            })
        })
        .into();
    functions.push(ScalarUDF::new_from_impl(FloatDiv {
        signature: Signature::new(two(DataType::Float64), Volatility::Immutable),
    }));
    functions.push(ScalarUDF::new_from_impl(FloatRound {
        signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable),
    }));
    functions
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Checked {
    Add,
    Subtract,
    Multiply,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatChecked {
    operation: Checked,
    signature: Signature,
}

impl ScalarUDFImpl for FloatChecked {
    fn name(&self) -> &str {
        match self.operation {
            Checked::Add => "float_add",
            Checked::Subtract => "float_sub",
            Checked::Multiply => "float_mul",
        }
    }

    /// Plans show the operator.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let sign = match self.operation {
            Checked::Add => '+',
            Checked::Subtract => '-',
            Checked::Multiply => '*',
        };
        Ok(match args {
            [left, right] => format!("({left} {sign} {right})"),
            _ => self.name().to_owned(),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel = match self.operation {
            Checked::Add => numeric::add,
            Checked::Subtract => numeric::sub,
            Checked::Multiply => numeric::mul,
        };
        let result = apply(&args.args[0], &args.args[1], kernel)?;
        let multiplies = self.operation == Checked::Multiply;
        let array = result.to_array(args.number_rows)?;
        let doubtful = match array.data_type() {
            DataType::Float32 => suspects::<Float32Type>(&array, multiplies),
            _ => suspects::<Float64Type>(&array, multiplies),
        };
        if doubtful {
            let wide = |at: usize| -> Result<ArrayRef> {
                let array = args.args[at].to_array(args.number_rows)?;
                Ok(cast(&array, &DataType::Float64)?)
            };
            check(&array, &wide(0)?, &wide(1)?, multiplies)?;
        }
        Ok(result)
    }
}

/// True where some result is an infinity, or a zero that a product may have lost its digits to: a cheap look
/// that spares most batches the second one.
fn suspects<T: ArrowPrimitiveType>(results: &ArrayRef, zeros: bool) -> bool
where
    T::Native: Into<f64>,
{
    results.as_primitive::<T>().values().iter().any(|value| {
        let value: f64 = (*value).into();
        value.is_infinite() || (zeros && value == 0.0)
    })
}

/// An infinity of finite numbers is an overflow; a product that is zero of two numbers that are not is an
/// underflow (float.h).
fn check(results: &ArrayRef, left: &ArrayRef, right: &ArrayRef, zeros: bool) -> Result<()> {
    let results = cast(results, &DataType::Float64)?;
    let results = results.as_primitive::<Float64Type>();
    let (left, right) = (
        left.as_primitive::<Float64Type>(),
        right.as_primitive::<Float64Type>(),
    );
    for at in (0..results.len()).filter(|at| results.is_valid(*at)) {
        // A constant is one row.
        let of = |array: &Float64Array| array.value(if array.len() == 1 { 0 } else { at });
        let (result, left, right) = (results.value(at), of(left), of(right));
        if result.is_infinite() && left.is_finite() && right.is_finite() {
            return Err(out_of_range("overflow").into());
        }
        if zeros && result == 0.0 && left != 0.0 && right != 0.0 {
            return Err(out_of_range("underflow").into());
        }
    }
    Ok(())
}

fn out_of_range(how: &str) -> Error {
    Error::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!("value out of range: {how}"),
    )
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatRound {
    signature: Signature,
}

impl ScalarUDFImpl for FloatRound {
    fn name(&self) -> &str {
        "float_round"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Scalar(ScalarValue::Float64(value)) => {
                ColumnarValue::Scalar(ScalarValue::Float64(value.map(f64::round_ties_even)))
            }
            value => {
                let array = value.to_array(args.number_rows)?;
                let floats = array.as_primitive::<Float64Type>();
                let rounded = floats.unary::<_, Float64Type>(f64::round_ties_even);
                ColumnarValue::Array(Arc::new(rounded))
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatDiv {
    signature: Signature,
}

impl ScalarUDFImpl for FloatDiv {
    fn name(&self) -> &str {
        "float_div"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let dividends = args.args[0].to_array(args.number_rows)?;
        let dividends = dividends.as_primitive::<Float64Type>();
        // NULL / 0 is NULL and NaN / 0 is NaN.
        let fails = |at: usize| dividends.is_valid(at) && !dividends.value(at).is_nan();
        let by_zero = match &args.args[1] {
            ColumnarValue::Scalar(ScalarValue::Float64(Some(divisor))) => {
                *divisor == 0.0 && (0..dividends.len()).any(fails)
            }
            ColumnarValue::Scalar(_) => false,
            ColumnarValue::Array(divisors) => {
                let divisors = divisors.as_primitive::<Float64Type>();
                let zero = |at: usize| divisors.is_valid(at) && divisors.value(at) == 0.0;
                (0..divisors.len()).any(|at| zero(at) && fails(at))
            }
        };
        if by_zero {
            return Err(division_by_zero().into());
        }
        apply(&args.args[0], &args.args[1], numeric::div)
    }
}
