//! Arrays as PostgreSQL arrays; structs and maps as jsonb.

use arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sluice_spi::{Error, Result, SqlState, types};

use super::{Column, Format, Style, Values, Written, bind, unwrap_encoding};
use crate::pgwire::types::{PgType, oid};

/// The items of each row of a list array, as a range of one array.
struct Ranges {
    ends: Vec<usize>,
}

impl Ranges {
    fn of(array: &ArrayRef) -> Result<(Ranges, ArrayRef)> {
        let (ends, items): (Vec<usize>, ArrayRef) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                (
                    list.offsets().iter().map(|o| *o as usize).collect(),
                    list.values().clone(),
                )
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                (
                    list.offsets().iter().map(|o| *o as usize).collect(),
                    list.values().clone(),
                )
            }
            DataType::FixedSizeList(_, size) => {
                let list = array.as_fixed_size_list();
                (
                    (0..=list.len()).map(|row| row * *size as usize).collect(),
                    list.values().clone(),
                )
            }
            other => return Err(Error::internal(format!("{other} is not a list type"))),
        };
        Ok((Ranges { ends }, items))
    }

    fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.ends[row]..self.ends[row + 1]
    }
}

fn item_field(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        DataType::ListView(item) | DataType::LargeListView(item) => Some(item),
        _ => None,
    }
}

/// Chooses the writer of a list column.
pub(super) fn list(
    array: &ArrayRef,
    field: &Field,
    pg_type: PgType,
    format: Format,
    style: &Style,
) -> Result<Box<dyn Values>> {
    let level = Level::new(array, format, style)?;
    Ok(match format {
        Format::Text if matches!(pg_type.oid, oid::INT2VECTOR | oid::OIDVECTOR) => {
            Box::new(VectorText(level))
        }
        Format::Text => Box::new(ArrayText(level)),
        Format::Binary => {
            let mut item = item_field(field.data_type());
            while let Some(inner) = item.and_then(|field| item_field(field.data_type())) {
                item = Some(inner);
            }
            let element = match pg_type.oid {
                oid::INT2VECTOR => oid::INT2,
                oid::OIDVECTOR => oid::OID,
                _ => item.map_or(oid::TEXT, |item| PgType::of_field(item).oid),
            };
            let lower_bound = i32::from(!matches!(pg_type.oid, oid::INT2VECTOR | oid::OIDVECTOR));
            Box::new(ArrayBinary {
                level,
                element,
                lower_bound,
            })
        }
    })
}

/// One dimension: where each array begins and ends, and what is in it.
struct Level {
    ranges: Ranges,
    items: Items,
}

enum Items {
    Lists {
        nulls: Option<arrow::buffer::NullBuffer>,
        level: Box<Level>,
    },
    Elements(Column),
}

impl Level {
    fn new(array: &ArrayRef, format: Format, style: &Style) -> Result<Level> {
        let (ranges, items) = Ranges::of(array)?;
        let items = unwrap_encoding(&items)?;
        let field = item_field(array.data_type())
            .ok_or_else(|| Error::internal(format!("{} is not a list type", array.data_type())))?;
        let items = if item_field(items.data_type()).is_some() {
            Items::Lists {
                nulls: items.logical_nulls(),
                level: Box::new(Level::new(&items, format, style)?),
            }
        } else {
            Items::Elements(bind(&items, field, PgType::of_field(field), format, style)?)
        };
        Ok(Level { ranges, items })
    }

    fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.push(b'{');
        for (index, item) in self.ranges.row(row).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match &self.items {
                Items::Lists { nulls, .. } if nulls.as_ref().is_some_and(|n| n.is_null(item)) => {
                    out.extend_from_slice(b"NULL");
                }
                Items::Lists { level, .. } => level.write_text(item, out)?,
                Items::Elements(column) if column.is_null(item) => out.extend_from_slice(b"NULL"),
                Items::Elements(column) => {
                    let start = out.len();
                    column.values.write(item, out)?;
                    quote_element(start, out);
                }
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// The length of each dimension below and including this one; an error when rows differ.
    fn dimensions(&self, row: usize, found: &mut Vec<usize>) -> Written {
        let range = self.ranges.row(row);
        found.push(range.len());
        if let Items::Lists { level, nulls } = &self.items {
            let mut first: Option<Vec<usize>> = None;
            for item in range {
                let mut below = Vec::new();
                if !nulls.as_ref().is_some_and(|n| n.is_null(item)) {
                    level.dimensions(item, &mut below)?;
                }
                match &first {
                    None => first = Some(below),
                    Some(first) if *first != below => {
                        return Err(Box::new(Error::new(
                            SqlState::from_source("2202E"),
                            "multidimensional arrays must have sub-arrays with matching dimensions",
                        )));
                    }
                    Some(_) => {}
                }
            }
            found.extend(first.unwrap_or_default());
        }
        Ok(())
    }

    fn has_null(&self, row: usize) -> bool {
        self.ranges.row(row).any(|item| match &self.items {
            Items::Lists { level, .. } => level.has_null(item),
            Items::Elements(column) => column.is_null(item),
        })
    }

    fn write_elements(&self, row: usize, out: &mut Vec<u8>) -> Written {
        for item in self.ranges.row(row) {
            match &self.items {
                Items::Lists { level, .. } => level.write_elements(item, out)?,
                Items::Elements(column) => column.write_sized(item, out)?,
            }
        }
        Ok(())
    }
}

struct ArrayText(Level);

impl Values for ArrayText {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        self.0.write_text(row, out)
    }
}

/// `int2vector` and `oidvector` print without braces, separated by spaces.
struct VectorText(Level);

impl Values for VectorText {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        for (index, item) in self.0.ranges.row(row).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            if let Items::Elements(column) = &self.0.items {
                column.values.write(item, out)?;
            }
        }
        Ok(())
    }
}

/// Quotes the element just written from `start` on, where `array_out` would.
fn quote_element(start: usize, out: &mut Vec<u8>) {
    let element = &out[start..];
    let special = |byte: &u8| {
        matches!(
            byte,
            b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r'
        )
    };
    if !element.is_empty() && !element.eq_ignore_ascii_case(b"NULL") && !element.iter().any(special)
    {
        return;
    }
    let element = out.split_off(start);
    out.push(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// `array_send`: dimensions, a flag for NULLs, the element type, then sized elements.
struct ArrayBinary {
    level: Level,
    element: u32,
    lower_bound: i32,
}

impl Values for ArrayBinary {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let mut dimensions = Vec::new();
        self.level.dimensions(row, &mut dimensions)?;
        if dimensions.contains(&0) {
            dimensions.clear();
        }
        out.extend_from_slice(&(dimensions.len() as i32).to_be_bytes());
        out.extend_from_slice(&i32::from(self.level.has_null(row)).to_be_bytes());
        out.extend_from_slice(&self.element.to_be_bytes());
        for length in &dimensions {
            out.extend_from_slice(&(*length as i32).to_be_bytes());
            out.extend_from_slice(&self.lower_bound.to_be_bytes());
        }
        if dimensions.is_empty() {
            Ok(())
        } else {
            self.level.write_elements(row, out)
        }
    }
}

/// Chooses the writer of a struct or map column.
pub(super) fn json(
    array: &ArrayRef,
    field: &Field,
    format: Format,
    style: &Style,
) -> Result<Box<dyn Values>> {
    Ok(Box::new(Json {
        node: Node::new(array, field, style)?,
        binary: format == Format::Binary,
    }))
}

struct Json {
    node: Node,
    binary: bool,
}

impl Values for Json {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        if self.binary {
            out.push(1);
        }
        self.node.write(row, out)
    }
}

/// A value of a JSON document, spelled as jsonb prints it (a space after `:` and `,`).
enum Node {
    /// Numbers and booleans: their text is JSON. Floats may not be (NaN), and are quoted then.
    Bare(Column),
    /// JSON text inside of JSON.
    Raw(Column),
    /// Any other value: its text, quoted.
    Quoted(Column),
    /// A boolean prints in full.
    Boolean(ArrayRef),
    List {
        array: ArrayRef,
        ranges: Ranges,
        items: Box<Node>,
    },
    Struct {
        array: StructArray,
        fields: Vec<(String, Node)>,
    },
    Map {
        array: MapArray,
        keys: Vec<Option<String>>,
        values: Box<Node>,
    },
    /// Timestamps are ISO 8601 in JSON.
    Timestamp {
        array: ArrayRef,
        zone: Option<crate::session::Zone>,
    },
}

