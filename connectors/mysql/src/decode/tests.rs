//! Values at the edges of their types.

use arrow::array::{Array, AsArray};
use arrow::datatypes::i256;
use mysql_async::Value;

use super::*;

fn column(
    column: &ColumnType,
    zero: ZeroDates,
    values: &[Value],
) -> std::result::Result<ArrayRef, String> {
    let mut decoder = Decoder::new(column, &column.data_type(), zero, 4).unwrap();
    for value in values {
        decoder
            .append(value)
            .map_err(|fault| fault.into_error("x").message)?;
    }
    Ok(decoder.finish())
}

#[test]
fn decimals_are_read_to_their_last_digit() {
    for (text, scale, expected) in [
        ("0.00", 2, 0),
        ("-0.05", 2, -5),
        ("123", 2, 12_300),
        (
            "99999999999999999999999999999999999999",
            0,
            10_i128.pow(38) - 1,
        ),
        ("00012.50", 2, 1_250),
    ] {
        assert_eq!(
            decimal::read_i128(text.as_bytes(), scale).unwrap(),
            expected
        );
        assert_eq!(
            decimal::read_i256(text.as_bytes(), scale).unwrap(),
            i256::from_i128(expected)
        );
    }
    assert!(decimal::read_i128(b"0.005", 2).is_err());
    assert!(decimal::read_i128(b"999999999999999999999999999999999999999", 0).is_err());
    assert!(decimal::read_i128(b"1e5", 0).is_err());
    assert!(decimal::read_i128(b"", 0).is_err());
    let long = "-".to_owned() + &"9".repeat(65);
    assert_eq!(
        decimal::read_i256(long.as_bytes(), 0).unwrap().to_string(),
        long
    );
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (year, month, day, days) in [
        (1970, 1, 1, 0),
        (1969, 12, 31, -1),
        (2000, 2, 29, 11_016),
        (1, 1, 1, -719_162),
        (0, 1, 1, -719_528),
        (9999, 12, 31, 2_932_896),
    ] {
        assert_eq!(temporal::date(year, month, day), Some(days));
    }
    for (year, month, day) in [
        (0, 0, 0),
        (2024, 0, 1),
        (2024, 2, 0),
        (2023, 2, 29),
        (2024, 13, 1),
    ] {
        assert_eq!(temporal::date(year, month, day), None);
    }
}

#[test]
fn zero_dates_are_errors_or_null_and_never_a_date() {
    let zero = [Value::Date(0, 0, 0, 0, 0, 0, 0)];
    assert_eq!(
        column(&ColumnType::Date, ZeroDates::Error, &zero).unwrap_err(),
        "value of column \"x\" is 0000-00-00, which no calendar has"
    );
    for column_type in [
        ColumnType::Date,
        ColumnType::DateTime { fraction: 6 },
        ColumnType::Timestamp { fraction: 0 },
    ] {
        assert!(column(&column_type, ZeroDates::Error, &zero).is_err());
        let read = column(&column_type, ZeroDates::Null, &zero).unwrap();
        assert!(read.is_null(0));
    }
}

#[test]
fn times_go_beyond_a_day_and_below_zero() {
    let read = column(
        &ColumnType::Time,
        ZeroDates::Error,
        &[Value::Time(true, 34, 22, 59, 59, 999_999), Value::NULL],
    )
    .unwrap();
    let read = read.as_primitive::<arrow::datatypes::IntervalMonthDayNanoType>();
    let nanos = ((838 * 3_600 + 59 * 60 + 59) * 1_000_000_i64 + 999_999) * 1_000;
    assert_eq!(read.value(0).nanoseconds, -nanos);
    assert!(read.is_null(1));
}

#[test]
fn bits_are_as_many_as_declared() {
    assert_eq!(bit_text(&[0b101], 3), "101");
    assert_eq!(bit_text(&[1, 0b1000_0001], 9), "110000001");
    assert_eq!(bit_text(&[1], 12), "000000000001");
}

#[test]
fn numbers_that_do_not_fit_are_errors() {
    let fits = |column_type: &ColumnType, value: Value| {
        column(column_type, ZeroDates::Error, &[value]).is_ok()
    };
    assert!(fits(&ColumnType::Int8, Value::Int(-128)));
    assert!(!fits(&ColumnType::Int8, Value::Int(128)));
    assert!(fits(&ColumnType::UInt64, Value::UInt(u64::MAX)));
    assert!(!fits(&ColumnType::UInt64, Value::Int(-1)));
    assert!(!fits(&ColumnType::Int64, Value::Bytes(b"5".to_vec())));
    assert!(!fits(&ColumnType::Json, Value::Bytes(vec![0xff])));
}
