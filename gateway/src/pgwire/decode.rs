//! Parameters of `Bind`: text and binary values into the scalars that the engine asked for.
//!
//! Relies on `types` for the type of a field. Error messages are PostgreSQL's own, since clients show
//! and sometimes match them.

use std::sync::Arc;

use arrow::array::types::IntervalMonthDayNano;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Field, IntervalUnit, i256};
use chrono::{FixedOffset, TimeZone, Utc};
use datafusion::scalar::ScalarValue;
use sluice_catalogs::functions::arithmetic::{instant_with_zone, parse_literal};
use sluice_catalogs::functions::forms;
use sluice_spi::types::NUMERIC_SCALE;
use sluice_spi::{Error, Result, SqlState};

use super::encode::{Format, PG_EPOCH_DAYS, PG_EPOCH_MICROS};
use super::types::{PgType, element_oid, field_for_oid, oid, type_name};
use crate::session::Zone;

/// Decodes one parameter. `wire` is the type that the client writes in, `target` what the engine wants.
pub(super) fn parameter(
    value: Option<&[u8]>,
    format: Format,
    wire: &Field,
    target: &DataType,
    zone: &Zone,
) -> Result<ScalarValue> {
    let Some(bytes) = value else {
        return ScalarValue::try_from(target).map_err(|error| Error::internal(error.to_string()));
    };
    let pg_type = PgType::of_field(wire);
    let scalar = match format {
        Format::Text => text(utf8(bytes)?, pg_type.oid, wire.data_type(), zone)?,
        Format::Binary => binary(bytes, pg_type.oid, wire.data_type())?,
    };
    if scalar.data_type() == *target {
        return Ok(scalar);
    }
    scalar.cast_to(target).map_err(|_| {
        let name = type_name(pg_type.oid);
        Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!("a value of type {name} does not fit the parameter"),
        )
    })
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let bad: Vec<String> = bytes[error.valid_up_to()..]
            .iter()
            .take(2)
            .map(|b| format!("0x{b:02x}"))
            .collect();
        Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!(
                "invalid byte sequence for encoding \"UTF8\": {}",
                bad.join(" ")
            ),
        )
    })?;
    if text.contains('\0') {
        return Err(Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text)
}

fn bad_text(type_oid: u32, text: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!(
            "invalid input syntax for type {}: \"{text}\"",
            type_name(type_oid)
        ),
    )
}

fn bad_datetime(type_oid: u32, text: &str) -> Error {
    Error::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!(
            "invalid input syntax for type {}: \"{text}\"",
            type_name(type_oid)
        ),
    )
}

fn bad_binary(type_oid: u32) -> Error {
    Error::new(
        SqlState::INVALID_BINARY_REPRESENTATION,
        format!(
            "incorrect binary data format for type {}",
            type_name(type_oid)
        ),
    )
}

fn integer(text: &str, type_oid: u32) -> Result<i64> {
    let trimmed = skip_space(text);
    trimmed.parse::<i64>().map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            out_of_range(trimmed, type_oid)
        }
        _ => bad_text(type_oid, text),
    })
}

fn out_of_range(text: &str, type_oid: u32) -> Error {
    Error::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!(
            "value \"{text}\" is out of range for type {}",
            type_name(type_oid)
        ),
    )
}

