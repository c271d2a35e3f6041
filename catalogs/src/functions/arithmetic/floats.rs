//! `float_div`: division of floats that raises 22012 where IEEE has an infinity; and `float_round`, half to
//! even as PostgreSQL's `round(double precision)`.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::decimal::division_by_zero;

/// The function.
pub(super) fn float_div() -> ScalarUDF {
    ScalarUDF::new_from_impl(FloatDiv {
        signature: Signature::exact(
            vec![DataType::Float64, DataType::Float64],
            Volatility::Immutable,
        ),
    })
}

/// `round` of one float.
pub(super) fn float_round() -> ScalarUDF {
    ScalarUDF::new_from_impl(FloatRound {
        signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable),
    })
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
