//! Awkward literals of each type: what servers and drivers are known to get wrong.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, i256};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::ScalarValue;

/// Text whose case, accents, blanks, quotes or patterns mean something to somebody.
const TEXTS: [&str; 38] = [
    "", " ", "  ", "a", "A", "a ", " a", "ab", "aB", "b", "é", "e", "e\u{301}", "É", "ß", "ss",
    "ı", "i", "I", "'", "''", "\"", "\\", "\\\\", "\\'", "a'b", "%", "_", "a%", "100%", "\n", "\t",
    "NULL", "0", "$1", "--", "😀", "\u{7f}",
];

/// Patterns, in which the backslash escapes.
const PATTERNS: [&str; 18] = [
    "", "%", "%%", "_", "__%", "a%", "A%", "%a", "%a%", "%b%", "\\%", "%\\%", "a\\_b", "%'%",
    "%\\\\%", "é%", "%é%", " %",
];

/// Days from 1970-01-01: the day itself, the one before, 1900, 0001, the year before that, 9999.
const DAYS: [i32; 8] = [0, 1, -1, -25_567, -719_162, -719_528, 2_932_896, 10_957];

/// Microseconds in a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// Literals of `data_type`. The first is NULL. Types that have no literals have just that.
pub(super) fn literals(data_type: &DataType) -> Vec<ScalarValue> {
    let null = ScalarValue::try_from(data_type).unwrap_or(ScalarValue::Null);
    let mut all = vec![null];
    all.extend(
        plain(data_type)
            .iter()
            .filter_map(|value| value.cast_to(data_type).ok())
            .filter(|v| !v.is_null()),
    );
    all.dedup();
    all
}

fn plain(data_type: &DataType) -> Vec<ScalarValue> {
    use ScalarValue as S;
    match data_type {
        DataType::Boolean => vec![S::from(true), S::from(false)],
        data_type if data_type.is_unsigned_integer() => [
            0,
            1,
            127,
            128,
            255,
            256,
            65_535,
            u64::from(u32::MAX),
            i64::MAX as u64,
            u64::MAX,
        ]
        .map(S::from)
        .to_vec(),
        data_type if data_type.is_integer() => [
            0,
            1,
            -1,
            7,
            127,
            128,
            -128,
            32_767,
            32_768,
            -32_768,
            2_147_483_647,
            2_147_483_648,
            -2_147_483_648,
            i64::MAX,
            i64::MIN,
        ]
        .map(S::from)
        .to_vec(),
        DataType::Float32 => [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            f32::MIN_POSITIVE,
            16_777_217.0,
        ]
        .map(S::from)
        .to_vec(),
        DataType::Float64 => [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            0.30000000000000004,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            9_007_199_254_740_993.0,
        ]
        .map(S::from)
        .to_vec(),
        DataType::Decimal128(precision, scale) => {
            let largest = 10_i128
                .checked_pow(u32::from(*precision))
                .map_or(i128::MAX, |power| power - 1);
            let one = 10_i128
                .checked_pow(scale.unsigned_abs().into())
                .unwrap_or(1);
            [0, 1, -1, one, -one, largest, -largest, largest - 1]
                .map(|unscaled| S::Decimal128(Some(unscaled), *precision, *scale))
                .to_vec()
        }
        DataType::Decimal256(precision, scale) => {
            let ten = i256::from_i128(10);
            let largest = ten
                .checked_pow(u32::from(*precision))
                .map_or(i256::MAX, |power| power.wrapping_sub(i256::ONE));
            let one = ten
                .checked_pow(scale.unsigned_abs().into())
                .unwrap_or(i256::ONE);
            let beyond_128_bits = i256::from_i128(i128::MAX).wrapping_add(i256::ONE);
            [
                i256::ZERO,
                i256::ONE,
                i256::MINUS_ONE,
                one,
                one.wrapping_neg(),
                largest,
                beyond_128_bits,
            ]
            .map(|unscaled| S::Decimal256(Some(unscaled), *precision, *scale))
            .to_vec()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => TEXTS.map(S::from).to_vec(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => [
            &b""[..],
            b"\0",
            b"\xff",
            b"a",
            b"A",
            b"'",
            b"\\",
            b"\\x41",
            b"a\0b",
        ]
        .map(|bytes| S::Binary(Some(bytes.to_vec())))
        .to_vec(),
        DataType::Date32 => DAYS.map(|days| S::Date32(Some(days))).to_vec(),
        DataType::Time64(TimeUnit::Microsecond) => [0, 1, DAY_MICROS / 2, DAY_MICROS - 1]
            .map(|micros| S::Time64Microsecond(Some(micros)))
            .to_vec(),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => DAYS
            .into_iter()
            .flat_map(|days| {
                [0, 1, DAY_MICROS - 1].map(|micros| i64::from(days) * DAY_MICROS + micros)
            })
            .map(|micros| S::TimestampMicrosecond(Some(micros), zone.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

/// Constants at the ends of a type that no source stores: rendering one must be right or refused. They
/// are for predicates only, since no table can hold them.
pub(super) fn extremes(data_type: &DataType) -> Vec<ScalarValue> {
    use ScalarValue as S;
    match data_type {
        DataType::Date32 => [i32::MIN, i32::MAX]
            .map(|days| S::Date32(Some(days)))
            .to_vec(),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]
                .map(|micros| S::TimestampMicrosecond(Some(micros), zone.clone()))
                .to_vec()
        }
        // NUL is text to the engine, and to hardly any server.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ["\0", "a\0b"]
            .map(S::from)
            .iter()
            .filter_map(|v| v.cast_to(data_type).ok())
            .collect(),
        _ => Vec::new(),
    }
}

/// Patterns for LIKE.
pub(super) fn patterns() -> &'static [&'static str] {
    &PATTERNS
}

/// A batch whose columns hold their type's literals, NULL where the column allows it.
pub(super) fn batch(schema: &SchemaRef) -> Result<RecordBatch, String> {
    let values: Vec<Vec<ScalarValue>> = schema
        .fields()
        .iter()
        .map(|field| {
            let all = literals(field.data_type());
            if field.is_nullable() {
                all
            } else {
                all.into_iter().filter(|v| !v.is_null()).collect()
            }
        })
        .collect();
    let rows = values.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let columns = values
        .into_iter()
        .zip(schema.fields())
        .map(|(values, field)| column(&values, field.data_type(), rows))
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| e.to_string())
}

fn column(values: &[ScalarValue], data_type: &DataType, rows: usize) -> Result<ArrayRef, String> {
    if values.is_empty() {
        return Err(format!(
            "no literals for a NOT NULL column of type {data_type}"
        ));
    }
    if values.iter().all(ScalarValue::is_null) {
        return Ok(new_null_array(data_type, rows));
    }
    let array = ScalarValue::iter_to_array(values.iter().cycle().take(rows).cloned())
        .map_err(|e| e.to_string())?;
    arrow::compute::cast(&array, data_type)
        .map_err(|e| e.to_string())
        .map(|array| Arc::clone(&array))
}
