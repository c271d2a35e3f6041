//! numeric: groups of four decimal digits into Arrow's scaled integers, exactly or not at all.

use arrow::datatypes::i256;
use sluice_spi::SqlState;

use super::Fault;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Groups that an i128 holds whatever their digits are (36 of its 38).
const GROUPS_IN_I128: usize = 9;

/// Reads numerics into a decimal of fixed precision and scale.
pub(crate) struct NumericReader {
    scale: i32,
    precision: u8,
    /// Of a numeric without a precision, which may arrive as text instead.
    free: bool,
    /// 10^precision, the first value that is too large.
    bound: i256,
}

/// Sign, digits as one integer, and the power of ten that turns it into the unscaled value.
enum Parsed<'a> {
    Zero,
    Number {
        negative: bool,
        groups: &'a [u8],
        shift: i32,
    },
}

impl NumericReader {
    pub(crate) fn new(precision: u8, scale: i8, free: bool) -> NumericReader {
        NumericReader {
            scale: scale.into(),
            precision,
            free,
            bound: ten_to(precision.into()).unwrap_or(i256::MAX),
        }
    }

    /// The unscaled value, for decimals of up to 38 digits.
    #[inline]
    pub(crate) fn read_i128(&self, raw: &[u8]) -> Result<i128, Fault> {
        match self.parse(raw)? {
            Parsed::Zero => Ok(0),
            Parsed::Number {
                negative,
                groups,
                shift,
            } => {
                if groups.len() <= GROUPS_IN_I128 * 2
                    && let Some(value) = narrow(groups, shift)
                    && i256::from_i128(value) < self.bound
                {
                    return Ok(if negative { -value } else { value });
                }
                self.wide(negative, groups, shift)?
                    .to_i128()
                    .ok_or_else(|| self.too_large())
            }
        }
    }

    /// The unscaled value, for decimals of up to 76 digits.
    #[inline]
    pub(crate) fn read_i256(&self, raw: &[u8]) -> Result<i256, Fault> {
        match self.parse(raw)? {
            Parsed::Zero => Ok(i256::ZERO),
            Parsed::Number {
                negative,
                groups,
                shift,
            } => {
                if groups.len() <= GROUPS_IN_I128 * 2
                    && let Some(value) = narrow(groups, shift)
                {
                    let value = i256::from_i128(value);
                    if value < self.bound {
                        return Ok(if negative {
                            value.wrapping_neg()
                        } else {
                            value
                        });
                    }
                }
                self.wide(negative, groups, shift)
            }
        }
    }

    #[inline]
    fn parse<'a>(&self, raw: &'a [u8]) -> Result<Parsed<'a>, Fault> {
        let [c0, c1, w0, w1, s0, s1, _, _, groups @ ..] = raw else {
            return Err(Fault::broken("has not the length of numeric"));
        };
        let count = u16::from_be_bytes([*c0, *c1]);
        let weight = i16::from_be_bytes([*w0, *w1]);
        let negative = match u16::from_be_bytes([*s0, *s1]) {
            POSITIVE => false,
            NEGATIVE => true,
            NAN => {
                return Err(self.fault("is NaN, which no decimal can hold"));
            }
            INFINITY | MINUS_INFINITY => {
                return Err(self.fault("is infinity, which no decimal can hold"));
            }
            _ => return Err(Fault::broken("is numeric with an unknown sign")),
        };
        if groups.len() != usize::from(count) * 2 {
            return Err(Fault::broken("has not the length of numeric"));
        }
        if count == 0 {
            return Ok(Parsed::Zero);
        }
        // The last group stands for 10000^(weight - count + 1).
        let shift = (i32::from(weight) - i32::from(count) + 1) * 4 + self.scale;
        Ok(Parsed::Number {
            negative,
            groups,
            shift,
        })
    }

    /// The general way, in 256 bits.
    #[cold]
    fn wide(&self, negative: bool, groups: &[u8], shift: i32) -> Result<i256, Fault> {
        let mut value = i256::ZERO;
        let mut shift = shift;
        // Groups that are wholly below the scale must be zeros.
        let (groups, dropped) = {
            let mut groups = groups;
            while shift <= -4 && groups.ends_with(&[0, 0]) {
                groups = &groups[..groups.len() - 2];
                shift += 4;
            }
            (groups, shift <= -4)
        };
        if dropped {
            return Err(self.too_fine());
        }
        let base = i256::from_i128(10_000);
        let too_large = || self.too_large();
        let mut groups = groups
            .chunks_exact(2)
            .map(|group| u16::from_be_bytes([group[0], group[1]]));
        // Below the scale's last digit, the last group has zeros: they are left out rather than divided
        // off, since the value with them may not fit where the value without them does.
        let last = if shift < 0 { groups.next_back() } else { None };
        for group in groups {
            value = value
                .checked_mul(base)
                .and_then(|value| value.checked_add(i256::from_i128(group.into())))
                .ok_or_else(too_large)?;
        }
        if let Some(last) = last {
            let below = 10u16.pow(shift.unsigned_abs());
            if last % below != 0 {
                return Err(self.too_fine());
            }
            value = ten_to(4 + shift)
                .and_then(|power| value.checked_mul(power))
                .and_then(|value| value.checked_add(i256::from_i128((last / below).into())))
                .ok_or_else(too_large)?;
        } else {
            value = ten_to(shift)
                .and_then(|power| value.checked_mul(power))
                .ok_or_else(too_large)?;
        }
        if value >= self.bound {
            return Err(self.too_large());
        }
        Ok(if negative {
            value.wrapping_neg()
        } else {
            value
        })
    }

    #[cold]
    fn fault(&self, what: impl Into<String>) -> Fault {
        let fault = Fault::value(SqlState::NUMERIC_OUT_OF_RANGE, what);
        if self.free {
            fault.or_set("numeric = \"text\"")
        } else {
            fault
        }
    }

    fn too_large(&self) -> Fault {
        self.fault(format!(
            "is numeric with more than {} digits before the point",
            i32::from(self.precision) - self.scale
        ))
    }

    fn too_fine(&self) -> Fault {
        self.fault(format!(
            "is numeric with more than {} digits after the point, and would have to be rounded",
            self.scale
        ))
    }
}

/// The fast way, in 128 bits; `None` where it does not fit or digits would be lost.
#[inline]
fn narrow(groups: &[u8], shift: i32) -> Option<i128> {
    let mut value: i128 = 0;
    // Most numerics have at most four groups, which a 64-bit register holds.
    if groups.len() <= 8 {
        let mut short: u64 = 0;
        for group in groups.chunks_exact(2) {
            short = short * 10_000 + u64::from(u16::from_be_bytes([group[0], group[1]]));
        }
        value = short.into();
    } else {
        for group in groups.chunks_exact(2) {
            value = value * 10_000 + i128::from(u16::from_be_bytes([group[0], group[1]]));
        }
    }
    match shift {
        0 => Some(value),
        1..=38 => value.checked_mul(10i128.checked_pow(shift.unsigned_abs())?),
        -3..=-1 => {
            let power = 10i128.pow(shift.unsigned_abs());
            (value % power == 0).then(|| value / power)
        }
        _ => None,
    }
}

fn ten_to(power: i32) -> Option<i256> {
    u32::try_from(power)
        .ok()
        .and_then(|power| i256::from_i128(10).checked_pow(power))
}
