//! Rows of a system relation, pushed by column name and kept as Arrow columns.
//!
//! A filler names only the columns it knows; every other is NULL. Values are checked against the
//! declared type when the batch is finished, so a filler cannot disagree with the relation's shape.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, IntervalMonthDayNanoBuilder, ListBuilder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMicrosecondBuilder, UInt32Builder, new_null_array,
};
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano, IntervalUnit};
use sluice_spi::{Error, Result};

use super::relations::SystemRelation;

/// One value of a system relation.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// Any integer or OID.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text of any text-like type.
    Str(&'a str),
    /// The same, made for this row.
    Text(String),
    /// An array of integers or OIDs.
    Ints(Vec<i64>),
    /// An array of text.
    Strs(Vec<String>),
    /// An instant, microseconds since 1970 in UTC.
    Instant(i64),
    /// An interval of whole seconds.
    Seconds(i64),
}

impl Value<'_> {
    /// A text or NULL.
    pub(crate) fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Value::Null, |t| Value::Text(t.into()))
    }

    /// An OID or NULL.
    pub(crate) fn int(value: Option<i64>) -> Self {
        value.map_or(Value::Null, Value::Int)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Value::Int(i64::from(value))
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Str(value)
    }
}

/// Collects the rows of one relation.
pub(crate) struct Rows {
    relation: &'static SystemRelation,
    columns: Vec<Column>,
    /// Where the n-th named value of the last row went: rows of one filler name the same columns.
    order: Vec<usize>,
    count: usize,
}

impl Rows {
    /// No rows yet.
    pub(crate) fn new(relation: &'static SystemRelation) -> Self {
        let columns = relation.arrow.fields().iter().map(Column::new).collect();
        Rows {
            relation,
            columns,
            order: Vec::new(),
            count: 0,
        }
    }

    /// Adds a row. Columns that are not named are NULL; a name that does not exist is our own mistake,
    /// which [`Rows::finish`] reports.
    pub(crate) fn push(&mut self, row: &[(&'static str, Value<'_>)]) {
        for (index, (name, value)) in row.iter().enumerate() {
            let remembered = self
                .order
                .get(index)
                .copied()
                .filter(|at| self.relation.columns[*at].0 == *name);
            let at = match remembered.or_else(|| self.relation.position(name)) {
                Some(at) => at,
                None => {
                    debug_assert!(false, "no column {name} in {}", self.relation.name);
                    continue;
                }
            };
            if self.order.len() <= index {
                self.order.resize(index + 1, 0);
            }
            self.order[index] = at;
            let column = &mut self.columns[at];
            column.pad_to(self.count);
            column.push(value);
        }
        self.count += 1;
    }

    /// The batch of all rows.
    pub(crate) fn finish(self) -> Result<RecordBatch> {
        let count = self.count;
        let schema = self.relation.arrow.clone();
        let arrays = self
            .columns
            .into_iter()
            .zip(schema.fields())
            .map(|(column, field)| column.finish(count, field))
            .collect::<Vec<ArrayRef>>();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|error| {
            Error::internal(format!("system relation {}: {error}", self.relation.name))
        })
    }
}

