//! How a PostgreSQL function is declared: a name, its overloads, a result type, and a body over one row.
//!
//! Bodies see plain values, not arrays: these functions run over constants and catalog rows, where
//! clarity is worth more than a vectorized loop. An overload is a string with one letter per argument:
//!
//! | letter | takes |
//! | --- | --- |
//! | `t` | text |
//! | `i` | an integer or OID; an untyped literal is read as one |
//! | `b` | a boolean; an untyped literal is read as one |
//! | `f` | any number |
//! | `o` | an OID or a name |
//! | `x` | anything, unchanged |
//! | `*` | any number of further arguments of any type (last letter only) |

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int16Builder, Int32Builder, Int64Builder,
    ListBuilder, StringBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sluice_spi::types::{PG_TYPE, tagged};
use sluice_spi::{Error, SqlState};

use crate::pg_catalog::pg_types::pg_type_of;

/// A result value.
#[derive(Debug, Clone)]
pub(super) enum Out {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer or OID.
    Int(i64),
    /// Text.
    Text(String),
    /// An array of text.
    Texts(Vec<Option<String>>),
    /// An array of integers.
    Ints(Vec<i64>),
    /// Microseconds since 1970, UTC.
    Instant(i64),
}

impl Out {
    /// Text or NULL.
    pub(super) fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Out::Null, |t| Out::Text(t.into()))
    }

    /// An integer or NULL.
    pub(super) fn int(value: Option<i64>) -> Self {
        value.map_or(Out::Null, Out::Int)
    }

    /// A boolean or NULL.
    pub(super) fn bool(value: Option<bool>) -> Self {
        value.map_or(Out::Null, Out::Bool)
    }
}

/// The arguments of one row.
pub(super) struct Row<'a> {
    arrays: &'a [ArrayRef],
    fields: &'a [FieldRef],
    row: usize,
}

impl Row<'_> {
    /// How many arguments there are.
    pub(super) fn len(&self) -> usize {
        self.arrays.len()
    }

    /// Whether an argument is NULL.
    pub(super) fn is_null(&self, at: usize) -> bool {
        self.arrays.get(at).is_none_or(|a| a.is_null(self.row))
    }

    /// An argument as text, if it is text and not NULL.
    pub(super) fn text(&self, at: usize) -> Option<&str> {
        let array = self.arrays.get(at)?.as_string_opt::<i32>()?;
        array.is_valid(self.row).then(|| array.value(self.row))
    }

    /// An argument as integer, if it is one and not NULL.
    pub(super) fn int(&self, at: usize) -> Option<i64> {
        let array = self.arrays.get(at)?.as_primitive_opt::<Int64Type>()?;
        array.is_valid(self.row).then(|| array.value(self.row))
    }

    /// An argument as OID.
    pub(super) fn oid(&self, at: usize) -> Option<u32> {
        u32::try_from(self.int(at)?).ok()
    }

    /// An argument as boolean.
    pub(super) fn bool(&self, at: usize) -> Option<bool> {
        let array = self.arrays.get(at)?.as_boolean_opt()?;
        array.is_valid(self.row).then(|| array.value(self.row))
    }

    /// An argument as float.
    pub(super) fn float(&self, at: usize) -> Option<f64> {
        let array = self.arrays.get(at)?.as_primitive_opt::<Float64Type>()?;
        array.is_valid(self.row).then(|| array.value(self.row))
    }

    /// An argument of any type.
    pub(super) fn any(&self, at: usize) -> Result<ScalarValue> {
        match self.arrays.get(at) {
            Some(array) => ScalarValue::try_from_array(array, self.row),
            None => Ok(ScalarValue::Null),
        }
    }

    /// An argument's field, with its type tag.
    pub(super) fn field(&self, at: usize) -> Option<&FieldRef> {
        self.fields.get(at)
    }

    /// An argument of any type as PostgreSQL's text of it.
    pub(super) fn display(&self, at: usize) -> Result<Option<String>> {
        Ok(match self.any(at)? {
            value if value.is_null() => None,
            ScalarValue::Boolean(Some(value)) => Some(if value { "t" } else { "f" }.to_owned()),
            value => match value.cast_to(&DataType::Utf8)? {
                ScalarValue::Utf8(text) => text,
                other => Some(other.to_string()),
            },
        })
    }
}

