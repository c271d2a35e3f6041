//! Vectors from PostgreSQL 15's own output and send functions, and round trips through the decoder.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::scalar::ScalarValue;
use proptest::prelude::*;
use sluice_spi::types::tagged;

use super::*;
use crate::pgwire::decode;

/// One value of a one-row array, encoded.
fn value(
    array: impl Array + 'static,
    field: &Field,
    format: Format,
    style: &Style,
) -> Option<Vec<u8>> {
    let array: ArrayRef = Arc::new(array);
    let column = bind(&array, field, PgType::of_field(field), format, style).unwrap();
    let mut out = Vec::new();
    column.write_sized(0, &mut out).unwrap();
    let length = i32::from_be_bytes(out[..4].try_into().unwrap());
    (length >= 0).then(|| {
        assert_eq!(length as usize, out.len() - 4);
        out[4..].to_vec()
    })
}

fn plain(array: impl Array + 'static, format: Format) -> Vec<u8> {
    let field = Field::new("c", array.data_type().clone(), true);
    value(array, &field, format, &Style::default()).expect("not NULL")
}

fn text(array: impl Array + 'static) -> String {
    String::from_utf8(plain(array, Format::Text)).unwrap()
}

fn hex(array: impl Array + 'static) -> String {
    plain(array, Format::Binary)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[test]
fn floats_print_like_postgresql() {
    for (number, expected) in [
        (1e14, "100000000000000"),
        (1e15, "1e+15"),
        (1e16, "1e+16"),
        (123_456_789_012_345_678.0, "1.2345678901234568e+17"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
        (-0.0, "-0"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (0.1, "0.1"),
        (-12.5, "-12.5"),
        (999_999.5, "999999.5"),
    ] {
        assert_eq!(text(Float64Array::from(vec![number])), expected);
    }
    for (number, expected) in [
        (1e5, "100000"),
        (1e6, "1e+06"),
        (999_999.5, "999999.5"),
        (1_234_567.0, "1.234567e+06"),
        (16_777_216.0, "1.6777216e+07"),
        (3.4e38, "3.4e+38"),
        (1.5, "1.5"),
    ] {
        assert_eq!(text(Float32Array::from(vec![number])), expected);
    }
    let rounded = Style {
        extra_float_digits: 0,
        ..Style::default()
    };
    let field = Field::new("c", DataType::Float64, true);
    for (number, expected) in [
        (0.1 + 0.2, "0.3"),
        (1e15, "1e+15"),
        (123_456_789.123_456_79, "123456789.123457"),
    ] {
        let out = value(
            Float64Array::from(vec![number]),
            &field,
            Format::Text,
            &rounded,
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

fn decimal(text: &str, scale: i8) -> Decimal128Array {
    let digits: i128 = text.replace('.', "").parse().unwrap();
    Decimal128Array::from(vec![digits])
        .with_precision_and_scale(38, scale)
        .unwrap()
}

#[test]
fn numerics_are_sent_like_postgresql() {
    for (spelled, scale, expected) in [
        ("0", 0, "0000000000000000"),
        ("1", 0, "00010000000000000001"),
        ("-1.5", 1, "000200004000000100011388"),
        ("10000", 0, "00010001000000000001"),
        ("0.0001", 4, "0001ffff000000040001"),
        ("0.00001", 5, "0001fffe0000000503e8"),
        ("12345678.9012", 4, "000300010000000404d2162e2334"),
        (
            "99999999999999999999.99",
            2,
            "0006000400000002270f270f270f270f270f26ac",
        ),
        ("-0.05", 2, "0001ffff4000000201f4"),
        ("1000000.00", 2, "00010001000000020064"),
    ] {
        let sent = hex(decimal(spelled, scale));
        assert_eq!(sent, expected, "{spelled}");
        assert_eq!(text(decimal(spelled, scale)), spelled);
    }
    assert_eq!(text(decimal("12", -3)), "12000");
    assert_eq!(hex(decimal("12", -3)), "0002000100000000000107d0");
    let wide = tagged("c", DataType::Decimal256(76, 20), true, "numeric");
    let array = Decimal256Array::from(vec![i256::from_string("150000000000000000000").unwrap()])
        .with_precision_and_scale(76, 20)
        .unwrap();
    let out = value(array.clone(), &wide, Format::Text, &Style::default()).unwrap();
    assert_eq!(out, b"1.5");
    let out = value(array, &wide, Format::Binary, &Style::default()).unwrap();
    assert_eq!(out, [0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88]);
    assert_eq!(
        text(UInt64Array::from(vec![u64::MAX])),
        "18446744073709551615"
    );
}

#[test]
fn dates_and_times_print_like_postgresql() {
    let day = |days: i32| text(Date32Array::from(vec![days]));
    assert_eq!(day(0), "1970-01-01");
    assert_eq!(day(19_782), "2024-02-29");
    assert_eq!(day(-719_162), "0001-01-01");
    assert_eq!(day(-719_163), "0001-12-31 BC");
    assert_eq!(day(3_789_391), "12345-01-01");
    assert_eq!(day(i32::MAX), "infinity");
    assert_eq!(hex(Date32Array::from(vec![19_782])), "00002279");
    assert_eq!(hex(Date32Array::from(vec![i32::MAX])), "7fffffff");
    let stamp = 1_709_210_096_789_012;
    assert_eq!(
        text(TimestampMicrosecondArray::from(vec![stamp])),
        "2024-02-29 12:34:56.789012"
    );
    assert_eq!(
        hex(TimestampMicrosecondArray::from(vec![stamp])),
        "0002b58341728614"
    );
    assert_eq!(
        text(TimestampNanosecondArray::from(vec![stamp * 1000 + 999])),
        "2024-02-29 12:34:56.789012"
    );
    assert_eq!(
        text(TimestampSecondArray::from(vec![-1])),
        "1969-12-31 23:59:59"
    );
    assert_eq!(
        text(TimestampMicrosecondArray::from(vec![i64::MIN])),
        "-infinity"
    );
    assert_eq!(
        text(Time64MicrosecondArray::from(vec![45_296_500_000])),
        "12:34:56.5"
    );
    assert_eq!(
        text(Time64MicrosecondArray::from(vec![86_400_000_000])),
        "24:00:00"
    );
    assert_eq!(
        hex(Time64MicrosecondArray::from(vec![45_296_500_000])),
        "0000000a8be1bd20"
    );

    let zoned = |name: &str, micros: i64| {
        let style = Style {
            zone: Zone::parse(name).unwrap(),
            ..Style::default()
        };
        let array = TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC");
        let field = Field::new("c", array.data_type().clone(), true);
        String::from_utf8(value(array, &field, Format::Text, &style).unwrap()).unwrap()
    };
    assert_eq!(
        zoned("UTC", 1_577_836_800_000_000),
        "2020-01-01 00:00:00+00"
    );
    assert_eq!(
        zoned("Asia/Kolkata", 1_577_836_800_000_000),
        "2020-01-01 05:30:00+05:30"
    );
    assert_eq!(
        zoned("Asia/Kolkata", -5_364_662_400_000_000),
        "1800-01-01 05:53:28+05:53:28"
    );
    assert_eq!(
        zoned("America/New_York", 1_593_561_600_000_000),
        "2020-06-30 20:00:00-04"
    );
    assert_eq!(zoned("-3.5", 0), "1969-12-31 20:30:00-03:30");
}

#[test]
fn intervals_print_like_postgresql() {
    let interval = |months, days, micros: i64| {
        IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(
            months,
            days,
            micros * 1000,
        )])
    };
    for (months, days, micros, expected) in [
        (
            14,
            -3,
            14_706_789_000,
            "1 year 2 mons -3 days +04:05:06.789",
        ),
        (
            -14,
            3,
            -14_706_000_000,
            "-1 years -2 mons +3 days -04:05:06",
        ),
        (0, 0, 0, "00:00:00"),
        (0, 1, 0, "1 day"),
        (0, -1, 7_200_000_000, "-1 days +02:00:00"),
        (0, 0, 90_000_000_000, "25:00:00"),
        (0, 0, -500_000, "-00:00:00.5"),
        (1, 0, 0, "1 mon"),
        (-1, 0, 0, "-1 mons"),
    ] {
        assert_eq!(text(interval(months, days, micros)), expected);
    }
    assert_eq!(
        hex(interval(14, -3, 14_706_789_000)),
        "000000036c97ca88fffffffd0000000e"
    );
    assert_eq!(text(DurationSecondArray::from(vec![3_661])), "01:01:01");
    assert_eq!(
        text(IntervalYearMonthArray::from(vec![14])),
        "1 year 2 mons"
    );
}

#[test]
fn strings_and_bytes_are_sent_as_they_are() {
    assert_eq!(
        text(StringViewArray::from(vec!["é\u{1F600}"])),
        "é\u{1F600}"
    );
    assert_eq!(
        text(BinaryArray::from(vec![&[0u8, 0xff, 0x41][..]])),
        "\\x00ff41"
    );
    let escape = Style {
        bytea_escape: true,
        ..Style::default()
    };
    let field = Field::new("c", DataType::Binary, true);
    let bytes = BinaryArray::from(vec![&[0u8, 0xff, 0x41, 0x5c, 0x27][..]]);
    assert_eq!(
        value(bytes, &field, Format::Text, &escape).unwrap(),
        b"\\000\\377A\\\\'"
    );
    assert_eq!(text(BooleanArray::from(vec![true])), "t");
    let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let uuid = tagged("c", DataType::Utf8, true, "uuid");
    let out = value(
        StringArray::from(vec![id]),
        &uuid,
        Format::Binary,
        &Style::default(),
    )
    .unwrap();
    assert_eq!(out, uuid::Uuid::parse_str(id).unwrap().as_bytes());
    let jsonb = tagged("c", DataType::Utf8View, true, "jsonb");
    let out = value(
        StringViewArray::from(vec!["{}"]),
        &jsonb,
        Format::Binary,
        &Style::default(),
    )
    .unwrap();
    assert_eq!(out, b"\x01{}");
    let dictionary: DictionaryArray<Int8Type> = vec!["x", "y"].into_iter().collect();
    assert_eq!(text(dictionary), "x");
    assert_eq!(
        value(
            NullArray::new(1),
            &Field::new("c", DataType::Null, true),
            Format::Text,
            &escape
        ),
        None
    );
}

#[test]
fn narrow_announcements_are_checked() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![70_000]));
    let field = tagged("c", DataType::Int64, true, "smallint");
    let column = bind(
        &array,
        &field,
        PgType::of_field(&field),
        Format::Binary,
        &Style::default(),
    )
    .unwrap();
    assert!(column.write_sized(0, &mut Vec::new()).is_err());
    let oid = tagged("c", DataType::Int64, true, "oid");
    let out = value(
        Int64Array::from(vec![4_294_967_295]),
        &oid,
        Format::Binary,
        &Style::default(),
    )
    .unwrap();
    assert_eq!(out, [0xff; 4]);
}

#[test]
fn arrays_are_written_like_postgresql() {
    let mut words = ListBuilder::new(StringBuilder::new());
    for word in [
        Some("a"),
        Some("b c"),
        Some("null"),
        Some(""),
        Some("a\"b"),
        Some("a\\b"),
        Some("{x}"),
        None,
    ] {
        words.values().append_option(word);
    }
    words.append(true);
    assert_eq!(
        text(words.finish()),
        r#"{a,"b c","null","","a\"b","a\\b","{x}",NULL}"#
    );
    let mut numbers = ListBuilder::new(Int32Builder::new());
    numbers.append_value([Some(1), None, Some(3)]);
    let numbers = numbers.finish();
    assert_eq!(
        hex(numbers),
        "00000001000000010000001700000003000000010000000400000001ffffffff0000000400000003"
    );
    let mut empty = ListBuilder::new(Int32Builder::new());
    empty.append(true);
    let empty = empty.finish();
    assert_eq!(text(empty.clone()), "{}");
    assert_eq!(hex(empty), "000000000000000000000017");
    let mut square = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    square.values().append_value([Some("a"), Some("b")]);
    square.values().append_value([Some("c"), None]);
    square.append(true);
    let square = square.finish();
    assert_eq!(text(square.clone()), "{{a,b},{c,NULL}}");
    assert_eq!(
        hex(square),
        "00000002000000010000001900000002000000010000000200000001000000016100000001620000000163ffffffff"
    );
    let mut vector = ListBuilder::new(Int16Builder::new());
    vector.append_value([Some(1), Some(2)]);
    let vector = vector.finish();
    let field = tagged("c", vector.data_type().clone(), true, "int2vector");
    assert_eq!(
        value(vector, &field, Format::Text, &Style::default()).unwrap(),
        b"1 2"
    );
}

#[test]
fn structs_are_jsonb() {
    let list = Arc::new(Field::new("item", DataType::Int64, true));
    let mut numbers = ListBuilder::new(Int64Builder::new()).with_field(Arc::clone(&list));
    numbers.append_value([Some(1), Some(2)]);
    let columns: Vec<(FieldRef, ArrayRef)> = vec![
        (
            Arc::new(Field::new("a", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![1])),
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["x\"y"])),
        ),
        (
            Arc::new(Field::new("c", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![None::<i64>])),
        ),
        (
            Arc::new(Field::new("d", DataType::List(list), true)),
            Arc::new(numbers.finish()),
        ),
        (
            Arc::new(Field::new(
                "e",
                DataType::Timestamp(TimeUnit::Second, None),
                true,
            )),
            Arc::new(TimestampSecondArray::from(vec![1_577_836_800])),
        ),
        (
            Arc::new(Field::new("f", DataType::Boolean, true)),
            Arc::new(BooleanArray::from(vec![true])),
        ),
        (
            Arc::new(Field::new("g", DataType::Float64, true)),
            Arc::new(Float64Array::from(vec![f64::NAN])),
        ),
    ];
    assert_eq!(
        text(StructArray::from(columns)),
        r#"{"a": 1, "b": "x\"y", "c": null, "d": [1, 2], "e": "2020-01-01T00:00:00", "f": true, "g": "NaN"}"#
    );
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    assert_eq!(text(map.finish()), r#"{"k": 7}"#);
}

