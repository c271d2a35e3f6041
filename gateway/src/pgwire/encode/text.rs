//! Booleans, strings, bytes, uuid and JSON text.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    GenericBinaryArray, GenericStringArray, OffsetSizeTrait, StringViewArray,
};
use arrow::datatypes::DataType;
use sluice_spi::{Error, Result, SqlState};

use super::{Format, Style, Values, Written};
use crate::pgwire::types::{PgType, oid};

/// A column of nothing but NULL.
pub(super) struct Nothing;

impl Values for Nothing {
    fn write(&self, _row: usize, _out: &mut Vec<u8>) -> Written {
        Ok(())
    }
}

pub(super) fn boolean(array: BooleanArray, format: Format) -> Box<dyn Values> {
    let (no, yes) = match format {
        Format::Text => (b'f', b't'),
        Format::Binary => (0, 1),
    };
    Box::new(Boolean { array, no, yes })
}

struct Boolean {
    array: BooleanArray,
    no: u8,
    yes: u8,
}

impl Values for Boolean {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.push(if self.array.value(row) {
            self.yes
        } else {
            self.no
        });
        Ok(())
    }
}

/// Anything that gives a row's bytes.
trait Bytes: Send + Sync {
    fn bytes(&self, row: usize) -> &[u8];
}

impl<O: OffsetSizeTrait> Bytes for GenericStringArray<O> {
    #[inline]
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row).as_bytes()
    }
}

impl Bytes for StringViewArray {
    #[inline]
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row).as_bytes()
    }
}

impl<O: OffsetSizeTrait> Bytes for GenericBinaryArray<O> {
    #[inline]
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

impl Bytes for BinaryViewArray {
    #[inline]
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

impl Bytes for FixedSizeBinaryArray {
    #[inline]
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

/// PostgreSQL stores the length of `character(n)` with four bytes of header added.
const VARHDRSZ: i32 = 4;

/// A string column. Text is the same in both formats, but for `jsonb` and `uuid`.
pub(super) fn string(array: &ArrayRef, pg_type: PgType, format: Format) -> Result<Box<dyn Values>> {
    fn of<B: Bytes + 'static>(array: B, pg_type: PgType, format: Format) -> Box<dyn Values> {
        match (pg_type.oid, format) {
            (oid::BPCHAR, _) if pg_type.modifier > VARHDRSZ => {
                let length = usize::try_from(pg_type.modifier - VARHDRSZ).unwrap_or(0);
                Box::new(Padded(array, length))
            }
            (oid::JSONB, Format::Binary) => Box::new(JsonbBinary(array)),
            (oid::UUID, Format::Binary) => Box::new(UuidTextToBinary(array)),
            _ => Box::new(Verbatim(array)),
        }
    }
    Ok(match array.data_type() {
        DataType::Utf8 => of(array.as_string::<i32>().clone(), pg_type, format),
        DataType::LargeUtf8 => of(array.as_string::<i64>().clone(), pg_type, format),
        DataType::Utf8View => of(array.as_string_view().clone(), pg_type, format),
        other => return Err(Error::internal(format!("{other} is not a string type"))),
    })
}

struct Verbatim<B>(B);

impl<B: Bytes> Values for Verbatim<B> {
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.extend_from_slice(self.0.bytes(row));
        Ok(())
    }
}

/// `character(n)`, which travels without its padding.
struct Padded<B>(B, usize);

impl<B: Bytes> Values for Padded<B> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let text = self.0.bytes(row);
        out.extend_from_slice(text);
        // Characters, not bytes: the ones that continue another are 10xxxxxx.
        let length = text.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        out.resize(out.len() + self.1.saturating_sub(length), b' ');
        Ok(())
    }
}

struct JsonbBinary<B>(B);

impl<B: Bytes> Values for JsonbBinary<B> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        // `jsonb_send`: version 1, then text.
        out.push(1);
        out.extend_from_slice(self.0.bytes(row));
        Ok(())
    }
}

struct UuidTextToBinary<B>(B);

impl<B: Bytes> Values for UuidTextToBinary<B> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let text = self.0.bytes(row);
        match uuid::Uuid::try_parse_ascii(text) {
            Ok(uuid) => out.extend_from_slice(uuid.as_bytes()),
            Err(_) => {
                return Err(Box::new(Error::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    format!(
                        "invalid input syntax for type uuid: \"{}\"",
                        String::from_utf8_lossy(text)
                    ),
                )));
            }
        }
        Ok(())
    }
}

/// A uuid column that travels as sixteen bytes.
pub(super) fn uuid_bytes(array: &ArrayRef, format: Format) -> Result<Box<dyn Values>> {
    let Some(array) = array
        .as_fixed_size_binary_opt()
        .filter(|a| a.value_length() == 16)
    else {
        return Err(Error::internal(format!(
            "{} cannot hold a uuid",
            array.data_type()
        )));
    };
    let array = array.clone();
    Ok(match format {
        Format::Binary => Box::new(Verbatim(array)),
        Format::Text => Box::new(UuidText(array)),
    })
}

struct UuidText(FixedSizeBinaryArray);

impl Values for UuidText {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        if let Ok(uuid) = uuid::Uuid::from_slice(self.0.value(row)) {
            out.extend_from_slice(
                uuid.hyphenated()
                    .encode_lower(&mut uuid::Uuid::encode_buffer())
                    .as_bytes(),
            );
        }
        Ok(())
    }
}

/// A bytes column.
pub(super) fn bytea(array: &ArrayRef, format: Format, style: &Style) -> Result<Box<dyn Values>> {
    fn of<B: Bytes + 'static>(array: B, format: Format, escape: bool) -> Box<dyn Values> {
        match (format, escape) {
            (Format::Binary, _) => Box::new(Verbatim(array)),
            (Format::Text, false) => Box::new(Hex(array)),
            (Format::Text, true) => Box::new(Escape(array)),
        }
    }
    let escape = style.bytea_escape;
    Ok(match array.data_type() {
        DataType::Binary => of(array.as_binary::<i32>().clone(), format, escape),
        DataType::LargeBinary => of(array.as_binary::<i64>().clone(), format, escape),
        DataType::BinaryView => of(array.as_binary_view().clone(), format, escape),
        DataType::FixedSizeBinary(_) => of(array.as_fixed_size_binary().clone(), format, escape),
        other => return Err(Error::internal(format!("{other} is not a bytes type"))),
    })
}

const HEX: &[u8; 16] = b"0123456789abcdef";

struct Hex<B>(B);

impl<B: Bytes> Values for Hex<B> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let bytes = self.0.bytes(row);
        out.reserve(2 + bytes.len() * 2);
        out.extend_from_slice(b"\\x");
        for byte in bytes {
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        Ok(())
    }
}

struct Escape<B>(B);

impl<B: Bytes> Values for Escape<B> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        for &byte in self.0.bytes(row) {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b' '..=b'~' => out.push(byte),
                _ => out.extend_from_slice(&[
                    b'\\',
                    b'0' + (byte >> 6),
                    b'0' + ((byte >> 3) & 7),
                    b'0' + (byte & 7),
                ]),
            }
        }
        Ok(())
    }
}