/// A builder for one column. The types are those of `relations::arrow_field`.
enum Column {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Instant(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    Int16s(ListBuilder<Int16Builder>),
    UInt32s(ListBuilder<UInt32Builder>),
    Texts(ListBuilder<StringBuilder>),
    /// A type that no filler produces.
    Never,
}

macro_rules! each_builder {
    ($column:expr, $b:ident => $body:expr, never => $never:expr) => {
        match $column {
            Column::Bool($b) => $body,
            Column::Int16($b) => $body,
            Column::Int32($b) => $body,
            Column::Int64($b) => $body,
            Column::UInt32($b) => $body,
            Column::Float32($b) => $body,
            Column::Float64($b) => $body,
            Column::Text($b) => $body,
            Column::Instant($b) => $body,
            Column::Interval($b) => $body,
            Column::Int16s($b) => $body,
            Column::UInt32s($b) => $body,
            Column::Texts($b) => $body,
            Column::Never => $never,
        }
    };
}

impl Column {
    fn new(field: &FieldRef) -> Self {
        match field.data_type() {
            DataType::Boolean => Column::Bool(BooleanBuilder::new()),
            DataType::Int16 => Column::Int16(Int16Builder::new()),
            DataType::Int32 => Column::Int32(Int32Builder::new()),
            DataType::Int64 => Column::Int64(Int64Builder::new()),
            DataType::UInt32 => Column::UInt32(UInt32Builder::new()),
            DataType::Float32 => Column::Float32(Float32Builder::new()),
            DataType::Float64 => Column::Float64(Float64Builder::new()),
            DataType::Utf8 => Column::Text(StringBuilder::new()),
            DataType::Timestamp(_, zone) => {
                Column::Instant(TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Column::Interval(IntervalMonthDayNanoBuilder::new())
            }
            DataType::List(item) => match item.data_type() {
                DataType::Int16 => {
                    Column::Int16s(ListBuilder::new(Int16Builder::new()).with_field(item.clone()))
                }
                DataType::UInt32 => {
                    Column::UInt32s(ListBuilder::new(UInt32Builder::new()).with_field(item.clone()))
                }
                DataType::Utf8 => {
                    Column::Texts(ListBuilder::new(StringBuilder::new()).with_field(item.clone()))
                }
                _ => Column::Never,
            },
            _ => Column::Never,
        }
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        each_builder!(self, b => b.len(), never => 0)
    }

    fn push_null(&mut self) {
        each_builder!(self, b => b.append_null(), never => ());
    }

    fn pad_to(&mut self, rows: usize) {
        while self.len() < rows && !matches!(self, Column::Never) {
            self.push_null();
        }
    }

    fn push(&mut self, value: &Value<'_>) {
        match (&mut *self, value) {
            (Column::Bool(b), Value::Bool(v)) => b.append_value(*v),
            (Column::Int16(b), Value::Int(v)) => b.append_option(i16::try_from(*v).ok()),
            (Column::Int32(b), Value::Int(v)) => b.append_option(i32::try_from(*v).ok()),
            (Column::Int64(b), Value::Int(v)) => b.append_value(*v),
            (Column::UInt32(b), Value::Int(v)) => b.append_option(u32::try_from(*v).ok()),
            (Column::Float32(b), Value::Float(v)) => b.append_value(*v as f32),
            (Column::Float64(b), Value::Float(v)) => b.append_value(*v),
            (Column::Text(b), Value::Str(v)) => b.append_value(v),
            (Column::Text(b), Value::Text(v)) => b.append_value(v),
            (Column::Instant(b), Value::Instant(v)) => b.append_value(*v),
            (Column::Interval(b), Value::Seconds(v)) => {
                b.append_value(IntervalMonthDayNano::new(0, 0, v * 1_000_000_000));
            }
            (Column::Int16s(b), Value::Ints(v)) => {
                b.append_value(v.iter().map(|v| i16::try_from(*v).ok()));
            }
            (Column::UInt32s(b), Value::Ints(v)) => {
                b.append_value(v.iter().map(|v| u32::try_from(*v).ok()));
            }
            (Column::Texts(b), Value::Strs(v)) => b.append_value(v.iter().map(Some)),
            (column, value) => {
                debug_assert!(
                    matches!(value, Value::Null),
                    "{value:?} does not fit its column"
                );
                column.push_null();
            }
        }
    }

    fn finish(mut self, rows: usize, field: &FieldRef) -> ArrayRef {
        if self.len() == 0 {
            return new_null_array(field.data_type(), rows);
        }
        self.pad_to(rows);
        each_builder!(&mut self, b => Arc::new(b.finish()), never => new_null_array(field.data_type(), rows))
    }
}
