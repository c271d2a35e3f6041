//! From generated rows to Arrow columns: one getter per column, only the projected ones are built.
//!
//! Relies on the generator's row types; knows no table.

use std::fmt::{Display, Write};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Builder, Decimal128Builder, Int32Builder, Int64Builder, StringViewBuilder,
};
use arrow::datatypes::{DataType, Field};
use sluice_spi::types::tagged;
use sluice_spi::{Error, Result};

/// Rows that are generated before they are spread into columns: few enough to stay in the cache, many
/// enough that choosing the column's type costs nothing.
const CHUNK_ROWS: usize = 512;

/// Digits of the benchmark's decimals.
pub(crate) const MONEY_PRECISION: u8 = 15;

/// Digits after the point of the benchmark's decimals.
pub(crate) const MONEY_SCALE: i8 = 2;

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key: bigint.
    Key,
    /// A small number: integer.
    Integer,
    /// numeric(15,2).
    Money,
    /// date.
    Date,
    /// Text of at most so many characters. The benchmark's fixed-length columns are varying here too:
    /// nothing pads, and nothing compares differently.
    Text(u16),
}

impl Kind {
    /// The Arrow field of a column.
    pub(crate) fn field(self, name: &str) -> Field {
        match self {
            Kind::Key => Field::new(name, DataType::Int64, false),
            Kind::Integer => Field::new(name, DataType::Int32, false),
            Kind::Money => Field::new(
                name,
                DataType::Decimal128(MONEY_PRECISION, MONEY_SCALE),
                false,
            ),
            Kind::Date => Field::new(name, DataType::Date32, false),
            Kind::Text(_) => tagged(name, DataType::Utf8View, false, self.native_type()),
        }
    }

    /// The type in SQL's words.
    pub(crate) fn native_type(self) -> String {
        match self {
            Kind::Key => "bigint".into(),
            Kind::Integer => "integer".into(),
            Kind::Money => format!("numeric({MONEY_PRECISION},{MONEY_SCALE})"),
            Kind::Date => "date".into(),
            Kind::Text(length) => format!("character varying({length})"),
        }
    }

    /// Bytes of a value in memory, roughly: views hold up to 12 bytes in place.
    pub(crate) fn bytes_per_value(self) -> u64 {
        match self {
            Kind::Key => 8,
            Kind::Integer | Kind::Date => 4,
            Kind::Money => 16,
            Kind::Text(length) if length <= 12 => 16,
            Kind::Text(length) => 16 + u64::from(length) / 2,
        }
    }
}

/// Reads one column out of a generated row.
pub(crate) enum Get<R: 'static> {
    Key(fn(&R) -> i64),
    Integer(fn(&R) -> i32),
    /// In hundredths.
    Money(fn(&R) -> i64),
    /// In days since 1970-01-01.
    Date(fn(&R) -> i32),
    Text(fn(&R) -> &str),
    /// Text that is only made when it is printed.
    Printed(fn(&R) -> &dyn Display),
}

/// A column of a table whose rows are `R`.
pub(crate) struct Column<R: 'static> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) get: Get<R>,
}

impl<R> Column<R> {
    pub(crate) fn key(name: &'static str, get: fn(&R) -> i64) -> Self {
        Column {
            name,
            kind: Kind::Key,
            get: Get::Key(get),
        }
    }

    pub(crate) fn integer(name: &'static str, get: fn(&R) -> i32) -> Self {
        Column {
            name,
            kind: Kind::Integer,
            get: Get::Integer(get),
        }
    }

    pub(crate) fn money(name: &'static str, get: fn(&R) -> i64) -> Self {
        Column {
            name,
            kind: Kind::Money,
            get: Get::Money(get),
        }
    }

    pub(crate) fn date(name: &'static str, get: fn(&R) -> i32) -> Self {
        Column {
            name,
            kind: Kind::Date,
            get: Get::Date(get),
        }
    }

    pub(crate) fn text(name: &'static str, length: u16, get: fn(&R) -> &str) -> Self {
        Column {
            name,
            kind: Kind::Text(length),
            get: Get::Text(get),
        }
    }

    pub(crate) fn printed(name: &'static str, length: u16, get: fn(&R) -> &dyn Display) -> Self {
        Column {
            name,
            kind: Kind::Text(length),
            get: Get::Printed(get),
        }
    }
}

/// Generated columns of one piece of a table.
pub(crate) trait ColumnSource: Send {
    /// The next rows, `limit` at most, as the projected columns; no rows at the end.
    fn next(&mut self, limit: usize) -> Result<(usize, Vec<ArrayRef>)>;
}

