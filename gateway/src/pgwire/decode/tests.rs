//! What clients send, in PostgreSQL's spellings and in broken ones.

use proptest::prelude::*;

use super::*;
use crate::pgwire::types::field_for_oid;

fn read(spelled: &str, type_oid: u32) -> Result<ScalarValue> {
    let field = field_for_oid(type_oid).unwrap();
    parameter(
        Some(spelled.as_bytes()),
        Format::Text,
        &field,
        field.data_type(),
        &Zone::utc(),
    )
}

#[test]
fn spellings_of_postgresql_are_read() {
    assert_eq!(
        read(" Yes ", oid::BOOL).unwrap(),
        ScalarValue::Boolean(Some(true))
    );
    assert_eq!(
        read("of", oid::BOOL).unwrap(),
        ScalarValue::Boolean(Some(false))
    );
    assert_eq!(
        read(" 42 ", oid::INT4).unwrap(),
        ScalarValue::Int32(Some(42))
    );
    assert_eq!(
        read("-Infinity", oid::FLOAT8).unwrap(),
        ScalarValue::Float64(Some(f64::NEG_INFINITY))
    );
    let stamp = |spelled: &str| match read(spelled, oid::TIMESTAMPTZ).unwrap() {
        ScalarValue::TimestampMicrosecond(Some(micros), _) => micros,
        other => panic!("{other:?}"),
    };
    let base = 1_577_836_800_000_000;
    assert_eq!(stamp("2020-01-01 00:00:00"), base);
    assert_eq!(stamp("2020-01-01T02:00:00.5+02"), base + 500_000);
    assert_eq!(stamp("2020-01-01 05:30:00+0530"), base);
    assert_eq!(stamp("2019-12-31 19:00:00-05:00"), base);
    assert_eq!(stamp("2020-01-01"), base);
    assert_eq!(stamp("2020-01-01 00:00:00Z"), base);
    let plain = read("2020-01-01 00:00:00+05", oid::TIMESTAMP).unwrap();
    assert_eq!(plain, ScalarValue::TimestampMicrosecond(Some(base), None));
    let field = field_for_oid(oid::TIMESTAMPTZ).unwrap();
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    let local = parameter(
        Some(b"2020-01-01 01:00:00"),
        Format::Text,
        &field,
        field.data_type(),
        &berlin,
    )
    .unwrap();
    assert_eq!(
        local,
        ScalarValue::TimestampMicrosecond(Some(base), Some("UTC".into()))
    );
    assert_eq!(
        read("infinity", oid::DATE).unwrap(),
        ScalarValue::Date32(Some(i32::MAX))
    );
    assert_eq!(
        read("2020-01-01 10:00:00", oid::DATE).unwrap(),
        ScalarValue::Date32(Some(18_262))
    );
    let interval = read("1 year 2 mons -3 days 04:05:06.789", oid::INTERVAL).unwrap();
    assert_eq!(
        interval,
        ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(
            14,
            -3,
            14_706_789_000_000
        )))
    );
    assert_eq!(
        read("\\xDEad", oid::BYTEA).unwrap(),
        ScalarValue::Binary(Some(vec![0xde, 0xad]))
    );
    assert_eq!(
        read("a\\\\b\\001", oid::BYTEA).unwrap(),
        ScalarValue::Binary(Some(b"a\\b\x01".to_vec()))
    );
    let upper = read("{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", oid::UUID).unwrap();
    assert_eq!(
        upper,
        ScalarValue::Utf8(Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into()))
    );
}

