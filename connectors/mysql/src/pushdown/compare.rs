//! Comparisons of a column with constants, and of two columns.
//!
//! The engine has made both sides one type already; nothing is sent that the source would have to cast,
//! since it casts silently (`'abc' = 0` is true there). Text goes by its bytes; a renderer's matter.

use sluice_spi::{CompareOp, Literal, Reason, RelColumn, ScalarExpr};

use super::{Scope, Verdict, no};
use crate::config::ZeroDates;
use crate::literal::SqlValue;
use crate::render::is_comparable;
use crate::types::{Charset, ColumnType};

/// Items of a list that are sent at most. Measured on a table of 1.5 million rows (MariaDB 10.11, on a busy
/// machine): whole 1.9 s; with 10,000 keys 0.1 to 0.2 s over an index of numbers, 0.4 s over one of text, 1.0 s
/// without one; with 50,000 keys 0.4 to 0.7 s, 1.2 s and 0.7 s; with 100,000 keys 0.9 to 2.0 s, 2.8 s and 1.9 s.
pub(crate) const LIST_ITEMS: usize = 50_000;

/// MySQL holds the two zeros equal; Arrow tells them apart.
const SIGNED_ZERO: &str = "-0 equals 0 at the source";

/// Under `zero_dates = "null"`.
const ZERO_DATES: &str = "dates that no calendar has are NULL here, and not at the source";

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
        _ => no("it compares an expression"),
    }
}

pub(super) fn judge_in(
    expr: &ScalarExpr,
    list: &[Literal],
    negated: bool,
    scope: &Scope<'_>,
) -> Verdict {
    let ScalarExpr::Column(name) = expr else {
        return no("it compares an expression");
    };
    if list.is_empty() || list.len() > LIST_ITEMS {
        return no(format!("its list has {} items", list.len()));
    }
    let whole = |list: Vec<Literal>| ScalarExpr::InList {
        expr: Box::new(expr.clone()),
        list,
        negated,
    };
    let mut why = None;
    for literal in list {
        match with_constant(CompareOp::Eq, name, literal, scope) {
            Verdict::Exactly(_) => {}
            Verdict::Superset(_, reason) if !negated => {
                why.get_or_insert(reason);
            }
            Verdict::Superset(_, reason) | Verdict::No(reason) => return Verdict::No(reason),
        }
    }
    match why {
        None => Verdict::Exactly(whole(list.to_vec())),
        Some(reason) => Verdict::Superset(whole(list.to_vec()), reason),
    }
}

fn with_constant(op: CompareOp, name: &str, literal: &Literal, scope: &Scope<'_>) -> Verdict {
    let Some((column, column_type)) = scope.column(name) else {
        return no(format!("column \"{name}\" is not of this table"));
    };
    if let Some(reason) = incomparable(column, column_type) {
        return Verdict::No(reason);
    }
    if SqlValue::new(literal, column_type).is_none() {
        return no(unfit(column, column_type, literal));
    }
    if let (Literal::Float64(value), ColumnType::Double) = (literal, column_type) {
        return double(op, name, literal, *value);
    }
    let sent = compare(op, name, literal);
    if column_type.is_calendar() && scope.zero_dates == ZeroDates::Null {
        // It may find dates that are NULL here; it misses none that is not.
        return Verdict::Superset(sent, Reason(ZERO_DATES.into()));
    }
    Verdict::Exactly(sent)
}

fn columns(op: CompareOp, left: &str, right: &str, scope: &Scope<'_>) -> Verdict {
    let (Some((left_column, left_type)), Some((right_column, right_type))) =
        (scope.column(left), scope.column(right))
    else {
        return no("it compares columns that are not of this table");
    };
    for (column, column_type) in [(left_column, left_type), (right_column, right_type)] {
        if let Some(reason) = incomparable(column, column_type) {
            return Verdict::No(reason);
        }
        if *column_type == ColumnType::Double {
            return no(SIGNED_ZERO);
        }
        if column_type.is_calendar() && scope.zero_dates == ZeroDates::Null {
            return no(ZERO_DATES);
        }
    }
    if !is_comparable(left_type, right_type) {
        return no(format!(
            "it compares {} with {}",
            left_column.native_type, right_column.native_type
        ));
    }
    Verdict::Exactly(ScalarExpr::Compare {
        op,
        left: Box::new(ScalarExpr::Column(left.to_owned())),
        right: Box::new(ScalarExpr::Column(right.to_owned())),
    })
}

