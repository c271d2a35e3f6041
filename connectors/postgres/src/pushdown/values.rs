//! What it takes of a value to be computed, grouped, sorted or added at the source as the engine does.

use arrow::datatypes::{DataType, Field};
use sluice_spi::{Literal, Reason, RelColumn, ScalarExpr, ValueType};

use super::{Scope, Verdict, judge};
use crate::literal::Class;
use crate::render;
use crate::types::ColumnType;

/// The collation of a text that comes of several, or of none that is known.
pub(super) const UNKNOWN_COLLATION: &str = "unknown";

const SIGNED_ZERO: &str = "-0 equals 0 at the source";

fn refuse(reason: impl Into<String>) -> Result<(), Reason> {
    Err(Reason(reason.into()))
}

/// The type of a value.
pub(super) fn type_of(expr: &ScalarExpr, scope: &Scope<'_>) -> Option<ColumnType> {
    render::type_of(expr, scope.columns, scope.types)
}

/// True for values that the source computes to the same digits: columns, constants, exact arithmetic and
/// casts, and branches whose conditions are the engine's own.
pub(super) fn computable(expr: &ScalarExpr, scope: &Scope<'_>) -> Result<(), Reason> {
    match expr {
        ScalarExpr::Column(name) => match scope.column(name) {
            Some(_) => Ok(()),
            None => refuse(format!("column \"{name}\" is not of this relation")),
        },
        ScalarExpr::Literal(_) => Ok(()),
        ScalarExpr::Cast { expr, .. } => computable(expr, scope),
        ScalarExpr::Arithmetic { left, right, .. } => {
            computable(left, scope)?;
            computable(right, scope)
        }
        ScalarExpr::Case {
            branches,
            otherwise,
            ..
        } => {
            for (when, then) in branches {
                condition(when, scope)?;
                computable(then, scope)?;
            }
            otherwise
                .as_ref()
                .map_or(Ok(()), |otherwise| computable(otherwise, scope))
        }
        ScalarExpr::Coalesce { args, .. } => args.iter().try_for_each(|a| computable(a, scope)),
        test => condition(test, scope),
    }
}

fn condition(expr: &ScalarExpr, scope: &Scope<'_>) -> Result<(), Reason> {
    match judge(expr, scope) {
        // What would be sent instead is as good in a WHERE, and not as a value.
        Verdict::Exactly(sent) if &sent == expr => Ok(()),
        Verdict::Exactly(_) => refuse("a condition is sent in another form"),
        Verdict::Superset(_, reason) | Verdict::No(reason) => Err(reason),
    }
}

/// The expression, with its type where a constant does not say its own.
pub(super) fn typed(expr: &ScalarExpr, data_type: &DataType) -> ScalarExpr {
    match (expr, ValueType::of(data_type)) {
        (ScalarExpr::Literal(Literal::Int(_)), Some(to)) if to.is_integer() => ScalarExpr::Cast {
            expr: Box::new(expr.clone()),
            to,
        },
        _ => expr.clone(),
    }
}

/// A column that is no other column's.
pub(super) fn computed_column(field: &Field) -> RelColumn {
    let is_text = matches!(
        field.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    RelColumn {
        name: field.name().clone(),
        native_type: native_name(field.data_type()),
        collation: is_text.then(|| UNKNOWN_COLLATION.to_owned()),
        deterministic: !is_text,
        nullable: true,
    }
}

fn native_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("numeric({p},{s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        other => other.to_string(),
    }
}

/// Equal at the source means equal in the engine.
pub(super) fn groupable(
    column: &RelColumn,
    column_type: &ColumnType,
    scope: &Scope<'_>,
) -> Result<(), Reason> {
    match column_type {
        ColumnType::Bool
        | ColumnType::Int2
        | ColumnType::Int4
        | ColumnType::Int8
        | ColumnType::Oid
        | ColumnType::Numeric { .. }
        | ColumnType::FreeNumeric
        | ColumnType::Name
        | ColumnType::Bytea
        | ColumnType::Date
        | ColumnType::Time
        | ColumnType::Timestamp
        | ColumnType::TimestampTz
        | ColumnType::Uuid
        | ColumnType::Enum => Ok(()),
        ColumnType::Text if scope.utf8 => Ok(()),
        ColumnType::Bpchar { length } if *length > 0 && scope.utf8 => Ok(()),
        ColumnType::Text => refuse("the source's encoding is not UTF-8"),
        ColumnType::Bpchar { .. } => refuse("char(n) ignores trailing blanks at the source"),
        ColumnType::Float4 | ColumnType::Float8 => refuse(SIGNED_ZERO),
        ColumnType::Interval => refuse("intervals are compared by their length at the source"),
        ColumnType::List(_) => refuse("arrays are compared by the engine"),
        ColumnType::Json | ColumnType::Jsonb | ColumnType::AsText | ColumnType::AsOutput => {
            refuse(format!(
                "{} is compared as text here, and not at the source",
                column.native_type
            ))
        }
    }
}

/// The same of a value.
pub(super) fn groupable_value(expr: &ScalarExpr, scope: &Scope<'_>) -> Result<(), Reason> {
    if let Some((column, column_type)) = expr.as_column().and_then(|name| scope.column(name)) {
        return groupable(column, column_type, scope);
    }
    match type_of(expr, scope) {
        Some(column_type) if Class::of(&column_type).is_some_and(Class::is_number) => Ok(()),
        Some(ColumnType::Bool | ColumnType::Date | ColumnType::Timestamp) => Ok(()),
        _ => refuse("it groups by an expression"),
    }
}

/// Ordered at the source as in the engine.
pub(super) fn sortable(
    column: &RelColumn,
    column_type: &ColumnType,
    scope: &Scope<'_>,
) -> Result<(), Reason> {
    match column_type {
        ColumnType::Enum => refuse("an enum is ordered by its labels' positions at the source"),
        ColumnType::Name if !scope.utf8 => refuse("the source's encoding is not UTF-8"),
        _ => groupable(column, column_type, scope),
    }
}

/// Has a least and a greatest value there, the engine's own.
pub(super) fn has_extremes(column_type: &ColumnType, scope: &Scope<'_>) -> Result<(), Reason> {
    match column_type {
        ColumnType::Int2
        | ColumnType::Int4
        | ColumnType::Int8
        | ColumnType::Numeric { .. }
        | ColumnType::FreeNumeric
        | ColumnType::Date
        | ColumnType::Time
        | ColumnType::Timestamp
        | ColumnType::TimestampTz => Ok(()),
        ColumnType::Text if scope.utf8 => Ok(()),
        ColumnType::Bpchar { length } if *length > 0 && scope.utf8 => Ok(()),
        ColumnType::Float4 | ColumnType::Float8 => refuse(SIGNED_ZERO),
        ColumnType::Enum => refuse("an enum is ordered by its labels' positions at the source"),
        _ => refuse("the source has no such order of this type"),
    }
}

/// Added at the source to the engine's digits.
pub(super) fn summable(column_type: &ColumnType) -> Result<(), Reason> {
    match column_type {
        ColumnType::Int2
        | ColumnType::Int4
        | ColumnType::Int8
        | ColumnType::Numeric { .. }
        | ColumnType::FreeNumeric => Ok(()),
        ColumnType::Float4 | ColumnType::Float8 => {
            refuse("the order of addition changes a float's digits")
        }
        _ => refuse("only numbers are added at the source"),
    }
}
