//! Expressions over the columns of one SELECT.
//!
//! A column stands for an SQL expression of that SELECT's scope. Values know their types, so that a constant is
//! always written with the type of what it meets.

use sluice_spi::{ArithmeticOp, CompareOp, Literal, RelColumn, ScalarExpr, ValueType};

use super::Constants;
use crate::literal::{Class, SqlValue, quote_identifier};
use crate::share::Share;
use crate::types::ColumnType;

pub(super) const BYTE_ORDER: &str = " COLLATE \"C\"";

/// A column of a relation, as its SELECT computes it.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) column: RelColumn,
    pub(super) column_type: ColumnType,
    /// An expression that needs no parentheses around it.
    pub(super) sql: String,
    /// More than a column's name.
    pub(super) computed: bool,
}

impl Field {
    /// A column of a table in FROM, which has the alias.
    pub(super) fn of_table(
        column: &RelColumn,
        column_type: &ColumnType,
        alias: Option<&str>,
    ) -> Option<Field> {
        let name = quote_identifier(&column.name)?;
        Some(Field {
            column: column.clone(),
            column_type: column_type.clone(),
            sql: match alias {
                Some(alias) => format!("\"{alias}\".{name}"),
                None => name,
            },
            computed: false,
        })
    }
}

/// An expression and its type.
pub(super) struct Value {
    pub(super) sql: String,
    pub(super) column_type: ColumnType,
    pub(super) computed: bool,
}

/// Items of an IN list that are written one by one. A longer list is one array constant: the source's parser
/// has one node to make of it instead of one per item, and COPY, which takes no parameters, can carry it.
const SPELLED_OUT_ITEMS: usize = 16;

/// Writes one statement.
pub(super) struct Writer {
    constants: Constants,
    pub(super) parameters: Vec<String>,
    /// Aliases given so far.
    pub(super) aliases: usize,
    /// Takes the place of the one table.
    pub(super) share: Option<Share>,
}

impl Writer {
    pub(super) fn new(constants: Constants) -> Self {
        Writer {
            constants,
            parameters: Vec::new(),
            aliases: 0,
            share: None,
        }
    }

    /// A boolean expression that needs no parentheses around it below AND.
    pub(super) fn predicate(&mut self, expr: &ScalarExpr, fields: &[Field]) -> Option<String> {
        Some(match expr {
            ScalarExpr::Column(name) => {
                let field = find(fields, name)?;
                (field.column_type == ColumnType::Bool).then(|| field.sql.clone())?
            }
            ScalarExpr::Literal(Literal::Boolean(value)) => value.to_string(),
            ScalarExpr::Literal(_) => return None,
            ScalarExpr::And(all) => self.joined(all, " AND ", fields)?,
            ScalarExpr::Or(any) => self.joined(any, " OR ", fields)?,
            ScalarExpr::Not(inner) => format!("NOT ({})", self.predicate(inner, fields)?),
            ScalarExpr::IsNull { expr, negated } => {
                let field = find(fields, expr.as_column()?)?;
                let test = if *negated { "IS NOT NULL" } else { "IS NULL" };
                match field.column_type {
                    // A row of NULLs is NULL to IS NULL, but its text is not.
                    ColumnType::AsText => format!("{}::text {test}", field.sql),
                    _ => format!("{} {test}", field.sql),
                }
            }
            ScalarExpr::Compare { op, left, right } => self.compare(*op, left, right, fields)?,
            ScalarExpr::InList {
                expr,
                list,
                negated,
            } => {
                let field = find(fields, expr.as_column()?)?;
                let class = Class::of(&field.column_type)?;
                let operand = operand(field, false);
                let values = list
                    .iter()
                    .map(|literal| SqlValue::new(literal, class))
                    .collect::<Option<Vec<_>>>()?;
                if values.is_empty() {
                    return None;
                }
                if values.len() > SPELLED_OUT_ITEMS {
                    let test = if *negated { "<> ALL" } else { "= ANY" };
                    return Some(format!(
                        "{operand} {test} ({})",
                        self.constant(SqlValue::array(&values)?)
                    ));
                }
                let items: Vec<String> = values.into_iter().map(|v| self.constant(v)).collect();
                format!(
                    "{operand} {}IN ({})",
                    if *negated { "NOT " } else { "" },
                    items.join(", ")
                )
            }
            ScalarExpr::Like {
                expr,
                pattern,
                escape: Some('\\'),
                negated,
                case_insensitive: false,
            } => {
                let field = find(fields, expr.as_column()?)?;
                if !matches!(field.column_type, ColumnType::Text | ColumnType::Name) {
                    return None;
                }
                let operand = operand(field, false);
                let value = SqlValue::new(&Literal::Text(pattern.clone()), Class::Text)?;
                let not = if *negated { "NOT " } else { "" };
                format!(r"{operand} {not}LIKE {} ESCAPE '\'", self.constant(value))
            }
            _ => return None,
        })
    }