/// Spreads an iterator of rows into columns.
pub(crate) struct Spread<R: 'static, I> {
    rows: I,
    columns: Vec<Column<R>>,
    chunk: Vec<R>,
}

impl<R, I: Iterator<Item = R>> Spread<R, I> {
    /// `projection` are indices into `columns`; it may repeat none.
    pub(crate) fn new(rows: I, columns: Vec<Column<R>>, projection: &[usize]) -> Result<Self> {
        let mut columns: Vec<Option<Column<R>>> = columns.into_iter().map(Some).collect();
        let columns = projection
            .iter()
            .map(|&index| {
                columns
                    .get_mut(index)
                    .and_then(Option::take)
                    .ok_or_else(|| {
                        Error::internal(format!(
                            "projection names column {index} twice or not at all"
                        ))
                    })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Spread {
            rows,
            columns,
            chunk: Vec::with_capacity(CHUNK_ROWS),
        })
    }
}

impl<R: Send, I: Iterator<Item = R> + Send> ColumnSource for Spread<R, I> {
    fn next(&mut self, limit: usize) -> Result<(usize, Vec<ArrayRef>)> {
        let mut builders: Vec<Builder> = self
            .columns
            .iter()
            .map(|column| Builder::new(&column.get, limit))
            .collect();
        let mut total = 0;
        while total < limit {
            self.chunk.clear();
            self.chunk
                .extend(self.rows.by_ref().take(CHUNK_ROWS.min(limit - total)));
            if self.chunk.is_empty() {
                break;
            }
            total += self.chunk.len();
            for (column, builder) in self.columns.iter().zip(&mut builders) {
                builder.extend(&column.get, &self.chunk);
            }
        }
        let arrays = builders
            .into_iter()
            .map(Builder::finish)
            .collect::<Result<_>>()?;
        Ok((total, arrays))
    }
}

/// A column that is being built.
enum Builder {
    Key(Int64Builder),
    Integer(Int32Builder),
    Money(Decimal128Builder),
    Date(Date32Builder),
    Text(StringViewBuilder, String),
}

impl Builder {
    fn new<R>(get: &Get<R>, rows: usize) -> Self {
        match get {
            Get::Key(_) => Builder::Key(Int64Builder::with_capacity(rows)),
            Get::Integer(_) => Builder::Integer(Int32Builder::with_capacity(rows)),
            Get::Money(_) => Builder::Money(Decimal128Builder::with_capacity(rows)),
            Get::Date(_) => Builder::Date(Date32Builder::with_capacity(rows)),
            Get::Text(_) | Get::Printed(_) => {
                Builder::Text(StringViewBuilder::with_capacity(rows), String::new())
            }
        }
    }

    fn extend<R>(&mut self, get: &Get<R>, rows: &[R]) {
        match (self, get) {
            (Builder::Key(builder), Get::Key(get)) => {
                rows.iter().for_each(|r| builder.append_value(get(r)))
            }
            (Builder::Integer(builder), Get::Integer(get)) => {
                rows.iter().for_each(|r| builder.append_value(get(r)));
            }
            (Builder::Money(builder), Get::Money(get)) => {
                rows.iter()
                    .for_each(|r| builder.append_value(get(r).into()));
            }
            (Builder::Date(builder), Get::Date(get)) => {
                rows.iter().for_each(|r| builder.append_value(get(r)))
            }
            (Builder::Text(builder, _), Get::Text(get)) => {
                rows.iter().for_each(|r| builder.append_value(get(r)));
            }
            (Builder::Text(builder, printed), Get::Printed(get)) => {
                for row in rows {
                    printed.clear();
                    // Writing to a String cannot fail.
                    let _ = write!(printed, "{}", get(row));
                    builder.append_value(&*printed);
                }
            }
            // `new` chose the builder from the same getter.
            _ => unreachable!("a column's builder and getter have one type"),
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Builder::Key(mut builder) => Arc::new(builder.finish()),
            Builder::Integer(mut builder) => Arc::new(builder.finish()),
            Builder::Money(builder) => Arc::new(
                builder
                    .with_precision_and_scale(MONEY_PRECISION, MONEY_SCALE)
                    .map_err(|e| Error::internal(e.to_string()))?
                    .finish(),
            ),
            Builder::Date(mut builder) => Arc::new(builder.finish()),
            Builder::Text(mut builder, _) => Arc::new(builder.finish()),
        })
    }
}
