//! BETWEEN and IN, as the comparisons that they stand for: each bound and each item meets the value by its own
//! type. Items that compare with one form of the value stay one list, which sources and files know how to use.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use super::comparisons::comparison;
use super::literals::as_float;
use super::types::{cast_to, type_of};

/// BETWEEN: as in PostgreSQL's parser, the value is written twice.
pub(super) fn between(between: Between, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Between {
        expr,
        negated,
        low,
        high,
    } = between;
    let above = comparison(expr.as_ref().clone(), Operator::GtEq, *low, schema)?.data;
    let below = comparison(*expr, Operator::LtEq, *high, schema)?.data;
    Ok(Transformed::yes(unless(negated, above.and(below))))
}

/// IN over a list.
pub(super) fn in_list(in_list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InList {
        expr,
        list,
        negated,
    } = in_list;
    let expr = *expr;
    let (list, mut moved) = floats(&expr, list, schema)?;
    let mut lists: Vec<(Expr, Vec<Expr>)> = Vec::new();
    let mut nulls = Vec::new();
    let mut tests = Vec::new();
    for item in list {
        if matches!(&item, Expr::Literal(value, _) if value.data_type().is_null()) {
            nulls.push(item);
            continue;
        }
        let test = comparison(expr.clone(), Operator::Eq, item, schema)?;
        moved |= test.transformed;
        match test.data {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) if are_of_one_type(&left, &right, schema) => {
                match lists.iter_mut().find(|(value, _)| *value == *left) {
                    Some((_, items)) => items.push(*right),
                    None => lists.push((*left, vec![*right])),
                }
            }
            test => tests.push(test),
        }
    }
    if !nulls.is_empty() {
        match lists.first_mut() {
            Some((_, items)) => items.append(&mut nulls),
            None => lists.push((expr, nulls)),
        }
    }
    if let ([_], []) = (lists.as_slice(), tests.as_slice())
        && let Some((value, items)) = lists.pop()
    {
        let list = InList::new(Box::new(value), items, negated);
        return Ok(Transformed::new_transformed(Expr::InList(list), moved));
    }
    let lists = lists
        .into_iter()
        .map(|(value, items)| Expr::InList(InList::new(Box::new(value), items, false)));
    let any = lists.chain(tests).reduce(Expr::or);
    // A list is never empty.
    Ok(Transformed::yes(unless(negated, any.unwrap_or_default())))
}

fn unless(negated: bool, expr: Expr) -> Expr {
    match negated {
        true => Expr::Not(Box::new(expr)),
        false => expr,
    }
}

/// The engine compares a list as one type: a column of another would change it for all.
fn are_of_one_type(value: &Expr, item: &Expr, schema: &DFSchema) -> bool {
    matches!(item, Expr::Literal(..) | Expr::Placeholder(_))
        || type_of(value, schema) == type_of(item, schema)
}

/// PostgreSQL gives two or more items without columns one type, the value's among those that it may be. Only a
/// float makes a difference: `0.1::real IN (0.1, 0.2)` is true, `0.1::real IN (0.1)` is not. True where something
/// changed.
fn floats(value: &Expr, list: Vec<Expr>, schema: &DFSchema) -> Result<(Vec<Expr>, bool)> {
    let is_constant = |item: &Expr| !item.any_column_refs();
    if list.iter().filter(|item| is_constant(item)).count() < 2 {
        return Ok((list, false));
    }
    let types: Vec<DataType> = std::iter::once(value)
        .chain(list.iter().filter(|item| is_constant(item)))
        .filter_map(|item| type_of(item, schema))
        .collect();
    let float = [DataType::Float64, DataType::Float32]
        .into_iter()
        .find(|float| types.contains(float));
    let Some(float) = float.filter(|_| types.iter().all(DataType::is_numeric)) else {
        return Ok((list, false));
    };
    let mut moved = false;
    let list = list
        .into_iter()
        .map(|item| match type_of(&item, schema) {
            Some(other) if is_constant(&item) && other != float => {
                moved = true;
                match as_float(item)? {
                    Expr::Literal(value, _) => Ok(Expr::Literal(value.cast_to(&float)?, None)),
                    wide if float == DataType::Float64 => Ok(wide),
                    wide => Ok(cast_to(wide, float.clone())),
                }
            }
            _ => Ok(item),
        })
        .collect::<Result<_>>()?;
    Ok((list, moved))
}