/// Reads a value as the type's input function would.
pub(super) fn text(
    text: &str,
    type_oid: u32,
    data_type: &DataType,
    zone: &Zone,
) -> Result<ScalarValue> {
    Ok(match type_oid {
        oid::BOOL => ScalarValue::Boolean(Some(boolean(text)?)),
        oid::INT2 => {
            let value = integer(text, type_oid)?;
            ScalarValue::Int16(Some(
                i16::try_from(value).map_err(|_| out_of_range(skip_space(text), type_oid))?,
            ))
        }
        oid::INT4 => {
            let value = integer(text, type_oid)?;
            ScalarValue::Int32(Some(
                i32::try_from(value).map_err(|_| out_of_range(skip_space(text), type_oid))?,
            ))
        }
        oid::INT8
        | oid::OID
        | oid::XID
        | oid::CID
        | oid::REGPROC
        | oid::REGPROCEDURE
        | oid::REGCLASS
        | oid::REGTYPE
        | oid::REGNAMESPACE
        | oid::REGROLE => ScalarValue::Int64(Some(integer(text, type_oid)?)),
        oid::FLOAT4 => ScalarValue::Float32(Some(float(text, type_oid)? as f32)),
        oid::FLOAT8 => ScalarValue::Float64(Some(float(text, type_oid)?)),
        oid::NUMERIC => numeric(text, data_type)?,
        oid::BYTEA => by_input(text, &DataType::Binary)?,
        oid::UUID => form("uuid", text)?,
        oid::JSON => form("json", text)?,
        oid::JSONB => form("jsonb", text)?,
        oid::DATE => date(text)?,
        oid::TIME => {
            let spelled = ScalarValue::Utf8(Some(skip_space(text).to_owned()));
            let target = DataType::Time64(arrow::datatypes::TimeUnit::Microsecond);
            match spelled.cast_to(&target) {
                Ok(scalar) if !scalar.is_null() => scalar,
                _ => return Err(bad_datetime(type_oid, text)),
            }
        }
        oid::TIMESTAMP => ScalarValue::TimestampMicrosecond(
            Some(timestamp(text, type_oid, &Zone::utc(), false)?),
            None,
        ),
        oid::TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(
            Some(timestamp(text, type_oid, zone, true)?),
            Some("UTC".into()),
        ),
        oid::INTERVAL => by_input(text, &DataType::Interval(IntervalUnit::MonthDayNano))?,
        _ => match data_type {
            DataType::List(item) => array_text(text, type_oid, item, zone)?,
            _ => ScalarValue::Utf8(Some(text.to_owned())),
        },
    })
}

/// A value that travels as text, in the form that PostgreSQL prints it in.
fn form(pg_type: &str, text: &str) -> Result<ScalarValue> {
    let read = forms::canonical(pg_type, text).unwrap_or_else(|| Ok(text.to_owned()));
    Ok(ScalarValue::Utf8(Some(read?)))
}

/// A value by the input function that literals are read by.
fn by_input(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    parse_literal(text, data_type, false).unwrap_or_else(|| {
        Err(Error::internal(format!(
            "no input function for {data_type}"
        )))
    })
}

fn boolean(text: &str) -> Result<bool> {
    let word = skip_space(text).to_ascii_lowercase();
    let is_prefix = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if is_prefix("true", 1) || is_prefix("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(bad_text(oid::BOOL, text))
    }
}

fn float(text: &str, type_oid: u32) -> Result<f64> {
    skip_space(text)
        .parse::<f64>()
        .map_err(|_| bad_text(type_oid, text))
}

