//! Decimals as wide integers with a scale: powers of ten, rounding, and columns of either width.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, i256};
use datafusion::error::Result;
use sluice_spi::{Error, SqlState};

/// Digits of the widest decimal.
pub(super) const MAX_PRECISION: u8 = 76;

static POWERS: LazyLock<Vec<i256>> = LazyLock::new(|| {
    let ten = i256::from_i128(10);
    let mut powers = vec![i256::ONE];
    for at in 0..usize::from(MAX_PRECISION) {
        powers.push(powers[at].wrapping_mul(ten));
    }
    powers
});

/// 10 to the power of `exponent`, if it has at most 76 zeros.
pub(super) fn power_of_ten(exponent: i32) -> Option<i256> {
    POWERS.get(usize::try_from(exponent).ok()?).copied()
}

/// PostgreSQL's error for a numeric that does not fit.
pub(super) fn numeric_overflow() -> Error {
    Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "numeric field overflow")
}

/// PostgreSQL's error for x / 0.
pub(super) fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// Precision and scale of a number's type as decimal: `None` for floats and what is no number.
pub(super) fn decimal_of(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => (*p, *s),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => (*p, *s),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Null => (1, 0),
        _ => return None,
    })
}

/// The decimal type that a number is read as, with 128 bits where they are enough.
pub(super) fn as_decimal_type(data_type: &DataType) -> Option<DataType> {
    let (precision, scale) = decimal_of(data_type)?;
    Some(match data_type {
        DataType::Decimal256(..) => data_type.clone(),
        _ => DataType::Decimal128(precision, scale),
    })
}

/// A column of decimals of either width.
pub(super) enum Decimals<'a> {
    /// 128 bits.
    Narrow(&'a Decimal128Array),
    /// 256 bits.
    Wide(&'a Decimal256Array),
}

impl<'a> Decimals<'a> {
    /// The column, or `None` where it holds no decimals.
    pub(super) fn of(array: &'a ArrayRef) -> Option<Self> {
        if let Some(narrow) = array.as_primitive_opt::<Decimal128Type>() {
            return Some(Decimals::Narrow(narrow));
        }
        array
            .as_primitive_opt::<Decimal256Type>()
            .map(Decimals::Wide)
    }

    /// The unscaled value of a row.
    pub(super) fn get(&self, row: usize) -> Option<i256> {
        match self {
            Decimals::Narrow(a) => a.is_valid(row).then(|| i256::from_i128(a.value(row))),
            Decimals::Wide(a) => a.is_valid(row).then(|| a.value(row)),
        }
    }

    /// Digits after the point.
    pub(super) fn scale(&self) -> i32 {
        i32::from(match self {
            Decimals::Narrow(a) => a.scale(),
            Decimals::Wide(a) => a.scale(),
        })
    }
}

/// A column of 128 or 256 bits, as `data_type` says, from unscaled values; too many digits are an error.
pub(super) fn build(
    values: impl Iterator<Item = Result<Option<i256>>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    match data_type {
        DataType::Decimal128(precision, scale) => {
            let limit = power_of_ten(i32::from(*precision)).unwrap_or(i256::MAX);
            let narrow = values
                .map(|value| match value? {
                    Some(value) if magnitude(value) >= limit => Err(numeric_overflow().into()),
                    value => Ok(value.and_then(i256::to_i128)),
                })
                .collect::<Result<Decimal128Array>>()?;
            Ok(Arc::new(
                narrow.with_precision_and_scale(*precision, *scale)?,
            ))
        }
        DataType::Decimal256(precision, scale) => {
            let limit = power_of_ten(i32::from(*precision)).unwrap_or(i256::MAX);
            let wide = values
                .map(|value| match value? {
                    Some(value) if magnitude(value) >= limit => Err(numeric_overflow().into()),
                    value => Ok(value),
                })
                .collect::<Result<Decimal256Array>>()?;
            Ok(Arc::new(wide.with_precision_and_scale(*precision, *scale)?))
        }
        other => Err(Error::internal(format!("{other} is not a decimal type")).into()),
    }
}

/// The absolute value: no decimal is as small as the one number without a counterpart.
pub(super) fn magnitude(value: i256) -> i256 {
    value.wrapping_abs()
}

/// `value / divisor`, rounded half away from zero. `divisor` is not zero.
pub(super) fn divide_rounded(value: i256, divisor: i256) -> i256 {
    let (quotient, rest) = match (value.to_i128(), divisor.to_i128()) {
        // The hardware's division where the numbers are as small as they nearly always are.
        (Some(v), Some(d)) if d != -1 => (i256::from_i128(v / d), i256::from_i128(v % d)),
        _ => (value.wrapping_div(divisor), value.wrapping_rem(divisor)),
    };
    let rest = magnitude(rest);
    if rest < magnitude(divisor).wrapping_sub(rest) {
        return quotient;
    }
    let negative = (value < i256::ZERO) != (divisor < i256::ZERO);
    if negative {
        quotient.wrapping_sub(i256::ONE)
    } else {
        quotient.wrapping_add(i256::ONE)
    }
}

/// The value at another scale, rounded half away from zero; `None` where it does not fit.
pub(super) fn rescale(value: i256, from: i32, to: i32) -> Option<i256> {
    if to >= from {
        if value == i256::ZERO {
            return Some(value);
        }
        return value.checked_mul(power_of_ten(to - from)?);
    }
    match power_of_ten(from - to) {
        Some(divisor) => Some(divide_rounded(value, divisor)),
        None => Some(i256::ZERO),
    }
}

/// The value and its scale without zeros at the end of its fraction.
pub(super) fn trimmed(mut value: i256, mut scale: i32) -> (i256, i32) {
    if value == i256::ZERO {
        return (value, 0);
    }
    for step in [16, 4, 1] {
        let Some(divisor) = power_of_ten(step) else {
            continue;
        };
        while scale >= step && value.wrapping_rem(divisor) == i256::ZERO {
            value = value.wrapping_div(divisor);
            scale -= step;
        }
    }
    (value, scale)
}

/// Decimal digits of a value that is not zero.
pub(super) fn digits(value: i256) -> i32 {
    let value = magnitude(value);
    match value.to_i128() {
        Some(small) => small
            .unsigned_abs()
            .checked_ilog10()
            .map_or(1, |n| n as i32 + 1),
        None => POWERS.partition_point(|power| *power <= value) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(value: i128) -> i256 {
        i256::from_i128(value)
    }

    #[test]
    fn rounding_goes_away_from_zero() {
        for (value, divisor, expected) in [
            (5, 2, 3),
            (-5, 2, -3),
            (4, 3, 1),
            (-4, 3, -1),
            (5, -2, -3),
            (1, 3, 0),
            (2, 3, 1),
        ] {
            assert_eq!(
                divide_rounded(wide(value), wide(divisor)),
                wide(expected),
                "{value}/{divisor}"
            );
        }
        assert_eq!(rescale(wide(125), 2, 1), Some(wide(13)));
        assert_eq!(rescale(wide(-125), 2, 1), Some(wide(-13)));
    }

    #[test]
    fn zeros_are_trimmed_from_fractions_only() {
        assert_eq!(trimmed(wide(1200), 2), (wide(12), 0));
        assert_eq!(trimmed(wide(1230), 2), (wide(123), 1));
        assert_eq!(trimmed(wide(1200), 0), (wide(1200), 0));
        assert_eq!(digits(wide(999)), 3);
        assert_eq!(digits(power_of_ten(50).unwrap()), 51);
    }
}
