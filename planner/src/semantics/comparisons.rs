//! What compares: `=` and `<`, which [`super::lists`] makes of BETWEEN and IN too, and the keys that rows are
//! grouped, sorted or joined by.
//!
//! Both sides get one type that loses nothing, and values that PostgreSQL holds equal get one form: -0 is 0, an
//! interval is its length, `character(n)` has no trailing blanks. A column against a constant stays bare where it
//! can: sources and files know how to use that.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use sluice_spi::types::pg_type;

use super::branches;
use super::literals::{self, as_float, typed_as};
use super::operators::{literal_type, no_such_operator, pair};
use super::text;
use super::types::{as_decimal, call, cast_to, field_of, is_decimal, is_text, type_of};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// What rows are sorted or joined by: of a float the same number with 0 for -0, and of an interval its length.
/// The engine compares floats bit by bit and intervals part by part, SQL does not.
pub(super) fn key(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match type_of(&expr, schema) {
        Some(DataType::Interval(_)) => Transformed::yes(length(expr)?),
        _ => group_key(expr, schema),
    })
}

/// What rows are grouped by. An interval's length would not do, since groups show what they are grouped by:
/// [`super::groups`] takes care of those.
pub(super) fn group_key(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match type_of(&expr, schema) {
        Some(DataType::Float32) => Transformed::yes(pair(expr, Operator::Plus, lit(0.0f32))),
        Some(DataType::Float64) => Transformed::yes(without_minus_zero(expr)),
        _ => Transformed::no(expr),
    }
}

/// What intervals are compared by.
pub(super) fn length(interval: Expr) -> Result<Expr> {
    call("interval_length", vec![interval])
}

fn without_minus_zero(expr: Expr) -> Expr {
    pair(expr, Operator::Plus, lit(0.0f64))
}

/// What a key was made of: for sources, which compare floats as SQL does.
pub(crate) fn compared(key: &Expr) -> &Expr {
    use ScalarValue::{Float32, Float64};
    match key {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Plus,
            right,
        }) => match right.as_ref() {
            Expr::Literal(Float64(Some(0.0)) | Float32(Some(0.0)), _) => left,
            _ => key,
        },
        _ => key,
    }
}

/// `IS TRUE` and its kin as tests that the engine takes for NULL or not in the same way everywhere: else it refuses
/// its own plan of an aggregate that has one of these tests twice.
pub(super) fn truth(expr: Expr) -> Transformed<Expr> {
    use Operator::{IsDistinctFrom, IsNotDistinctFrom};
    Transformed::yes(match expr {
        Expr::IsTrue(inner) => pair(*inner, IsNotDistinctFrom, lit(true)),
        Expr::IsNotTrue(inner) => pair(*inner, IsDistinctFrom, lit(true)),
        Expr::IsFalse(inner) => pair(*inner, IsNotDistinctFrom, lit(false)),
        Expr::IsNotFalse(inner) => pair(*inner, IsDistinctFrom, lit(false)),
        Expr::IsUnknown(inner) => Expr::IsNull(inner),
        Expr::IsNotUnknown(inner) => Expr::IsNotNull(inner),
        other => return Transformed::no(other),
    })
}

/// The comparison as PostgreSQL means it.
pub(super) fn comparison(
    left: Expr,
    op: Operator,
    right: Expr,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let (Some(l), Some(r)) = (type_of(&left, schema), type_of(&right, schema)) else {
        return Ok(Transformed::no(pair(left, op, right)));
    };
    refuse_unlike(&left, op, &right, schema)?;
    let (left, right, stripped) = text::stripped(left, right, schema);
    let (left, right, typed) = typed_pair(left, &l, right, &r)?;
    let mut moved = stripped || typed;
    let l = literal_type(&left).unwrap_or(l);
    let r = literal_type(&right).unwrap_or(r);
    if let Some(range) = days(&left, op, &right) {
        return Ok(Transformed::yes(range));
    }
    if matches!(
        (&l, &r),
        (DataType::Date32, DataType::Timestamp(..)) | (DataType::Timestamp(..), DataType::Date32)
    ) && let Some(compared) = whole_days(&left, op, &right)
    {
        return Ok(Transformed::yes(compared));
    }
    if matches!((&l, &r), (DataType::Interval(_), DataType::Interval(_))) {
        let (left, right) = (length(left)?, length(right)?);
        return Ok(Transformed::yes(pair(left, op, right)));
    }
    let (left, right) = match common(left, &l, right, &r)? {
        Common::Made(left, right) => return Ok(Transformed::yes(pair(left, op, right))),
        Common::AsTheyAre(left, right) => (left, right),
    };
    if !(l.is_floating() || r.is_floating()) || !l.is_numeric() || !r.is_numeric() {
        return Ok(Transformed::new_transformed(pair(left, op, right), moved));
    }
    // Against a float, everything is compared as double precision.
    let mut wide = |expr: Expr, data_type: &DataType| match data_type {
        DataType::Float64 => Ok(expr),
        _ => {
            moved = true;
            as_float(expr)
        }
    };
    let (left, right) = (wide(left, &l)?, wide(right, &r)?);
    match (zero_or_not(&left), zero_or_not(&right)) {
        (None, None) => Ok(Transformed::yes(pair(
            without_minus_zero(left),
            op,
            without_minus_zero(right),
        ))),
        (_, Some(true)) => Ok(Transformed::yes(against_zero(left, op))),
        (Some(true), _) => match op.swap() {
            Some(swapped) => Ok(Transformed::yes(against_zero(right, swapped))),
            None => Ok(Transformed::yes(pair(left, op, without_minus_zero(right)))),
        },
        _ => Ok(Transformed::new_transformed(pair(left, op, right), moved)),
    }
}