/// A decimal's digits at the scale of its Arrow type. More digits than the type has room for are an
/// error: a rounded parameter would compare equal to rows that it is not equal to.
fn numeric(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let trimmed = skip_space(text);
    let (precision, scale) = match data_type {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (*p, *s),
        _ => (76, NUMERIC_SCALE),
    };
    let (negative, unsigned) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent
                .parse::<i32>()
                .map_err(|_| bad_text(oid::NUMERIC, text))?,
        ),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        if matches!(
            trimmed.to_ascii_lowercase().as_str(),
            "nan" | "infinity" | "-infinity" | "inf" | "-inf"
        ) {
            return Err(Error::unsupported(format!(
                "numeric {trimmed} is not supported"
            )));
        }
        return Err(bad_text(oid::NUMERIC, text));
    }
    let mut digits = format!("{whole}{fraction}");
    let shift = i64::from(scale) - fraction.len() as i64 + i64::from(exponent);
    let overflow = || {
        Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must hold \"{trimmed}\" exactly."
        ))
    };
    if shift >= 0 {
        if digits.bytes().any(|d| d != b'0') && shift > 76 {
            return Err(overflow());
        }
        digits.extend(std::iter::repeat_n('0', shift.min(76) as usize));
    } else {
        let cut = digits.len().saturating_sub(shift.unsigned_abs() as usize);
        if digits[cut..].bytes().any(|d| d != b'0') {
            return Err(overflow());
        }
        digits.truncate(cut);
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > usize::from(precision) {
        return Err(overflow());
    }
    let spelled = if digits.is_empty() { "0" } else { digits };
    let value = i256::from_string(spelled).ok_or_else(overflow)?;
    let value = if negative {
        value.wrapping_neg()
    } else {
        value
    };
    Ok(match data_type {
        DataType::Decimal128(p, s) => {
            ScalarValue::Decimal128(Some(value.to_i128().ok_or_else(overflow)?), *p, *s)
        }
        DataType::Decimal64(p, s) => {
            let narrow = value.to_i128().and_then(|v| i64::try_from(v).ok());
            ScalarValue::Decimal64(Some(narrow.ok_or_else(overflow)?), *p, *s)
        }
        DataType::Decimal32(p, s) => {
            let narrow = value.to_i128().and_then(|v| i32::try_from(v).ok());
            ScalarValue::Decimal32(Some(narrow.ok_or_else(overflow)?), *p, *s)
        }
        _ => ScalarValue::Decimal256(Some(value), precision, scale),
    })
}

fn date(text: &str) -> Result<ScalarValue> {
    literal(text, &DataType::Date32, oid::DATE)
}

/// As a constant of that type would be read.
fn literal(text: &str, data_type: &DataType, type_oid: u32) -> Result<ScalarValue> {
    parse_literal(text, data_type, false)
        .and_then(std::result::Result::ok)
        .ok_or_else(|| bad_datetime(type_oid, text))
}

/// Microseconds since 1970 in UTC. Without a time zone in the type, one in the text is ignored, as
/// PostgreSQL does.
fn timestamp(text: &str, type_oid: u32, zone: &Zone, keep_offset: bool) -> Result<i64> {
    let trimmed = skip_space(text);
    match trimmed.to_ascii_lowercase().as_str() {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        "epoch" => return Ok(0),
        _ => {}
    }
    if keep_offset && let Ok(Some(instant)) = instant_with_zone(trimmed) {
        return Ok(instant);
    }
    let failed = |_| bad_datetime(type_oid, text);
    // `+02` and `+0530` are PostgreSQL's spellings of what the parser knows as `+02:00`.
    let spelled = full_offset(trimmed);
    let spelled = if keep_offset {
        spelled.as_str()
    } else {
        without_offset(&spelled)
    };
    let micros = match zone {
        Zone::Named(zone) => string_to_datetime(zone, spelled)
            .map_err(failed)?
            .timestamp_micros(),
        Zone::Fixed { seconds, .. } => {
            let fixed = FixedOffset::east_opt(*seconds).unwrap_or_else(|| Utc.fix_utc());
            string_to_datetime(&fixed, spelled)
                .map_err(failed)?
                .timestamp_micros()
        }
    };
    Ok(micros)
}

/// A fixed offset of zero, for the impossible case of an offset out of chrono's range.
trait FixUtc {
    fn fix_utc(&self) -> FixedOffset;
}

impl FixUtc for Utc {
    fn fix_utc(&self) -> FixedOffset {
        use chrono::Offset as _;
        self.offset_from_utc_datetime(&chrono::NaiveDateTime::default())
            .fix()
    }
}

/// Where the offset starts: the last sign after the time of day, or a trailing `Z`.
fn offset_start(text: &str) -> Option<usize> {
    let colon = text.find(':')?;
    text[colon..]
        .find(['+', '-'])
        .map(|at| colon + at)
        .or_else(|| text.ends_with(['Z', 'z']).then(|| text.len() - 1))
}

