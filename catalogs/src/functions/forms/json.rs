//! `json_in`, which only checks, and `jsonb_in`, which keeps the values and forgets how they were written: one
//! blank behind `:` and `,`, each key once (the last one counts), the shorter key first.

use std::collections::BTreeMap;
use std::fmt::Write;

use sluice_spi::{Error, Result, SqlState};

use super::invalid;

/// Depth of arrays and objects: PostgreSQL's limit is its stack.
const MAX_DEPTH: usize = 1000;

/// Digits of a number with an exponent, once it is written out: far more than any numeric in use, few enough to
/// fill no memory.
const MAX_ZEROS: i64 = 10_000;

/// The text itself, where it is JSON.
pub(super) fn json(text: &str) -> Result<String> {
    Parser::new(text, "json").document()?;
    Ok(text.to_owned())
}

/// The text that PostgreSQL prints for the value.
pub(super) fn jsonb(text: &str) -> Result<String> {
    let value = Parser::new(text, "jsonb").document()?;
    let mut out = String::with_capacity(text.len());
    value.print(&mut out);
    Ok(out)
}

/// A key, in the order of jsonb: by its length in bytes, then by its bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key(usize, String);

enum Value {
    /// `null`, `true`, `false`, or a number as it is printed.
    Plain(String),
    Text(String),
    List(Vec<Value>),
    Object(BTreeMap<Key, Value>),
}

impl Value {
    fn print(&self, out: &mut String) {
        match self {
            Value::Plain(text) => out.push_str(text),
            Value::Text(text) => quote(text, out),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    item.print(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    quote(&key.1, out);
                    out.push_str(": ");
                    value.print(out);
                }
                out.push('}');
            }
        }
    }
}

/// `escape_json`.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// jsonb makes characters and numbers of what json only looks at.
    pg_type: &'static str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, pg_type: &'static str) -> Self {
        Parser {
            text,
            at: 0,
            depth: 0,
            pg_type,
        }
    }

    fn is_binary(&self) -> bool {
        self.pg_type == "jsonb"
    }

    fn bad(&self) -> Error {
        // PostgreSQL names json for both.
        let mut error = invalid("json", self.text);
        error.message = "invalid input syntax for type json".to_owned();
        let rest: String = self.text[self.at..].chars().take(20).collect();
        error.with_detail(match rest.is_empty() {
            true => "The input string ended unexpectedly.".to_owned(),
            false => format!("Token \"{rest}\" is invalid."),
        })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn document(mut self) -> Result<Value> {
        let value = self.value()?;
        self.skip_blanks();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.bad()),
        }
    }

    fn value(&mut self) -> Result<Value> {
        self.skip_blanks();
        match self.peek() {
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'{' | b'[') => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    let message = "stack depth limit exceeded";
                    return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message));
                }
                let value = if self.accept(b'{') {
                    self.object()
                } else {
                    self.at += 1;
                    self.list()
                };
                self.depth -= 1;
                value
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c.is_ascii())
            .unwrap_or(rest.len());
        match &rest[..end] {
            word @ ("null" | "true" | "false") => {
                self.at += end;
                Ok(Value::Plain(word.to_owned()))
            }
            _ => Err(self.bad()),
        }
    }

    fn list(&mut self) -> Result<Value> {
        let mut items = Vec::new();
        self.skip_blanks();
        if self.accept(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_blanks();
            if self.accept(b']') {
                return Ok(Value::List(items));
            }
            if !self.accept(b',') {
                return Err(self.bad());
            }
        }
    }

    fn object(&mut self) -> Result<Value> {
        let mut members = BTreeMap::new();
        self.skip_blanks();
        if self.accept(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.bad());
            }
            let key = self.string()?;
            self.skip_blanks();
            if !self.accept(b':') {
                return Err(self.bad());
            }
            let value = self.value()?;
            members.insert(Key(key.len(), key), value);
            self.skip_blanks();
            if self.accept(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.accept(b',') {
                return Err(self.bad());
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .ok_or_else(|| self.bad())?;
            out.push_str(&rest[..end]);
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escaped()?);
                }
                _ => return Err(self.bad()),
            }
        }
    }

    fn escaped(&mut self) -> Result<char> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.bad()),
        };
        self.at += 1;
        Ok(character)
    }

    fn four_digits(&mut self) -> Result<u32> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.bad())?;
        self.at += 4;
        Ok(digits)
    }

    fn code_point(&mut self) -> Result<char> {
        let first = self.four_digits()?;
        // json keeps the text: what it stands for is not looked at.
        if !self.is_binary() {
            return Ok(' ');
        }
        if first == 0 {
            return Err(Error::new(
                SqlState::from_source("22P05"),
                "unsupported Unicode escape sequence",
            )
            .with_detail("\\u0000 cannot be converted to text."));
        }
        let high = (0xd800..0xdc00).contains(&first);
        let code = match high && self.text[self.at..].starts_with("\\u") {
            true => {
                self.at += 2;
                let second = self.four_digits()?;
                match (0xdc00..0xe000).contains(&second) {
                    true => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    false => first,
                }
            }
            false => first,
        };
        // Half of a pair is no character.
        char::from_u32(code).ok_or_else(|| self.bad())
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.at;
        self.accept(b'-');
        let digits = |parser: &mut Self| {
            let from = parser.at;
            while matches!(parser.peek(), Some(b'0'..=b'9')) {
                parser.at += 1;
            }
            parser.text[from..parser.at].len()
        };
        if !self.accept(b'0') && digits(self) == 0 {
            return Err(self.bad());
        }
        if self.accept(b'.') && digits(self) == 0 {
            return Err(self.bad());
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.accept(b'+') {
                self.accept(b'-');
            }
            if digits(self) == 0 {
                return Err(self.bad());
            }
        }
        // `01` and `1x` are one token each, and a wrong one.
        if self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80)
        {
            return Err(self.bad());
        }
        let written = &self.text[start..self.at];
        match self.is_binary() {
            true => numeric(written).map(Value::Plain),
            false => Ok(Value::Plain(String::new())),
        }
    }
}

