//! `to_char` of dates and timestamps by PostgreSQL's template patterns (formatting.c).
//!
//! The engine's own reads its template as strftime does. Numbers and intervals are refused rather than
//! printed otherwise.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDateTime, TimeZone, Timelike};
use chrono_tz::OffsetName;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sluice_spi::Error;

use super::{clocks, moments, zones};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
/// Names are padded to the longest of them, unless the pattern begins with FM.
const NAME_WIDTH: usize = 9;
/// The Julian day of the day before 0001-01-01.
const JULIAN_DAY_OF_CE: i64 = 1_721_425;

/// `to_char`, and `to_char_here` of instants, which shows them by the session's clocks.
pub(super) fn functions() -> Vec<ScalarUDF> {
    [
        ("to_char", Volatility::Immutable),
        ("to_char_here", Volatility::Stable),
    ]
    .map(|(name, volatility)| {
        ScalarUDF::new_from_impl(ToChar {
            name,
            signature: Signature::user_defined(volatility),
        })
    })
    .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let zone = match arg_types {
            [DataType::Timestamp(_, zone), _] => zone.clone(),
            [DataType::Date32 | DataType::Null, _] => None,
            _ => {
                return Err(Error::unsupported(
                    "to_char takes a date or a timestamp and a template",
                )
                .with_hint("Cast the value to text.")
                .into());
            }
        };
        let moment = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Ok(vec![moment, DataType::Utf8])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args
            .args
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let moments = args.args[0].to_array(rows)?;
        let templates = args.args[1].to_array(rows)?;
        let zone = match moments.data_type() {
            DataType::Timestamp(_, Some(_)) => Some(zones::of_session(&args.config_options)?),
            _ => None,
        };
        let texts = moments
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .zip(templates.as_string::<i32>())
            .map(|(moment, template)| {
                let Some((moment, template)) = moment.zip(template) else {
                    return Ok(None);
                };
                let shown = match &zone {
                    Some(zone) => moments::shown_in(moment, zone)?,
                    None => moment,
                };
                // Nothing is shown of infinity.
                let Some(local) = DateTime::from_timestamp_micros(shown) else {
                    return Ok(None);
                };
                let seconds = (shown - moment) / 1_000_000;
                let offset = zone.as_ref().map(|zone| Offset {
                    seconds,
                    name: abbreviation(moment, zone)
                        .unwrap_or_else(|| clocks::offset_text(seconds)),
                });
                Ok(Some(format_moment(
                    &local.naive_utc(),
                    offset.as_ref(),
                    template,
                )))
            })
            .collect::<sluice_spi::Result<StringArray>>()?;
        let texts: ArrayRef = Arc::new(texts);
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)
        } else {
            ColumnarValue::Array(texts)
        })
    }
}

/// How a zone is shown.
struct Offset {
    /// East of UTC.
    seconds: i64,
    name: String,
}

/// What clocks of the zone call their time at an instant, where they have a name for it.
fn abbreviation(micros: i64, zone: &Tz) -> Option<String> {
    let at = DateTime::from_timestamp_micros(micros)?;
    let zone = chrono_tz::Tz::from_str(&zone.to_string()).ok()?;
    let offset = zone.offset_from_utc_datetime(&at.naive_utc());
    offset.abbreviation().map(str::to_owned)
}

/// What a pattern prints.
enum Piece {
    /// A number of at least that many digits.
    Number(i64, usize),
    /// A name, padded.
    Name(String),
    /// As it is.
    Text(String),
}

fn format_moment(moment: &NaiveDateTime, offset: Option<&Offset>, template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let inner = &rest[1..];
            let end = inner.find('"').unwrap_or(inner.len());
            out.push_str(&inner[..end]);
            rest = inner.get(end + 1..).unwrap_or_default();
            continue;
        }
        let (fill, body) = match rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            Some(body) => (false, body),
            None => (true, rest),
        };
        let Some((piece, length)) = pattern(moment, offset, body) else {
            if fill {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            } else {
                rest = body;
            }
            continue;
        };
        // Writing to a string cannot fail.
        let _ = match piece {
            Piece::Number(value, width) if fill => write!(out, "{value:0width$}"),
            Piece::Number(value, _) => write!(out, "{value}"),
            Piece::Name(name) if fill => write!(out, "{name:<NAME_WIDTH$}"),
            Piece::Name(text) | Piece::Text(text) => write!(out, "{text}"),
        };
        rest = &body[length..];
    }
    out
}

