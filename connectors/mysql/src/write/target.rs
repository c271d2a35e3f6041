//! Columns that are there already, and what they take: just the values that they give back. MySQL takes
//! `70` for the year 1970, the text `'2'` for an enum's second label, and the text `'1'` for the bits of a
//! character.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use sluice_spi::{Error, Literal, Result, SqlState, TableMetadata};

use super::values::{Refusal, plain, write_value};
use crate::facts::Facts;
use crate::types::ColumnType;

/// Microseconds from 1970 to 2000, where PostgreSQL's timestamps begin.
const EPOCH_2000: i64 = 946_684_800_000_000;

/// What a column takes.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Whatever the server does not refuse in strict mode.
    Plain,
    Year,
    Bits(u16),
    /// Digits of a second after the point.
    Moment(u8),
    Label(Vec<String>),
    Labels(Vec<String>),
}

/// A column that rows are written to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) name: String,
    kind: Kind,
}

impl Target {
    /// A column that was made for the rows.
    pub(super) fn made(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            kind: Kind::Plain,
        }
    }

    /// The column `name` of a table.
    pub(super) fn of(table: &TableMetadata, name: &str) -> Result<Target> {
        let facts = Facts::of(&table.handle)?;
        let found = table
            .columns
            .iter()
            .zip(&facts.columns)
            .find(|(column, _)| column.field.name() == name);
        let Some((column, column_type)) = found else {
            return Err(Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!(
                    "column \"{name}\" of relation \"{}\" does not exist",
                    table.name
                ),
            ));
        };
        Ok(Target {
            name: name.to_owned(),
            kind: Kind::of(column_type, &column.native_type),
        })
    }

    /// True where every value of another column of that type may go here unchanged.
    pub(super) fn takes_all_of(&self, own: &ColumnType, other: &ColumnType) -> bool {
        match self.kind {
            Kind::Plain => true,
            Kind::Label(_) | Kind::Labels(_) => false,
            _ => own == other,
        }
    }

    /// True where the server refuses whatever the column cannot hold.
    pub(super) fn is_plain(&self) -> bool {
        self.kind == Kind::Plain
    }

    /// Writes a value of an array that is [`plain`], as a constant.
    pub(super) fn write(&self, array: &ArrayRef, row: usize, out: &mut String) -> Result<()> {
        if array.is_null(row) {
            out.push_str("NULL");
            return Ok(());
        }
        let outcome = match &self.kind {
            Kind::Plain => write_value(array, row, out),
            Kind::Year => match whole_number(array, row) {
                Some(year) if year == 0 || (1901..=2155).contains(&year) => {
                    write_value(array, row, out)
                }
                _ => Err(Refusal::OutOfRange("is not a year of 1901 to 2155")),
            },
            Kind::Bits(bits) => write_bits(array, row, *bits, out),
            Kind::Moment(fraction) => write_moment(array, row, *fraction, out),
            Kind::Label(labels) => match text(array, row) {
                Some(label) if labels.iter().any(|known| known == label) => {
                    write_value(array, row, out)
                }
                _ => Err(Refusal::Invalid("is not a label of the column's enum")),
            },
            Kind::Labels(labels) => match text(array, row) {
                Some(set) if set.is_empty() || is_subset(set, labels) => {
                    write_value(array, row, out)
                }
                _ => Err(Refusal::Invalid("is not a list of the column's labels")),
            },
        };
        outcome.map_err(|refusal| refusal.of(&self.name))
    }

    /// A constant of a statement.
    pub(super) fn literal(&self, literal: &Literal) -> Result<String> {
        let array = literal
            .to_scalar()
            .to_array()
            .map_err(|e| Error::internal(format!("a constant cannot be written: {e}")))?;
        self.constant(&array)
    }

    /// A value on its own.
    pub(super) fn constant(&self, array: &ArrayRef) -> Result<String> {
        let mut out = String::new();
        self.write(&plain(array)?, 0, &mut out)?;
        Ok(out)
    }
}

impl Kind {
    fn of(column_type: &ColumnType, native: &str) -> Kind {
        match column_type {
            ColumnType::Year => Kind::Year,
            ColumnType::Bit { bits } => Kind::Bits(*bits),
            ColumnType::DateTime { fraction } | ColumnType::Timestamp { fraction } => {
                Kind::Moment(*fraction)
            }
            ColumnType::Text(text) if text.is_label => match native.strip_prefix("set") {
                Some(list) => Kind::Labels(labels(list)),
                None => Kind::Label(labels(native.strip_prefix("enum").unwrap_or(native))),
            },
            _ => Kind::Plain,
        }
    }
}