/// Text is compared with text: PostgreSQL reads only constants as what they are compared with.
pub(super) fn refuse_unlike(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &DFSchema,
) -> Result<()> {
    let (Some(l), Some(r)) = (field_of(left, schema), field_of(right, schema)) else {
        return Ok(());
    };
    unlike(left, &l, op, right, &r)
}

/// Likewise, of operands whose fields are known.
pub(super) fn unlike(
    left: &Expr,
    l: &FieldRef,
    op: Operator,
    right: &Expr,
    r: &FieldRef,
) -> Result<()> {
    let is_plain = |expr: &Expr, field: &FieldRef| {
        let tag = pg_type(field);
        let plain = tag.is_none_or(|tag| tag.starts_with("character") || tag == "text");
        is_text(field.data_type()) && plain && literals::text(expr).is_none()
    };
    let is_other = |field: &FieldRef| {
        let data_type = field.data_type();
        let counts =
            data_type.is_signed_integer() || data_type.is_floating() || is_decimal(data_type);
        let plain = pg_type(field).is_none_or(|tag| tag == "numeric");
        plain && (counts || data_type == &DataType::Boolean || data_type.is_temporal())
    };
    if is_plain(left, l) && is_other(r) || is_other(l) && is_plain(right, r) {
        let op = match op {
            Operator::NotEq => "<>".to_owned(),
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => "=".to_owned(),
            op => op.to_string(),
        };
        return Err(no_such_operator(left, l, op, right, r).into());
    }
    Ok(())
}

/// Two values that are to be compared.
pub(super) enum Common {
    /// With one type that loses nothing, where the engine knows none or a worse one.
    Made(Expr, Expr),
    /// The engine's own type serves.
    AsTheyAre(Expr, Expr),
}

/// Both values with one type.
pub(super) fn common(left: Expr, l: &DataType, right: Expr, r: &DataType) -> Result<Common> {
    use DataType::{Date32, Timestamp};
    if let Some(target) = common_decimal(l, r) {
        let same = |expr, data_type: &DataType| match data_type {
            t if *t == target => expr,
            t => cast_to(as_decimal(expr, t).0, target.clone()),
        };
        return Ok(Common::Made(same(left, l), same(right, r)));
    }
    // The engine would count nanoseconds, which begin in 1677 and end in 2262.
    Ok(match (l, r) {
        (Date32, Timestamp(_, None)) => Common::Made(midnight(left)?, right),
        (Timestamp(_, None), Date32) => Common::Made(left, midnight(right)?),
        // By the clocks of the session's zone, and not of the zone that the values are kept in.
        (Date32 | Timestamp(_, None), Timestamp(_, Some(_))) => {
            Common::Made(call("cast_timestamptz", vec![left])?, right)
        }
        (Timestamp(_, Some(_)), Date32 | Timestamp(_, None)) => {
            Common::Made(left, call("cast_timestamptz", vec![right])?)
        }
        _ => Common::AsTheyAre(left, right),
    })
}

/// The first moment of a date, as a constant where the date is one: sources and files can use that.
fn midnight(date: Expr) -> Result<Expr> {
    if let Expr::Literal(ScalarValue::Date32(Some(day)), _) = &date
        && !matches!(*day, i32::MIN | i32::MAX)
        && let Some(micros) = i64::from(*day).checked_mul(MICROSECONDS_PER_DAY)
    {
        let value = ScalarValue::TimestampMicrosecond(Some(micros), None);
        return Ok(Expr::Literal(value, None));
    }
    call("cast_timestamp", vec![date])
}