/// Why a column is compared by the engine only.
fn incomparable(column: &RelColumn, column_type: &ColumnType) -> Option<Reason> {
    let reason = match column_type {
        // Stored with fewer digits than it is compared with, and rounded again by an index.
        ColumnType::Float => "float is compared with rounding at the source".to_owned(),
        ColumnType::Text(text) if text.charset == Charset::Other => {
            "its character set is converted by the source".to_owned()
        }
        ColumnType::Text(text) if text.is_long => {
            "long texts are compared by the engine".to_owned()
        }
        ColumnType::Time => "intervals are compared by the engine".to_owned(),
        ColumnType::Json
        | ColumnType::Uuid
        | ColumnType::Bit { .. }
        | ColumnType::Geometry
        | ColumnType::AsText => format!(
            "{} is compared as text here, and not at the source",
            column.native_type
        ),
        _ => return None,
    };
    Some(Reason(reason))
}

/// Arrow orders floats by their bits: -0 below 0. MySQL has neither NaN nor infinities.
fn double(op: CompareOp, name: &str, literal: &Literal, value: f64) -> Verdict {
    use CompareOp::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
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

fn unfit(column: &RelColumn, column_type: &ColumnType, literal: &Literal) -> String {
    match (literal, column_type) {
        (Literal::Text(_), ColumnType::Text(_)) => {
            "its constant has characters that the column's character set may lack".to_owned()
        }
        (Literal::Int(_), ColumnType::Year) => {
            "years outside of 1901 to 2155 mean others at the source".to_owned()
        }
        (Literal::Decimal { .. }, ColumnType::Decimal { .. }) => {
            format!("its constant does not fit {}", column.native_type)
        }
        (Literal::Float64(_), ColumnType::Double) => {
            "the source has neither NaN nor infinities".to_owned()
        }
        (Literal::Date(_), ColumnType::Date)
        | (Literal::Timestamp(_), ColumnType::DateTime { .. })
        | (Literal::TimestampTz(_), ColumnType::Timestamp { .. }) => format!(
            "its constant is not a {} that the source knows",
            column.native_type
        ),
        _ => format!(
            "it compares {} with a constant of another type",
            column.native_type
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CONDITION_BYTES, Pushed, offer};
    use super::*;
    use crate::types::TextType;
    use sluice_spi::{Expr, ScalarValue};

    fn column(name: &str, native: &str, nullable: bool) -> RelColumn {
        RelColumn {
            name: name.into(),
            native_type: native.into(),
            collation: None,
            deterministic: true,
            nullable,
        }
    }

    fn text(charset: Charset, is_long: bool) -> ColumnType {
        ColumnType::Text(TextType {
            length: None,
            charset,
            by_bytes: false,
            by_code_points: false,
            is_long,
            is_label: false,
        })
    }

    fn check_in(expr: Expr, zero_dates: ZeroDates, expected: &str) {
        let columns = [
            column("i", "int(11)", true),
            column("f", "float", true),
            column("d", "double", true),
            column("t", "varchar(10)", true),
            column("l", "longtext", true),
            column("s", "varchar(10)", true),
            column("y", "year(4)", true),
            column("day", "date", false),
            column("at", "datetime(3)", true),
            column("j", "json", true),
            column("m", "decimal(5,2)", true),
        ];
        let types = [
            ColumnType::Int32,
            ColumnType::Float,
            ColumnType::Double,
            text(Charset::Latin1, false),
            text(Charset::Utf8mb4, true),
            text(Charset::Other, false),
            ColumnType::Year,
            ColumnType::Date,
            ColumnType::DateTime { fraction: 3 },
            ColumnType::Json,
            ColumnType::Decimal {
                precision: 5,
                scale: 2,
            },
        ];
        let scope = Scope {
            columns: &columns,
            types: &types,
            zero_dates,
            plain: true,
        };
        let mut room = CONDITION_BYTES;
        let answer = match offer(&expr, &scope, &mut room) {
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

    fn check(expr: Expr, expected: &str) {
        check_in(expr, ZeroDates::Error, expected);
    }

    #[test]
    fn the_trap_table() {
        use datafusion::prelude::{col, lit};
        let day = |days| lit(ScalarValue::Date32(Some(days)));
        let at = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), None));
        check(col("i").gt(lit(5)), "exactly");
        check(lit(5).lt(col("i")).and(col("t").eq(lit("x"))), "exactly");
        check(col("t").not_eq(lit("x")), "exactly");
        check(
            col("t").eq(lit("日")),
            "no: its constant has characters that the column's character set may lack",
        );
        check(
            col("l").eq(lit("x")),
            "no: long texts are compared by the engine",
        );
        check(
            col("s").eq(lit("x")),
            "no: its character set is converted by the source",
        );
        check(col("t").like(lit("a%")), "exactly");
        check(
            col("t").ilike(lit("a%")),
            "no: ILIKE follows the source's collation",
        );
        check(
            col("f").eq(lit(0.5_f32)),
            "no: float is compared with rounding at the source",
        );
        check(col("d").gt(lit(0.0)), "exactly");
        check(col("d").eq(lit(0.0)), "superset: -0 equals 0 at the source");
        check(col("d").not_eq(lit(0.0)), "no: -0 equals 0 at the source");
        check(
            col("d").eq(lit(f64::NAN)),
            "no: the source has neither NaN nor infinities",
        );
        check(
            col("y").eq(lit(70_i16)),
            "no: years outside of 1901 to 2155 mean others at the source",
        );
        check(col("y").eq(lit(1999_i16)), "exactly");
        check(
            col("j").eq(lit("{}")),
            "no: json is compared as text here, and not at the source",
        );
        check(col("j").is_not_null(), "exactly");
        check(col("i").in_list(vec![lit(1), lit(2)], true), "exactly");
        check(
            col("i").eq(lit(ScalarValue::Utf8(Some("1".into())))),
            "no: it compares int(11) with a constant of another type",
        );
        check(
            col("m").eq(lit(ScalarValue::Decimal128(Some(1), 10, 3))),
            "no: its constant does not fit decimal(5,2)",
        );
        check(
            (col("i") + lit(1)).eq(lit(2)),
            "no: operator + is computed by the engine",
        );
        check(col("day").gt(day(0)), "exactly");
        check(
            col("day").is_null(),
            "no: 0000-00-00 passes for NULL at the source",
        );
        check(col("at").is_null(), "exactly");
        check(col("at").lt(at(1_000)), "exactly");
        check(
            col("at").lt(at(1)),
            "no: its constant is not a datetime(3) that the source knows",
        );
    }

    #[test]
    fn lists_are_as_long_as_a_statement_can_be() {
        use datafusion::prelude::{col, lit};
        let numbers = |count| (0..count).map(|i: i32| lit(i)).collect();
        check(col("i").in_list(numbers(50_000), false), "exactly");
        check(
            col("i").in_list(numbers(50_001), false),
            "no: its list has 50001 items",
        );
        let texts = (0..20_000).map(|i| lit(format!("{i:020}"))).collect();
        check(
            col("t").in_list(texts, false),
            "no: it is too long for a statement",
        );
    }

    #[test]
    fn where_zero_dates_are_null_the_engine_checks_again() {
        use datafusion::prelude::{col, lit};
        let day = lit(ScalarValue::Date32(Some(0)));
        let null = "dates that no calendar has are NULL here, and not at the source";
        check_in(
            col("day").lt(day.clone()),
            ZeroDates::Null,
            &format!("superset: {null}"),
        );
        check_in(
            Expr::Not(Box::new(col("day").lt(day))),
            ZeroDates::Null,
            &format!("no: {null}"),
        );
        check_in(col("at").is_null(), ZeroDates::Null, &format!("no: {null}"));
    }
}