fn without_offset(text: &str) -> &str {
    offset_start(text).map_or(text, |at| text[..at].trim_end_matches(is_space))
}

fn full_offset(text: &str) -> String {
    let Some(at) = offset_start(text) else {
        return text.to_owned();
    };
    let (head, tail) = (text[..at].trim_end_matches(is_space), &text[at..]);
    if tail.eq_ignore_ascii_case("Z") {
        return format!("{head}Z");
    }
    let digits = tail.trim_start_matches(['+', '-']);
    if !digits.is_ascii() {
        return text.to_owned();
    }
    match digits.len() {
        1 => format!("{head}{}0{digits}:00", &tail[..1]),
        2 => format!("{head}{tail}:00"),
        4 if !digits.contains(':') => {
            format!("{head}{}{}:{}", &tail[..1], &digits[..2], &digits[2..])
        }
        _ => format!("{head}{tail}"),
    }
}

/// What PostgreSQL's input functions skip: blanks of ASCII, and no others.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

fn skip_space(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Elements of an array literal; `None` is NULL, nested arrays are kept as text.
fn split_array(text: &str, type_oid: u32) -> Result<Vec<Option<String>>> {
    let malformed = || {
        Error::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("malformed array literal: \"{text}\""),
        )
        .with_detail(format!(
            "A value of type {} is written in braces.",
            type_name(type_oid)
        ))
    };
    let trimmed = skip_space(text);
    let inner = trimmed
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .ok_or_else(malformed)?;
    let mut elements = Vec::new();
    let mut current = String::new();
    let (mut depth, mut quoted, mut was_quoted) = (0usize, false, false);
    let mut characters = inner.chars();
    let mut finish = |current: &mut String, was_quoted: &mut bool| {
        let text = std::mem::take(current);
        let plain = if *was_quoted {
            text
        } else {
            skip_space(&text).to_owned()
        };
        let is_null = !*was_quoted && plain.eq_ignore_ascii_case("NULL");
        *was_quoted = false;
        elements.push((!is_null).then_some(plain));
    };
    if skip_space(inner).is_empty() {
        return Ok(Vec::new());
    }
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                if depth > 0 {
                    current.push('\\');
                }
                current.push(characters.next().ok_or_else(malformed)?);
                was_quoted |= depth == 0;
            }
            '"' => {
                quoted = !quoted;
                if depth > 0 {
                    current.push('"');
                } else {
                    if quoted {
                        current.clear();
                    }
                    was_quoted = true;
                }
            }
            _ if quoted => current.push(character),
            ',' if depth == 0 => finish(&mut current, &mut was_quoted),
            '{' => {
                depth += 1;
                current.push(character);
            }
            '}' => {
                depth = depth.checked_sub(1).ok_or_else(malformed)?;
                current.push(character);
            }
            // Space after a closing quote is no part of the element.
            c if is_space(c) && depth == 0 && was_quoted => {}
            _ => current.push(character),
        }
    }
    if quoted || depth > 0 {
        return Err(malformed());
    }
    finish(&mut current, &mut was_quoted);
    Ok(elements)
}

/// Deeper arrays than PostgreSQL's own limit (`MAXDIM`) are refused.
const MAX_DIMENSIONS: usize = 6;

fn array_text(text: &str, type_oid: u32, item: &Arc<Field>, zone: &Zone) -> Result<ScalarValue> {
    array_level(text, type_oid, item, zone, 1)
}

