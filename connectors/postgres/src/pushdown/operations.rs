//! Operations beyond filters: which of them the source does as the engine would, and why not the others.
//!
//! Each makes a relation of the input's; the renderer says which types its columns have, and they must be the
//! engine's own. What is grouped or compared must mean the same on both sides ([`super::values`]).

use std::sync::Arc;

use sluice_spi::{
    AggregateFunction, Aggregation, JoinKind, Operation, Output, Reason, RelColumn, Relation,
    ScalarExpr, SortKey, TableHandle,
};

use super::{Scope, Verdict, judge, values};
use crate::facts::Facts;
use crate::render::types_of;
use crate::types::ColumnType;

type Answer<T> = Result<T, Reason>;

fn refuse<T>(reason: impl Into<String>) -> Answer<T> {
    Err(Reason(reason.into()))
}

/// A handle with the operation inside.
pub(super) fn apply(input: &TableHandle, operation: &Operation<'_>) -> Answer<TableHandle> {
    let facts = facts_of(input)?;
    let mut made = Made {
        leaves: owned_leaves(&facts),
        utf8: facts.utf8,
        wanted: None,
    };
    let scope = Scope {
        columns: input.relation.columns(),
        types: &facts.columns,
        utf8: facts.utf8,
    };
    let from = || Box::new(input.relation.clone());
    let relation = match operation {
        Operation::Project { outputs } => {
            made.wanted = Some(outputs.iter().map(|o| o.field.clone()).collect());
            Relation::Project {
                input: from(),
                exprs: exprs(outputs, &scope)?,
                columns: columns(outputs, &scope),
            }
        }
        Operation::Aggregate { groups, calls } => {
            let fields = groups.iter().map(|g| &g.field);
            let fields = fields.chain(calls.iter().map(|c| &c.field));
            made.wanted = Some(fields.cloned().collect());
            aggregate(from(), groups, calls, &scope)?
        }
        Operation::Distinct => {
            for (column, column_type) in scope.columns.iter().zip(scope.types) {
                values::groupable(column, column_type, &scope)?;
            }
            Relation::Distinct { input: from() }
        }
        Operation::TopN { keys, skip, fetch } => {
            order(keys, &scope)?;
            Relation::TopN {
                input: from(),
                keys: keys.to_vec(),
                skip: *skip,
                fetch: *fetch,
            }
        }
        Operation::Limit { skip, fetch } => Relation::Limit {
            input: from(),
            skip: *skip,
            fetch: *fetch,
        },
        Operation::Join { right, kind, on } => {
            let other = facts_of(right)?;
            made.leaves.extend(owned_leaves(&other));
            made.utf8 &= other.utf8;
            join(input, &facts, right, &other, *kind, on)?
        }
        Operation::Union { others } => {
            let mut inputs = vec![input.relation.clone()];
            let mut columns: Vec<RelColumn> = scope.columns.to_vec();
            for other in *others {
                let branch = facts_of(other)?;
                made.leaves.extend(owned_leaves(&branch));
                made.utf8 &= branch.utf8;
                same_columns(&mut columns, &facts, other, &branch)?;
                inputs.push(other.relation.clone());
            }
            Relation::Union { inputs, columns }
        }
    };
    made.handle(input, relation)
}

fn facts_of(handle: &TableHandle) -> Answer<Arc<Facts>> {
    Facts::of(handle).map_err(|error| Reason(error.message))
}

fn owned_leaves(facts: &Facts) -> Vec<Vec<ColumnType>> {
    facts.leaf_types().into_iter().map(<[_]>::to_vec).collect()
}

/// What is known of a new relation before it is written.
struct Made {
    leaves: Vec<Vec<ColumnType>>,
    utf8: bool,
    /// The fields that the engine wants; `None` where the operation makes no new columns.
    wanted: Option<Vec<arrow::datatypes::FieldRef>>,
}

impl Made {
    fn handle(self, input: &TableHandle, relation: Relation) -> Answer<TableHandle> {
        // The rules and the renderer have to agree; where they do not, the engine does the work.
        let Some(columns) = types_of(&relation, &self.leaves) else {
            return refuse("it cannot be written in the source's SQL with the engine's types");
        };
        for (field, column_type) in self.wanted.iter().flatten().zip(&columns) {
            if &column_type.data_type() != field.data_type() {
                return refuse(format!(
                    "the engine has {} as {}, the source would send {}",
                    field.name(),
                    field.data_type(),
                    column_type.data_type()
                ));
            }
        }
        let facts = Facts {
            columns,
            unique: Vec::new(),
            utf8: self.utf8,
            leaves: self.leaves,
        };
        let payload = facts.to_payload().map_err(|error| Reason(error.message))?;
        Ok(TableHandle {
            payload,
            ..input.with_relation(relation)
        })
    }
}

fn exprs(outputs: &[Output], scope: &Scope<'_>) -> Answer<Vec<ScalarExpr>> {
    outputs
        .iter()
        .map(|output| {
            values::computable(&output.expr, scope)?;
            Ok(values::typed(&output.expr, output.field.data_type()))
        })
        .collect()
}

