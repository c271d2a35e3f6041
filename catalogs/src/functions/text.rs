//! Quoting, names and `format`: functions over text that PostgreSQL has and the engine lacks.

use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::{Error, SqlState};

use super::udf::{Out, Row, lenient, strict};
use crate::pg_catalog::names::{quote_identifier, quote_literal, split_name};

/// Bytes that a `name` holds (NAMEDATALEN - 1).
const NAME_BYTES: usize = 63;
/// The largest width that `format` pads to: more would only serve to fill memory.
const MAX_FORMAT_WIDTH: usize = 1 << 20;

pub(super) fn functions() -> Vec<ScalarUDF> {
    use Volatility::Immutable;
    vec![
        strict("quote_ident", &["t"], "text", Immutable, |row| {
            Ok(Out::text(row.text(0).map(quote_identifier)))
        }),
        strict("quote_literal", &["x"], "text", Immutable, |row| {
            Ok(Out::text(row.display(0)?.map(|t| quote_literal(&t))))
        }),
        lenient("quote_nullable", &["x"], "text", Immutable, |row| {
            Ok(Out::Text(
                row.display(0)?
                    .map_or_else(|| "NULL".to_owned(), |t| quote_literal(&t)),
            ))
        }),
        strict("parse_ident", &["t", "tb"], "text[]", Immutable, |row| {
            let text = row.text(0).unwrap_or_default();
            let parts = split_name(text).map_err(|_| {
                Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("string is not a valid identifier: \"{text}\""),
                )
            })?;
            Ok(Out::Texts(parts.into_iter().map(Some).collect()))
        }),
        lenient("format", &["t*"], "text", Immutable, format),
        strict(
            "gen_random_uuid",
            &[""],
            "uuid",
            Volatility::Volatile,
            |_| Ok(Out::Text(uuid::Uuid::new_v4().to_string())),
        ),
        strict("name", &["t"], "name", Immutable, |row| {
            Ok(Out::text(row.text(0).map(|t| {
                t[..t.floor_char_boundary(NAME_BYTES)].to_owned()
            })))
        }),
        strict("\"char\"", &["t"], "\"char\"", Immutable, |row| {
            Ok(Out::text(
                row.text(0).map(|t| t.chars().take(1).collect::<String>()),
            ))
        }),
        strict("oid", &["o", "x"], "oid", Immutable, |row| {
            let number = match row.text(0) {
                // PostgreSQL reads a negative number as its two's complement.
                Some(text) => match text.trim().parse::<i64>() {
                    Ok(number) => number,
                    Err(_) => {
                        let message = format!("invalid input syntax for type oid: \"{text}\"");
                        return Err(
                            Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message).into()
                        );
                    }
                },
                None => row.int(0).unwrap_or_default(),
            };
            let wrapped = i32::try_from(number)
                .ok()
                .filter(|n| *n < 0)
                .map(|n| i64::from(n as u32));
            match wrapped.or_else(|| u32::try_from(number).ok().map(i64::from)) {
                Some(oid) => Ok(Out::Int(oid)),
                None => Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "OID out of range").into()),
            }
        }),
    ]
}

/// PostgreSQL's `format`: `%s`, `%I`, `%L`, `%%`, with position (`%2$s`), `-` and width.
fn format(row: &Row<'_>) -> Result<Out> {
    let Some(pattern) = row.text(0) else {
        return Ok(Out::Null);
    };
    let invalid = |message: &str| Error::new(SqlState::INVALID_PARAMETER_VALUE, message.to_owned());
    let mut out = String::new();
    let mut next = 1;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut number = digits(&mut chars);
        if let Some(position) = number
            && chars.next_if_eq(&'$').is_some()
        {
            if position == 0 {
                return Err(invalid(
                    "format specifies argument 0, but arguments are numbered from 1",
                )
                .into());
            }
            next = position;
            number = None;
        }
        let left = number.is_none() && chars.next_if_eq(&'-').is_some();
        let width = number
            .or_else(|| digits(&mut chars))
            .unwrap_or(0)
            .min(MAX_FORMAT_WIDTH);
        let Some(kind) = chars.next() else {
            return Err(invalid("unterminated format() type specifier").into());
        };
        if next >= row.len() {
            return Err(invalid("too few arguments for format()").into());
        }
        let value = row.display(next)?;
        next += 1;
        let text = match (kind, value) {
            ('s', value) => value.unwrap_or_default(),
            ('I', Some(value)) => quote_identifier(&value),
            ('I', None) => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(Error::new(SqlState::from_source("22004"), message).into());
            }
            ('L', value) => value.map_or_else(|| "NULL".to_owned(), |v| quote_literal(&v)),
            (other, _) => {
                return Err(
                    invalid(&format!("unrecognized format() type specifier \"{other}\"")).into(),
                );
            }
        };
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        out.push_str(&if left {
            text + &padding
        } else {
            padding + &text
        });
    }
    Ok(Out::Text(out))
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = Some(
            number
                .unwrap_or(0usize)
                .saturating_mul(10)
                .saturating_add(digit as usize),
        );
    }
    number
}
