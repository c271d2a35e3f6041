//! Numerics by hand-made bytes; everything else is compared with a real server in `tests/`.

use super::*;

/// numeric's binary form.
fn numeric(weight: i16, sign: u16, groups: &[u16]) -> Vec<u8> {
    let mut raw = Vec::new();
    raw.extend((groups.len() as u16).to_be_bytes());
    raw.extend(weight.to_be_bytes());
    raw.extend(sign.to_be_bytes());
    raw.extend(0u16.to_be_bytes());
    for group in groups {
        raw.extend(group.to_be_bytes());
    }
    raw
}

#[test]
fn numerics_are_exact_or_refused() {
    let reader = NumericReader::new(15, 2, false);
    assert_eq!(reader.read_i128(&numeric(0, 0, &[1, 5000])).unwrap(), 150);
    assert_eq!(
        reader.read_i128(&numeric(1, 0x4000, &[12, 3456])).unwrap(),
        -12_345_600
    );
    assert_eq!(reader.read_i128(&numeric(0, 0, &[])).unwrap(), 0);
    assert!(
        reader
            .read_i128(&numeric(0, 0, &[1, 5678]))
            .unwrap_err()
            .what
            .contains("rounded")
    );
    assert!(
        reader
            .read_i128(&numeric(5, 0, &[1]))
            .unwrap_err()
            .what
            .contains("before the point")
    );
    assert!(
        reader
            .read_i128(&numeric(0, 0xC000, &[]))
            .unwrap_err()
            .what
            .contains("NaN")
    );
    assert!(reader.read_i128(&[0, 1, 0]).is_err());
}

#[test]
fn wide_numerics_use_all_their_digits() {
    let reader = NumericReader::new(76, 20, true);
    // 56 nines before the point, 20 after it.
    let groups = [9999u16; 19];
    let value = reader.read_i256(&numeric(13, 0, &groups)).unwrap();
    assert_eq!(value.to_string(), "9".repeat(76));
    // One digit more on either side.
    let mut one_more = groups.to_vec();
    one_more.insert(0, 1);
    assert!(reader.read_i256(&numeric(14, 0, &one_more)).is_err());
    assert!(reader.read_i256(&numeric(-6, 0, &[9000])).is_err());
    assert_eq!(reader.read_i256(&numeric(-5, 0, &[1])).unwrap(), i256_of(1));
}

fn i256_of(value: i128) -> arrow::datatypes::i256 {
    arrow::datatypes::i256::from_i128(value)
}

#[test]
fn broken_bytes_are_errors_and_never_panics() {
    let types = [
        ColumnType::Bool,
        ColumnType::Int4,
        ColumnType::FreeNumeric,
        ColumnType::Uuid,
        ColumnType::Jsonb,
        ColumnType::Interval,
        ColumnType::List(Box::new(crate::types::ListType {
            item: ColumnType::Int4,
            native: "integer".into(),
        })),
    ];
    for column in types {
        let mut decoder = Decoder::new(&column, &column.data_type(), 1, false).unwrap();
        for length in [0, 3, 5, 7, 11, 13, 21] {
            let _ = decoder.append(&vec![0xff; length]);
        }
    }
}
