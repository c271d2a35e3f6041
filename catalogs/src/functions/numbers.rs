//! Sizes, encodings, clocks and array measures in PostgreSQL's spelling.

use arrow::array::Array;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ScalarUDF, Volatility};

use super::udf::{Out, Row, strict, tag_of};

/// The number of UTF-8 among PostgreSQL's encodings (pg_wchar.h), the only one that Sluice speaks, and of
/// those that clients compare it with.
const ENCODINGS: [(&str, i64); 4] = [("SQL_ASCII", 0), ("EUC_JP", 1), ("UTF8", 6), ("LATIN1", 8)];

pub(super) fn functions() -> Vec<ScalarUDF> {
    use Volatility::{Immutable, Volatile};
    vec![
        strict("pg_encoding_to_char", &["i"], "name", Immutable, |row| {
            let known = ENCODINGS
                .iter()
                .find(|(_, number)| Some(*number) == row.int(0));
            Ok(Out::Text(
                known.map(|(name, _)| *name).unwrap_or_default().to_owned(),
            ))
        }),
        strict("pg_char_to_encoding", &["t"], "integer", Immutable, |row| {
            let name = row
                .text(0)
                .unwrap_or_default()
                .to_uppercase()
                .replace(['-', '_'], "");
            let known = ENCODINGS.iter().find(|(n, _)| n.replace('_', "") == name);
            Ok(Out::Int(known.map_or(-1, |(_, number)| *number)))
        }),
        strict("pg_size_pretty", &["i", "f"], "text", Immutable, |row| {
            let bytes = row.int(0).or_else(|| row.float(0).map(|f| f as i64));
            Ok(Out::text(bytes.map(size_pretty)))
        }),
        strict(
            "clock_timestamp",
            &[""],
            "timestamp with time zone",
            Volatile,
            |_| Ok(Out::Instant(chrono::Utc::now().timestamp_micros())),
        ),
        strict("array_upper", &["xi"], "integer", Immutable, |row| {
            Ok(bounds(row)?.map_or(Out::Null, |(_, high)| Out::Int(high)))
        }),
        strict("array_lower", &["xi"], "integer", Immutable, |row| {
            Ok(bounds(row)?.map_or(Out::Null, |(low, _)| Out::Int(low)))
        }),
    ]
}

/// First and last subscript of an array's first dimension: from 1, or from 0 for the two vector types.
fn bounds(row: &Row<'_>) -> datafusion::error::Result<Option<(i64, i64)>> {
    let ScalarValue::List(list) = row.any(0)? else {
        return Ok(None);
    };
    if row.int(1) != Some(1) || list.is_empty() || list.is_null(0) || list.value_length(0) == 0 {
        return Ok(None);
    }
    let low = i64::from(!matches!(
        tag_of(row.field(0)),
        Some("int2vector" | "oidvector")
    ));
    Ok(Some((low, low + i64::from(list.value_length(0)) - 1)))
}

/// PostgreSQL's rule (dbsize.c): the next unit once ten of it would be reached, rounded half up.
fn size_pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    const LIMIT: u64 = 10 * 1024;
    let sign = if bytes < 0 { "-" } else { "" };
    let mut size = bytes.unsigned_abs();
    if size < LIMIT {
        return format!("{sign}{size} bytes");
    }
    // From here one bit more than the unit is kept, to round by.
    size >>= 9;
    let mut unit = 1;
    while unit + 1 < UNITS.len() && size >= LIMIT * 2 - 1 {
        size >>= 10;
        unit += 1;
    }
    format!("{sign}{} {}", size.div_ceil(2), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::size_pretty;

    /// Taken from a real server.
    #[test]
    fn sizes_read_like_postgresql() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (10_752, "11 kB"),
            (10_485_247, "10239 kB"),
            (10_485_248, "10 MB"),
            (-20_000, "-20 kB"),
            (1_500_000_000, "1431 MB"),
            (123_456_789_012_345, "112 TB"),
        ] {
            assert_eq!(size_pretty(bytes), shown);
        }
    }
}
