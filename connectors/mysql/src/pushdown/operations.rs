//! Aggregates, joins, top-N and the other operations: the ones that MySQL computes as the engine does.
//!
//! | operation | taken | and not |
//! | --- | --- | --- |
//! | expressions | columns; sums, differences and products of decimals and of bigint | integer and smallint (their overflow is no error there), unsigned, division |
//! | group keys, DISTINCT, count(distinct) | whole numbers, decimals, dates and times, short text under a binary collation that does not pad | other text, bytes, floats, json, bit |
//! | sum, min, max | whole numbers and decimals; dates (min, max) | floats, whose sum depends on the order |
//! | top-N | by the same types as groups | |
//! | joins | inner, left, EXISTS, NOT EXISTS, by exact conditions without text | |
//! | union all | of columns of the same types | |

use sluice_spi::{
    AggregateCall, AggregateFunction, Aggregation, JoinKind, Operation, Output, Reason, RelColumn,
    Relation, ScalarExpr, SortKey, TableHandle, ValueType,
};

use super::{Scope, Verdict, judge};
use crate::config::ZeroDates;
use crate::facts::Facts;
use crate::render::{can_write, computed_type};
use crate::types::ColumnType;

type Answer<T> = std::result::Result<T, Reason>;

/// Digits that MySQL's decimals have: at most, and after the point. What arithmetic would give more is
/// rounded there.
const DECIMAL_DIGITS: u8 = 65;
const DECIMAL_SCALE: i8 = 30;

/// Digits that a sum has more than its argument; MySQL makes room for them up to [`DECIMAL_DIGITS`].
const SUM_DIGITS: u8 = 22;

/// Characters of a text that is sorted as a whole: servers look at the first kilobyte
/// (`max_sort_length`), and a character has up to four bytes.
const SORTED_CHARACTERS: u64 = 255;

fn refuse<T>(reason: impl Into<String>) -> Answer<T> {
    Err(Reason(reason.into()))
}

/// The handle that does it, or why not.
pub(super) fn apply(input: &TableHandle, operation: &Operation<'_>) -> Answer<TableHandle> {
    let facts = Facts::of(input).map_err(|error| Reason(error.message))?;
    let scope = Scope::of(input, &facts);
    let below = Box::new(input.relation.clone());
    let (relation, facts) = match operation {
        Operation::Project { outputs } => {
            let (columns, types) = described(outputs, &scope)?;
            let relation = Relation::Project {
                input: below,
                exprs: outputs.iter().map(|output| output.expr.clone()).collect(),
                columns,
            };
            (relation, facts.derived(types))
        }
        Operation::Aggregate { groups, calls } => {
            let (mut columns, mut types) = described(groups, &scope)?;
            for (output, column_type) in groups.iter().zip(&types) {
                groupable(column_type, &scope)
                    .map_err(|why| Reason(format!("group by {}: {why}", output.field.name())))?;
            }
            for aggregation in *calls {
                let column_type = aggregate(aggregation, &scope)
                    .map_err(|why| Reason(format!("{}: {why}", aggregation.call.function)))?;
                columns.push(aggregated(aggregation, &column_type, &scope));
                types.push(column_type);
            }
            let relation = Relation::Aggregate {
                input: below,
                groups: groups.iter().map(|group| group.expr.clone()).collect(),
                calls: calls.iter().map(|each| each.call.clone()).collect(),
                columns,
            };
            (relation, facts.derived(types))
        }
        Operation::Distinct => {
            for (column, column_type) in scope.columns.iter().zip(scope.types) {
                groupable(column_type, &scope)
                    .map_err(|why| Reason(format!("column {}: {why}", column.name)))?;
            }
            let types = facts.columns.clone();
            (Relation::Distinct { input: below }, facts.derived(types))
        }
        Operation::TopN { keys, skip, fetch } => {
            for key in *keys {
                sortable(key, &scope)?;
            }
            let types = facts.columns.clone();
            let relation = Relation::TopN {
                input: below,
                keys: keys.to_vec(),
                skip: *skip,
                fetch: *fetch,
            };
            (relation, facts.derived(types))
        }
        Operation::Limit { skip, fetch } => {
            let types = facts.columns.clone();
            let relation = Relation::Limit {
                input: below,
                skip: *skip,
                fetch: *fetch,
            };
            (relation, facts.derived(types))
        }
        Operation::Join { right, kind, on } => join(input, &facts, right, *kind, on)?,
        Operation::Union { others } => union(input, &facts, others)?,
    };
    if !can_write(&relation, &facts) {
        return refuse("it cannot be written in the source's SQL");
    }
    let payload = facts.to_payload().map_err(|error| Reason(error.message))?;
    Ok(TableHandle {
        payload,
        ..input.with_relation(relation)
    })
}

