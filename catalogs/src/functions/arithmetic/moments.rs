//! Dates, times and timestamps as text, by the rules of PostgreSQL's input functions in ISO order.
//!
//! `infinity` is the extreme of its type, as it is in every column. A zone in the text is read and ignored
//! where the type has none.

use arrow::array::timezone::Tz;
use chrono::{Duration, FixedOffset, NaiveDate, NaiveDateTime, Offset, TimeZone};
use sluice_spi::{Error, Result, SqlState};

pub(super) const DAY_MICROS: i64 = 86_400_000_000;

fn invalid(text: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

fn out_of_range(text: &str) -> Error {
    Error::new(
        SqlState::DATETIME_OVERFLOW,
        format!("date/time field value out of range: \"{text}\""),
    )
}

/// What a text says.
enum Moment<'a> {
    Infinity,
    MinusInfinity,
    At {
        date: NaiveDate,
        /// Microseconds of the day.
        micros: i64,
        /// The zone as it is written; may be empty.
        zone: &'a str,
    },
}

/// `date_in`: days since 1970.
pub(super) fn date(text: &str) -> Result<i32> {
    Ok(match moment(text, "date")? {
        Moment::Infinity => i32::MAX,
        Moment::MinusInfinity => i32::MIN,
        Moment::At { date, .. } => days(date),
    })
}

/// `timestamp_in`: microseconds since 1970.
pub(super) fn timestamp(text: &str) -> Result<i64> {
    match moment(text, "timestamp")? {
        Moment::Infinity => Ok(i64::MAX),
        Moment::MinusInfinity => Ok(i64::MIN),
        Moment::At { date, micros, .. } => {
            since_epoch(date, micros).ok_or_else(|| out_of_range(text))
        }
    }
}

/// `timestamptz_in`: microseconds since 1970, UTC. A text without a zone is of the zone `local`; `None`
/// where it would need one and there is none.
pub(super) fn timestamptz(text: &str, local: Option<&str>) -> Result<Option<i64>> {
    let (date, micros, zone) = match moment(text, "timestamp with time zone")? {
        Moment::Infinity => return Ok(Some(i64::MAX)),
        Moment::MinusInfinity => return Ok(Some(i64::MIN)),
        Moment::At { date, micros, zone } => (date, micros, zone),
    };
    let micros = since_epoch(date, micros).ok_or_else(|| out_of_range(text))?;
    let zone = match (zone, local) {
        ("", None) => return Ok(None),
        ("", Some(local)) => zone_of(local).ok_or_else(|| unknown_zone(local))?,
        (zone, _) => zone_of(zone).ok_or_else(|| unknown_zone(zone))?,
    };
    instant(micros, &zone)
        .map(Some)
        .ok_or_else(|| out_of_range(text))
}

/// The instant that a text with a zone of its own says; `None` for a text without one.
pub fn instant_with_zone(text: &str) -> Result<Option<i64>> {
    timestamptz(text, None)
}

/// The instant at which clocks of `zone` show a moment. Infinity stays infinity.
pub(super) fn instant_in(micros: i64, zone: &Tz) -> Result<i64> {
    if matches!(micros, i64::MAX | i64::MIN) {
        return Ok(micros);
    }
    instant(micros, zone)
        .ok_or_else(|| Error::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range"))
}

/// The moment that clocks of `zone` show at an instant. Infinity stays infinity.
pub(super) fn shown_in(micros: i64, zone: &Tz) -> Result<i64> {
    if matches!(micros, i64::MAX | i64::MIN) {
        return Ok(micros);
    }
    chrono::DateTime::from_timestamp_micros(micros)
        .map(|at| zone.offset_from_utc_datetime(&at.naive_utc()).fix())
        .and_then(|offset| micros.checked_add(i64::from(offset.local_minus_utc()) * 1_000_000))
        .ok_or_else(|| Error::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range"))
}

/// The first moment of a day. Infinity stays infinity.
pub(super) fn midnight(days: i32) -> Result<i64> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        days => i64::from(days).checked_mul(DAY_MICROS).ok_or_else(|| {
            Error::new(
                SqlState::DATETIME_OVERFLOW,
                "date out of range for timestamp",
            )
        }),
    }
}

fn unknown_zone(zone: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("time zone \"{zone}\" not recognized"),
    )
}

