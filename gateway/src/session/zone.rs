//! The session's time zone: a named zone or a fixed offset.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use sluice_spi::{Error, Result, SqlState};

/// What `TimeZone` is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum Zone {
    /// A zone of the IANA database.
    Named(Tz),
    /// An offset, with the spelling that `SHOW TimeZone` gives back.
    Fixed {
        /// Seconds east of Greenwich.
        seconds: i32,
        /// As `SHOW` prints it.
        name: String,
    },
}

/// PostgreSQL's own bound on offsets (`MAX_TZDISP_HOUR`), which chrono's 24 hours contain.
const MAX_OFFSET_HOURS: f64 = 15.0;

impl Zone {
    /// UTC.
    pub fn utc() -> Self {
        Zone::Named(Tz::UTC)
    }

    /// Reads a zone's name, an offset in hours east (`5`, `-3.5`), or a POSIX name whose sign counts west
    /// (`GMT+5`, `<+05>-05`).
    pub fn parse(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        if let Ok(hours) = trimmed.parse::<f64>() {
            return Zone::from_hours(hours).ok_or_else(|| invalid(text));
        }
        if let Ok(zone) = Tz::from_str(trimmed) {
            return Ok(Zone::Named(zone));
        }
        let known = chrono_tz::TZ_VARIANTS
            .iter()
            .find(|zone| zone.name().eq_ignore_ascii_case(trimmed));
        if let Some(zone) = known {
            return Ok(Zone::Named(*zone));
        }
        Zone::parse_posix(trimmed).ok_or_else(|| invalid(text))
    }

    /// Hours east of Greenwich, as `SET TIME ZONE -3.5` gives them.
    pub fn from_hours(hours: f64) -> Option<Self> {
        if !hours.is_finite() || hours.abs() > MAX_OFFSET_HOURS {
            return None;
        }
        let seconds = (hours * 3600.0).round() as i32;
        Some(Zone::fixed(seconds))
    }

    fn fixed(seconds: i32) -> Self {
        let spelled = |seconds: i32| {
            let sign = if seconds < 0 { '-' } else { '+' };
            let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
            if minutes == 0 {
                format!("{sign}{hours:02}")
            } else {
                format!("{sign}{hours:02}:{minutes:02}")
            }
        };
        Zone::Fixed {
            seconds,
            name: format!("<{}>{}", spelled(seconds), spelled(-seconds)),
        }
    }

    fn parse_posix(text: &str) -> Option<Self> {
        let (tail, upper) = match text.strip_prefix('<') {
            Some(rest) => (rest.split_once('>')?.1, String::new()),
            None => {
                let at = text.find(|c: char| !c.is_ascii_alphabetic())?;
                (&text[at..], text[..at].to_ascii_uppercase())
            }
        };
        if !text.starts_with('<') && !matches!(upper.as_str(), "GMT" | "UTC" | "UT" | "Z" | "") {
            return None;
        }
        let (sign, digits) = match tail.as_bytes().first()? {
            b'-' => (1, &tail[1..]),
            b'+' => (-1, &tail[1..]),
            _ => (-1, tail),
        };
        let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
        let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
        if !(0..=15).contains(&hours) || !(0..60).contains(&minutes) {
            return None;
        }
        Some(Zone::fixed(sign * (hours * 3600 + minutes * 60)))
    }

    /// As `SHOW TimeZone` prints it.
    pub fn name(&self) -> &str {
        match self {
            Zone::Named(zone) => zone.name(),
            Zone::Fixed { name, .. } => name,
        }
    }

    /// Seconds east of Greenwich at a moment (microseconds since 1970, UTC).
    #[inline]
    pub fn offset_seconds(&self, micros: i64) -> i32 {
        match self {
            Zone::Named(Tz::UTC) => 0,
            Zone::Named(zone) => DateTime::from_timestamp_micros(micros).map_or(0, |at| {
                zone.offset_from_utc_datetime(&at.naive_utc())
                    .fix()
                    .local_minus_utc()
            }),
            Zone::Fixed { seconds, .. } => *seconds,
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"TimeZone\": \"{text}\""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_read_as_postgresql_reads_them() {
        assert_eq!(
            Zone::parse("europe/berlin").unwrap().name(),
            "Europe/Berlin"
        );
        assert_eq!(Zone::parse("5").unwrap().offset_seconds(0), 18_000);
        assert_eq!(Zone::parse("-3.5").unwrap().name(), "<-03:30>+03:30");
        assert_eq!(Zone::parse("GMT+5").unwrap().offset_seconds(0), -18_000);
        assert_eq!(Zone::parse("<+02>-02").unwrap().offset_seconds(0), 7_200);
        assert!(Zone::parse("Mars/Olympus").is_err());
        assert!(Zone::parse("99").is_err());
    }
}