/// Columns and types of computed outputs.
fn described(outputs: &[Output], scope: &Scope<'_>) -> Answer<(Vec<RelColumn>, Vec<ColumnType>)> {
    let mut columns = Vec::with_capacity(outputs.len());
    let mut types = Vec::with_capacity(outputs.len());
    for output in outputs {
        let column_type = value(&output.expr, scope)?;
        if column_type.data_type() != *output.field.data_type() {
            return refuse(format!(
                "{} is of another type at the source",
                output.field.name()
            ));
        }
        columns.push(match output.expr.as_column() {
            Some(name) => match scope.column(name) {
                Some((column, _)) => column.renamed(output.field.name()),
                None => return refuse(format!("column \"{name}\" is not of this table")),
            },
            None => new_column(output.field.name(), &column_type, true),
        });
        types.push(column_type);
    }
    Ok((columns, types))
}

fn new_column(name: &str, column_type: &ColumnType, nullable: bool) -> RelColumn {
    RelColumn {
        name: name.to_owned(),
        native_type: match column_type {
            ColumnType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            _ => "bigint".to_owned(),
        },
        collation: None,
        deterministic: true,
        nullable,
    }
}

/// The column of an aggregate. The least and the greatest of a column are what its values are, unsigned too.
fn aggregated(aggregation: &Aggregation, column_type: &ColumnType, scope: &Scope<'_>) -> RelColumn {
    let call = &aggregation.call;
    let chosen_from = match call.function {
        AggregateFunction::Min | AggregateFunction::Max => call.argument.as_ref(),
        _ => None,
    };
    let name = aggregation.field.name();
    let of = chosen_from
        .and_then(ScalarExpr::as_column)
        .and_then(|name| scope.column(name));
    match of {
        Some((column, _)) => RelColumn {
            nullable: true,
            ..column.renamed(name)
        },
        None => new_column(name, column_type, true),
    }
}

/// The type of a value that the source computes as the engine does.
fn value(expr: &ScalarExpr, scope: &Scope<'_>) -> Answer<ColumnType> {
    match expr {
        ScalarExpr::Column(name) => match scope.column(name) {
            Some((_, column_type)) => Ok(column_type.clone()),
            None => refuse(format!("column \"{name}\" is not of this table")),
        },
        ScalarExpr::Arithmetic { of, .. } => {
            exact(expr, scope)?;
            match computed_type(*of) {
                Some(column_type) => Ok(column_type),
                None => refuse("integer overflow is no error at the source"),
            }
        }
        ScalarExpr::Cast { to, .. } => {
            exact(expr, scope)?;
            computed_type(*to).ok_or_else(|| Reason("it casts a value".into()))
        }
        _ => refuse("it holds an expression that is computed by the engine"),
    }
}

/// True for one operator over whole numbers, unsigned ones too, whose result goes into a column that holds no
/// more than the engine's result does: what is too large for one of the two, or below zero, is an error both
/// there and here. Deeper inside, an error of the engine's could be a value there.
pub(super) fn is_assignable(input: &TableHandle, column: &str, value: &ScalarExpr) -> bool {
    let Ok(facts) = Facts::of(input) else {
        return false;
    };
    let scope = Scope::of(input, &facts);
    let is_unsigned = |column: &RelColumn| column.native_type.contains("unsigned");
    let (
        Some((target, target_type)),
        ScalarExpr::Arithmetic {
            left, right, of, ..
        },
    ) = (scope.column(column), value)
    else {
        return false;
    };
    let operand = |expr: &ScalarExpr| {
        let mut expr = expr;
        while let ScalarExpr::Cast { expr: inner, .. } = expr {
            expr = inner;
        }
        match expr {
            ScalarExpr::Literal(sluice_spi::Literal::Int(_)) => true,
            // Without a sign, the source computes without one.
            ScalarExpr::Column(name) => scope.column(name).is_some_and(|(column, column_type)| {
                column_type.is_integer() && (!is_unsigned(column) || is_unsigned(target))
            }),
            _ => false,
        }
    };
    let holds = match of {
        ValueType::Int16 => matches!(target_type, ColumnType::Int8 | ColumnType::Int16),
        ValueType::Int32 => matches!(
            target_type,
            ColumnType::Int8 | ColumnType::Int16 | ColumnType::Int32
        ),
        ValueType::Int64 => target_type.is_integer() && *target_type != ColumnType::UInt64,
        ValueType::Decimal { scale: 0, .. } => target_type.is_integer(),
        _ => false,
    };
    holds && operand(left) && operand(right)
}

