//! Comparisons of a column with constants, and of two columns.
//!
//! The engine has made both sides one type already; nothing is sent that the source would have to cast
//! in a way of its own.

use sluice_spi::{CompareOp, Literal, Reason, RelColumn, ScalarExpr};

use super::{Scope, Verdict, no};
use crate::literal::{Class, SqlValue};
use crate::types::ColumnType;

/// Items of a list that are sent at most. Measured on a table of 1.5 million rows (PostgreSQL 15, COPY, on a
/// busy machine): whole 1.3 s; with 10,000 keys 0.1 s over an index and 0.5 s without one, with 50,000 keys
/// 0.5 s and 1.2 s, with 100,000 keys 1.0 s and 2.7 s. The list as one array constant took that; spelled out
/// item by item, as VALUES to join with, or unnested, it took 1.4 to 6 times as long from 10,000 keys on,
/// and no less below.
pub(crate) const LIST_ITEMS: usize = 50_000;

const SIGNED_ZERO: &str = "-0 equals 0 at the source";

pub(super) fn judge(
    op: CompareOp,
    left: &ScalarExpr,
    right: &ScalarExpr,
    scope: &Scope<'_>,
) -> Verdict {
    match (left, right) {
        (ScalarExpr::Column(name), ScalarExpr::Literal(literal)) => {
            with_constant(op, name, literal, scope)
        }
        (ScalarExpr::Literal(literal), ScalarExpr::Column(name)) => {
            with_constant(op.flipped(), name, literal, scope)
        }
        (ScalarExpr::Column(left), ScalarExpr::Column(right)) => columns(op, left, right, scope),
        _ => no("it compares expressions"),
    }
}

pub(super) fn judge_in(
    expr: &ScalarExpr,
    list: &[Literal],
    negated: bool,
    scope: &Scope<'_>,
) -> Verdict {
    let ScalarExpr::Column(name) = expr else {
        return no("IN over an expression is computed by the engine");
    };
    if list.is_empty() || list.len() > LIST_ITEMS {
        return no(format!("its list has {} items", list.len()));
    }
    let mut why = None;
    for literal in list {
        match with_constant(CompareOp::Eq, name, literal, scope) {
            Verdict::Exactly(_) => {}
            Verdict::Superset(_, reason) => {
                why.get_or_insert(reason);
            }
            Verdict::No(reason) => return Verdict::No(reason),
        }
    }
    let sent = ScalarExpr::InList {
        expr: Box::new(expr.clone()),
        list: list.to_vec(),
        negated,
    };
    match (why, negated) {
        (None, _) => Verdict::Exactly(sent),
        (Some(reason), false) => Verdict::Superset(sent, reason),
        (Some(reason), true) => Verdict::No(reason),
    }
}

fn with_constant(op: CompareOp, name: &str, literal: &Literal, scope: &Scope<'_>) -> Verdict {
    let Some((column, column_type)) = scope.column(name) else {
        return no(format!("column \"{name}\" is not of this table"));
    };
    let class = match comparable(column, column_type, op, scope) {
        Ok(class) => class,
        Err(reason) => return Verdict::No(reason),
    };
    match (literal, column_type) {
        (Literal::Float32(value), ColumnType::Float4) => {
            return float(op, name, literal, f64::from(*value));
        }
        (Literal::Float64(value), ColumnType::Float8) => return float(op, name, literal, *value),
        // The engine compares the text without its trailing blanks, and so does the source, unless the
        // constant itself ends with some.
        (Literal::Text(text), ColumnType::Bpchar { .. }) if text.ends_with(' ') => {
            return no("char(n) ignores trailing blanks at the source");
        }
        _ => {}
    }
    if SqlValue::new(literal, class).is_none() {
        return no(unfit(column, literal, class));
    }
    Verdict::Exactly(compare(op, name, literal))
}

