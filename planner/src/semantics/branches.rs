//! The one type of a CASE's branches, as PostgreSQL resolves it.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Case, Expr, Operator};

use super::comparisons::comparison;
use super::literals;
use super::moments;
use super::types::{as_decimal, cast_to, decimal, digits_of, is_decimal, is_text, type_of};

/// Branches of several numeric types get the widest; untyped literals take the others' type. `CASE x WHEN 1` is
/// spelled out where the comparison is not the engine's.
pub(super) fn case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (case, searched) = searched(case, schema)?;
    let results = of_one_type(case, schema)?;
    Ok(Transformed::new_transformed(
        results.data,
        searched || results.transformed,
    ))
}

/// The case as one of conditions, where some comparison with its subject needs one; true where it did.
fn searched(mut case: Case, schema: &DFSchema) -> Result<(Case, bool)> {
    let Some(subject) = case
        .expr
        .as_deref()
        .filter(|subject| !subject.is_volatile())
    else {
        return Ok((case, false));
    };
    let tests = case
        .when_then_expr
        .iter()
        .map(|(when, _)| comparison(subject.clone(), Operator::Eq, when.as_ref().clone(), schema))
        .collect::<Result<Vec<_>>>()?;
    if !tests.iter().any(|test| test.transformed) {
        return Ok((case, false));
    }
    for ((when, _), test) in case.when_then_expr.iter_mut().zip(tests) {
        **when = test.data;
    }
    case.expr = None;
    Ok((case, true))
}

fn of_one_type(mut case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let types: Vec<Option<DataType>> = results(&case).map(|expr| type_of(expr, schema)).collect();
    let texts: Vec<bool> = results(&case)
        .map(|expr| literals::text(expr).is_some())
        .collect();
    let typed = || {
        types
            .iter()
            .zip(&texts)
            .filter(|(_, text)| !**text)
            .filter_map(|(t, _)| t.as_ref())
    };
    let Some(first) = typed().next().cloned() else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    let mixed = typed().any(|t| *t != first);
    if mixed && moments::are_instants(typed()) {
        return instants(case, schema).map(Transformed::yes);
    }
    let literal = texts.contains(&true) && !is_text(&first);
    if !mixed && !literal {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let target = if mixed {
        match common(typed()) {
            Some(target) => target,
            None => return Ok(Transformed::no(Expr::Case(case))),
        }
    } else {
        first
    };
    let convert = |expr: &mut Box<Expr>| -> Result<()> {
        let Some(data_type) = type_of(expr, schema) else {
            return Ok(());
        };
        let taken = std::mem::take(expr.as_mut());
        **expr = if literals::text(&taken).is_some() && !is_text(&target) {
            literals::typed_as(taken, &target)?.data
        } else if is_decimal(&target) {
            cast_unless(as_decimal(taken, &data_type), &target)
        } else {
            cast_unless((taken, data_type), &target)
        };
        Ok(())
    };
    for (_, then) in &mut case.when_then_expr {
        convert(then)?;
    }
    if let Some(otherwise) = &mut case.else_expr {
        convert(otherwise)?;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// Every branch that is a moment as an instant.
fn instants(mut case: Case, schema: &DFSchema) -> Result<Expr> {
    let convert = |expr: &mut Box<Expr>| -> Result<()> {
        let data_type = type_of(expr, schema).unwrap_or(DataType::Null);
        **expr = moments::as_instant(std::mem::take(expr.as_mut()), &data_type)?;
        Ok(())
    };
    for (_, then) in &mut case.when_then_expr {
        convert(then)?;
    }
    if let Some(otherwise) = &mut case.else_expr {
        convert(otherwise)?;
    }
    Ok(Expr::Case(case))
}

fn results(case: &Case) -> impl Iterator<Item = &Expr> {
    let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
    thens.chain(case.else_expr.as_deref())
}

fn cast_unless((expr, data_type): (Expr, DataType), target: &DataType) -> Expr {
    if &data_type == target {
        expr
    } else {
        cast_to(expr, target.clone())
    }
}

/// The numeric type that holds all of them: floats win over numerics, numerics over integers.
pub(super) fn common<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let (mut whole, mut scale, mut any_decimal, mut widest) = (0, 0, false, DataType::Int16);
    let mut floats = (false, false);
    for data_type in types {
        match data_type {
            DataType::Float32 => floats.0 = true,
            DataType::Float64 => floats.1 = true,
            _ => {
                let (p, s) = digits_of(data_type)?;
                any_decimal |= is_decimal(data_type);
                whole = whole.max(p - s);
                scale = scale.max(s);
                if !is_decimal(data_type) && p > digits_of(&widest)?.0 {
                    widest = data_type.clone();
                }
            }
        }
    }
    match floats {
        (true, false) if whole == 0 => Some(DataType::Float32),
        (true, _) | (_, true) => Some(DataType::Float64),
        _ if any_decimal => decimal((whole + scale).min(76), scale),
        _ => Some(widest),
    }
}