/// Checks that arithmetic is exact on both sides, down to its leaves.
fn exact(expr: &ScalarExpr, scope: &Scope<'_>) -> Answer<()> {
    match expr {
        ScalarExpr::Column(name) => match scope.column(name) {
            Some((column, _)) if column.native_type.contains("unsigned") => {
                refuse("a negative result of unsigned numbers is an error at the source")
            }
            Some((_, column_type)) if is_number(column_type) => Ok(()),
            _ => refuse("it computes with something else than whole numbers and decimals"),
        },
        ScalarExpr::Literal(sluice_spi::Literal::Int(_) | sluice_spi::Literal::Decimal { .. }) => {
            Ok(())
        }
        ScalarExpr::Cast { expr, to } => {
            fits(*to)?;
            exact(expr, scope)
        }
        ScalarExpr::Arithmetic {
            left, right, of, ..
        } => {
            fits(*of)?;
            exact(left, scope)?;
            exact(right, scope)
        }
        _ => refuse("it holds an expression that is computed by the engine"),
    }
}

/// A result that the source neither rounds nor lets pass where the engine raises an error.
fn fits(of: ValueType) -> Answer<()> {
    match of {
        ValueType::Int64 => Ok(()),
        ValueType::Decimal { precision, scale }
            if precision <= DECIMAL_DIGITS && scale <= DECIMAL_SCALE =>
        {
            Ok(())
        }
        ValueType::Decimal { .. } => refuse("it has more digits than the source's decimals"),
        _ => refuse("integer overflow is no error at the source"),
    }
}

fn is_number(column_type: &ColumnType) -> bool {
    column_type.is_integer() || matches!(column_type, ColumnType::Decimal { .. })
}

/// Types whose equality and order there are those here.
fn groupable(column_type: &ColumnType, scope: &Scope<'_>) -> Answer<()> {
    match column_type {
        column_type if is_number(column_type) => Ok(()),
        ColumnType::Year | ColumnType::Bool => Ok(()),
        column_type if column_type.is_calendar() => {
            if scope.zero_dates == ZeroDates::Null {
                return refuse("dates that no calendar has are NULL here, and not at the source");
            }
            Ok(())
        }
        ColumnType::Text(text) if text.by_bytes => match text.length {
            Some(length) if length <= SORTED_CHARACTERS => Ok(()),
            _ => refuse("long texts are compared by their beginning at the source"),
        },
        ColumnType::Bytes => refuse("bytes are compared by their beginning at the source"),
        ColumnType::Text(_) => refuse("its collation takes different texts for equal"),
        ColumnType::Float | ColumnType::Double => refuse("-0 equals 0 at the source"),
        _ => refuse("its type is compared by the engine"),
    }
}

fn sortable(key: &SortKey, scope: &Scope<'_>) -> Answer<()> {
    let column_type = value(&key.expr, scope)?;
    match column_type {
        ColumnType::Text(_) => refuse("text is sorted by the engine"),
        column_type => groupable(&column_type, scope),
    }
}

fn aggregate(aggregation: &Aggregation, scope: &Scope<'_>) -> Answer<ColumnType> {
    let AggregateCall {
        function,
        argument,
        distinct,
        result,
    } = &aggregation.call;
    let column_type = match (function, argument) {
        (AggregateFunction::Count, None) if !distinct => ColumnType::Int64,
        (AggregateFunction::Count, Some(argument)) => {
            let column_type = value(argument, scope)?;
            if *distinct {
                groupable(&column_type, scope)?;
            } else if column_type.is_calendar() && scope.zero_dates == ZeroDates::Null {
                return refuse("dates that no calendar has are NULL here, and not at the source");
            }
            ColumnType::Int64
        }
        (AggregateFunction::Min | AggregateFunction::Max, Some(argument)) => {
            let column_type = value(argument, scope)?;
            match column_type {
                ColumnType::Text(_) | ColumnType::Bytes | ColumnType::Bool => {
                    return refuse("text and bytes are compared by the engine");
                }
                _ => groupable(&column_type, scope)?,
            }
            column_type
        }
        (AggregateFunction::Sum, Some(argument)) => sum(&value(argument, scope)?, *result)?,
        _ => return refuse("it is computed by the engine"),
    };
    if column_type.data_type() != *aggregation.field.data_type() {
        return refuse("its result is of another type at the source");
    }
    Ok(column_type)
}

