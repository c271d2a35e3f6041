//! Relations and expressions to PostgreSQL's SQL: total over what it knows, and `None` for the rest.
//!
//! [`relation`] makes one SELECT of a relation tree, [`scalar`] writes expressions over its columns. Whether
//! something *may* be pushed is not decided here ([`crate::pushdown`]); whether it *can* be written is.
//! Constants go through [`crate::literal`] only.

mod relation;
mod scalar;

use sluice_spi::{RelColumn, Relation, ScalarExpr};

use crate::facts::Facts;
use crate::share::Share;
use crate::types::ColumnType;
use scalar::{Field, Writer};

/// How constants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constants {
    /// Inside of the statement: for COPY, and for people.
    Inline,
    /// As parameters, so that the statement's text is the same for other constants.
    Parameters,
}

/// A statement and its parameters, as the types' input functions read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSql {
    pub(crate) text: String,
    pub(crate) parameters: Vec<String>,
}

/// `SELECT projection FROM relation LIMIT limit`. With an empty projection, the number of those rows.
pub(crate) fn select(
    relation: &Relation,
    facts: &Facts,
    projection: &[usize],
    limit: Option<usize>,
    constants: Constants,
) -> Option<RemoteSql> {
    select_share(relation, facts, projection, limit, constants, None)
}

/// The same, of a share of the relation's table.
pub(crate) fn select_share(
    relation: &Relation,
    facts: &Facts,
    projection: &[usize],
    limit: Option<usize>,
    constants: Constants,
    share: Option<&Share>,
) -> Option<RemoteSql> {
    let mut writer = Writer::new(constants);
    writer.share = share.cloned();
    let mut select = writer.relation(relation, &mut facts.leaf_types().into_iter(), false)?;
    if let Some(limit) = limit {
        select = writer.limited(select, 0, u64::try_from(limit).ok()?, false)?;
    }
    let text = if projection.is_empty() {
        select.count()
    } else {
        let select = writer.narrowed(select, projection)?;
        let columns = projection
            .iter()
            .map(|index| {
                let field = select.fields.get(*index)?;
                Some(field.column_type.select(&field.sql))
            })
            .collect::<Option<Vec<_>>>()?;
        select.text(&columns)
    };
    // A column that is left out takes its constants along.
    let is_used = |number: usize| text.contains(&format!("${number}::"));
    if !(1..=writer.parameters.len()).all(is_used) {
        let inline = Constants::Inline;
        return select_share(relation, facts, projection, limit, inline, share);
    }
    Some(RemoteSql {
        text,
        parameters: writer.parameters,
    })
}

/// The types of the relation's columns; `None` where it cannot be written. `leaves` are the types of the
/// columns of each of its leaves.
pub(crate) fn types_of(relation: &Relation, leaves: &[Vec<ColumnType>]) -> Option<Vec<ColumnType>> {
    let mut leaves = leaves.iter().map(Vec::as_slice);
    let select = Writer::new(Constants::Inline).relation(relation, &mut leaves, false)?;
    if leaves.next().is_some() {
        return None;
    }
    Some(select.fields.into_iter().map(|f| f.column_type).collect())
}

/// True where a predicate over those columns can be written.
pub(crate) fn can_render(
    predicate: &ScalarExpr,
    columns: &[RelColumn],
    types: &[ColumnType],
) -> bool {
    fields_of(columns, types).is_some_and(|fields| {
        Writer::new(Constants::Inline)
            .predicate(predicate, &fields)
            .is_some()
    })
}

/// The type of an expression over those columns; `None` where it cannot be written.
pub(crate) fn type_of(
    expr: &ScalarExpr,
    columns: &[RelColumn],
    types: &[ColumnType],
) -> Option<ColumnType> {
    let fields = fields_of(columns, types)?;
    let mut writer = Writer::new(Constants::Inline);
    writer
        .value(expr, None, &fields)
        .map(|value| value.column_type)
}

/// An expression over those columns, for a statement over their table alone; `None` where it cannot be
/// written.
pub(crate) fn value(
    expr: &ScalarExpr,
    columns: &[RelColumn],
    types: &[ColumnType],
) -> Option<String> {
    let fields = fields_of(columns, types)?;
    let mut writer = Writer::new(Constants::Inline);
    writer.value(expr, None, &fields).map(|value| value.sql)
}

fn fields_of(columns: &[RelColumn], types: &[ColumnType]) -> Option<Vec<Field>> {
    columns
        .iter()
        .zip(types)
        .map(|(column, column_type)| Field::of_table(column, column_type, None))
        .collect()
}

#[cfg(test)]
mod tests;