/// `+02`, `+0230`, `-02:30:15`, `Z`, `<+02>-02`, or a name.
pub(super) fn zone_of(text: &str) -> Option<Tz> {
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return "UTC".parse().ok();
    }
    // The signs of POSIX names, as which the session keeps offsets, count west.
    let (east, text) = match text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((_, offset)) => (-1, offset),
        None => (1, text),
    };
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (east, &text[1..]),
        b'-' => (-east, &text[1..]),
        _ => return text.parse().ok(),
    };
    let parts: Vec<&str> = match digits.contains(':') {
        true => digits.split(':').collect(),
        false if digits.len() > 2 && digits.is_ascii() => {
            let (hours, minutes) = digits.split_at(digits.len() - 2);
            vec![hours, minutes]
        }
        false => vec![digits],
    };
    let mut seconds = 0;
    for (part, unit) in parts.iter().zip([3600, 60, 1]) {
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        seconds += part.parse::<i32>().ok()? * unit;
    }
    if parts.len() > 3 {
        return None;
    }
    let offset = FixedOffset::east_opt(sign * seconds)?;
    offset.to_string().parse().ok()
}

/// Of a time that clocks show twice PostgreSQL takes the later instant; one that they skip is read as if they
/// had not been moved yet (`DetermineTimeZoneOffset`).
fn instant(micros: i64, zone: &Tz) -> Option<i64> {
    let local: NaiveDateTime = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    let offset = match zone.offset_from_local_datetime(&local) {
        chrono::LocalResult::Single(offset) => offset.fix(),
        chrono::LocalResult::Ambiguous(a, b) => {
            let (a, b) = (a.fix(), b.fix());
            if a.local_minus_utc() < b.local_minus_utc() {
                a
            } else {
                b
            }
        }
        chrono::LocalResult::None => {
            let before = local.checked_sub_signed(Duration::days(1))?;
            zone.offset_from_utc_datetime(&before).fix()
        }
    };
    micros.checked_sub(i64::from(offset.local_minus_utc()) * 1_000_000)
}

fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

fn since_epoch(date: NaiveDate, micros: i64) -> Option<i64> {
    i64::from(days(date))
        .checked_mul(DAY_MICROS)?
        .checked_add(micros)
}

/// A date, perhaps a time of day, a zone and an era.
fn moment<'a>(text: &'a str, type_name: &str) -> Result<Moment<'a>> {
    let mut trimmed = text.trim();
    let bad = || invalid(text, type_name);
    match trimmed.to_ascii_lowercase().as_str() {
        "epoch" => {
            return Ok(Moment::At {
                date: NaiveDate::default(),
                micros: 0,
                zone: "UTC",
            });
        }
        "infinity" | "+infinity" => return Ok(Moment::Infinity),
        "-infinity" => return Ok(Moment::MinusInfinity),
        _ => {}
    }
    let mut before_christ = false;
    if let Some((head, era)) = trimmed.rsplit_once(' ') {
        before_christ = era.eq_ignore_ascii_case("bc");
        if before_christ || era.eq_ignore_ascii_case("ad") {
            trimmed = head.trim_end();
        }
    }
    let (date, rest) = match trimmed.find([' ', 'T', 't']) {
        Some(at) => (&trimmed[..at], trimmed[at + 1..].trim()),
        None => (trimmed, ""),
    };
    let parts: Vec<&str> = date.split(['-', '/']).collect();
    let number = |part: &str| match !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
        true => part.parse::<u32>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (year, month, day) = match parts.as_slice() {
        [year, month, day] if year.len() >= 3 && month.len() <= 2 && day.len() <= 2 => {
            (number(year)?, number(month)?, number(day)?)
        }
        [compact] if compact.len() == 8 && compact.is_ascii() => (
            number(&compact[..4])?,
            number(&compact[4..6])?,
            number(&compact[6..])?,
        ),
        _ => return Err(bad()),
    };
    // There is no year 0: the year before 1 is 1 BC, which chrono calls 0.
    let date = i32::try_from(year)
        .ok()
        .filter(|year| *year > 0)
        .map(|year| if before_christ { 1 - year } else { year })
        .and_then(|year| NaiveDate::from_ymd_opt(year, month, day))
        .ok_or_else(|| out_of_range(text))?;
    let (micros, zone) = if rest.starts_with(|c: char| c.is_ascii_digit()) {
        clock(rest, text, type_name)?
    } else {
        (0, checked_zone(rest).ok_or_else(bad)?)
    };
    if micros == DAY_MICROS {
        let date = date.succ_opt().ok_or_else(|| out_of_range(text))?;
        return Ok(Moment::At {
            date,
            micros: 0,
            zone,
        });
    }
    Ok(Moment::At { date, micros, zone })
}

