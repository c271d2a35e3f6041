//! Expressions to MySQL's SQL: total over what it knows, and `None` for the rest.
//!
//! Text is compared by its bytes, as the engine does: a collation that ignores case, accents or trailing
//! blanks would find more, or order otherwise. An equality names the column as it is, too, so that its
//! index is used: whatever has the same bytes is equal under every collation.

use mysql_async::Value;
use sluice_spi::{ArithmeticOp, CompareOp, Literal, ScalarExpr, ValueType};

use super::Constants;
use crate::literal::{SqlValue, quote_text};
use crate::types::{ColumnType, TextType};

/// A column as expressions may name it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    /// How the statement says it.
    pub(super) sql: String,
    pub(super) column_type: ColumnType,
}

/// Writes expressions.
pub(super) struct Writer {
    constants: Constants,
    pub(super) parameters: Vec<Value>,
}

impl Writer {
    pub(super) fn new(constants: Constants) -> Self {
        Writer {
            constants,
            parameters: Vec::new(),
        }
    }

    /// A boolean expression that needs no parentheses around it below AND.
    pub(super) fn predicate(&mut self, expr: &ScalarExpr, env: &[Named]) -> Option<String> {
        Some(match expr {
            ScalarExpr::Column(name) => {
                let column = find(env, name)?;
                (column.column_type == ColumnType::Bool).then(|| operand(column))?
            }
            ScalarExpr::Literal(Literal::Boolean(value)) => {
                if *value { "1 = 1" } else { "1 = 0" }.to_owned()
            }
            ScalarExpr::And(all) => self.joined(all, " AND ", env)?,
            ScalarExpr::Or(any) => self.joined(any, " OR ", env)?,
            ScalarExpr::Not(inner) => format!("NOT ({})", self.predicate(inner, env)?),
            ScalarExpr::IsNull { expr, negated } => {
                let column = find(env, expr.as_column()?)?;
                let test = if *negated { "IS NOT NULL" } else { "IS NULL" };
                format!("{} {test}", column.sql)
            }
            ScalarExpr::Compare { op, left, right } => self.compare(*op, left, right, env)?,
            ScalarExpr::InList {
                expr,
                list,
                negated,
            } => self.in_list(find(env, expr.as_column()?)?, list, *negated)?,
            ScalarExpr::Like {
                expr,
                pattern,
                escape: Some('\\'),
                negated,
                case_insensitive: false,
            } => {
                let column = find(env, expr.as_column()?)?;
                let ColumnType::Text(text) = &column.column_type else {
                    return None;
                };
                let operand = if text.by_code_points && text.charset.holds(pattern) {
                    column.sql.clone()
                } else {
                    format!("CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin", column.sql)
                };
                let not = if *negated { "NOT " } else { "" };
                let pattern = quote_text(&rewrite_pattern(pattern));
                format!("{operand} {not}LIKE {pattern} ESCAPE '{ESCAPE}'")
            }
            _ => return None,
        })
    }

    /// A value. That its arithmetic is exact was decided by [`crate::pushdown`].
    pub(super) fn value(&mut self, expr: &ScalarExpr, env: &[Named]) -> Option<String> {
        Some(match expr {
            ScalarExpr::Column(name) => operand(find(env, name)?),
            ScalarExpr::Literal(Literal::Int(value)) if *value < 0 => format!("({value})"),
            ScalarExpr::Literal(Literal::Int(value)) => value.to_string(),
            ScalarExpr::Literal(literal @ Literal::Decimal { .. }) => {
                let widest = ColumnType::Decimal {
                    precision: 76,
                    scale: 38,
                };
                format!("({})", SqlValue::new(literal, &widest)?.inline)
            }
            // No cast changes a value. But a whole number is sent, and overflows, as one.
            ScalarExpr::Cast {
                expr,
                to: ValueType::Decimal { precision, scale },
            } if is_whole(expr, env) => {
                format!(
                    "CAST({} AS DECIMAL({precision},{scale}))",
                    self.value(expr, env)?
                )
            }
            ScalarExpr::Cast { expr, .. } => self.value(expr, env)?,
            ScalarExpr::Arithmetic {
                op, left, right, ..
            } => {
                let sign = match op {
                    ArithmeticOp::Add => "+",
                    ArithmeticOp::Subtract => "-",
                    ArithmeticOp::Multiply => "*",
                };
                format!(
                    "({} {sign} {})",
                    self.value(left, env)?,
                    self.value(right, env)?
                )
            }
            _ => return None,
        })
    }

