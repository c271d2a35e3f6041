//! Decimals, which the protocol carries as text.

use arrow::datatypes::i256;
use sluice_spi::SqlState;

use super::Fault;

/// Digits that an `i128` holds for sure.
const I128_DIGITS: usize = 38;

/// The text times 10^scale.
pub(super) fn read_i128(text: &[u8], scale: i8) -> Result<i128, Fault> {
    let (negative, digits, missing) = parts(text, scale)?;
    let mut value = 0_i128;
    let mut count = 0;
    for digit in digits {
        count += usize::from(count > 0 || digit != 0);
        if count > I128_DIGITS {
            return Err(too_long());
        }
        value = value * 10 + i128::from(digit);
    }
    if count > 0 && count + missing > I128_DIGITS {
        return Err(too_long());
    }
    for _ in 0..missing {
        value *= 10;
    }
    Ok(if negative { -value } else { value })
}

/// The text times 10^scale.
pub(super) fn read_i256(text: &[u8], scale: i8) -> Result<i256, Fault> {
    let (negative, digits, missing) = parts(text, scale)?;
    let ten = i256::from_i128(10);
    let mut value = i256::ZERO;
    for digit in digits.chain(std::iter::repeat_n(0, missing)) {
        value = value
            .checked_mul(ten)
            .and_then(|value| value.checked_add(i256::from_i128(digit.into())))
            .ok_or_else(too_long)?;
    }
    Ok(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// Sign, digits, and the zeros to be added after them.
fn parts(text: &[u8], scale: i8) -> Result<(bool, impl Iterator<Item = u8>, usize), Fault> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let point = unsigned.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&unsigned[..at], &unsigned[at + 1..]),
        None => (unsigned, &[][..]),
    };
    let is_number = !(whole.is_empty() && fraction.is_empty())
        && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !is_number {
        return Err(Fault::broken("is not a decimal number"));
    }
    let scale = usize::try_from(scale).unwrap_or(0);
    let kept = fraction.len().min(scale);
    if fraction[kept..].iter().any(|byte| *byte != b'0') {
        return Err(too_long());
    }
    let digits = whole
        .iter()
        .chain(&fraction[..kept])
        .map(|byte| byte - b'0');
    Ok((negative, digits, scale - kept))
}

#[cold]
fn too_long() -> Fault {
    Fault::value(
        SqlState::NUMERIC_OUT_OF_RANGE,
        "has more digits than the column was described with",
        "The table has changed: CALL CATALOG.system.flush_metadata() and try again.",
    )
}
