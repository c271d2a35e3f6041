//! Integers, floats and decimals, as `int4out`, `float8out` and `numeric_out` print and send them.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type, i256,
};
use sluice_spi::{Error, Result, SqlState};

use super::{Format, Style, Values, Written};
use crate::pgwire::types::{PgType, oid, type_name};

/// Chooses the writer of an integer column, whatever its Arrow width.
pub(super) fn integer(
    array: &ArrayRef,
    pg_type: PgType,
    format: Format,
) -> Result<Box<dyn Values>> {
    fn of<T>(array: &ArrayRef, pg_type: PgType, format: Format) -> Box<dyn Values>
    where
        T: ArrowPrimitiveType,
        T::Native: itoa::Integer + Into<i128>,
    {
        let array = array.as_primitive::<T>().clone();
        match format {
            Format::Text => Box::new(IntegerText(array)),
            Format::Binary => Box::new(IntegerBinary { array, pg_type }),
        }
    }
    Ok(match array.data_type() {
        DataType::Int8 => of::<Int8Type>(array, pg_type, format),
        DataType::Int16 => of::<Int16Type>(array, pg_type, format),
        DataType::Int32 => of::<Int32Type>(array, pg_type, format),
        DataType::Int64 => of::<Int64Type>(array, pg_type, format),
        DataType::UInt8 => of::<UInt8Type>(array, pg_type, format),
        DataType::UInt16 => of::<UInt16Type>(array, pg_type, format),
        DataType::UInt32 => of::<UInt32Type>(array, pg_type, format),
        DataType::UInt64 => of::<UInt64Type>(array, pg_type, format),
        other => return Err(Error::internal(format!("{other} is not an integer type"))),
    })
}

struct IntegerText<T: ArrowPrimitiveType>(PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Values for IntegerText<T>
where
    T::Native: itoa::Integer,
{
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.extend_from_slice(itoa::Buffer::new().format(self.0.value(row)).as_bytes());
        Ok(())
    }
}

struct IntegerBinary<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    pg_type: PgType,
}

impl<T: ArrowPrimitiveType> Values for IntegerBinary<T>
where
    T::Native: Into<i128>,
{
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let value: i128 = self.array.value(row).into();
        let out_of_range = || {
            let name = type_name(self.pg_type.oid);
            Box::new(Error::new(
                SqlState::NUMERIC_OUT_OF_RANGE,
                format!("{name} out of range"),
            ))
        };
        match (self.pg_type.oid, self.pg_type.length) {
            (oid::NUMERIC, _) => {
                let digits = itoa::Buffer::new().format(value.unsigned_abs()).to_owned();
                write_numeric_binary(value < 0, digits.as_bytes(), 0, 0, out);
            }
            (_, 2) => out.extend_from_slice(
                &i16::try_from(value)
                    .map_err(|_| out_of_range())?
                    .to_be_bytes(),
            ),
            (oid::INT4, _) => out.extend_from_slice(
                &i32::try_from(value)
                    .map_err(|_| out_of_range())?
                    .to_be_bytes(),
            ),
            // Object ids are unsigned; a negative one is the same bits.
            (_, 4) => {
                let bits = u32::try_from(value).or_else(|_| i32::try_from(value).map(|v| v as u32));
                out.extend_from_slice(&bits.map_err(|_| out_of_range())?.to_be_bytes());
            }
            _ => out.extend_from_slice(
                &i64::try_from(value)
                    .map_err(|_| out_of_range())?
                    .to_be_bytes(),
            ),
        }
        Ok(())
    }
}

/// Chooses the writer of a float column. A column announced as `float8` may hold narrower values.
pub(super) fn float(
    array: &ArrayRef,
    pg_type: PgType,
    format: Format,
    style: &Style,
) -> Result<Box<dyn Values>> {
    let extra = style.extra_float_digits;
    let wide = pg_type.oid == oid::FLOAT8;
    Ok(match (array.data_type(), wide) {
        (DataType::Float16, _) => {
            let array = array.as_primitive::<Float16Type>();
            let array: PrimitiveArray<Float32Type> = array.unary(|v| v.to_f32());
            Box::new(Float4 {
                array,
                format,
                extra,
            })
        }
        (DataType::Float32, false) => Box::new(Float4 {
            array: array.as_primitive().clone(),
            format,
            extra,
        }),
        (DataType::Float32, true) => {
            let array: PrimitiveArray<Float64Type> =
                array.as_primitive::<Float32Type>().unary(f64::from);
            Box::new(Float8 {
                array,
                format,
                extra,
            })
        }
        (DataType::Float64, true) => Box::new(Float8 {
            array: array.as_primitive().clone(),
            format,
            extra,
        }),
        (DataType::Float64, false) => {
            let array: PrimitiveArray<Float32Type> =
                array.as_primitive::<Float64Type>().unary(|v| v as f32);
            Box::new(Float4 {
                array,
                format,
                extra,
            })
        }
        (other, _) => return Err(Error::internal(format!("{other} is not a float type"))),
    })
}