impl Node {
    fn new(array: &ArrayRef, field: &Field, style: &Style) -> Result<Node> {
        let array = unwrap_encoding(array)?;
        let pg_type = PgType::of_field(field);
        let column = |array: &ArrayRef| bind(array, field, pg_type, Format::Text, style);
        Ok(match array.data_type() {
            DataType::Boolean => Node::Boolean(array),
            data_type if data_type.is_numeric() => Node::Bare(column(&array)?),
            DataType::Timestamp(_, zone) => {
                let unit = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let zone = zone.as_ref().map(|_| style.zone.clone());
                let array = arrow::compute::cast(&array, &unit)
                    .map_err(|error| Error::new(SqlState::DATETIME_OVERFLOW, error.to_string()))?;
                Node::Timestamp { array, zone }
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let (ranges, items) = Ranges::of(&array)?;
                let items = Box::new(Node::new(&items, item, style)?);
                Node::List {
                    array,
                    ranges,
                    items,
                }
            }
            DataType::Struct(children) => {
                let structs = array.as_struct().clone();
                let fields = children
                    .iter()
                    .zip(structs.columns())
                    .map(|(child, column)| {
                        Ok((child.name().clone(), Node::new(column, child, style)?))
                    })
                    .collect::<Result<_>>()?;
                Node::Struct {
                    array: structs,
                    fields,
                }
            }
            DataType::Map(..) => {
                let map = array.as_map().clone();
                let entries = map.entries();
                let keys = spell_keys(map.keys())?;
                let value_field = entries.fields().get(1).cloned();
                let value_field =
                    value_field.ok_or_else(|| Error::internal("a map without values"))?;
                let values = Box::new(Node::new(map.values(), &value_field, style)?);
                Node::Map {
                    array: map,
                    keys,
                    values,
                }
            }
            _ => match types::pg_type(field) {
                Some("json" | "jsonb") => Node::Raw(column(&array)?),
                _ => Node::Quoted(column(&array)?),
            },
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Node::Bare(column) | Node::Raw(column) | Node::Quoted(column) => column.is_null(row),
            Node::Boolean(array) | Node::List { array, .. } | Node::Timestamp { array, .. } => {
                array.is_null(row)
            }
            Node::Struct { array, .. } => array.is_null(row),
            Node::Map { array, .. } => array.is_null(row),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Node::Boolean(array) => {
                out.extend_from_slice(if array.as_boolean().value(row) {
                    b"true"
                } else {
                    b"false"
                });
            }
            Node::Bare(column) => {
                let start = out.len();
                column.values.write(row, out)?;
                if out[start..].ends_with(b"NaN") || out[start..].ends_with(b"Infinity") {
                    let word = out.split_off(start);
                    write_json_string(&word, out);
                }
            }
            Node::Raw(column) => column.values.write(row, out)?,
            Node::Quoted(column) => {
                let start = out.len();
                column.values.write(row, out)?;
                let text = out.split_off(start);
                write_json_string(&text, out);
            }
            Node::Timestamp { array, zone } => {
                let micros = array
                    .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
                    .value(row);
                out.push(b'"');
                super::datetime::write_timestamp(micros, zone.as_ref(), b'T', out);
                out.push(b'"');
            }
            Node::List { ranges, items, .. } => {
                out.push(b'[');
                for (index, item) in ranges.row(row).enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    items.write(item, out)?;
                }
                out.push(b']');
            }
            Node::Struct { fields, .. } => {
                out.push(b'{');
                for (index, (name, node)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_json_string(name.as_bytes(), out);
                    out.extend_from_slice(b": ");
                    node.write(row, out)?;
                }
                out.push(b'}');
            }
            Node::Map {
                array,
                keys,
                values,
            } => {
                let offsets = array.value_offsets();
                out.push(b'{');
                for (index, entry) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate()
                {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_json_string(keys[entry].as_deref().unwrap_or("").as_bytes(), out);
                    out.extend_from_slice(b": ");
                    values.write(entry, out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

/// A map's keys as text: JSON has no other keys.
fn spell_keys(keys: &ArrayRef) -> Result<Vec<Option<String>>> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(keys, &options)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok((0..keys.len())
        .map(|row| (!keys.is_null(row)).then(|| formatter.value(row).to_string()))
        .collect())
}

fn write_json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
