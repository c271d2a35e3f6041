//! Dates and times.

use arrow::datatypes::IntervalMonthDayNano;
use mysql_async::Value;

/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAYS: i64 = 719_468;

/// Days from 1970-01-01; `None` for a date that no calendar has: 0000-00-00, a month or a day of zero,
/// 30 February (which `ALLOW_INVALID_DATES` lets in).
pub(super) fn date(year: u16, month: u8, day: u8) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = i64::from(year) - i64::from(month <= 2);
    let cycle = shifted.div_euclid(400);
    let year_of_cycle = shifted.rem_euclid(400);
    let shifted_month = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    i32::try_from(cycle * 146_097 + day_of_cycle - EPOCH_DAYS).ok()
}

fn days_in(year: u16, month: u8) -> u8 {
    let is_leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Microseconds from 1970-01-01 00:00; `None` as in [`date`].
pub(super) fn moment(value: &Value) -> Option<i64> {
    let Value::Date(year, month, day, hour, minute, second, micros) = *value else {
        return None;
    };
    let seconds = i64::from(date(year, month, day)?) * 86_400
        + i64::from(hour) * 3_600
        + i64::from(minute) * 60
        + i64::from(second);
    Some(seconds * 1_000_000 + i64::from(micros))
}

/// A time, which goes from -838:59:59 to 838:59:59, as a number of nanoseconds: hours beyond a day stay
/// hours, as in MySQL.
pub(super) fn interval(value: &Value) -> IntervalMonthDayNano {
    let Value::Time(negative, days, hours, minutes, seconds, micros) = *value else {
        return IntervalMonthDayNano::ZERO;
    };
    let hours = i64::from(days) * 24 + i64::from(hours);
    let seconds = hours * 3_600 + i64::from(minutes) * 60 + i64::from(seconds);
    let nanos = (seconds * 1_000_000 + i64::from(micros)) * 1_000;
    IntervalMonthDayNano::new(0, 0, if negative { -nanos } else { nanos })
}