type Body = Arc<dyn Fn(&Row<'_>) -> Result<Out> + Send + Sync>;

/// A declared function.
pub(super) struct PgFunction {
    name: &'static str,
    overloads: &'static [&'static str],
    returns: &'static str,
    body: Body,
    signature: Signature,
    /// NULL in, NULL out.
    strict: bool,
}

impl fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgFunction({})", self.name)
    }
}

/// Functions of different sessions are different functions, although they share names.
impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Declares a strict function: its body never sees a NULL argument. `returns` is a PostgreSQL type.
pub(super) fn strict(
    name: &'static str,
    overloads: &'static [&'static str],
    returns: &'static str,
    volatility: Volatility,
    body: impl Fn(&Row<'_>) -> Result<Out> + Send + Sync + 'static,
) -> ScalarUDF {
    declare(name, overloads, returns, volatility, true, body)
}

/// Declares a function whose body handles NULL arguments itself.
pub(super) fn lenient(
    name: &'static str,
    overloads: &'static [&'static str],
    returns: &'static str,
    volatility: Volatility,
    body: impl Fn(&Row<'_>) -> Result<Out> + Send + Sync + 'static,
) -> ScalarUDF {
    declare(name, overloads, returns, volatility, false, body)
}

fn declare(
    name: &'static str,
    overloads: &'static [&'static str],
    returns: &'static str,
    volatility: Volatility,
    strict: bool,
    body: impl Fn(&Row<'_>) -> Result<Out> + Send + Sync + 'static,
) -> ScalarUDF {
    let takes_nothing = overloads.iter().all(|o| o.is_empty());
    let signature = if takes_nothing {
        Signature::nullary(volatility)
    } else {
        Signature::user_defined(volatility)
    };
    ScalarUDF::new_from_impl(PgFunction {
        name,
        overloads,
        returns,
        body: Arc::new(body),
        signature,
        strict,
    })
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(result_field(self.name, self.returns).data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(result_field(self.name, self.returns)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let candidates = || {
            self.overloads
                .iter()
                .filter_map(|o| letters(o, arg_types.len()))
        };
        for literal_as_any in [false, true] {
            for overload in candidates() {
                let coerced: Option<Vec<DataType>> = overload
                    .iter()
                    .zip(arg_types)
                    .map(|(letter, given)| coerce(*letter, given, literal_as_any))
                    .collect();
                if let Some(coerced) = coerced {
                    return Ok(coerced);
                }
            }
        }
        Err(no_such_function(self.name, arg_types).into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // Without a column among the arguments one evaluation serves all rows, unless each is to differ.
        let constant = self.signature.volatility != Volatility::Volatile
            && args
                .args
                .iter()
                .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|a| a.to_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            let row = Row {
                arrays: &arrays,
                fields: &args.arg_fields,
                row,
            };
            let has_null = self.strict && (0..row.len()).any(|at| row.is_null(at));
            results.push(if has_null {
                Out::Null
            } else {
                (self.body)(&row)?
            });
        }
        let array = build(args.return_field.data_type(), results)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

/// The error of a call with arguments that no function of the name takes.
pub(super) fn no_such_function(name: &str, arg_types: &[DataType]) -> Error {
    let types: Vec<String> = arg_types
        .iter()
        .map(|t| pg_type_of(&Field::new("", t.clone(), true)).display())
        .collect();
    Error::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("function {name}({}) does not exist", types.join(", ")),
    )
    .with_hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// The letters of an overload, spread over the given number of arguments, or `None` where it takes another
/// number.
fn letters(overload: &str, count: usize) -> Option<Vec<u8>> {
    let bytes = overload.as_bytes();
    match bytes.split_last() {
        Some((b'*', fixed)) if count >= fixed.len() => {
            let mut all = fixed.to_vec();
            all.resize(count, b'x');
            Some(all)
        }
        _ => (bytes.len() == count).then(|| bytes.to_vec()),
    }
}

fn coerce(letter: u8, given: &DataType, literal_as_any: bool) -> Option<DataType> {
    let is_text = matches!(
        given,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let untyped = literal_as_any && is_text;
    let is_null = given.is_null();
    match letter {
        b'x' => Some(given.clone()),
        b't' => (is_text || is_null).then_some(DataType::Utf8),
        b'i' => (given.is_integer() || is_null || untyped).then_some(DataType::Int64),
        b'b' => {
            (matches!(given, DataType::Boolean) || is_null || untyped).then_some(DataType::Boolean)
        }
        b'f' => (given.is_numeric() || is_null || untyped).then_some(DataType::Float64),
        b'o' if given.is_integer() => Some(DataType::Int64),
        b'o' => (is_text || is_null).then_some(DataType::Utf8),
        _ => None,
    }
}

/// The field of a result of that PostgreSQL type.
fn result_field(name: &str, pg_type: &str) -> Field {
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    match pg_type {
        "boolean" => Field::new(name, DataType::Boolean, true),
        "integer" => Field::new(name, DataType::Int32, true),
        "bigint" => Field::new(name, DataType::Int64, true),
        "double precision" => Field::new(name, DataType::Float64, true),
        "text" => Field::new(name, DataType::Utf8, true),
        "text[]" => Field::new(name, list(DataType::Utf8), true),
        "integer[]" => Field::new(name, list(DataType::Int32), true),
        "smallint[]" => Field::new(name, list(DataType::Int16), true),
        "name[]" => {
            let item = tagged("item", DataType::Utf8, true, "name");
            Field::new(name, DataType::List(Arc::new(item)), true)
        }
        "timestamp with time zone" => Field::new(
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        "oid" | "regclass" | "regtype" | "regproc" | "regnamespace" | "regrole" => {
            tagged(name, DataType::UInt32, true, pg_type)
        }
        other => tagged(name, DataType::Utf8, true, other),
    }
}

fn build(data_type: &DataType, results: Vec<Out>) -> Result<ArrayRef> {
    macro_rules! fill {
        ($builder:expr, $pattern:pat => $value:expr) => {{
            let mut builder = $builder;
            for result in results {
                match result {
                    $pattern => builder.append_value($value),
                    Out::Null => builder.append_null(),
                    other => return Err(mismatch(data_type, &other)),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match data_type {
        DataType::Boolean => fill!(BooleanBuilder::new(), Out::Bool(v) => v),
        DataType::Int32 => fill!(Int32Builder::new(), Out::Int(v) => v as i32),
        DataType::Int64 => fill!(Int64Builder::new(), Out::Int(v) => v),
        DataType::UInt32 => fill!(UInt32Builder::new(), Out::Int(v) => v as u32),
        DataType::Utf8 => fill!(StringBuilder::new(), Out::Text(v) => v),
        DataType::Timestamp(_, zone) => {
            fill!(TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()), Out::Instant(v) => v)
        }
        DataType::List(item) if item.data_type() == &DataType::Int32 => {
            fill!(
                ListBuilder::new(Int32Builder::new()).with_field(item.clone()),
                Out::Ints(v) => v.iter().map(|i| Some(*i as i32))
            )
        }
        DataType::List(item) if item.data_type() == &DataType::Int16 => {
            fill!(
                ListBuilder::new(Int16Builder::new()).with_field(item.clone()),
                Out::Ints(v) => v.iter().map(|i| Some(*i as i16))
            )
        }
        DataType::List(item) => {
            fill!(ListBuilder::new(StringBuilder::new()).with_field(item.clone()), Out::Texts(v) => v)
        }
        other => return Err(mismatch(other, &Out::Null)),
    })
}

fn mismatch(data_type: &DataType, value: &Out) -> DataFusionError {
    Error::internal(format!(
        "a function declared as {data_type} answered {value:?}"
    ))
    .into()
}

/// The tag of an argument's type, if it has one.
pub(super) fn tag_of(field: Option<&FieldRef>) -> Option<&str> {
    field?.metadata().get(PG_TYPE).map(String::as_str)
}
