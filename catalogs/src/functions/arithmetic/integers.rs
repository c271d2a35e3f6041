//! `int_add`, `int_sub` and `int_mul`: integer arithmetic that raises 22003 instead of wrapping; and `mod`,
//! which takes numerics too.
//!
//! The engine's own operators wrap, and its checked ones do not survive the way to a worker. These run
//! Arrow's checked kernels over whole columns.

use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;
use sluice_spi::{Error, SqlState};

use super::decimal::{MAX_PRECISION, decimal_of};

pub(super) fn functions() -> Vec<ScalarUDF> {
    [
        Operation::Add,
        Operation::Subtract,
        Operation::Multiply,
        Operation::Remainder,
    ]
    .map(|operation| {
        ScalarUDF::new_from_impl(IntegerFunction {
            operation,
            signature: Signature::user_defined(Volatility::Immutable),
        })
    })
    .into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Remainder,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntegerFunction {
    operation: Operation,
    signature: Signature,
}

/// PostgreSQL's error for an integer that does not fit.
pub(super) fn out_of_range(data_type: &DataType) -> Error {
    let name = match data_type {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    Error::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!("{name} out of range"),
    )
}

/// The wider of two integer types.
fn common(left: &DataType, right: &DataType) -> Option<DataType> {
    let rank = |data_type: &DataType| match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Some(0),
        DataType::UInt16 | DataType::Int32 => Some(1),
        DataType::UInt32 | DataType::Int64 => Some(2),
        DataType::Null => Some(0),
        _ => None,
    };
    Some(match rank(left)?.max(rank(right)?) {
        0 => DataType::Int16,
        1 => DataType::Int32,
        _ => DataType::Int64,
    })
}

/// The decimal type that holds both.
fn common_decimal(left: &DataType, right: &DataType) -> Option<DataType> {
    let ((p1, s1), (p2, s2)) = (decimal_of(left)?, decimal_of(right)?);
    let scale = s1.max(s2);
    let whole = (i32::from(p1) - i32::from(s1)).max(i32::from(p2) - i32::from(s2));
    let precision = u8::try_from(whole + i32::from(scale))
        .ok()?
        .clamp(1, MAX_PRECISION);
    Some(match precision {
        0..=38 => DataType::Decimal128(precision, scale),
        _ => DataType::Decimal256(precision, scale),
    })
}

impl ScalarUDFImpl for IntegerFunction {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "int_add",
            Operation::Subtract => "int_sub",
            Operation::Multiply => "int_mul",
            Operation::Remainder => "mod",
        }
    }

    /// Plans show the operator.
    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let sign = match self.operation {
            Operation::Add => '+',
            Operation::Subtract => '-',
            Operation::Multiply => '*',
            Operation::Remainder => '%',
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

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [left, right] = arg_types else {
            return Err(Error::internal(format!("{} takes two arguments", self.name())).into());
        };
        let common = match self.operation {
            Operation::Remainder => common(left, right).or_else(|| common_decimal(left, right)),
            _ => common(left, right),
        };
        let Some(data_type) = common else {
            return Err(Error::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {}({left}, {right}) does not exist", self.name()),
            )
            .into());
        };
        Ok(vec![data_type.clone(), data_type])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel = match self.operation {
            Operation::Add => numeric::add,
            Operation::Subtract => numeric::sub,
            Operation::Multiply => numeric::mul,
            Operation::Remainder => numeric::rem,
        };
        let data_type = args.return_field.data_type().clone();
        apply(&args.args[0], &args.args[1], kernel).map_err(|error| match error {
            DataFusionError::ArrowError(inner, _)
                if matches!(*inner, ArrowError::ArithmeticOverflow(_)) =>
            {
                out_of_range(&data_type).into()
            }
            other => other,
        })
    }
}
