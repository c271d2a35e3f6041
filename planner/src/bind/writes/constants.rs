//! Column defaults: constants, and functions without arguments, from the statement's tree.

use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{DataType, Expr, FunctionArguments, UnaryOperator, Value};
use sluice_spi::{ColumnDefault, Error, Result};

use crate::bind::names::object_name;

/// True for the word DEFAULT where a value stands.
pub(super) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// The default that an expression says; `None` for NULL.
pub(super) fn column_default(expr: &Expr) -> Result<Option<ColumnDefault>> {
    let text = |text: &str| {
        let value = ScalarValue::Utf8(Some(text.to_owned()));
        Ok(Some(ColumnDefault::Constant(value)))
    };
    match expr {
        Expr::Nested(inner) => column_default(inner),
        Expr::Value(value) => match &value.value {
            Value::Null => Ok(None),
            Value::Number(number, _) => text(number),
            Value::Boolean(value) => text(if *value { "true" } else { "false" }),
            Value::SingleQuotedString(value)
            | Value::EscapedStringLiteral(value)
            | Value::UnicodeStringLiteral(value) => text(value),
            Value::DollarQuotedString(value) => text(&value.value),
            _ => Err(refused(expr)),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: inner,
        } => match inner.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => text(&format!("-{number}")),
                _ => Err(refused(expr)),
            },
            _ => Err(refused(expr)),
        },
        // The type is the column's: a text constant says the same with and without it.
        Expr::Cast {
            expr: inner,
            data_type,
            ..
        } if !matches!(data_type, DataType::Regclass)
            && matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_) | Value::Null)) =>
        {
            column_default(inner)
        }
        Expr::Function(call) => {
            let no_arguments = match &call.args {
                FunctionArguments::None => true,
                FunctionArguments::List(list) => list.args.is_empty(),
                FunctionArguments::Subquery(_) => false,
            };
            match object_name(&call.name)?.as_slice() {
                [name] if no_arguments => Ok(Some(ColumnDefault::Call(name.clone()))),
                [schema, name] if no_arguments && schema == "pg_catalog" => {
                    Ok(Some(ColumnDefault::Call(name.clone())))
                }
                _ => Err(refused(expr)),
            }
        }
        _ => Err(refused(expr)),
    }
}

fn refused(expr: &Expr) -> Error {
    Error::unsupported(format!("DEFAULT {expr} is not supported"))
        .with_hint("A default is a constant or a function without arguments, such as now().")
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn defaults_are_constants_and_plain_calls() {
        let check = |sql: &str| {
            let expr = Parser::new(&PostgreSqlDialect {})
                .try_with_sql(sql)
                .unwrap()
                .parse_expr()
                .unwrap();
            match column_default(&expr) {
                Ok(Some(ColumnDefault::Constant(ScalarValue::Utf8(Some(text))))) => text,
                Ok(Some(ColumnDefault::Call(name))) => format!("{name}()"),
                Ok(None) => "none".to_owned(),
                Ok(Some(other)) => format!("{other:?}"),
                Err(error) => error.code.code().to_owned(),
            }
        };
        assert_eq!(check("-5"), "-5");
        assert_eq!(check("'it''s'::text"), "it's");
        assert_eq!(check("(true)"), "true");
        assert_eq!(check("NULL"), "none");
        assert_eq!(check("now()"), "now()");
        assert_eq!(check("CURRENT_TIMESTAMP"), "current_timestamp()");
        assert_eq!(check("nextval('s')"), "0A000");
        assert_eq!(check("1 + 1"), "0A000");
    }
}