fn columns(op: CompareOp, left: &str, right: &str, scope: &Scope<'_>) -> Verdict {
    let (Some((left_column, left_type)), Some((right_column, right_type))) =
        (scope.column(left), scope.column(right))
    else {
        return no("it compares columns that are not of this table");
    };
    let classes = (
        comparable(left_column, left_type, op, scope),
        comparable(right_column, right_type, op, scope),
    );
    match classes {
        (Err(reason), _) | (_, Err(reason)) => Verdict::No(reason),
        (Ok(Class::Float4 | Class::Float8), _) => no(SIGNED_ZERO),
        (Ok(Class::Bpchar), _) => no("char(n) ignores trailing blanks at the source"),
        (Ok(left_class), Ok(right_class)) if left_class.is_comparable(right_class) => {
            Verdict::Exactly(ScalarExpr::Compare {
                op,
                left: Box::new(ScalarExpr::Column(left.to_owned())),
                right: Box::new(ScalarExpr::Column(right.to_owned())),
            })
        }
        _ => no(format!(
            "it compares {} with {}",
            left_column.native_type, right_column.native_type
        )),
    }
}

/// The class that the column may be compared in under `op`.
fn comparable(
    column: &RelColumn,
    column_type: &ColumnType,
    op: CompareOp,
    scope: &Scope<'_>,
) -> Result<Class, Reason> {
    let is_equality = matches!(op, CompareOp::Eq | CompareOp::NotEq);
    let reason = match (column_type, Class::of(column_type)) {
        (ColumnType::Enum, _) if !is_equality => {
            "an enum is ordered by its labels' positions at the source".to_owned()
        }
        (ColumnType::Bpchar { .. }, _) if !is_equality || !column.deterministic => {
            "char(n) ignores trailing blanks at the source".to_owned()
        }
        (_, Some(Class::Text | Class::Bpchar)) if !scope.utf8 => {
            "the source's encoding is not UTF-8".to_owned()
        }
        (_, Some(class)) => return Ok(class),
        (ColumnType::Interval, None) => {
            "intervals are compared by their length at the source".to_owned()
        }
        (ColumnType::List(_), None) => "arrays are compared by the engine".to_owned(),
        (_, None) => format!(
            "{} is compared as text here, and not at the source",
            column.native_type
        ),
    };
    Err(Reason(reason))
}

/// Arrow orders floats by their bits: -0 below 0, NaN above all. PostgreSQL holds the two zeros equal.
fn float(op: CompareOp, name: &str, literal: &Literal, value: f64) -> Verdict {
    use CompareOp::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    if value.is_nan() && value.is_sign_negative() {
        return no("a NaN with a sign is NaN at the source");
    }
    if value != 0.0 {
        return Verdict::Exactly(compare(op, name, literal));
    }
    let superset = |op| Verdict::Superset(compare(op, name, literal), Reason(SIGNED_ZERO.into()));
    match (op, value.is_sign_negative()) {
        // Both zeros are on the same side of the constant.
        (Gt | LtEq, false) | (Lt | GtEq, true) => Verdict::Exactly(compare(op, name, literal)),
        // -0 < 0 and 0 > -0 hold here only, so both zeros have to come back.
        (Lt, false) => superset(LtEq),
        (Gt, true) => superset(GtEq),
        (Eq | GtEq, false) | (Eq | LtEq, true) => superset(op),
        (NotEq, _) => no(SIGNED_ZERO),
    }
}

fn compare(op: CompareOp, name: &str, literal: &Literal) -> ScalarExpr {
    ScalarExpr::Compare {
        op,
        left: Box::new(ScalarExpr::Column(name.to_owned())),
        right: Box::new(ScalarExpr::Literal(literal.clone())),
    }
}

