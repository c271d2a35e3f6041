//! `pg_sleep`: waits on the runtime's timer, so that dropping the query (cancel, timeout) ends it at once.

use std::time::Duration;

use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::common::cast::as_float64_array;
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sluice_spi::Error;
use sluice_spi::types::tagged;
use std::sync::Arc;

/// The longest sleep, a year: longer is a mistake that the timer could not count.
const MAX_SLEEP_SECONDS: f64 = 365.0 * 86_400.0;

/// The function.
pub(super) fn pg_sleep() -> ScalarUDF {
    let signature = Signature::coercible(
        vec![datafusion::logical_expr::Coercion::new_implicit(
            datafusion::logical_expr::TypeSignatureClass::Native(
                datafusion::common::types::logical_float64(),
            ),
            vec![
                datafusion::logical_expr::TypeSignatureClass::Numeric,
                datafusion::logical_expr::TypeSignatureClass::Native(
                    datafusion::common::types::logical_string(),
                ),
            ],
            datafusion::common::types::NativeType::Float64,
        )],
        Volatility::Volatile,
    );
    AsyncScalarUDF::new(Arc::new(PgSleep { signature })).into_scalar_udf()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PgSleep {
    signature: Signature,
}

impl ScalarUDFImpl for PgSleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::clone(&tagged(
            "pg_sleep",
            DataType::Utf8,
            true,
            "void",
        ))))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Error::unsupported("pg_sleep is not supported in this place").into())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for PgSleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let seconds: &arrow::array::PrimitiveArray<Float64Type> = as_float64_array(&arrays[0])?;
        // One row after the other, as PostgreSQL does.
        for seconds in seconds.iter().flatten().filter(|s| *s > 0.0) {
            tokio::time::sleep(Duration::from_secs_f64(seconds.min(MAX_SLEEP_SECONDS))).await;
        }
        let done = ScalarValue::Utf8(Some(String::new()));
        Ok(ColumnarValue::Array(
            done.to_array_of_size(args.number_rows)?,
        ))
    }
}