/// A column of dates against a moment within a day, as a comparison with that day.
fn whole_days(left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let moment = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), None), _) => {
            let day = micros.div_euclid(MICROSECONDS_PER_DAY);
            let within = !matches!(*micros, i64::MIN | i64::MAX)
                && micros.rem_euclid(MICROSECONDS_PER_DAY) != 0;
            i32::try_from(day).ok().filter(|_| within)
        }
        _ => None,
    };
    let (dates, op, day) = match (moment(left), moment(right)) {
        (None, Some(day)) => (left, op, day),
        (Some(day), None) => (right, op.swap()?, day),
        _ => return None,
    };
    let is_date = matches!(dates, Expr::Column(_));
    let compared = |op| {
        let day = Expr::Literal(ScalarValue::Date32(Some(day)), None);
        pair(dates.clone(), op, day)
    };
    is_date.then(|| {
        Some(match op {
            Lt | LtEq => compared(LtEq),
            Gt | GtEq => compared(Gt),
            // No date is that moment; what NULL is stays unknown.
            Eq => compared(Lt).and(compared(Gt)),
            NotEq => compared(LtEq).or(compared(Gt)),
            _ => return None,
        })
    })?
}

/// The type that two exact numbers are compared as, where the engine knows none: it has no common type of
/// decimals of different widths.
fn common_decimal(l: &DataType, r: &DataType) -> Option<DataType> {
    let wide = |t: &DataType| matches!(t, DataType::Decimal256(..));
    if l == r || !(wide(l) || wide(r)) || l.is_floating() || r.is_floating() {
        return None;
    }
    branches::common([l, r].into_iter())
}

/// A timestamp's day against a date, as a range of timestamps: sources and files know those.
fn days(left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let (moment, op, day) = match (day_of(left), day_of(right)) {
        (Some(moment), None) => (moment, op, right),
        (None, Some(moment)) => (moment, op.swap()?, left),
        _ => return None,
    };
    let Expr::Literal(ScalarValue::Date32(Some(day)), _) = day else {
        return None;
    };
    let midnight = |day: i32| {
        let value = i64::from(day).checked_mul(MICROSECONDS_PER_DAY)?;
        Some(Expr::Literal(
            ScalarValue::TimestampMicrosecond(Some(value), None),
            None,
        ))
    };
    let (start, end) = (midnight(*day)?, midnight(day.checked_add(1)?)?);
    let is = |op, bound| pair(moment.clone(), op, bound);
    Some(match op {
        Eq => is(GtEq, start).and(is(Lt, end)),
        NotEq => is(Lt, start).or(is(GtEq, end)),
        Lt => is(Lt, start),
        LtEq => is(Lt, end),
        Gt => is(GtEq, end),
        GtEq => is(GtEq, start),
        _ => return None,
    })
}

/// The column that an expression takes the date of.
fn day_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "cast_date" => call
            .args
            .first()
            .filter(|arg| matches!(arg, Expr::Column(_))),
        _ => None,
    }
}

/// Whether a literal is zero; `None` for what is no literal.
fn zero_or_not(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(v)), _) => Some(*v == 0.0),
        Expr::Literal(..) => Some(false),
        _ => None,
    }
}

/// A float against zero, so that both zeros are equal and the column stays bare for pruning.
fn against_zero(expr: Expr, op: Operator) -> Expr {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let (minus, plus) = (lit(-0.0f64), lit(0.0f64));
    match op {
        Eq if matches!(expr, Expr::Column(_)) => {
            pair(expr.clone(), GtEq, minus).and(pair(expr, LtEq, plus))
        }
        NotEq if matches!(expr, Expr::Column(_)) => {
            pair(expr.clone(), Lt, minus).or(pair(expr, Gt, plus))
        }
        Lt | GtEq => pair(expr, op, minus),
        Gt | LtEq => pair(expr, op, plus),
        op => pair(without_minus_zero(expr), op, plus),
    }
}

/// Untyped literals take the type of what they are compared with.
fn typed_pair(left: Expr, l: &DataType, right: Expr, r: &DataType) -> Result<(Expr, Expr, bool)> {
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    if is_literal(&right) && !is_text(l) {
        let right = typed_as(right, l)?;
        return Ok((left, right.data, right.transformed));
    }
    if is_literal(&left) && !is_text(r) {
        let left = typed_as(left, r)?;
        return Ok((left.data, right, left.transformed));
    }
    Ok((left, right, false))
}