fn columns(outputs: &[Output], scope: &Scope<'_>) -> Vec<RelColumn> {
    outputs
        .iter()
        .map(|output| {
            let source = output.expr.as_column().and_then(|name| scope.column(name));
            match source {
                Some((column, _)) => column.renamed(output.field.name()),
                None => values::computed_column(&output.field),
            }
        })
        .collect()
}

fn aggregate(
    input: Box<Relation>,
    groups: &[Output],
    calls: &[Aggregation],
    scope: &Scope<'_>,
) -> Answer<Relation> {
    let keys = exprs(groups, scope)?;
    for key in &keys {
        values::groupable_value(key, scope)?;
    }
    let mut all = columns(groups, scope);
    for column in &mut all {
        // What was grouped is compared byte by byte from here on, if it was not before.
        if !column.deterministic {
            column.collation = None;
            column.deterministic = true;
        }
    }
    for call in calls {
        aggregation(call, scope)?;
        all.push(match &call.call.argument {
            Some(argument)
                if matches!(
                    call.call.function,
                    AggregateFunction::Min | AggregateFunction::Max
                ) =>
            {
                let source = argument.as_column().and_then(|name| scope.column(name));
                RelColumn {
                    name: call.field.name().clone(),
                    native_type: source.map_or_else(String::new, |(c, _)| c.native_type.clone()),
                    collation: None,
                    deterministic: true,
                    nullable: true,
                }
            }
            _ => values::computed_column(&call.field),
        });
    }
    Ok(Relation::Aggregate {
        input,
        groups: keys,
        calls: calls.iter().map(|call| call.call.clone()).collect(),
        columns: all,
    })
}

fn aggregation(aggregation: &Aggregation, scope: &Scope<'_>) -> Answer<()> {
    let call = &aggregation.call;
    let Some(argument) = &call.argument else {
        return Ok(());
    };
    values::computable(argument, scope)?;
    let Some(column_type) = values::type_of(argument, scope) else {
        return refuse(format!(
            "the argument of {} cannot be written in the source's SQL",
            call.function
        ));
    };
    match call.function {
        AggregateFunction::Count if call.distinct => values::groupable_value(argument, scope),
        AggregateFunction::Count => Ok(()),
        AggregateFunction::Sum => values::summable(&column_type),
        AggregateFunction::Min | AggregateFunction::Max => {
            values::has_extremes(&column_type, scope)
        }
        AggregateFunction::BoolAnd | AggregateFunction::BoolOr => Ok(()),
    }
}

fn order(keys: &[SortKey], scope: &Scope<'_>) -> Answer<()> {
    if keys.is_empty() {
        return refuse("it has no order");
    }
    for key in keys {
        let Some((column, column_type)) = key.expr.as_column().and_then(|name| scope.column(name))
        else {
            return refuse("it sorts by an expression");
        };
        values::sortable(column, column_type, scope)?;
    }
    Ok(())
}

fn join(
    left: &TableHandle,
    left_facts: &Facts,
    right: &TableHandle,
    right_facts: &Facts,
    kind: JoinKind,
    on: &[ScalarExpr],
) -> Answer<Relation> {
    let (l, r) = (left.relation.columns(), right.relation.columns());
    if let Some(twice) = r.iter().find(|c| left.relation.column(&c.name).is_some()) {
        return refuse(format!(
            "both sides have a column \"{}\" of one name",
            twice.name
        ));
    }
    let columns: Vec<RelColumn> = l.iter().chain(r).cloned().collect();
    let types: Vec<ColumnType> = left_facts
        .columns
        .iter()
        .chain(&right_facts.columns)
        .cloned()
        .collect();
    let both = Scope {
        columns: &columns,
        types: &types,
        utf8: left_facts.utf8 && right_facts.utf8,
    };
    let mut taken = Vec::new();
    for conjunct in on {
        match judge(conjunct, &both) {
            Verdict::Exactly(sent) => taken.push(sent),
            Verdict::Superset(_, reason) | Verdict::No(reason) => return Err(reason),
        }
    }
    Ok(Relation::Join {
        kind,
        left: Box::new(left.relation.clone()),
        right: Box::new(right.relation.clone()),
        on: taken,
        columns: kind.columns(l, r),
    })
}

/// Columns that go together in a union have one type in the source's own words too: it would find one of
/// its own otherwise.
fn same_columns(
    columns: &mut [RelColumn],
    facts: &Facts,
    other: &TableHandle,
    other_facts: &Facts,
) -> Answer<()> {
    let others = other.relation.columns();
    if facts.columns != other_facts.columns || columns.len() != others.len() {
        return refuse("its branches have other types at the source");
    }
    for ((column, other), column_type) in columns.iter_mut().zip(others).zip(&facts.columns) {
        let own_words = matches!(
            column_type,
            ColumnType::Enum
                | ColumnType::AsText
                | ColumnType::AsOutput
                | ColumnType::List(_)
                | ColumnType::Json
                | ColumnType::Interval
        );
        if own_words && column.native_type != other.native_type {
            return refuse("its branches have other types at the source");
        }
        if column.collation != other.collation || !column.deterministic || !other.deterministic {
            if column.collation.is_some() || other.collation.is_some() {
                column.collation = Some(values::UNKNOWN_COLLATION.to_owned());
            }
            column.deterministic = column.collation.is_none();
        }
        column.nullable |= other.nullable;
    }
    Ok(())
}
