//! `cast_timestamptz`: a date, a timestamp or a text as an instant, by the session's time zone.
//!
//! The zone is the session's at the time of the statement, so the function is stable and not immutable.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sluice_spi::{Error, SqlState};

use super::{moments, zones};

const UTC: &str = "UTC";

pub(super) fn cast_timestamptz() -> ScalarUDF {
    ScalarUDF::new_from_impl(CastTimestamptz {
        signature: Signature::user_defined(Volatility::Stable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastTimestamptz {
    signature: Signature,
}

impl ScalarUDFImpl for CastTimestamptz {
    fn name(&self) -> &str {
        "cast_timestamptz"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![match arg_types {
            [DataType::Date32] => DataType::Date32,
            [DataType::Timestamp(_, None)] => DataType::Timestamp(TimeUnit::Microsecond, None),
            [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null] => {
                DataType::Utf8
            }
            _ => {
                return Err(Error::new(
                    SqlState::UNDEFINED_FUNCTION,
                    "this value is no moment of the session's time zone",
                )
                .into());
            }
        }])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if constant { 1 } else { args.number_rows })?;
        let name = args.config_options.execution.time_zone.as_deref();
        let zone = zones::of_session(&args.config_options)?;
        let instants: ArrayRef = Arc::new(instants(&array, &zone, name.unwrap_or(UTC))?);
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&instants, 0)?)
        } else {
            ColumnarValue::Array(instants)
        })
    }
}

fn instants(array: &ArrayRef, zone: &Tz, name: &str) -> Result<TimestampMicrosecondArray> {
    let instants: sluice_spi::Result<TimestampMicrosecondArray> = match array.data_type() {
        DataType::Date32 => array
            .as_primitive::<Date32Type>()
            .iter()
            .map(|day| {
                day.map(|day| moments::instant_in(moments::midnight(day)?, zone))
                    .transpose()
            })
            .collect(),
        DataType::Timestamp(..) => array
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|moment| moment.map(|at| moments::instant_in(at, zone)).transpose())
            .collect(),
        _ => array
            .as_string::<i32>()
            .iter()
            .map(|text| match text {
                Some(text) => moments::timestamptz(text, Some(name)),
                None => Ok(None),
            })
            .collect(),
    };
    Ok(instants?.with_timezone(UTC))
}