/// `('a','it''s')`, as information_schema spells a list.
fn labels(list: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' if letters.peek() == Some(&'\'') => {
                    letters.next();
                    label.push('\'');
                }
                '\'' => break,
                other => label.push(other),
            }
        }
        labels.push(label);
    }
    labels
}

/// Labels of a set, each once and in the order in which the server gives them back.
fn is_subset(set: &str, labels: &[String]) -> bool {
    let mut rest = labels.iter();
    set.split(',').all(|label| rest.any(|known| known == label))
}

fn text(array: &ArrayRef, row: usize) -> Option<&str> {
    Some(array.as_string_view_opt()?.value(row))
}

fn whole_number(array: &ArrayRef, row: usize) -> Option<i64> {
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        _ => return None,
    })
}

/// `bit(n)` is text of 0 and 1 here.
fn write_bits(
    array: &ArrayRef,
    row: usize,
    bits: u16,
    out: &mut String,
) -> std::result::Result<(), Refusal> {
    match text(array, row) {
        Some(text)
            if text.len() == usize::from(bits)
                && text.bytes().all(|b| matches!(b, b'0' | b'1')) =>
        {
            let _ = write!(out, "b'{text}'");
            Ok(())
        }
        _ => Err(Refusal::Invalid("is not as many bits as the column has")),
    }
}

/// Rounded as PostgreSQL rounds for such a type: servers differ in that.
fn write_moment(
    array: &ArrayRef,
    row: usize,
    fraction: u8,
    out: &mut String,
) -> std::result::Result<(), Refusal> {
    let unit = 10_i64.pow(6 - u32::from(fraction.min(6)));
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = array.data_type() else {
        return write_value(array, row, out);
    };
    let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
    let rounded = round(micros, unit).ok_or(Refusal::BEYOND)?;
    let rounded = arrow::array::TimestampMicrosecondArray::from(vec![rounded])
        .with_timezone_opt(zone.clone());
    write_value(&(std::sync::Arc::new(rounded) as ArrayRef), 0, out)
}

/// To the next whole `unit`, halves away from 2000-01-01.
fn round(micros: i64, unit: i64) -> Option<i64> {
    let since = micros.checked_sub(EPOCH_2000)?;
    let half = unit / 2 * since.signum();
    (since.checked_add(half)? / unit)
        .checked_mul(unit)?
        .checked_add(EPOCH_2000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int16Array, StringViewArray};

    use super::*;

    fn target(kind: Kind) -> Target {
        Target {
            name: "c".into(),
            kind,
        }
    }

    #[test]
    fn columns_take_what_they_give_back() {
        let text = |kind: &Kind, value: &str| {
            let array: ArrayRef = Arc::new(StringViewArray::from(vec![value]));
            target(kind.clone()).constant(&array).ok()
        };
        let label = Kind::Label(labels("('2','it''s','a,b')"));
        assert_eq!(
            label,
            Kind::Label(vec!["2".into(), "it's".into(), "a,b".into()])
        );
        assert_eq!(text(&label, "2").as_deref(), Some("'2'"));
        assert!(text(&label, "a,b").is_some() && text(&label, "1").is_none());
        let set = Kind::Labels(labels("('a','b','c')"));
        assert_eq!(text(&set, "a,c").as_deref(), Some("'a,c'"));
        assert!(text(&set, "").is_some() && text(&set, "c,a").is_none());
        assert!(text(&set, "3").is_none() && text(&set, "a,a").is_none());
        assert_eq!(text(&Kind::Bits(3), "101").as_deref(), Some("b'101'"));
        assert!(text(&Kind::Bits(3), "1").is_none() && text(&Kind::Bits(1), "x").is_none());
        let year = |year| {
            let array: ArrayRef = Arc::new(Int16Array::from(vec![year]));
            target(Kind::Year).constant(&array)
        };
        assert_eq!(year(1999).unwrap(), "1999");
        let error = year(70).unwrap_err();
        assert_eq!(error.code, SqlState::NUMERIC_OUT_OF_RANGE);
    }

    #[test]
    fn moments_are_rounded_as_by_postgresql() {
        let second = 1_000_000;
        assert_eq!(round(500_000, second), Some(0), "1970 is before 2000");
        assert_eq!(round(500_001, second), Some(second));
        assert_eq!(
            round(EPOCH_2000 + 500_000, second),
            Some(EPOCH_2000 + second)
        );
        assert_eq!(round(EPOCH_2000 + 1_499, 1_000), Some(EPOCH_2000 + 1_000));
        assert_eq!(round(7, 1), Some(7));
        assert_eq!(round(i64::MIN, second), None);
    }
}
