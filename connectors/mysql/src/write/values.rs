//! Values as constants of an INSERT. A value that MySQL has no constant for is an error that names it; one
//! that does not fit its column is the server's to refuse, in strict mode.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use sluice_spi::{Error, Result, SqlState};

use super::target::Target;
use crate::literal::{clock, date, hex, quote_text};

/// Microseconds in a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// Why a value is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The source holds no such value.
    OutOfRange(&'static str),
    /// It is no value of the column's type.
    Invalid(&'static str),
}

impl Refusal {
    pub(super) const BEYOND: Refusal = Refusal::OutOfRange("is outside of the source's range");

    pub(super) fn of(self, column: &str) -> Error {
        let (code, what) = match self {
            Refusal::OutOfRange(what) => (SqlState::NUMERIC_OUT_OF_RANGE, what),
            Refusal::Invalid(what) => (SqlState::from_source("22P02"), what),
        };
        Error::new(code, format!("value for column \"{column}\" {what}"))
    }
}

/// Writes the rows of a batch.
pub(super) struct RowWriter<'a> {
    columns: Vec<(&'a Target, ArrayRef)>,
}

impl<'a> RowWriter<'a> {
    /// `targets` are the batch's columns, in order.
    pub(super) fn new(batch: &RecordBatch, targets: &'a [Target]) -> Result<RowWriter<'a>> {
        let columns = targets
            .iter()
            .zip(batch.columns())
            .map(|(target, array)| Ok((target, plain(array)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(RowWriter { columns })
    }

    /// `(value, value, …)`.
    pub(super) fn write(&self, row: usize, out: &mut String) -> Result<()> {
        out.push('(');
        for (index, (target, array)) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            target.write(array, row, out)?;
        }
        out.push(')');
        Ok(())
    }
}

/// The array in one of the types that [`write_value`] knows.
pub(super) fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    let target = match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Date64 => DataType::Date32,
        _ => return Ok(array.clone()),
    };
    cast(array, &target)
        .map_err(|e| Error::internal(format!("rows could not be prepared for writing: {e}")))
}

/// A value that is not NULL.
pub(super) fn write_value(
    array: &ArrayRef,
    row: usize,
    out: &mut String,
) -> std::result::Result<(), Refusal> {
    macro_rules! number {
        ($type:ty) => {{
            let _ = write!(out, "{}", array.as_primitive::<$type>().value(row));
        }};
    }
    match array.data_type() {
        DataType::Boolean => out.push(if array.as_boolean().value(row) {
            '1'
        } else {
            '0'
        }),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => float(
            f64::from(array.as_primitive::<Float32Type>().value(row)),
            out,
        )?,
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row), out)?,
        DataType::Decimal128(..) => {
            out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row));
        }
        DataType::Decimal256(..) => {
            out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row));
        }
        DataType::Utf8View => out.push_str(&quote_text(array.as_string_view().value(row))),
        DataType::Binary => out.push_str(&hex(array.as_binary::<i32>().value(row))),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            let text = date(days.into()).ok_or(Refusal::BEYOND)?;
            let _ = write!(out, "'{text}'");
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let text = date(micros.div_euclid(DAY_MICROS)).ok_or(Refusal::BEYOND)?;
            let _ = write!(out, "'{text} {}'", clock(micros.rem_euclid(DAY_MICROS)));
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
            let _ = write!(out, "'{}'", clock(micros));
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            if value.months != 0 || value.nanoseconds % 1_000 != 0 {
                return Err(Refusal::OutOfRange(
                    "has months or nanoseconds, which a time does not have",
                ));
            }
            let micros = i64::from(value.days)
                .checked_mul(DAY_MICROS)
                .and_then(|days| days.checked_add(value.nanoseconds / 1_000))
                .ok_or(Refusal::BEYOND)?;
            let sign = if micros < 0 { "-" } else { "" };
            let _ = write!(
                out,
                "'{sign}{}'",
                clock(micros.checked_abs().ok_or(Refusal::BEYOND)?)
            );
        }
        _ => return Err(Refusal::Invalid("is of a type that MySQL does not have")),
    }
    Ok(())
}

/// The shortest text that reads back as the same bits; the exponent makes it a double to MySQL.
fn float(value: f64, out: &mut String) -> std::result::Result<(), Refusal> {
    if !value.is_finite() {
        return Err(Refusal::OutOfRange(
            "is not finite, and the source has neither NaN nor infinities",
        ));
    }
    let _ = write!(out, "{value:e}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Float64Array, IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    #[test]
    fn values_are_constants_of_an_insert() {
        let one = |array: ArrayRef| Target::made("c").constant(&array);
        assert_eq!(
            one(Arc::new(StringArray::from(vec!["it's"]))).unwrap(),
            "_utf8mb4 x'69742773'"
        );
        assert_eq!(
            one(Arc::new(Float64Array::from(vec![0.1]))).unwrap(),
            "1e-1"
        );
        assert_eq!(
            one(Arc::new(TimestampMicrosecondArray::from(vec![-1]))).unwrap(),
            "'1969-12-31 23:59:59.999999'"
        );
        let hours = |days, hours: i64| {
            let value = IntervalMonthDayNano::new(0, days, hours * 3_600_000_000_000);
            one(Arc::new(IntervalMonthDayNanoArray::from(vec![value])))
        };
        assert_eq!(hours(1, 2).unwrap(), "'26:00:00'");
        assert_eq!(hours(0, -30).unwrap(), "'-30:00:00'");
        let error = one(Arc::new(Float64Array::from(vec![f64::NAN]))).unwrap_err();
        assert_eq!(error.code, SqlState::NUMERIC_OUT_OF_RANGE);
    }
}