    fn joined(&mut self, parts: &[ScalarExpr], word: &str, fields: &[Field]) -> Option<String> {
        if parts.is_empty() {
            return None;
        }
        let parts = parts
            .iter()
            .map(|part| self.predicate(part, fields))
            .collect::<Option<Vec<_>>>()?;
        Some(format!("({})", parts.join(word)))
    }

    fn compare(
        &mut self,
        op: CompareOp,
        left: &ScalarExpr,
        right: &ScalarExpr,
        fields: &[Field],
    ) -> Option<String> {
        let is_range = !matches!(op, CompareOp::Eq | CompareOp::NotEq);
        let (left, right) = match (left, right) {
            (ScalarExpr::Column(name), ScalarExpr::Literal(literal)) => {
                let field = find(fields, name)?;
                let value = SqlValue::new(literal, Class::of(&field.column_type)?)?;
                (operand(field, is_range), self.constant(value))
            }
            (ScalarExpr::Literal(literal), ScalarExpr::Column(name)) => {
                let field = find(fields, name)?;
                let value = SqlValue::new(literal, Class::of(&field.column_type)?)?;
                (self.constant(value), operand(field, is_range))
            }
            (ScalarExpr::Column(left), ScalarExpr::Column(right)) => {
                let (left, right) = (find(fields, left)?, find(fields, right)?);
                let class = Class::of(&left.column_type)?;
                if !class.is_comparable(Class::of(&right.column_type)?) {
                    return None;
                }
                // Equal means equal bytes under one deterministic collation. Two columns may disagree about
                // theirs; an explicit one settles it.
                let plain = !is_range
                    && left.column.collation == right.column.collation
                    && left.column.deterministic
                    && right.column.deterministic;
                let collate = if class.is_text() && !plain {
                    BYTE_ORDER
                } else {
                    ""
                };
                (
                    format!("{}{collate}", plain_operand(left)),
                    plain_operand(right),
                )
            }
            _ => return None,
        };
        let op = match op {
            CompareOp::Eq => "=",
            CompareOp::NotEq => "<>",
            CompareOp::Lt => "<",
            CompareOp::LtEq => "<=",
            CompareOp::Gt => ">",
            CompareOp::GtEq => ">=",
        };
        Some(format!("{left} {op} {right}"))
    }

    /// A value. `wanted` is the type that a constant is written in.
    pub(super) fn value(
        &mut self,
        expr: &ScalarExpr,
        wanted: Option<ValueType>,
        fields: &[Field],
    ) -> Option<Value> {
        match expr {
            ScalarExpr::Column(name) => {
                let field = find(fields, name)?;
                Some(Value {
                    sql: field.sql.clone(),
                    column_type: field.column_type.clone(),
                    computed: field.computed,
                })
            }
            ScalarExpr::Literal(literal) => {
                let column_type = of_value_type(wanted.or_else(|| type_of_literal(literal))?)?;
                let value = SqlValue::new(literal, Class::of(&column_type)?)?;
                Some(computed(self.constant(value), column_type))
            }
            ScalarExpr::Cast { expr, to } => {
                if matches!(expr.as_ref(), ScalarExpr::Literal(Literal::Int(_))) && to.is_integer()
                {
                    return self.value(expr, Some(*to), fields);
                }
                let inner = self.value(expr, None, fields)?;
                let target = of_value_type(*to)?;
                if !is_number(&inner.column_type) || !is_number(&target) {
                    return None;
                }
                Some(computed(
                    format!("{}::{}", inner.sql, sql_type(*to)?),
                    target,
                ))
            }
            ScalarExpr::Arithmetic {
                op,
                left,
                right,
                of,
            } => {
                let op = match op {
                    ArithmeticOp::Add => "+",
                    ArithmeticOp::Subtract => "-",
                    ArithmeticOp::Multiply => "*",
                };
                let wanted = of.is_integer().then_some(*of);
                let (left, right) = (
                    self.value(left, wanted, fields)?,
                    self.value(right, wanted, fields)?,
                );
                let target = of_value_type(*of)?;
                let fits = |value: &Value| match of.is_integer() {
                    true => value.column_type == target,
                    false => is_number(&value.column_type),
                };
                if !fits(&left) || !fits(&right) {
                    return None;
                }
                Some(computed(
                    format!("({} {op} {})", left.sql, right.sql),
                    target,
                ))
            }
            ScalarExpr::Case {
                branches,
                otherwise,
                of,
            } => {
                let target = of_value_type(*of)?;
                let mut sql = String::from("CASE");
                for (when, then) in branches {
                    let when = self.predicate(when, fields)?;
                    let then = self.branch(then, *of, fields)?;
                    sql.push_str(&format!(" WHEN {when} THEN {then}"));
                }
                if let Some(otherwise) = otherwise {
                    let otherwise = self.branch(otherwise, *of, fields)?;
                    sql.push_str(&format!(" ELSE {otherwise}"));
                }
                sql.push_str(" END");
                (!branches.is_empty()).then(|| computed(sql, target))
            }
            ScalarExpr::Coalesce { args, of } => {
                let target = of_value_type(*of)?;
                let args = args
                    .iter()
                    .map(|arg| self.branch(arg, *of, fields))
                    .collect::<Option<Vec<_>>>()?;
                (!args.is_empty())
                    .then(|| computed(format!("coalesce({})", args.join(", ")), target))
            }
            // Tests are values too.
            test => {
                let sql = self.predicate(test, fields)?;
                Some(computed(format!("({sql})"), ColumnType::Bool))
            }
        }
    }