    fn joined(&mut self, parts: &[ScalarExpr], word: &str, env: &[Named]) -> Option<String> {
        if parts.is_empty() {
            return None;
        }
        let parts = parts
            .iter()
            .map(|part| self.predicate(part, env))
            .collect::<Option<Vec<_>>>()?;
        Some(format!("({})", parts.join(word)))
    }

    fn compare(
        &mut self,
        op: CompareOp,
        left: &ScalarExpr,
        right: &ScalarExpr,
        env: &[Named],
    ) -> Option<String> {
        match (left, right) {
            (ScalarExpr::Column(name), ScalarExpr::Literal(literal)) => {
                self.compare_constant(op, find(env, name)?, literal)
            }
            (ScalarExpr::Literal(literal), ScalarExpr::Column(name)) => {
                self.compare_constant(op.flipped(), find(env, name)?, literal)
            }
            (ScalarExpr::Column(left), ScalarExpr::Column(right)) => {
                let (left, right) = (find(env, left)?, find(env, right)?);
                if !is_comparable(&left.column_type, &right.column_type) {
                    return None;
                }
                let side = |column: &Named| match &column.column_type {
                    ColumnType::Text(text) => bytes_of(column, text),
                    _ => operand(column),
                };
                Some(format!("{} {} {}", side(left), sign(op), side(right)))
            }
            _ => None,
        }
    }

    fn compare_constant(
        &mut self,
        op: CompareOp,
        column: &Named,
        literal: &Literal,
    ) -> Option<String> {
        let value = SqlValue::new(literal, &column.column_type)?;
        let sign = sign(op);
        match (&column.column_type, literal) {
            (ColumnType::Text(text), Literal::Text(constant)) if !text.by_bytes => {
                let bytes = bytes_of(column, text);
                if op != CompareOp::Eq || text.is_label {
                    return Some(format!("{bytes} {sign} {}", self.bytes(constant)));
                }
                let found = format!("{} = {}", column.sql, self.constant(value));
                Some(format!("({found} AND {bytes} = {})", self.bytes(constant)))
            }
            _ => Some(format!(
                "{} {sign} {}",
                operand(column),
                self.constant(value)
            )),
        }
    }

    fn in_list(&mut self, column: &Named, list: &[Literal], negated: bool) -> Option<String> {
        if list.is_empty() {
            return None;
        }
        let values = list
            .iter()
            .map(|literal| SqlValue::new(literal, &column.column_type))
            .collect::<Option<Vec<_>>>()?;
        let not = if negated { "NOT " } else { "" };
        let inline = |values: Vec<SqlValue>| -> String {
            let all: Vec<String> = values.into_iter().map(|value| value.inline).collect();
            all.join(", ")
        };
        match &column.column_type {
            ColumnType::Text(text) if !text.by_bytes => {
                let bytes = list
                    .iter()
                    .map(|literal| match literal {
                        Literal::Text(text) => Some(SqlValue::bytes(text)),
                        _ => None,
                    })
                    .collect::<Option<Vec<_>>>()?;
                let exact = format!("{} {not}IN ({})", bytes_of(column, text), inline(bytes));
                if negated || text.is_label {
                    return Some(exact);
                }
                Some(format!(
                    "({} IN ({}) AND {exact})",
                    column.sql,
                    inline(values)
                ))
            }
            _ => {
                let items: Vec<String> = values
                    .into_iter()
                    .map(|value| self.constant(value))
                    .collect();
                Some(format!(
                    "{} {not}IN ({})",
                    operand(column),
                    items.join(", ")
                ))
            }
        }
    }