/// `time_in`: microseconds of the day.
pub(super) fn time(text: &str) -> Result<i64> {
    Ok(clock(text.trim(), text, "time")?.0)
}

/// A zone as it is written, where it is one.
fn checked_zone(zone: &str) -> Option<&str> {
    (zone.is_empty() || zone_of(zone).is_some()).then_some(zone)
}

/// Microseconds of `hh:mm[:ss[.fraction]]`, and the zone behind them.
fn clock<'a>(rest: &'a str, text: &str, type_name: &str) -> Result<(i64, &'a str)> {
    let bad = || invalid(text, type_name);
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.'))
        .unwrap_or(rest.len());
    let clock = &rest[..end];
    let zone = checked_zone(rest[end..].trim()).ok_or_else(bad)?;
    let parts: Vec<&str> = clock.split(':').collect();
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, "0"),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(bad()),
    };
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let number = |part: &str| match !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
        true => part.parse::<u32>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
    let micros = match fraction {
        "" => 0,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let value: f64 = format!("0.{digits}").parse().map_err(|_| bad())?;
            (value * 1e6).round_ties_even() as i64
        }
        _ => return Err(bad()),
    };
    let end_of_day = hour == 24 && minute == 0 && second == 0 && micros == 0;
    if !end_of_day && (hour > 23 || minute > 59 || second > 60) {
        return Err(out_of_range(text));
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Ok((seconds * 1_000_000 + micros, zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_iso_order() {
        assert_eq!(timestamp("1970-01-02 00:00:01.5").unwrap(), 86_401_500_000);
        assert_eq!(timestamp("1970-01-01 24:00").unwrap(), DAY_MICROS);
        assert_eq!(timestamp("1970-01-01 00:00:01+02").unwrap(), 1_000_000);
        assert_eq!(timestamp("-infinity").unwrap(), i64::MIN);
        assert_eq!(date("0001-12-31 BC").unwrap(), -719_163);
        assert_eq!(date("epoch").unwrap(), 0);
        assert_eq!(date("infinity").unwrap(), i32::MAX);
        for (text, code) in [
            ("19700102T000001+02", SqlState::INVALID_DATETIME_FORMAT),
            ("1970-13-01", SqlState::DATETIME_OVERFLOW),
            ("0000-01-01", SqlState::DATETIME_OVERFLOW),
            ("hello", SqlState::INVALID_DATETIME_FORMAT),
            ("1970-01-01 nowhere", SqlState::INVALID_DATETIME_FORMAT),
        ] {
            assert_eq!(timestamp(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn a_zone_makes_an_instant() {
        const HOUR: i64 = 3_600_000_000;
        let at = |text: &str| timestamptz(text, Some("Europe/Berlin")).unwrap().unwrap();
        assert_eq!(at("1970-01-01 00:00+00"), 0);
        assert_eq!(at("1970-01-01 00:00Z"), 0);
        assert_eq!(at("1970-01-01 00:00:00 UTC"), 0);
        assert_eq!(at("1970-01-01 02:30+0230"), 0);
        assert_eq!(at("1970-01-01"), -HOUR);
        assert_eq!(at("1970-01-01 00:00 America/New_York"), 5 * HOUR);
        // Skipped and shown twice, as a real server reads them.
        assert_eq!(at("2024-03-31 02:30"), at("2024-03-31 01:30+00"));
        assert_eq!(at("2024-10-27 02:30"), at("2024-10-27 01:30+00"));
        let fixed = timestamptz("1970-01-01", Some("<+02>-02")).unwrap();
        assert_eq!(fixed, Some(-2 * HOUR));
        assert_eq!(timestamptz("1970-01-01", None).unwrap(), None);
        assert_eq!(midnight(i32::MIN).unwrap(), i64::MIN);
        assert!(midnight(i32::MAX - 1).is_err());
    }
}