    /// A value of just that type, whatever PostgreSQL would make of all branches together.
    fn branch(&mut self, expr: &ScalarExpr, of: ValueType, fields: &[Field]) -> Option<String> {
        let value = self.value(expr, Some(of), fields)?;
        let target = of_value_type(of)?;
        (value.column_type == target).then_some(value.sql)
    }

    pub(super) fn constant(&mut self, value: SqlValue) -> String {
        match self.constants {
            Constants::Inline => value.inline(),
            Constants::Parameters => {
                let text = value.parameter(self.parameters.len() + 1);
                self.parameters.push(value.text);
                text
            }
        }
    }
}

fn computed(sql: String, column_type: ColumnType) -> Value {
    Value {
        sql,
        column_type,
        computed: true,
    }
}

pub(super) fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.column.name == name)
}

/// An exact number; an oid is none to the source.
pub(super) fn is_number(column_type: &ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Numeric { .. }
            | ColumnType::FreeNumeric
    )
}

/// The type that reads values of that kind. The widest decimal is the numeric without a limit: a cast to it
/// would round what it is an error to read.
pub(crate) fn of_value_type(value_type: ValueType) -> Option<ColumnType> {
    use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE};
    Some(match value_type {
        ValueType::Boolean => ColumnType::Bool,
        ValueType::Int16 => ColumnType::Int2,
        ValueType::Int32 => ColumnType::Int4,
        ValueType::Int64 => ColumnType::Int8,
        ValueType::Decimal {
            precision: NUMERIC_PRECISION,
            scale: NUMERIC_SCALE,
        } => ColumnType::FreeNumeric,
        ValueType::Decimal { precision, scale } if scale >= 0 => {
            ColumnType::Numeric { precision, scale }
        }
        ValueType::Text => ColumnType::Text,
        ValueType::Bytes => ColumnType::Bytea,
        ValueType::Date => ColumnType::Date,
        ValueType::Time => ColumnType::Time,
        ValueType::Timestamp => ColumnType::Timestamp,
        ValueType::TimestampTz => ColumnType::TimestampTz,
        ValueType::UInt64 | ValueType::Float32 | ValueType::Float64 | ValueType::Decimal { .. } => {
            return None;
        }
    })
}

/// The type's name in a cast.
pub(super) fn sql_type(value_type: ValueType) -> Option<String> {
    Some(match of_value_type(value_type)? {
        ColumnType::Bool => "bool".to_owned(),
        ColumnType::Int2 => "int2".to_owned(),
        ColumnType::Int4 => "int4".to_owned(),
        ColumnType::Int8 => "int8".to_owned(),
        ColumnType::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
        ColumnType::FreeNumeric => "numeric".to_owned(),
        ColumnType::Text => "text".to_owned(),
        _ => return None,
    })
}

/// The type of a constant that stands alone. An integer's width is not its own.
fn type_of_literal(literal: &Literal) -> Option<ValueType> {
    Some(match literal {
        Literal::Boolean(_) => ValueType::Boolean,
        Literal::Decimal {
            precision, scale, ..
        } => ValueType::Decimal {
            precision: *precision,
            scale: *scale,
        },
        Literal::Text(_) => ValueType::Text,
        Literal::Bytes(_) => ValueType::Bytes,
        Literal::Date(_) => ValueType::Date,
        Literal::Time(_) => ValueType::Time,
        Literal::Timestamp(_) => ValueType::Timestamp,
        Literal::TimestampTz(_) => ValueType::TimestampTz,
        Literal::Int(_) | Literal::UInt(_) | Literal::Float32(_) | Literal::Float64(_) => {
            return None;
        }
    })
}

/// A column in the class that it is compared in. Text is compared byte by byte, as the engine does: said
/// explicitly where the column's own collation would do otherwise.
pub(super) fn operand(field: &Field, is_range: bool) -> String {
    let plain = plain_operand(field);
    let by_bytes = field.column.collation.is_some()
        && Class::of(&field.column_type).is_some_and(Class::is_text)
        && (is_range || !field.column.deterministic);
    if by_bytes {
        format!("{plain}{BYTE_ORDER}")
    } else {
        plain
    }
}

fn plain_operand(field: &Field) -> String {
    match field.column_type {
        // An unknown label is no error when it is compared as text.
        ColumnType::Enum | ColumnType::Name => format!("{}::text", field.sql),
        ColumnType::Oid => format!("{}::int8", field.sql),
        _ => field.sql.clone(),
    }
}