fn unfit(column: &RelColumn, literal: &Literal, class: Class) -> String {
    match literal {
        Literal::Text(text) if text.contains('\0') => "the source's text holds no NUL".to_owned(),
        Literal::Text(_) if class == Class::Uuid => {
            "its constant is not a uuid in canonical form".to_owned()
        }
        Literal::Date(_) | Literal::Timestamp(_) | Literal::TimestampTz(_) | Literal::Time(_)
            if matches!(
                class,
                Class::Date | Class::Timestamp | Class::TimestampTz | Class::Time
            ) =>
        {
            format!(
                "its constant is not a {} that the source knows",
                column.native_type
            )
        }
        _ => format!(
            "it compares {} with a constant of another type",
            column.native_type
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pushed, offer};
    use super::*;
    use arrow::datatypes::i256;
    use sluice_spi::{Expr, ScalarValue};

    fn column(name: &str, native: &str, collation: Option<&str>) -> RelColumn {
        RelColumn {
            name: name.into(),
            native_type: native.into(),
            collation: collation.map(str::to_owned),
            deterministic: true,
            nullable: true,
        }
    }

    fn check(expr: Expr, expected: &str) {
        let columns = [
            column("i", "integer", None),
            column("f", "double precision", None),
            column("t", "text", Some("en_US")),
            column("c", "character(4)", Some("en_US")),
            column("m", "mood", None),
            column("u", "uuid", None),
            column("j", "jsonb", None),
        ];
        let types = [
            ColumnType::Int4,
            ColumnType::Float8,
            ColumnType::Text,
            ColumnType::Bpchar { length: 4 },
            ColumnType::Enum,
            ColumnType::Uuid,
            ColumnType::Jsonb,
        ];
        let scope = Scope {
            columns: &columns,
            types: &types,
            utf8: true,
        };
        let answer = match offer(&expr, &scope) {
            Verdict::Exactly(_) => Pushed::Exactly,
            Verdict::Superset(_, reason) => Pushed::Superset(reason),
            Verdict::No(reason) => Pushed::No(reason),
        };
        let shown = match answer {
            Pushed::Exactly => "exactly".to_owned(),
            Pushed::Superset(reason) => format!("superset: {reason}"),
            Pushed::No(reason) => format!("no: {reason}"),
        };
        assert_eq!(shown, expected, "{expr}");
    }

    #[test]
    fn the_trap_table() {
        use datafusion::prelude::{col, lit};
        check(col("i").gt(lit(5)), "exactly");
        check(lit(5).lt(col("i")).and(col("t").eq(lit("x"))), "exactly");
        check(col("t").lt(lit("x")), "exactly");
        check(
            col("t").eq(lit("a\0")),
            "no: the source's text holds no NUL",
        );
        check(col("t").like(lit("a%")), "exactly");
        check(
            col("t").like(lit("a\\")),
            "no: a backslash at a pattern's end is an error at the source",
        );
        check(
            col("t").ilike(lit("a%")),
            "no: ILIKE follows the source's locale",
        );
        check(col("c").eq(lit("ab")), "exactly");
        check(
            col("c").eq(lit("ab  ")),
            "no: char(n) ignores trailing blanks at the source",
        );
        check(
            col("c").gt(lit("ab  ")),
            "no: char(n) ignores trailing blanks at the source",
        );
        check(col("m").eq(lit("never heard of")), "exactly");
        check(
            col("m").gt(lit("sad")),
            "no: an enum is ordered by its labels' positions at the source",
        );
        check(
            col("u").eq(lit("nonsense")),
            "no: its constant is not a uuid in canonical form",
        );
        check(
            col("j").eq(lit("{}")),
            "no: jsonb is compared as text here, and not at the source",
        );
        check(col("j").is_not_null(), "exactly");
        check(col("f").gt(lit(0.0)), "exactly");
        check(col("f").eq(lit(0.0)), "superset: -0 equals 0 at the source");
        check(col("f").not_eq(lit(0.0)), "no: -0 equals 0 at the source");
        check(
            Expr::Not(Box::new(col("f").eq(lit(0.0)))),
            "no: -0 equals 0 at the source",
        );
        check(col("f").eq(lit(f64::NAN)), "exactly");
        check(col("i").in_list(vec![lit(1), lit(2)], true), "exactly");
        check(
            col("i").eq(lit(ScalarValue::Utf8(Some("1".into())))),
            "no: it compares integer with a constant of another type",
        );
        check(
            col("i").eq(lit(ScalarValue::Decimal256(Some(i256::MAX), 76, 0))),
            "no: a constant of type Decimal256(76, 0) is not sent to the source",
        );
        check(
            (col("i") + lit(1)).eq(lit(2)),
            "no: operator + is computed by the engine",
        );
    }
}