#[test]
fn errors_are_postgresqls() {
    for (spelled, type_oid, code, message) in [
        (
            "abc",
            oid::INT4,
            "22P02",
            "invalid input syntax for type integer: \"abc\"",
        ),
        (
            "3000000000",
            oid::INT4,
            "22003",
            "value \"3000000000\" is out of range for type integer",
        ),
        (
            "99999999999999999999",
            oid::INT8,
            "22003",
            "value \"99999999999999999999\" is out of range for type bigint",
        ),
        (
            "maybe",
            oid::BOOL,
            "22P02",
            "invalid input syntax for type boolean: \"maybe\"",
        ),
        (
            "2020-13-01",
            oid::DATE,
            "22007",
            "invalid input syntax for type date: \"2020-13-01\"",
        ),
        (
            "1.2.3",
            oid::NUMERIC,
            "22P02",
            "invalid input syntax for type numeric: \"1.2.3\"",
        ),
        ("{1,2", 1007, "22P02", "malformed array literal: \"{1,2\""),
        (
            "{",
            oid::JSONB,
            "22P02",
            "invalid input syntax for type json",
        ),
    ] {
        let error = read(spelled, type_oid).unwrap_err();
        assert_eq!((error.code.code(), error.message.as_str()), (code, message));
    }
    let field = field_for_oid(oid::TEXT).unwrap();
    let bad = parameter(
        Some(b"a\xff"),
        Format::Text,
        &field,
        field.data_type(),
        &Zone::utc(),
    )
    .unwrap_err();
    assert_eq!(bad.code.code(), "22021");
}

#[test]
fn numerics_are_exact_or_refused() {
    let price = DataType::Decimal128(15, 2);
    let read = |spelled: &str| text(spelled, oid::NUMERIC, &price, &Zone::utc());
    assert_eq!(
        read("12.3").unwrap(),
        ScalarValue::Decimal128(Some(1230), 15, 2)
    );
    assert_eq!(
        read("-1.5e1").unwrap(),
        ScalarValue::Decimal128(Some(-1500), 15, 2)
    );
    assert_eq!(
        read("12.30000").unwrap(),
        ScalarValue::Decimal128(Some(1230), 15, 2)
    );
    assert_eq!(read("12.305").unwrap_err().code.code(), "22003");
    assert_eq!(read("1e30").unwrap_err().code.code(), "22003");
    assert_eq!(read("1e999999999").unwrap_err().code.code(), "22003");
    assert_eq!(
        read("0e999999999").unwrap(),
        ScalarValue::Decimal128(Some(0), 15, 2)
    );
}

#[test]
fn nested_arrays_are_read() {
    let inner = Arc::new(Field::new("item", DataType::Int32, true));
    let outer = Arc::new(Field::new("item", DataType::List(inner), true));
    let scalar = text(
        "{{1,2},{3,NULL}}",
        1007,
        &DataType::List(outer),
        &Zone::utc(),
    )
    .unwrap();
    assert_eq!(scalar.to_string(), "[[1, 2], [3, ]]");
    let wire = field_for_oid(1007).unwrap();
    assert!(matches!(wire.data_type(), DataType::List(_)));
    assert!(text("{a}", 1007, wire.data_type(), &Zone::utc()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        type_oid in prop_oneof![
            Just(oid::BOOL), Just(oid::INT4), Just(oid::NUMERIC), Just(oid::INTERVAL), Just(oid::JSONB), Just(1007u32),
            Just(oid::TIMESTAMPTZ), Just(oid::DATE), Just(oid::UUID), Just(oid::BYTEA), Just(1009u32), Just(oid::TIME)
        ],
        is_binary in any::<bool>(),
    ) {
        let field = field_for_oid(type_oid).unwrap();
        let format = if is_binary { Format::Binary } else { Format::Text };
        let _ = parameter(Some(&bytes), format, &field, field.data_type(), &Zone::utc());
    }

    #[test]
    fn no_text_makes_a_reader_panic(spelled in "[-+0-9eE.:{}\", \\\\a-zé]{0,40}", type_oid in prop_oneof![
        Just(oid::NUMERIC), Just(oid::INTERVAL), Just(1007u32), Just(oid::TIMESTAMPTZ), Just(oid::DATE), Just(1009u32)
    ]) {
        let _ = read(&spelled, type_oid);
    }
}

/// Found by the properties above.
#[test]
fn only_ascii_blanks_are_skipped() {
    assert!(read("}-:}é9", oid::TIMESTAMPTZ).is_err());
    assert!(read("12:00+é9", oid::TIMESTAMPTZ).is_err());
    let elements = read("{\u{a0}, b }", 1009).expect("an array");
    assert_eq!(elements.to_string(), "[\u{a0}, b]");
}
