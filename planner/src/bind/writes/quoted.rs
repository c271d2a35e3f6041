//! Quoted constants as values of columns whose types read them in a way of their own.
//!
//! The engine reads most of them as PostgreSQL does. It knows no text form of arrays and no infinite dates
//! or NaN among numerics: such a constant goes to the source as the text that it is, and the column's
//! own type reads it there.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Parens, UnaryOperator, Value};
use sluice_catalogs::functions::arithmetic::parse_literal;
use sluice_spi::Result;

/// The text of a quoted constant.
pub(super) fn text(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else {
        return None;
    };
    match &value.value {
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// Makes bytes of a quoted constant for a column of type bytea.
pub(super) fn make_bytes(expr: &mut Expr, column: &FieldRef) -> Result<()> {
    let is_bytea = matches!(
        column.data_type(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    );
    if is_bytea
        && let Some(bytes) =
            text(expr).and_then(|text| parse_literal(text, &DataType::Binary, false))
        && let ScalarValue::Binary(Some(bytes)) = bytes?
    {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        *expr = Expr::value(Value::HexStringLiteral(digits));
    }
    Ok(())
}

/// True for a quoted constant that only the source's type can read.
pub(super) fn is_for_source(expr: &Expr, column: &FieldRef) -> bool {
    let Some(text) = text(expr) else {
        return false;
    };
    let text = text.trim().to_lowercase();
    match column.data_type() {
        data_type if data_type.is_nested() => true,
        DataType::Date32 | DataType::Timestamp(..) => {
            text.ends_with("infinity") || text.ends_with("bc")
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            text.ends_with("infinity") || text.ends_with("inf") || text == "nan"
        }
        _ => false,
    }
}

/// Turns a column of VALUES to text, where the source has to read one of its constants.
pub(super) fn leave_to_source(rows: &mut [Parens<Vec<Expr>>], place: usize, column: &mut FieldRef) {
    let cells = || rows.iter().filter_map(move |row| row.content.get(place));
    if !cells().any(|cell| is_for_source(cell, column)) || !cells().all(is_constant) {
        return;
    }
    for cell in rows.iter_mut().filter_map(|row| row.content.get_mut(place)) {
        if !matches!(cell, Expr::Value(value) if value.value == Value::Null) && text(cell).is_none()
        {
            *cell = Expr::value(Value::SingleQuotedString(cell.to_string()));
        }
    }
    *column = Field::new(column.name(), DataType::Utf8View, true).into();
}

/// Text, a number or NULL.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            text(expr).is_some() || matches!(value.value, Value::Number(..) | Value::Null)
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } => {
            matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::sql::sqlparser::ast::{SetExpr, Statement};
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn constants_that_the_engine_cannot_hold_stay_text() {
        let check = |sql: &str, data_type: DataType| {
            let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop();
            let Some(Statement::Query(query)) = parsed else {
                panic!("{sql}")
            };
            let SetExpr::Values(mut values) = *query.body else {
                panic!("{sql}")
            };
            let mut column: FieldRef = Arc::new(Field::new("c", data_type, false));
            for row in &mut values.rows {
                make_bytes(&mut row.content[0], &column).unwrap();
            }
            leave_to_source(&mut values.rows, 0, &mut column);
            (values.to_string(), column.data_type().clone())
        };
        let text = DataType::Utf8View;
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let numeric = DataType::Decimal128(5, 2);
        assert_eq!(
            check("VALUES ('{1,2}'), (NULL)", list.clone()),
            ("VALUES ('{1,2}'), (NULL)".to_owned(), text.clone())
        );
        assert_eq!(check("VALUES ('{1}'), (ARRAY[2])", list.clone()).1, list);
        assert_eq!(
            check("VALUES (1.5), (-2), ('NaN')", numeric.clone()),
            ("VALUES ('1.5'), ('-2'), ('NaN')".to_owned(), text.clone())
        );
        assert_eq!(check("VALUES ('1.5')", numeric.clone()).1, numeric);
        assert_eq!(check("VALUES ('-infinity')", DataType::Date32).1, text);
        assert_eq!(
            check(r"VALUES ('\x00ff')", DataType::Binary),
            ("VALUES (X'00ff')".to_owned(), DataType::Binary)
        );
    }
}
