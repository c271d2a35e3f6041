//! numeric's binary form: groups of four decimal digits, the place of the first one, a sign, and the digits
//! to show after the point.

use arrow::datatypes::i256;
use bytes::{BufMut, BytesMut};
use sluice_spi::{Error, Result, SqlState};

/// Decimal digits of a group.
const GROUP_DIGITS: usize = 4;
/// Digits on either side of the point that PostgreSQL's numeric can have at most (its manual, "Numeric
/// Types", says 131072 and 16383).
const DIGITS_MAX: usize = 131_072;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Appends `value × 10^-scale`.
#[inline]
pub(super) fn put_i128(value: i128, scale: i8, out: &mut BytesMut) -> Result<()> {
    let magnitude = value.unsigned_abs();
    match u64::try_from(magnitude) {
        Ok(small) if (0..=18).contains(&scale) => {
            put_small(small, scale.unsigned_abs(), value < 0, out);
            Ok(())
        }
        _ => put_digits(&magnitude.to_string(), scale.into(), value < 0, 0, out),
    }
}

/// Appends `value × 10^-scale`.
#[inline]
pub(super) fn put_i256(value: i256, scale: i8, out: &mut BytesMut) -> Result<()> {
    match value.to_i128() {
        Some(value) => put_i128(value, scale, out),
        None => {
            let text = value.to_string();
            let digits = text.strip_prefix('-').unwrap_or(&text);
            put_digits(digits, scale.into(), text.starts_with('-'), 0, out)
        }
    }
}

/// Appends a number that comes as text, in the forms that numeric's input function reads.
pub(super) fn put_text(text: &str, out: &mut BytesMut) -> Result<()> {
    let wrong = || {
        Error::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type numeric: \"{text}\""),
        )
    };
    let trimmed = text.trim();
    let (negative, number) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let special = match number.to_ascii_lowercase().as_str() {
        "nan" if number.len() == trimmed.len() => Some(NAN),
        "infinity" | "inf" if negative => Some(MINUS_INFINITY),
        "infinity" | "inf" => Some(INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        out.put_slice(&[0; 4]);
        out.put_u16(sign);
        out.put_u16(0);
        return Ok(());
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    // As long as the text, which is short of 1 GB.
    let scale = i32::try_from(fraction.len())
        .ok()
        .and_then(|fraction| fraction.checked_sub(exponent))
        .ok_or_else(wrong)?;
    // Zeros at the end of a text are shown again.
    put_digits(&digits, scale, negative, scale.max(0), out)
}

/// The usual case, in 64 bits.
#[inline]
fn put_small(value: u64, scale: u8, negative: bool, out: &mut BytesMut) {
    if value == 0 {
        out.put_slice(&[0; 8]);
        return;
    }
    let power = 10u64.pow(scale.into());
    let (mut whole, mut fraction) = (value / power, value % power);
    let mut digits = usize::from(scale);
    // Trailing zeros are not shown: the column's own scale brings them back where it has one.
    while digits > 0 && fraction.is_multiple_of(10) {
        fraction /= 10;
        digits -= 1;
    }
    let fraction_groups = digits.div_ceil(GROUP_DIGITS);
    let mut groups = [0u16; 12];
    let mut at = groups.len();
    if digits > 0 {
        // The last group may be short of digits; the others are taken from what is above it.
        let last = (digits - 1) % GROUP_DIGITS + 1;
        let power = 10u64.pow(last as u32);
        at -= 1;
        groups[at] = (fraction % power) as u16 * 10u16.pow((GROUP_DIGITS - last) as u32);
        fraction /= power;
        for _ in 1..fraction_groups {
            at -= 1;
            groups[at] = (fraction % 10_000) as u16;
            fraction /= 10_000;
        }
    }
    let mut whole_groups = 0i16;
    while whole > 0 {
        at -= 1;
        groups[at] = (whole % 10_000) as u16;
        whole /= 10_000;
        whole_groups += 1;
    }
    put_groups(&groups[at..], whole_groups, negative, digits, out);
}

/// The general case, by decimal digits, of which `shown` after the point are to be shown at least.
#[cold]
fn put_digits(
    digits: &str,
    scale: i32,
    negative: bool,
    shown: i32,
    out: &mut BytesMut,
) -> Result<()> {
    if digits.len() > 2 * DIGITS_MAX || scale.unsigned_abs() as usize > DIGITS_MAX {
        return Err(Error::new(
            SqlState::NUMERIC_OUT_OF_RANGE,
            "value overflows numeric format",
        ));
    }
    let mut digits: Vec<u8> = digits.bytes().map(|digit| digit - b'0').collect();
    if scale < 0 {
        digits.resize(digits.len() + scale.unsigned_abs() as usize, 0);
    }
    let mut fraction = usize::try_from(scale).unwrap_or(0);
    if digits.len() < fraction {
        let missing = fraction - digits.len();
        digits.splice(0..0, std::iter::repeat_n(0, missing));
    }
    while fraction > 0 && digits.last() == Some(&0) {
        digits.pop();
        fraction -= 1;
    }
    let shown = fraction.max(usize::try_from(shown).unwrap_or(0));
    // Whole groups on both sides of the point.
    let whole = digits.len() - fraction;
    let before = (GROUP_DIGITS - whole % GROUP_DIGITS) % GROUP_DIGITS;
    digits.splice(0..0, std::iter::repeat_n(0, before));
    let after = (GROUP_DIGITS - fraction % GROUP_DIGITS) % GROUP_DIGITS;
    digits.resize(digits.len() + after, 0);
    let groups: Vec<u16> = digits
        .chunks_exact(GROUP_DIGITS)
        .map(|group| {
            group
                .iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(*digit))
        })
        .collect();
    let whole_groups = (whole + before) / GROUP_DIGITS;
    put_groups(
        &groups,
        i16::try_from(whole_groups).unwrap_or(i16::MAX),
        negative,
        shown,
        out,
    );
    Ok(())
}