/// A number as `numeric_out` prints it: without exponent, with the digits behind the point that were written.
fn numeric(written: &str) -> Result<String> {
    let too_large = || {
        Error::new(
            SqlState::NUMERIC_OUT_OF_RANGE,
            "value overflows numeric format",
        )
    };
    let (negative, unsigned) = match written.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, written),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| too_large())?),
        None => (unsigned, 0),
    };
    if exponent.abs() > MAX_ZEROS {
        return Err(too_large());
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    // Where the point is now.
    let mut point = whole.len() as i64 + exponent;
    if point < 0 {
        digits.insert_str(0, &"0".repeat(point.unsigned_abs() as usize));
        point = 0;
    }
    let missing = point - digits.len() as i64;
    if missing > 0 {
        digits.push_str(&"0".repeat(missing as usize));
    }
    let (whole, fraction) = digits.split_at(point as usize);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let is_zero = whole == "0" && fraction.bytes().all(|b| b == b'0');
    let sign = if negative && !is_zero { "-" } else { "" };
    Ok(match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server.
    #[test]
    fn jsonb_is_printed_in_one_form() {
        for (text, shown) in [
            (r#"{"b":1, "a":2}"#, r#"{"a": 2, "b": 1}"#),
            (
                r#"{"bb":1,"a":2,"c":3,"a":4}"#,
                r#"{"a": 4, "c": 3, "bb": 1}"#,
            ),
            (
                " [1 ,2.50,-0, -0.0,1e2,1.5e-3,12e0] ",
                "[1, 2.50, 0, 0.0, 100, 0.0015, 12]",
            ),
            (r#""\u00e9\n\/\u0001""#, r#""é\n/\u0001""#),
            (r#""\ud83d\ude00""#, r#""😀""#),
            ("null", "null"),
            ("{}", "{}"),
            ("[[],{}]", "[[], {}]"),
            ("1.230e1", "12.30"),
        ] {
            assert_eq!(jsonb(text).unwrap(), shown);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{bad",
            "{\"a\"}",
            "[1,]",
            "01",
            "1.",
            ".5",
            "+1",
            "1x",
            "nul",
            "nulls",
            "\"a",
            "\"\t\"",
            "\"\\x\"",
            "'a'",
            "1 2",
            "{\"a\":1,}",
            "\"\\u12\"",
            "-",
            "1e",
        ] {
            assert_eq!(
                json(text).unwrap_err().code,
                SqlState::INVALID_TEXT_REPRESENTATION,
                "{text}"
            );
        }
        assert!(json(r#""\ud800 \u0000""#).is_ok());
        assert!(jsonb(r#""\ud800""#).is_err());
        assert_eq!(jsonb(r#""\u0000""#).unwrap_err().code.code(), "22P05");
        assert!(json(&"[".repeat(100_000)).is_err());
    }
}