fn array_level(
    source: &str,
    type_oid: u32,
    item: &Arc<Field>,
    zone: &Zone,
    depth: usize,
) -> Result<ScalarValue> {
    if depth > MAX_DIMENSIONS {
        return Err(Error::new(
            SqlState::from_source("54000"),
            format!("number of array dimensions exceeds the maximum allowed ({MAX_DIMENSIONS})"),
        ));
    }
    let element = PgType::of_field(item).oid;
    let mut scalars = Vec::new();
    for part in split_array(source, type_oid)? {
        scalars.push(match (part, item.data_type()) {
            (None, data_type) => ScalarValue::try_from(data_type)
                .map_err(|error| Error::internal(error.to_string()))?,
            (Some(part), DataType::List(inner)) => {
                array_level(&part, type_oid, inner, zone, depth + 1)?
            }
            (Some(part), data_type) => text(&part, element, data_type, zone)?,
        });
    }
    Ok(list_scalar(&scalars, item))
}

fn list_scalar(scalars: &[ScalarValue], item: &Arc<Field>) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list(scalars, item.data_type(), true))
}

/// Reads a value as the type's receive function would.
pub(super) fn binary(bytes: &[u8], type_oid: u32, data_type: &DataType) -> Result<ScalarValue> {
    let bad = || bad_binary(type_oid);
    Ok(match type_oid {
        oid::BOOL => match bytes {
            [byte] => ScalarValue::Boolean(Some(*byte != 0)),
            _ => return Err(bad()),
        },
        oid::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes, type_oid)?))),
        oid::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes, type_oid)?))),
        oid::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes, type_oid)?))),
        oid::OID
        | oid::XID
        | oid::CID
        | oid::REGPROC
        | oid::REGPROCEDURE
        | oid::REGCLASS
        | oid::REGTYPE
        | oid::REGNAMESPACE
        | oid::REGROLE => {
            ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(fixed(bytes, type_oid)?))))
        }
        oid::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(bytes, type_oid)?))),
        oid::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(bytes, type_oid)?))),
        oid::NUMERIC => numeric(&numeric_binary(bytes)?, data_type)?,
        oid::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        oid::UUID => {
            let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| bad())?;
            ScalarValue::Utf8(Some(uuid.hyphenated().to_string()))
        }
        oid::JSONB => match bytes {
            [1, rest @ ..] => text(utf8(rest)?, oid::JSONB, data_type, &Zone::utc())?,
            _ => {
                return Err(Error::new(
                    SqlState::INVALID_BINARY_REPRESENTATION,
                    "unsupported jsonb version number",
                ));
            }
        },
        oid::DATE => {
            let days = i32::from_be_bytes(fixed(bytes, type_oid)?);
            ScalarValue::Date32(Some(match days {
                i32::MAX | i32::MIN => days,
                days => days.checked_add(PG_EPOCH_DAYS).ok_or_else(bad)?,
            }))
        }
        oid::TIME => {
            ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(fixed(bytes, type_oid)?)))
        }
        oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(fixed(bytes, type_oid)?);
            let micros = match micros {
                i64::MAX | i64::MIN => micros,
                micros => micros.checked_add(PG_EPOCH_MICROS).ok_or_else(bad)?,
            };
            ScalarValue::TimestampMicrosecond(
                Some(micros),
                (type_oid == oid::TIMESTAMPTZ).then(|| "UTC".into()),
            )
        }
        oid::INTERVAL => {
            let bytes: [u8; 16] = fixed(bytes, type_oid)?;
            let micros = i64::from_be_bytes(fixed(&bytes[..8], type_oid)?);
            let days = i32::from_be_bytes(fixed(&bytes[8..12], type_oid)?);
            let months = i32::from_be_bytes(fixed(&bytes[12..], type_oid)?);
            let nanos = micros
                .checked_mul(1000)
                .ok_or_else(|| Error::new(SqlState::DATETIME_OVERFLOW, "interval out of range"))?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::NAME
        | oid::JSON
        | oid::CHAR
        | oid::UNKNOWN => text(utf8(bytes)?, type_oid, data_type, &Zone::utc())?,
        _ => match data_type {
            DataType::List(item) => array_binary(bytes, type_oid, item)?,
            _ => {
                return Err(Error::unsupported(format!(
                    "no binary input for type {}",
                    type_name(type_oid)
                )));
            }
        },
    })
}