/// The type of a sum that neither side rounds or overflows.
fn sum(argument: &ColumnType, result: Option<ValueType>) -> Answer<ColumnType> {
    match (argument, result) {
        // 2^31 rows of 2^31 do not reach the end of a bigint.
        (
            ColumnType::Int8 | ColumnType::Int16 | ColumnType::Int32 | ColumnType::Year,
            Some(ValueType::Int64),
        ) => Ok(ColumnType::Int64),
        (
            ColumnType::Int8
            | ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::UInt64
            | ColumnType::Year,
            Some(ValueType::Decimal { precision, scale }),
        ) => Ok(ColumnType::Decimal { precision, scale }),
        (
            ColumnType::Decimal {
                precision: digits,
                scale: point,
            },
            Some(ValueType::Decimal { precision, scale }),
        ) if digits + SUM_DIGITS <= DECIMAL_DIGITS && *point <= scale => {
            Ok(ColumnType::Decimal { precision, scale })
        }
        (ColumnType::Decimal { .. }, _) => refuse("it may have more digits than the source's"),
        _ => refuse("it is computed by the engine"),
    }
}

fn join(
    input: &TableHandle,
    left_facts: &Facts,
    right: &TableHandle,
    kind: JoinKind,
    on: &[ScalarExpr],
) -> Answer<(Relation, Facts)> {
    let right_facts = Facts::of(right).map_err(|error| Reason(error.message))?;
    let pair = JoinKind::Inner.columns(input.relation.columns(), right.relation.columns());
    let pair_types = [left_facts.columns.clone(), right_facts.columns.clone()].concat();
    let scope = Scope {
        columns: &pair,
        types: &pair_types,
        zero_dates: left_facts.zero_dates,
        plain: false,
    };
    for conjunct in on {
        match judge(conjunct, &scope) {
            Verdict::Exactly(sent) if sent == *conjunct => {}
            Verdict::Exactly(_) => return refuse("its condition is not exact at the source"),
            Verdict::Superset(_, reason) | Verdict::No(reason) => return Err(reason),
        }
        if joins_text(conjunct, &scope) {
            return refuse("text is joined by the engine: byte by byte, the source has no index");
        }
    }
    let columns = kind.columns(input.relation.columns(), right.relation.columns());
    let types = match kind {
        JoinKind::Inner | JoinKind::Left => pair_types.clone(),
        JoinKind::Semi | JoinKind::Anti => left_facts.columns.clone(),
    };
    let relation = Relation::Join {
        kind,
        left: Box::new(input.relation.clone()),
        right: Box::new(right.relation.clone()),
        on: on.to_vec(),
        columns,
    };
    Ok((
        relation,
        with_leaves(left_facts.derived(types), &right_facts),
    ))
}

fn joins_text(conjunct: &ScalarExpr, scope: &Scope<'_>) -> bool {
    let is_text = |expr: &ScalarExpr| {
        expr.as_column()
            .and_then(|name| scope.column(name))
            .is_some_and(|(_, column_type)| matches!(column_type, ColumnType::Text(_)))
    };
    match conjunct {
        ScalarExpr::Compare { left, right, .. } => is_text(left) && is_text(right),
        ScalarExpr::And(parts) | ScalarExpr::Or(parts) => {
            parts.iter().any(|part| joins_text(part, scope))
        }
        ScalarExpr::Not(inner) => joins_text(inner, scope),
        _ => false,
    }
}

fn union(input: &TableHandle, facts: &Facts, others: &[TableHandle]) -> Answer<(Relation, Facts)> {
    let mut inputs = vec![input.relation.clone()];
    let mut columns = input.relation.columns().to_vec();
    let mut all = facts.derived(facts.columns.clone());
    for other in others {
        let other_facts = Facts::of(other).map_err(|error| Reason(error.message))?;
        // Else the source would look for a type, a character set and a collation that hold both.
        if other_facts.columns != facts.columns {
            return refuse("its branches have columns of different types at the source");
        }
        for (column, more) in columns.iter_mut().zip(other.relation.columns()) {
            column.nullable |= more.nullable;
            if column.collation != more.collation {
                return refuse("its branches have columns of different collations");
            }
        }
        inputs.push(other.relation.clone());
        all = with_leaves(all, &other_facts);
    }
    Ok((Relation::Union { inputs, columns }, all))
}

/// The facts with further leaves to the right.
fn with_leaves(mut facts: Facts, right: &Facts) -> Facts {
    facts
        .leaves
        .extend(right.leaf_types().into_iter().map(<[ColumnType]>::to_vec));
    facts
}