/// The longest pattern at the beginning of `template`, and its length.
fn pattern(
    moment: &NaiveDateTime,
    offset: Option<&Offset>,
    template: &str,
) -> Option<(Piece, usize)> {
    const PATTERNS: [&str; 39] = [
        "SSSSS", "SSSS", "MONTH", "IYYY", "YYYY", "HH24", "HH12", "A.M.", "P.M.", "IDDD", "YYY",
        "IYY", "DDD", "DAY", "MON", "HH", "MI", "MM", "MS", "US", "SS", "YY", "IY", "DD", "DY",
        "ID", "IW", "WW", "CC", "AM", "PM", "TZ", "Y", "I", "D", "Q", "W", "J", "OF",
    ];
    let found = PATTERNS.iter().find(|p| {
        template
            .get(..p.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(p))
    })?;
    let written = &template[..found.len()];
    let number = |value: i64, width: usize| Piece::Number(value, width);
    let year = i64::from(moment.year());
    let iso_year = i64::from(moment.iso_week().year());
    let hour = i64::from(moment.hour());
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let day = DAYS[moment.weekday().num_days_from_sunday() as usize];
    let month = MONTHS[moment.month0() as usize];
    let micros = i64::from(moment.nanosecond() / 1000);
    let piece = match *found {
        "YYYY" => number(year, 4),
        "YYY" => number(year % 1000, 3),
        "YY" => number(year % 100, 2),
        "Y" => number(year % 10, 1),
        "IYYY" => number(iso_year, 4),
        "IYY" => number(iso_year % 1000, 3),
        "IY" => number(iso_year % 100, 2),
        "I" => number(iso_year % 10, 1),
        "CC" => number((year + 99) / 100, 2),
        "Q" => number(i64::from(moment.month0() / 3 + 1), 1),
        "MM" => number(i64::from(moment.month()), 2),
        "MONTH" => Piece::Name(as_written(month, written)),
        "MON" => Piece::Text(as_written(&month[..3], written)),
        "WW" => number(i64::from(moment.ordinal0() / 7 + 1), 2),
        "W" => number(i64::from(moment.day0() / 7 + 1), 1),
        "IW" => number(i64::from(moment.iso_week().week()), 2),
        "DDD" => number(i64::from(moment.ordinal()), 3),
        "IDDD" => {
            let week = i64::from(moment.iso_week().week0());
            number(
                week * 7 + i64::from(moment.weekday().number_from_monday()),
                3,
            )
        }
        "DD" => number(i64::from(moment.day()), 2),
        "D" => number(i64::from(moment.weekday().number_from_sunday()), 1),
        "ID" => number(i64::from(moment.weekday().number_from_monday()), 1),
        "DAY" => Piece::Name(as_written(day, written)),
        "DY" => Piece::Text(as_written(&day[..3], written)),
        "J" => number(
            i64::from(moment.date().num_days_from_ce()) - 1 + JULIAN_DAY_OF_CE + 1,
            1,
        ),
        "HH24" => number(hour, 2),
        "HH12" | "HH" => number(twelve, 2),
        "MI" => number(i64::from(moment.minute()), 2),
        "SS" => number(i64::from(moment.second()), 2),
        "SSSS" | "SSSSS" => number(i64::from(moment.num_seconds_from_midnight()), 1),
        "MS" => number(micros / 1000, 3),
        "US" => number(micros, 6),
        "AM" | "PM" => {
            let half = if hour < 12 { "AM" } else { "PM" };
            Piece::Text(as_written(half, written))
        }
        "A.M." | "P.M." => {
            let half = if hour < 12 { "A.M." } else { "P.M." };
            Piece::Text(as_written(half, written))
        }
        "OF" => Piece::Text(clocks::offset_text(
            offset.map_or(0, |offset| offset.seconds),
        )),
        "TZ" => {
            let name = offset.map_or("", |offset| offset.name.as_str());
            let lower = written.starts_with('t');
            Piece::Text(if lower {
                name.to_lowercase()
            } else {
                name.to_owned()
            })
        }
        // A timestamp without zone has nothing to say here.
        _ => Piece::Text(String::new()),
    };
    Some((piece, found.len()))
}

/// The name in the pattern's case: all capitals, a capital first, or none.
fn as_written(name: &str, written: &str) -> String {
    let mut letters = written.chars().filter(|c| c.is_ascii_alphabetic());
    let first = letters.next().is_some_and(char::is_uppercase);
    let second = letters.next().is_some_and(char::is_uppercase);
    match (first, second) {
        (true, true) => name.to_uppercase(),
        (true, false) => name.to_owned(),
        (false, _) => name.to_lowercase(),
    }
}