#[test]
fn a_row_is_one_message() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(7), None])),
        Arc::new(StringArray::from(vec!["x", ""])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let encoder =
        RowEncoder::new(&schema, &[Format::Binary, Format::Text], Style::default()).unwrap();
    let mut out = Vec::new();
    encoder.encode(&batch, &mut out).unwrap();
    let first = b"D\0\0\0\x13\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x";
    let second = b"D\0\0\0\x0e\0\x02\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(out, [&first[..], &second[..]].concat());
    assert!(RowEncoder::new(&schema, &[Format::Text; 3], Style::default()).is_err());
}

/// Encodes a scalar and reads it back.
fn round_trip(scalar: &ScalarValue, field: &Field, format: Format) -> ScalarValue {
    let array = scalar.to_array().unwrap();
    let column = bind(
        &array,
        field,
        PgType::of_field(field),
        format,
        &Style::default(),
    )
    .unwrap();
    let mut out = Vec::new();
    column.write_sized(0, &mut out).unwrap();
    let bytes = (out.len() > 4 || out[..4] != [0xff; 4]).then_some(&out[4..]);
    decode::parameter(bytes, format, field, &scalar.data_type(), &Zone::utc()).unwrap()
}

fn scalars() -> impl Strategy<Value = ScalarValue> {
    // PostgreSQL's range of timestamps, a little cut: years 1 to 9999 are what every parser reads.
    let micros = -62_135_596_800_000_000i64..253_402_300_799_000_000;
    prop_oneof![
        any::<Option<bool>>().prop_map(ScalarValue::Boolean),
        any::<i16>().prop_map(|v| ScalarValue::Int16(Some(v))),
        any::<i32>().prop_map(|v| ScalarValue::Int32(Some(v))),
        any::<Option<i64>>().prop_map(ScalarValue::Int64),
        any::<f32>()
            .prop_filter("NaN is not equal to itself", |v| !v.is_nan())
            .prop_map(|v| ScalarValue::Float32(Some(v))),
        any::<f64>()
            .prop_filter("NaN is not equal to itself", |v| !v.is_nan())
            .prop_map(|v| ScalarValue::Float64(Some(v))),
        "[^\0]*".prop_map(|v| ScalarValue::Utf8(Some(v))),
        any::<Vec<u8>>().prop_map(|v| ScalarValue::Binary(Some(v))),
        (-719_162i32..2_932_896).prop_map(|v| ScalarValue::Date32(Some(v))),
        micros
            .clone()
            .prop_map(|v| ScalarValue::TimestampMicrosecond(Some(v), None)),
        micros.prop_map(|v| ScalarValue::TimestampMicrosecond(Some(v), Some("UTC".into()))),
        (0i64..86_400_000_000).prop_map(|v| ScalarValue::Time64Microsecond(Some(v))),
        (any::<i64>(), 0i8..18).prop_map(|(v, s)| ScalarValue::Decimal128(
            Some(i128::from(v)),
            38,
            s
        )),
        (any::<i128>(), any::<i64>()).prop_map(|(v, low)| {
            // 57 digits at most, with any ending, so that groups of all shapes come up.
            let value = i256::from_i128(v / 1_000)
                .wrapping_mul(i256::from_i128(i128::from(low.unsigned_abs())));
            ScalarValue::Decimal256(Some(value), 76, 20)
        }),
        proptest::collection::vec(any::<Option<i32>>(), 0..5).prop_map(|items| {
            let items: Vec<ScalarValue> = items.into_iter().map(ScalarValue::Int32).collect();
            ScalarValue::List(ScalarValue::new_list(&items, &DataType::Int32, true))
        }),
        proptest::collection::vec(proptest::option::of("[^\0]*"), 0..5).prop_map(|items| {
            let items: Vec<ScalarValue> = items.into_iter().map(ScalarValue::Utf8).collect();
            ScalarValue::List(ScalarValue::new_list(&items, &DataType::Utf8, true))
        }),
    ]
}

proptest! {
    #[test]
    fn values_come_back_as_they_went(scalar in scalars(), binary in any::<bool>()) {
        let format = if binary { Format::Binary } else { Format::Text };
        let field = Field::new("c", scalar.data_type(), true);
        prop_assert_eq!(round_trip(&scalar, &field, format), scalar);
    }
}
