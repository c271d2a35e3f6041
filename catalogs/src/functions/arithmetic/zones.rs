//! Time zones by the names that `AT TIME ZONE` takes: an abbreviation, a zone of the IANA database, or a POSIX offset.
//!
//! In this order (`DecodeTimezoneName`): `EST` is an abbreviation although there is a zone of that name. The
//! offsets of POSIX count west, unlike those of a literal: `AT TIME ZONE '+05'` is five hours behind UTC.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::array::timezone::Tz;
use chrono::FixedOffset;
use datafusion::common::config::ConfigOptions;
use sluice_spi::{Error, Result, SqlState};

use super::moments;

/// PostgreSQL's default set: an abbreviation and its offset in seconds east, or the zone that it belongs to.
static ABBREVIATIONS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    include_str!("abbreviations.txt")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect()
});

/// Hours of a POSIX offset (`MAX_TZDISP_HOUR` does not apply to it).
const MAX_HOURS: i32 = 24 * 7 - 1;

/// The session's zone.
pub(super) fn of_session(config: &ConfigOptions) -> Result<Tz> {
    let name = config.execution.time_zone.as_deref().unwrap_or("UTC");
    moments::zone_of(name).ok_or_else(|| not_recognized(name))
}

/// The zone of that name.
pub(super) fn named(name: &str) -> Result<Tz> {
    let lower = name.to_ascii_lowercase();
    if let Some(meaning) = ABBREVIATIONS.get(lower.as_str()) {
        return match meaning.parse::<i32>() {
            Ok(seconds) => fixed(seconds, name),
            // Its offset has changed over time.
            Err(_) => Err(Error::unsupported(format!(
                "time zone abbreviation \"{name}\" is not supported"
            ))
            .with_hint(format!("Write the zone's name: '{meaning}'."))),
        };
    }
    let known = chrono_tz::TZ_VARIANTS
        .iter()
        .find(|zone| zone.name().eq_ignore_ascii_case(name));
    if let Some(zone) = known {
        return zone.name().parse().map_err(|_| not_recognized(name));
    }
    posix(name)
}

/// A zone that is an offset, east of UTC.
pub(super) fn fixed(seconds: i32, name: &str) -> Result<Tz> {
    let unsupported = || Error::unsupported(format!("time zone \"{name}\" is not supported"));
    if seconds % 60 != 0 {
        return Err(unsupported());
    }
    let offset = FixedOffset::east_opt(seconds).ok_or_else(unsupported)?;
    offset.to_string().parse().map_err(|_| unsupported())
}

/// `UTC+3`, `<+02>-02`, `+05:30`.
fn posix(name: &str) -> Result<Tz> {
    let refused = || not_recognized(name);
    let offset = match name.strip_prefix('<') {
        Some(rest) => rest.split_once('>').ok_or_else(refused)?.1,
        None => name.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    let (sign, digits) = match offset.as_bytes().first() {
        Some(b'-') => (1, &offset[1..]),
        Some(b'+') => (-1, &offset[1..]),
        Some(b'0'..=b'9') => (-1, offset),
        _ => return Err(refused()),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != ':')
        .unwrap_or(digits.len());
    let mut seconds = 0;
    let parts: Vec<&str> = digits[..end].split(':').collect();
    if parts.len() > 3 {
        return Err(refused());
    }
    for ((part, unit), limit) in parts.iter().zip([3600, 60, 1]).zip([MAX_HOURS, 59, 59]) {
        let value: i32 = part.parse().map_err(|_| refused())?;
        if value > limit {
            return Err(refused());
        }
        seconds += value * unit;
    }
    if end < digits.len() {
        return Err(Error::unsupported(format!(
            "time zone \"{name}\" with rules of its own is not supported"
        ))
        .with_hint("Write the name of a zone, like 'Europe/Berlin'."));
    }
    fixed(sign * seconds, name)
}

fn not_recognized(name: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("time zone \"{name}\" not recognized"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server.
    #[test]
    fn zones_have_postgresqls_names() {
        const NOON: i64 = 1_717_243_200_000_000;
        let hours = |name: &str| {
            let shown = moments::shown_in(NOON, &named(name).unwrap()).unwrap();
            (shown - NOON) as f64 / 3_600_000_000.0
        };
        for (name, east) in [
            ("+05", -5.0),
            ("05", -5.0),
            ("-3:30", 3.5),
            ("EST", -5.0),
            ("est5edt", -4.0),
            ("UTC+3", -3.0),
            ("<+02>-02", 2.0),
            ("FOO5", -5.0),
            ("europe/berlin", 2.0),
            ("GMT0", 0.0),
            ("utc", 0.0),
            ("Z", 0.0),
        ] {
            assert_eq!(hours(name), east, "{name}");
        }
        for name in ["Nope/X", "", "-200", "utc ", " utc"] {
            assert_eq!(
                named(name).unwrap_err().code,
                SqlState::INVALID_PARAMETER_VALUE,
                "{name}"
            );
        }
        for name in ["FOO5BAR", "+25", "MSK"] {
            assert_eq!(named(name).unwrap_err().code.code(), "0A000", "{name}");
        }
    }
}