struct Float4 {
    array: PrimitiveArray<Float32Type>,
    format: Format,
    extra: i32,
}

impl Values for Float4 {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let value = self.array.value(row);
        match self.format {
            Format::Binary => out.extend_from_slice(&value.to_be_bytes()),
            Format::Text if self.extra > 0 => {
                let mut buffer = zmij::Buffer::new();
                write_float(f64::from(value), || buffer.format_finite(value), 6, out);
            }
            Format::Text => {
                write_rounded_float(f64::from(value), (6 + self.extra).max(1) as usize, out)
            }
        }
        Ok(())
    }
}

struct Float8 {
    array: PrimitiveArray<Float64Type>,
    format: Format,
    extra: i32,
}

impl Values for Float8 {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let value = self.array.value(row);
        match self.format {
            Format::Binary => out.extend_from_slice(&value.to_be_bytes()),
            Format::Text if self.extra > 0 => {
                let mut buffer = zmij::Buffer::new();
                write_float(value, || buffer.format_finite(value), 15, out);
            }
            Format::Text => write_rounded_float(value, (15 + self.extra).max(1) as usize, out),
        }
        Ok(())
    }
}

/// Non-finite values and zeros, which no digit generator needs to see. True when written.
fn write_special_float(value: f64, out: &mut Vec<u8>) -> bool {
    let word: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"Infinity"
    } else if value == f64::NEG_INFINITY {
        b"-Infinity"
    } else if value == 0.0 {
        if value.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        }
    } else {
        return false;
    };
    out.extend_from_slice(word);
    true
}

/// `%g` with the fewest digits that read back; fixed notation while -4 <= exponent < `threshold`, which is
/// 15 for float8 and 6 for float4 (d2s.c and f2s.c in PostgreSQL).
fn write_float<'a>(
    value: f64,
    shortest: impl FnOnce() -> &'a str,
    threshold: i32,
    out: &mut Vec<u8>,
) {
    if write_special_float(value, out) {
        return;
    }
    // Whole numbers need no digit generator. 10^6 is exact in both widths.
    if value.fract() == 0.0 && value.abs() < 10f64.powi(threshold.min(6)) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    write_scientific(shortest(), threshold, out);
}

/// `%.*g`, for `extra_float_digits <= 0`.
fn write_rounded_float(value: f64, precision: usize, out: &mut Vec<u8>) {
    if !write_special_float(value, out) {
        write_scientific(
            &format!("{value:.*e}", precision - 1),
            precision as i32,
            out,
        );
    }
}

/// Rewrites any usual spelling of a finite number (`12.5`, `1e20`, `1.5e-7`) in PostgreSQL's.
fn write_scientific(spelled: &str, threshold: i32, out: &mut Vec<u8>) {
    let (negative, spelled) = match spelled.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, spelled),
    };
    let (mantissa, exponent) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // At most 17 digits matter, and at most 24 are ever spelled in front of an exponent.
    let mut digits = [0u8; 40];
    let mut count = 0;
    let mut point = whole.len() as i32 + exponent;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if count == 0 && digit == b'0' {
            point -= 1;
        } else if count < digits.len() {
            digits[count] = digit;
            count += 1;
        }
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    if negative {
        out.push(b'-');
    }
    let exponent = point - 1;
    if !(-4..threshold).contains(&exponent) {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else if count <= point as usize {
        out.extend_from_slice(digits);
        out.resize(out.len() + point as usize - count, b'0');
    } else {
        out.extend_from_slice(&digits[..point as usize]);
        out.push(b'.');
        out.extend_from_slice(&digits[point as usize..]);
    }
}

/// Chooses the writer of a decimal column. `trim` drops trailing zeros of the fraction.
pub(super) fn decimal(array: &ArrayRef, trim: bool, format: Format) -> Result<Box<dyn Values>> {
    fn of<T>(array: &ArrayRef, scale: i8, trim: bool, format: Format) -> Box<dyn Values>
    where
        T: ArrowPrimitiveType,
        T::Native: DecimalDigits,
    {
        Box::new(Decimal {
            array: array.as_primitive::<T>().clone(),
            scale,
            trim,
            format,
        })
    }
    Ok(match array.data_type() {
        DataType::Decimal32(_, scale) => of::<Decimal32Type>(array, *scale, trim, format),
        DataType::Decimal64(_, scale) => of::<Decimal64Type>(array, *scale, trim, format),
        DataType::Decimal128(_, scale) => of::<Decimal128Type>(array, *scale, trim, format),
        DataType::Decimal256(_, scale) => of::<Decimal256Type>(array, *scale, trim, format),
        other => return Err(Error::internal(format!("{other} is not a decimal type"))),
    })
}

