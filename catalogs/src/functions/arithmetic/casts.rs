//! Casts that round, refuse or read text as PostgreSQL does: `cast_int4`, `cast_numeric`, ….
//!
//! | from | to | rule |
//! | --- | --- | --- |
//! | double precision, real | integers | half to even, 22003 out of range |
//! | numeric | integers | half away from zero, 22003 out of range |
//! | integers | narrower integers | 22003 out of range |
//! | any number | numeric(p,s) | half away from zero, 22003 where digits do not fit |
//! | timestamp | date | the day it lies in, infinity kept |
//! | date | timestamp | its midnight, infinity kept |
//! | text | numbers, boolean, bytea, date, timestamp, time, interval | PostgreSQL's input syntax, 22P02 and its kin |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int16Array, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Float64Type, Int64Type, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, i256,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sluice_spi::Error;
use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE, PG_TYPE};

use super::decimal::{Decimals, as_decimal_type, build, magnitude, power_of_ten, rescale};
use super::integers::out_of_range;
use super::{input, moments};

pub(super) fn functions() -> Vec<ScalarUDF> {
    [
        ("cast_int2", Target::Plain(DataType::Int16)),
        ("cast_int4", Target::Plain(DataType::Int32)),
        ("cast_int8", Target::Plain(DataType::Int64)),
        ("cast_float4", Target::Plain(DataType::Float32)),
        ("cast_float8", Target::Plain(DataType::Float64)),
        ("cast_bool", Target::Plain(DataType::Boolean)),
        ("cast_bytea", Target::Plain(DataType::Binary)),
        ("cast_date", Target::Plain(DataType::Date32)),
        (
            "cast_timestamp",
            Target::Plain(DataType::Timestamp(TimeUnit::Microsecond, None)),
        ),
        (
            "cast_interval",
            Target::Plain(DataType::Interval(IntervalUnit::MonthDayNano)),
        ),
        (
            "cast_time",
            Target::Plain(DataType::Time64(TimeUnit::Microsecond)),
        ),
        ("cast_numeric", Target::Numeric),
    ]
    .map(|(name, target)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        ScalarUDF::new_from_impl(PgCast {
            name,
            target,
            signature,
        })
    })
    .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Target {
    Plain(DataType),
    /// The second and third argument are precision and scale; a precision of 0 is a numeric without
    /// typmod.
    Numeric,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PgCast {
    name: &'static str,
    target: Target,
    signature: Signature,
}

impl ScalarUDFImpl for PgCast {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        match &self.target {
            Target::Plain(data_type) => Ok(data_type.clone()),
            Target::Numeric => Ok(DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE)),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let data_type = match &self.target {
            Target::Plain(data_type) => data_type.clone(),
            Target::Numeric => {
                let number = |at: usize| match args.scalar_arguments.get(at).copied().flatten() {
                    Some(ScalarValue::Int64(Some(n))) => *n,
                    Some(ScalarValue::Int32(Some(n))) => i64::from(*n),
                    _ => 0,
                };
                let (precision, scale) = (number(1), number(2));
                match (u8::try_from(precision), i8::try_from(scale)) {
                    (Ok(0), _) => {
                        let field = Field::new(
                            self.name,
                            DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE),
                            true,
                        );
                        let tag = [(PG_TYPE.to_owned(), "numeric".to_owned())];
                        return Ok(Arc::new(field.with_metadata(tag.into())));
                    }
                    (Ok(p), Ok(s)) if p <= 38 => DataType::Decimal128(p, s),
                    (Ok(p), Ok(s)) if p <= NUMERIC_PRECISION => DataType::Decimal256(p, s),
                    _ => {
                        return Err(Error::unsupported(format!(
                            "numeric({precision},{scale}) has more than {NUMERIC_PRECISION} digits"
                        ))
                        .into());
                    }
                }
            }
        };
        Ok(Arc::new(Field::new(self.name, data_type, true)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let mut types = arg_types.to_vec();
        types[0] = match &arg_types[0] {
            DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            DataType::Float16 | DataType::Float32 if self.target != Target::Numeric => {
                DataType::Float64
            }
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            other => other.clone(),
        };
        for data_type in types.iter_mut().skip(1) {
            *data_type = DataType::Int64;
        }
        Ok(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let from = args.args[0].to_array(rows)?;
        let to = args.return_field.data_type();
        // The precision tells, and not the result's tag, which does not travel to workers.
        let free_scale = matches!(
            args.args.get(1),
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(0))))
        );
        let result = convert(&from, to, free_scale)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

/// A column of another type. `free_scale` says that the target is a numeric without typmod.
fn convert(from: &ArrayRef, to: &DataType, free_scale: bool) -> Result<ArrayRef> {
    if let Some(texts) = from.as_string_opt::<i32>() {
        let values = texts
            .iter()
            .map(|text| match text {
                Some(text) => input::parse(text, to, free_scale),
                None => Ok(ScalarValue::try_from(to).unwrap_or(ScalarValue::Null)),
            })
            .collect::<sluice_spi::Result<Vec<_>>>()?;
        if values.is_empty() {
            return Ok(arrow::array::new_empty_array(to));
        }
        return ScalarValue::iter_to_array(values);
    }
    if matches!(to, DataType::Decimal128(..) | DataType::Decimal256(..)) {
        return to_numeric(from, to, free_scale);
    }
    if to.is_integer() {
        let wide = match from.data_type() {
            data_type if data_type.is_floating() => floats_to_int8(from, to)?,
            DataType::Decimal128(..) | DataType::Decimal256(..) => decimals_to_int8(from, to)?,
            _ => cast(from, &DataType::Int64)?,
        };
        return narrow(&wide, to);
    }
    if let (DataType::Timestamp(_, None), DataType::Date32) = (from.data_type(), to) {
        let moments = cast(from, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let days = moments
            .as_primitive::<TimestampMicrosecondType>()
            .unary::<_, Date32Type>(day_of);
        return Ok(Arc::new(days));
    }
    if let (DataType::Date32, DataType::Timestamp(_, None)) = (from.data_type(), to) {
        let moments = from
            .as_primitive::<Date32Type>()
            .try_unary::<_, TimestampMicrosecondType, Error>(moments::midnight)?;
        return Ok(Arc::new(moments));
    }
    Ok(cast(from, to)?)
}

/// The day that a moment lies in; infinity stays infinity.
fn day_of(microseconds: i64) -> i32 {
    const PER_DAY: i64 = 86_400_000_000;
    match microseconds {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        // Any other moment lies less than 107 million days from the epoch.
        moment => moment.div_euclid(PER_DAY) as i32,
    }
}

/// rint(), as `dtoi4` does it.
fn floats_to_int8(from: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    // 2^63 is the first that does not fit; the other end does.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let from = cast(from, &DataType::Float64)?;
    let values = from
        .as_primitive::<Float64Type>()
        .iter()
        .map(|value| match value.map(f64::round_ties_even) {
            None => Ok(None),
            Some(value) if (-LIMIT..LIMIT).contains(&value) => Ok(Some(value as i64)),
            Some(_) => Err(out_of_range(to)),
        })
        .collect::<sluice_spi::Result<Int64Array>>()?;
    Ok(Arc::new(values))
}

fn decimals_to_int8(from: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let Some(decimals) = Decimals::of(from) else {
        return Ok(cast(from, &DataType::Int64)?);
    };
    let values = (0..from.len())
        .map(|row| match decimals.get(row) {
            None => Ok(None),
            Some(value) => rescale(value, decimals.scale(), 0)
                .and_then(i256::to_i128)
                .and_then(|v| i64::try_from(v).ok())
                .map(Some)
                .ok_or_else(|| out_of_range(to)),
        })
        .collect::<sluice_spi::Result<Int64Array>>()?;
    Ok(Arc::new(values))
}

fn narrow(wide: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let values = wide.as_primitive::<Int64Type>();
    Ok(match to {
        DataType::Int16 => Arc::new(
            values
                .iter()
                .map(|v| {
                    v.map(|v| i16::try_from(v).map_err(|_| out_of_range(to)))
                        .transpose()
                })
                .collect::<sluice_spi::Result<Int16Array>>()?,
        ),
        DataType::Int32 => Arc::new(
            values
                .iter()
                .map(|v| {
                    v.map(|v| i32::try_from(v).map_err(|_| out_of_range(to)))
                        .transpose()
                })
                .collect::<sluice_spi::Result<Int32Array>>()?,
        ),
        _ => Arc::clone(wide),
    })
}

fn to_numeric(from: &ArrayRef, to: &DataType, free_scale: bool) -> Result<ArrayRef> {
    let (precision, scale) = match to {
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => (*p, *s),
        _ => (NUMERIC_PRECISION, NUMERIC_SCALE),
    };
    let numeric = |text: Option<String>| match text {
        None => Ok(None),
        Some(text) => Ok(Some(input::numeric(&text, precision, scale, free_scale)?)),
    };
    match from.data_type() {
        // Fifteen digits of a double and six of a real, as float8_numeric() prints them.
        DataType::Float64 => {
            let values = from.as_primitive::<Float64Type>();
            build(
                values
                    .iter()
                    .map(|v| numeric(v.map(|v| format!("{v:.14e}")))),
                to,
            )
        }
        DataType::Float32 => {
            let values = from.as_primitive::<arrow::datatypes::Float32Type>();
            build(
                values
                    .iter()
                    .map(|v| numeric(v.map(|v| format!("{v:.5e}")))),
                to,
            )
        }
        data_type => {
            let Some(decimal) = as_decimal_type(data_type) else {
                return Ok(cast(from, to)?);
            };
            let decimals = cast(from, &decimal)?;
            let Some(column) = Decimals::of(&decimals) else {
                return Ok(cast(from, to)?);
            };
            let limit = power_of_ten(i32::from(precision)).unwrap_or(i256::MAX);
            let values = (0..decimals.len()).map(|row| match column.get(row) {
                None => Ok(None),
                Some(value) => {
                    let (from, to) = (column.scale(), i32::from(scale));
                    let scaled = rescale(value, from, to)
                        .filter(|v| magnitude(*v) < limit)
                        .ok_or_else(|| input::field_overflow(precision, scale))?;
                    if free_scale && from > to && rescale(scaled, to, from) != Some(value) {
                        return Err(input::too_many_digits("", scale).into());
                    }
                    Ok(Some(scaled))
                }
            });
            build(values, to)
        }
    }
}

/// What cannot be told from a cast's target alone.
#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array};

    #[test]
    fn rounding_is_postgresqls() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5, -0.5, -1.5]));
        let rounded = convert(&floats, &DataType::Int32, false).unwrap();
        assert_eq!(
            rounded
                .as_primitive::<arrow::datatypes::Int32Type>()
                .values(),
            &[0, 2, 2, 0, -2]
        );
        let decimals: ArrayRef = Arc::new(
            Decimal128Array::from(vec![5, 15, 25, -5, -15])
                .with_precision_and_scale(5, 1)
                .unwrap(),
        );
        let rounded = convert(&decimals, &DataType::Int64, false).unwrap();
        assert_eq!(
            rounded.as_primitive::<Int64Type>().values(),
            &[1, 2, 3, -1, -2]
        );
        let error = convert(
            &(Arc::new(Float64Array::from(vec![3e9])) as ArrayRef),
            &DataType::Int32,
            false,
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("integer out of range")
        );
    }
}