fn fixed<const N: usize>(bytes: &[u8], type_oid: u32) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| bad_binary(type_oid))
}

/// A binary numeric, spelled out.
fn numeric_binary(bytes: &[u8]) -> Result<String> {
    let bad = || bad_binary(oid::NUMERIC);
    let word = |at: usize| {
        bytes
            .get(at * 2..at * 2 + 2)
            .map(|b| u16::from_be_bytes([b[0], b[1]]))
            .ok_or_else(bad)
    };
    let (groups, weight, sign) = (usize::from(word(0)?), i32::from(word(1)? as i16), word(2)?);
    word(3)?;
    if bytes.len() != 8 + groups * 2 {
        return Err(bad());
    }
    let mut spelled = String::with_capacity(groups * 4 + 2);
    match sign {
        0 => {}
        0x4000 => spelled.push('-'),
        _ => {
            return Err(Error::unsupported(
                "numeric NaN and infinity are not supported",
            ));
        }
    }
    // An integer of all groups, times 10000 to the power of what the weight says.
    spelled.push('0');
    for group in 0..groups {
        let digits = word(4 + group)?;
        if digits > 9999 {
            return Err(bad());
        }
        spelled.push_str(&format!("{digits:04}"));
    }
    let exponent = (weight + 1 - groups as i32) * 4;
    spelled.push_str(&format!("e{exponent}"));
    Ok(spelled)
}

fn array_binary(bytes: &[u8], type_oid: u32, item: &Arc<Field>) -> Result<ScalarValue> {
    let bad = || bad_binary(type_oid);
    let int = |at: usize| -> Result<i32> {
        Ok(i32::from_be_bytes(fixed(
            bytes.get(at..at + 4).ok_or_else(bad)?,
            type_oid,
        )?))
    };
    let dimensions = usize::try_from(int(0)?).map_err(|_| bad())?;
    if dimensions > MAX_DIMENSIONS {
        return Err(bad());
    }
    let element = int(8)? as u32;
    let mut lengths = Vec::with_capacity(dimensions);
    let mut total = usize::from(dimensions > 0);
    for dimension in 0..dimensions {
        let length = usize::try_from(int(12 + dimension * 8)?).map_err(|_| bad())?;
        lengths.push(length);
        total = total.checked_mul(length).ok_or_else(bad)?;
    }
    // Each element has a length of four bytes at least, so a larger count is a lie.
    if total > bytes.len() / 4 {
        return Err(bad());
    }
    let mut innermost = item;
    while let DataType::List(inner) = innermost.data_type() {
        innermost = inner;
    }
    // What the client says that it sends decides, where we know it.
    let wire = field_for_oid(element).unwrap_or_else(|| Arc::clone(innermost));
    if element_oid(element).is_some() {
        return Err(bad());
    }
    let mut at = 12 + dimensions * 8;
    let mut scalars = Vec::with_capacity(total);
    for _ in 0..total {
        let length = int(at)?;
        at += 4;
        let value = match usize::try_from(length) {
            Err(_) => None,
            Ok(length) => {
                let end = at.checked_add(length).ok_or_else(bad)?;
                let value = bytes.get(at..end).ok_or_else(bad)?;
                at = end;
                Some(value)
            }
        };
        scalars.push(parameter(
            value,
            Format::Binary,
            &wire,
            innermost.data_type(),
            &Zone::utc(),
        )?);
    }
    if at != bytes.len() {
        return Err(bad());
    }
    // Fold the flat elements into lists, innermost dimension first.
    let mut field = Arc::clone(innermost);
    for length in lengths.iter().skip(1).rev() {
        scalars = scalars
            .chunks((*length).max(1))
            .map(|chunk| list_scalar(chunk, &field))
            .collect();
        field = Arc::new(Field::new("item", DataType::List(field), true));
    }
    Ok(list_scalar(&scalars, &field))
}

#[cfg(test)]
mod tests;
