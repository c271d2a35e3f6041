//! Dates, times and intervals. PostgreSQL counts from 2000-01-01, Arrow from 1970-01-01.

use arrow::datatypes::IntervalMonthDayNano;
use sluice_spi::SqlState;

use super::Fault;

/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;
/// Microseconds of a day.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

fn infinite(what: &str) -> Fault {
    out_of_range(what).or_set("infinity = \"keep\"")
}

fn out_of_range(what: &str) -> Fault {
    Fault::value(SqlState::DATETIME_OVERFLOW, what)
}

pub(super) fn date(raw: [u8; 4], keep_infinity: bool) -> Result<i32, Fault> {
    match i32::from_be_bytes(raw) {
        // The same extremes here, and as great and as small.
        extreme @ (i32::MAX | i32::MIN) if keep_infinity => Ok(extreme),
        i32::MAX => Err(infinite("is infinity, which is no date here")),
        i32::MIN => Err(infinite("is -infinity, which is no date here")),
        days => days
            .checked_add(EPOCH_DAYS)
            .filter(|days| *days != i32::MAX)
            .ok_or_else(|| out_of_range("is a date too far in the future")),
    }
}

pub(super) fn timestamp(raw: [u8; 8], keep_infinity: bool) -> Result<i64, Fault> {
    match i64::from_be_bytes(raw) {
        extreme @ (i64::MAX | i64::MIN) if keep_infinity => Ok(extreme),
        i64::MAX => Err(infinite("is infinity, which is no timestamp here")),
        i64::MIN => Err(infinite("is -infinity, which is no timestamp here")),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .filter(|micros| *micros != i64::MAX)
            .ok_or_else(|| out_of_range("is a timestamp too far in the future")),
    }
}

pub(super) fn time(raw: [u8; 8]) -> Result<i64, Fault> {
    let micros = i64::from_be_bytes(raw);
    if (0..DAY_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        // PostgreSQL takes 24:00:00 for a time; Arrow's day ends before it.
        Err(out_of_range("is 24:00:00, which is no time of day here"))
    }
}

pub(super) fn interval(raw: [u8; 16]) -> Result<IntervalMonthDayNano, Fault> {
    let [
        m0,
        m1,
        m2,
        m3,
        m4,
        m5,
        m6,
        m7,
        d0,
        d1,
        d2,
        d3,
        n0,
        n1,
        n2,
        n3,
    ] = raw;
    let micros = i64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]);
    let days = i32::from_be_bytes([d0, d1, d2, d3]);
    let months = i32::from_be_bytes([n0, n1, n2, n3]);
    // Since PostgreSQL 17.
    if (micros, days, months) == (i64::MAX, i32::MAX, i32::MAX)
        || (micros, days, months) == (i64::MIN, i32::MIN, i32::MIN)
    {
        return Err(out_of_range("is an infinite interval"));
    }
    match micros.checked_mul(1_000) {
        Some(nanos) => Ok(IntervalMonthDayNano::new(months, days, nanos)),
        None => Err(out_of_range(
            "is an interval of more than 292 years of hours",
        )),
    }
}