/// A decimal's unscaled integer, as digits.
trait DecimalDigits: Copy {
    /// Calls `write` with the sign and the digits of the absolute value, no leading zeros.
    fn with_digits<R>(self, write: impl FnOnce(bool, &[u8]) -> R) -> R;
}

macro_rules! narrow_digits {
    ($($native:ty),*) => {$(
        impl DecimalDigits for $native {
            #[inline]
            fn with_digits<R>(self, write: impl FnOnce(bool, &[u8]) -> R) -> R {
                write(self < 0, itoa::Buffer::new().format(self.unsigned_abs()).as_bytes())
            }
        }
    )*};
}
narrow_digits!(i32, i64);

impl DecimalDigits for i128 {
    #[inline]
    fn with_digits<R>(self, write: impl FnOnce(bool, &[u8]) -> R) -> R {
        // Prices and sums nearly always fit 64 bits, where printing is several times cheaper.
        match i64::try_from(self) {
            Ok(narrow) => narrow.with_digits(write),
            Err(_) => write(
                self < 0,
                itoa::Buffer::new().format(self.unsigned_abs()).as_bytes(),
            ),
        }
    }
}

impl DecimalDigits for i256 {
    fn with_digits<R>(self, write: impl FnOnce(bool, &[u8]) -> R) -> R {
        if let Some(narrow) = self.to_i128() {
            return narrow.with_digits(write);
        }
        let mut spelled = String::with_capacity(80);
        // Writing to a String cannot fail.
        let _ = write!(spelled, "{self}");
        match spelled.strip_prefix('-') {
            Some(digits) => write(true, digits.as_bytes()),
            None => write(false, spelled.as_bytes()),
        }
    }
}

struct Decimal<T: ArrowPrimitiveType> {
    array: PrimitiveArray<T>,
    scale: i8,
    trim: bool,
    format: Format,
}

impl<T: ArrowPrimitiveType> Values for Decimal<T>
where
    T::Native: DecimalDigits,
{
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        self.array.value(row).with_digits(|negative, digits| {
            let mut digits = digits;
            let mut scale = i32::from(self.scale);
            if self.trim {
                while scale > 0 && digits.len() > 1 && digits.ends_with(b"0") {
                    digits = &digits[..digits.len() - 1];
                    scale -= 1;
                }
                if digits == b"0" {
                    scale = 0;
                }
            }
            match self.format {
                Format::Text => write_numeric_text(negative, digits, scale, out),
                Format::Binary => {
                    write_numeric_binary(negative, digits, scale, scale.max(0) as u16, out)
                }
            }
        });
        Ok(())
    }
}

#[inline]
fn write_numeric_text(negative: bool, digits: &[u8], scale: i32, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    if scale <= 0 {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + scale.unsigned_abs() as usize, b'0');
        }
        return;
    }
    let scale = scale as usize;
    if digits.len() > scale {
        let point = digits.len() - scale;
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

/// `numeric_send`: count, weight, sign and display scale, then groups of four digits, the decimal point
/// between two groups.
fn write_numeric_binary(
    negative: bool,
    digits: &[u8],
    scale: i32,
    display_scale: u16,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let mut weight = 0i16;
    let mut groups = 0u16;
    if digits != b"0" {
        let whole = digits.len() as i32 - scale;
        weight = (whole - 1).div_euclid(4) as i16;
        let pad = (i32::from(weight) + 1) * 4 - whole;
        let total = (pad as usize + digits.len()).div_ceil(4) * 4;
        let digit_at = |position: usize| {
            position
                .checked_sub(pad as usize)
                .and_then(|at| digits.get(at))
                .map_or(0, |d| u16::from(d - b'0'))
        };
        for first in (0..total).step_by(4) {
            let group =
                (first..first + 4).fold(0u16, |sum, position| sum * 10 + digit_at(position));
            out.extend_from_slice(&group.to_be_bytes());
            groups += 1;
        }
        while groups > 0 && out.ends_with(&[0, 0]) {
            out.truncate(out.len() - 2);
            groups -= 1;
        }
    }
    let sign: u16 = if negative { 0x4000 } else { 0 };
    out[start..start + 2].copy_from_slice(&groups.to_be_bytes());
    out[start + 2..start + 4].copy_from_slice(&weight.to_be_bytes());
    out[start + 4..start + 6].copy_from_slice(&sign.to_be_bytes());
    out[start + 6..start + 8].copy_from_slice(&display_scale.to_be_bytes());
}