    fn constant(&mut self, value: SqlValue) -> String {
        match (self.constants, value.parameter) {
            (Constants::Parameters, Some(parameter)) => {
                self.parameters.push(parameter);
                "?".to_owned()
            }
            _ => value.inline,
        }
    }

    /// A text's bytes, to compare a column's bytes with.
    fn bytes(&mut self, text: &str) -> String {
        match self.constants {
            Constants::Parameters => {
                self.parameters.push(Value::Bytes(text.as_bytes().to_vec()));
                "CAST(? AS BINARY)".to_owned()
            }
            Constants::Inline => SqlValue::bytes(text).inline,
        }
    }
}

/// True for a value that the source computes as a whole number; all of those have one type there.
fn is_whole(expr: &ScalarExpr, env: &[Named]) -> bool {
    match expr {
        ScalarExpr::Column(name) => {
            find(env, name).is_some_and(|column| column.column_type.is_integer())
        }
        ScalarExpr::Literal(literal) => matches!(literal, Literal::Int(_)),
        ScalarExpr::Cast { to, .. } => to.is_integer(),
        ScalarExpr::Arithmetic { of, .. } => of.is_integer(),
        _ => false,
    }
}

/// Two columns that compare without a cast of either.
pub(crate) fn is_comparable(left: &ColumnType, right: &ColumnType) -> bool {
    match (left, right) {
        (left, right) if left.is_integer() && right.is_integer() => true,
        (ColumnType::Decimal { .. }, ColumnType::Decimal { .. }) => true,
        (ColumnType::Text(_), ColumnType::Text(_)) => true,
        (ColumnType::DateTime { .. }, ColumnType::DateTime { .. }) => true,
        (ColumnType::Timestamp { .. }, ColumnType::Timestamp { .. }) => true,
        (ColumnType::Date, ColumnType::Date)
        | (ColumnType::Year, ColumnType::Year)
        | (ColumnType::Bool, ColumnType::Bool)
        | (ColumnType::Bytes, ColumnType::Bytes) => true,
        _ => false,
    }
}

/// A column as it is compared.
pub(super) fn operand(column: &Named) -> String {
    match column.column_type {
        // Every number but 0 is true.
        ColumnType::Bool => format!("({} <> 0)", column.sql),
        _ => column.sql.clone(),
    }
}

/// The UTF-8 bytes of a text column.
fn bytes_of(column: &Named, text: &TextType) -> String {
    let sql = &column.sql;
    if text.charset.is_utf8() {
        format!("CAST({sql} AS BINARY)")
    } else {
        format!("CAST(CONVERT({sql} USING utf8mb4) AS BINARY)")
    }
}

pub(super) fn find<'a>(env: &'a [Named], name: &str) -> Option<&'a Named> {
    env.iter().find(|column| column.name == name)
}

/// Takes the meaning from `%`, `_` and itself in a pattern. The backslash would depend on the SQL mode.
const ESCAPE: char = '|';

/// A pattern in which the backslash escapes, as one in which [`ESCAPE`] does. A backslash at the end
/// stands for itself.
fn rewrite_pattern(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let literal = match letter {
            '%' | '_' => {
                out.push(letter);
                continue;
            }
            '\\' => letters.next().unwrap_or('\\'),
            other => other,
        };
        if matches!(literal, '%' | '_' | ESCAPE) {
            out.push(ESCAPE);
        }
        out.push(literal);
    }
    out
}

fn sign(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "=",
        CompareOp::NotEq => "<>",
        CompareOp::Lt => "<",
        CompareOp::LtEq => "<=",
        CompareOp::Gt => ">",
        CompareOp::GtEq => ">=",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_escape_by_a_character_without_a_meaning_of_its_own() {
        for (pattern, expected) in [
            ("a%_", "a%_"),
            (r"100\%", "100|%"),
            ("a|b", "a||b"),
            (r"a\b", "ab"),
            (r"a\\b", r"a\b"),
            ("a\\", "a\\"),
        ] {
            assert_eq!(rewrite_pattern(pattern), expected);
        }
    }
}