/// `groups` without zeros at either end, `whole` of them before the point.
fn put_groups(groups: &[u16], whole: i16, negative: bool, shown: usize, out: &mut BytesMut) {
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let significant = &groups[leading..];
    let trailing = significant
        .iter()
        .rev()
        .take_while(|group| **group == 0)
        .count();
    let significant = &significant[..significant.len() - trailing];
    // A quarter of `DIGITS_MAX` at most on each side.
    let small = |count: usize| i16::try_from(count).unwrap_or(i16::MAX);
    if significant.is_empty() {
        out.put_slice(&[0; 6]);
        out.put_i16(small(shown));
        return;
    }
    out.put_i16(small(significant.len()));
    out.put_i16(whole - small(leading) - 1);
    out.put_u16(if negative { NEGATIVE } else { 0 });
    out.put_i16(small(shown));
    for group in significant {
        out.put_u16(*group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::NumericReader;

    #[test]
    fn the_reader_finds_what_was_written() {
        for scale in [0i8, 1, 2, 3, 4, 5, 8, 17, 18, 20, 37, 38] {
            for digits in 1..=38usize {
                for pattern in ["9", "1", "10", "90210", "00001"] {
                    let text: String = pattern.chars().cycle().take(digits).collect();
                    let value: i128 = text.parse().unwrap();
                    for value in [value, -value] {
                        let mut out = BytesMut::new();
                        put_i128(value, scale, &mut out).unwrap();
                        let read = NumericReader::new(38, scale, false)
                            .read_i128(&out)
                            .unwrap();
                        assert_eq!(read, value, "scale {scale}");
                        let mut general = BytesMut::new();
                        put_digits(
                            &value.unsigned_abs().to_string(),
                            scale.into(),
                            value < 0,
                            0,
                            &mut general,
                        )
                        .unwrap();
                        assert_eq!(out, general, "{value} scale {scale}");
                    }
                }
            }
        }
    }

    #[test]
    fn text_is_read_as_numeric_reads_it() {
        for (text, unscaled, scale) in [
            ("1.5", 15, 1),
            ("-0.010", -1, 2),
            (" +12e3 ", 12_000, 0),
            ("1.25e-2", 125, 4),
            (".5", 5, 1),
            ("5.", 5, 0),
            ("0", 0, 0),
        ] {
            let mut out = BytesMut::new();
            put_text(text, &mut out).unwrap();
            let read = NumericReader::new(38, scale, false)
                .read_i128(&out)
                .unwrap();
            assert_eq!(read, unscaled, "{text}");
        }
        for text in ["", "-", ".", "1,5", "0x1", "e5", "-nan", "1e", "--1"] {
            let error = put_text(text, &mut BytesMut::new()).unwrap_err();
            assert_eq!(error.code.code(), "22P02", "{text}");
        }
        let mut out = BytesMut::new();
        put_text("-1.500", &mut out).unwrap();
        put_text("0.00", &mut out).unwrap();
        let words: Vec<u16> = out
            .chunks(2)
            .map(|word| u16::from_be_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [2, 0, NEGATIVE, 3, 1, 5000, 0, 0, 0, 2]);
        let mut out = BytesMut::new();
        put_text("NaN", &mut out).unwrap();
        assert_eq!(&out[..], [0, 0, 0, 0, 0xC0, 0, 0, 0]);
    }

    #[test]
    fn wide_and_shifted_values() {
        let wide = i256::from_string(&"9".repeat(76)).unwrap();
        let mut out = BytesMut::new();
        put_i256(wide, 20, &mut out).unwrap();
        assert_eq!(
            NumericReader::new(76, 20, false).read_i256(&out).unwrap(),
            wide
        );
        let mut out = BytesMut::new();
        put_i128(12, -3, &mut out).unwrap();
        assert_eq!(
            NumericReader::new(38, 0, false).read_i128(&out).unwrap(),
            12_000
        );
    }
}
