//! How many digits after the point PostgreSQL would show of a numeric: its display scale.
//!
//! The digits of a quotient depend on those of its operands, and PostgreSQL keeps them with each value. A
//! column of Arrow has one scale for all of its values, so of a quotient it only says how many digits there
//! is room for. Where the operands of a division are computed from other quotients, their scales are computed
//! beside them, by the rules of numeric.c. What comes out of a subquery or an aggregate has lost its scale;
//! the division then takes the digits that are in use.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, Operator, lit, when};
use datafusion::scalar::ScalarValue;
use sluice_spi::types::NUMERIC_SCALE;

use super::types::{call, digits_of, integer, type_of};

/// Calls for quotients in the operands. Each is written twice, for its value and for its scale, and so are those
/// in it: this is enough for five within each other.
const MOST_DIVISIONS: usize = 16;

/// A display scale.
enum Scale {
    /// The same for all values.
    Fixed(i32),
    /// An integer for each value.
    Computed(Expr),
    Unknown,
}

/// The quotient of two decimals.
pub(super) fn quotient(left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let scales = match divisions(&left)? + divisions(&right)? <= MOST_DIVISIONS {
        true => [scale_of(&left, schema)?, scale_of(&right, schema)?],
        false => [Scale::Unknown, Scale::Unknown],
    };
    // The function knows what the types tell.
    let told = |(scale, operand): (&Scale, &Expr)| match (scale, of_type(operand, schema)) {
        (Scale::Fixed(digits), Scale::Fixed(own)) => *digits == own,
        (scale, _) => matches!(scale, Scale::Unknown),
    };
    if scales.iter().zip([&left, &right]).all(told) {
        return call("numeric_div", vec![left, right]);
    }
    let [ls, rs] = scales.map(|scale| digits(scale).unwrap_or(lit(ScalarValue::Int32(None))));
    call("numeric_div", vec![left, right, ls, rs])
}

fn divisions(expr: &Expr) -> Result<usize> {
    let mut found = 0;
    expr.apply(|e| {
        let divides = |f: &ScalarFunction| f.name().starts_with("numeric_div");
        found += usize::from(matches!(e, Expr::ScalarFunction(f) if divides(f)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The scale that a type alone tells: a type as wide as those of quotients tells none.
fn of_type(expr: &Expr, schema: &DFSchema) -> Scale {
    match type_of(expr, schema).as_ref().and_then(digits_of) {
        Some((_, scale)) if scale < i32::from(NUMERIC_SCALE) => Scale::Fixed(scale),
        _ => Scale::Unknown,
    }
}

fn scale_of(expr: &Expr, schema: &DFSchema) -> Result<Scale> {
    let known = match expr {
        Expr::Alias(alias) => scale_of(&alias.expr, schema)?,
        Expr::Negative(inner) => scale_of(inner, schema)?,
        // A cast to a type as wide as those of quotients made the types of branches one: it changes no value.
        Expr::Cast(cast) => match of_type(expr, schema) {
            Scale::Unknown => scale_of(&cast.expr, schema)?,
            fixed => fixed,
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (l, r) = (scale_of(left, schema)?, scale_of(right, schema)?);
            match op {
                Operator::Plus | Operator::Minus | Operator::Modulo => larger(l, r)?,
                Operator::Multiply => total(l, r)?,
                _ => Scale::Unknown,
            }
        }
        Expr::Case(case) => of_case(case, schema)?,
        Expr::ScalarFunction(function) => of_call(function, schema)?,
        _ => Scale::Unknown,
    };
    Ok(match known {
        Scale::Unknown => of_type(expr, schema),
        known => known,
    })
}

fn of_call(function: &ScalarFunction, schema: &DFSchema) -> Result<Scale> {
    let args = &function.args;
    Ok(match (function.name(), args.as_slice()) {
        ("numeric_div" | "average", [dividend, ..])
            if !type_of(dividend, schema).is_some_and(|t| t.is_floating()) =>
        {
            Scale::Computed(call("numeric_div_scale", args.clone())?)
        }
        ("numeric_mul", [left, right]) => total(scale_of(left, schema)?, scale_of(right, schema)?)?,
        ("abs" | "nullif", [value, ..]) => scale_of(value, schema)?,
        ("round", [_, Expr::Literal(digits, _)]) => match integer(digits).map(i32::try_from) {
            Some(Ok(digits)) => Scale::Fixed(digits.max(0)),
            _ => Scale::Unknown,
        },
        ("cast_numeric", [_, Expr::Literal(precision, _), Expr::Literal(scale, _)]) => {
            match (integer(precision), integer(scale).map(i32::try_from)) {
                (Some(1..), Some(Ok(scale))) => Scale::Fixed(scale.max(0)),
                _ => Scale::Unknown,
            }
        }
        ("coalesce", [values @ .., last]) => {
            let mut scale = scale_of(last, schema)?;
            for value in values.iter().rev() {
                let found = value.clone().is_not_null();
                scale = chosen(found, scale_of(value, schema)?, scale)?;
            }
            scale
        }
        _ => Scale::Unknown,
    })
}

fn of_case(case: &Case, schema: &DFSchema) -> Result<Scale> {
    let mut scale = match &case.else_expr {
        Some(otherwise) => scale_of(otherwise, schema)?,
        None => Scale::Fixed(0),
    };
    for (condition, value) in case.when_then_expr.iter().rev() {
        // Of NULL there is nothing to show.
        if matches!(value.as_ref(), Expr::Literal(value, _) if value.is_null()) {
            continue;
        }
        let condition = match &case.expr {
            Some(subject) => subject.as_ref().clone().eq(condition.as_ref().clone()),
            None => condition.as_ref().clone(),
        };
        scale = chosen(condition, scale_of(value, schema)?, scale)?;
    }
    Ok(scale)
}

/// The one scale where the condition is true, and the other elsewhere.
fn chosen(condition: Expr, then: Scale, otherwise: Scale) -> Result<Scale> {
    Ok(match (then, otherwise) {
        (Scale::Fixed(then), Scale::Fixed(otherwise)) if then == otherwise => Scale::Fixed(then),
        (then, otherwise) => match (digits(then), digits(otherwise)) {
            (Some(then), Some(otherwise)) => {
                Scale::Computed(when(condition, then).otherwise(otherwise)?)
            }
            _ => Scale::Unknown,
        },
    })
}

/// A sum or a rest has the digits of the operand with more.
fn larger(left: Scale, right: Scale) -> Result<Scale> {
    Ok(match (left, right) {
        (Scale::Fixed(l), Scale::Fixed(r)) => Scale::Fixed(l.max(r)),
        (left, right) => match (digits(left), digits(right)) {
            (Some(l), Some(r)) => Scale::Computed(when(l.clone().gt(r.clone()), l).otherwise(r)?),
            _ => Scale::Unknown,
        },
    })
}

/// A product has the digits of both.
fn total(left: Scale, right: Scale) -> Result<Scale> {
    Ok(match (left, right) {
        (Scale::Fixed(l), Scale::Fixed(r)) => Scale::Fixed(l + r),
        (left, right) => match (digits(left), digits(right)) {
            (Some(l), Some(r)) => Scale::Computed(call("int_add", vec![l, r])?),
            _ => Scale::Unknown,
        },
    })
}

fn digits(scale: Scale) -> Option<Expr> {
    match scale {
        Scale::Fixed(digits) => Some(lit(digits)),
        Scale::Computed(expr) => Some(expr),
        Scale::Unknown => None,
    }
}
