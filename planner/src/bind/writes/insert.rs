//! `INSERT`: its source becomes a query whose columns are cast to the target's.
//!
//! Columns that the statement does not name are left out, so that the source gives them their defaults.
//! DEFAULT in VALUES is the same as leaving the column out, where it stands in every row.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, ConflictTarget, Insert, ObjectName, OnConflictAction, OnInsert, Query,
    SetExpr, Statement, TableObject, Value,
};
use sluice_spi::{
    Assigned, ColumnDefault, ConflictValue, Error, Literal, OnConflict, Result, ScalarExpr,
    SqlState, TableMetadata,
};

use super::constants::{column_default, is_default};
use super::{Expected, Purpose, empty_query, folded, no_returning, quoted, set_column};
use crate::bind::names::{self, object_name, table_reference};
use crate::errors::engine_error;
use crate::semantics::bound_type;
use crate::session::{PlanSession, Planner};

pub(super) async fn take_apart(
    planner: &Planner,
    session: &PlanSession,
    insert: Insert,
) -> Result<(Statement, Purpose, Expected)> {
    refuse_foreign_words(&insert)?;
    no_returning(insert.returning.as_ref())?;
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("INSERT takes a table's name"));
    };
    let (target, table) = names::written_table(planner, session, &table_reference(name)?).await?;
    let on_conflict = insert
        .on
        .as_ref()
        .map(|on| conflict(on, &table))
        .transpose()?;
    let all: Vec<FieldRef> = table.columns.iter().map(|c| c.field.clone()).collect();
    let named = !insert.columns.is_empty();
    let mut fields = if named {
        named_columns(&insert.columns, &table)?
    } else {
        all
    };
    let mut expected = Expected::default();
    let query = match insert.source {
        // DEFAULT VALUES: one row without columns.
        None => {
            fields.clear();
            empty_query()?
        }
        Some(mut query) => {
            if let Some(rows) = plain_values(&mut query) {
                if !named && let Some(first) = rows.first() {
                    fields.truncate(first.content.len());
                }
                check_lengths(rows, fields.len())?;
                leave_out_defaults(rows, &mut fields)?;
                if fields.is_empty() {
                    let rows = rows.len();
                    *query = empty_query()?;
                    if rows != 1 {
                        return Err(Error::unsupported(
                            "several rows of nothing but DEFAULT are not supported",
                        ));
                    }
                } else {
                    leave_constants(rows, &mut fields)?;
                    expected.parameters = parameters(rows, &fields);
                    expected.values = Some(value_types(&fields, session)?);
                }
            }
            *query
        }
    };
    let purpose = Purpose::Insert {
        target,
        fields,
        named,
        on_conflict,
    };
    Ok((Statement::Query(Box::new(query)), purpose, expected))
}

/// The types of the cells of VALUES. NOT NULL is the source's business.
fn value_types(fields: &[FieldRef], session: &PlanSession) -> Result<DFSchemaRef> {
    let typed = |field: &FieldRef| {
        let data_type = bound_type(field, &session.time_zone);
        Arc::new(Field::new(field.name(), data_type, true))
    };
    let fields: Vec<FieldRef> = fields.iter().map(typed).collect();
    DFSchema::from_unqualified_fields(fields.into(), Default::default())
        .map(Arc::new)
        .map_err(engine_error)
}

/// Other dialects' words, which the parser takes.
fn refuse_foreign_words(insert: &Insert) -> Result<()> {
    let foreign = insert.or.is_some()
        || insert.ignore
        || insert.overwrite
        || insert.replace_into
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.output.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || insert.multi_table_insert_type.is_some();
    if foreign {
        return Err(Error::unsupported(
            "this form of INSERT is not PostgreSQL's",
        ));
    }
    Ok(())
}

fn named_columns(columns: &[ObjectName], table: &TableMetadata) -> Result<Vec<FieldRef>> {
    let mut taken = HashSet::new();
    columns
        .iter()
        .map(|name| {
            let [column] = object_name(name)?.try_into().map_err(|_| {
                Error::unsupported("INSERT into a part of a column is not supported")
            })?;
            let field = column_of(table, &column)?;
            if !taken.insert(column.clone()) {
                return Err(Error::new(
                    SqlState::from_source("42701"),
                    format!("column \"{column}\" specified more than once"),
                ));
            }
            Ok(field)
        })
        .collect()
}

/// The field of a column to be written.
pub(super) fn column_of(table: &TableMetadata, column: &str) -> Result<FieldRef> {
    let found = table.columns.iter().find(|c| c.field.name() == column);
    found.map(|c| c.field.clone()).ok_or_else(|| {
        Error::new(
            SqlState::UNDEFINED_COLUMN,
            format!(
                "column \"{column}\" of relation \"{}\" does not exist",
                table.name
            ),
        )
    })
}

/// The rows of a query that is VALUES and nothing else.
fn plain_values(query: &mut Query) -> Option<&mut Vec<ast::Parens<Vec<ast::Expr>>>> {
    if query.with.is_some() || query.order_by.is_some() || query.limit_clause.is_some() {
        return None;
    }
    match query.body.as_mut() {
        SetExpr::Values(values) => Some(&mut values.rows),
        _ => None,
    }
}

/// Every row has one value per column.
fn check_lengths(rows: &[ast::Parens<Vec<ast::Expr>>], columns: usize) -> Result<()> {
    let first = rows.first().map_or(0, |row| row.content.len());
    if rows.iter().any(|row| row.content.len() != first) {
        return Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "VALUES lists must all be the same length",
        ));
    }
    match first.cmp(&columns) {
        Ordering::Greater => Err(too_many_expressions()),
        Ordering::Less => Err(too_many_columns()),
        Ordering::Equal => Ok(()),
    }
}

/// Takes the columns out that are DEFAULT in every row.
fn leave_out_defaults(
    rows: &mut [ast::Parens<Vec<ast::Expr>>],
    fields: &mut Vec<FieldRef>,
) -> Result<()> {
    for place in (0..fields.len()).rev() {
        let of_row =
            |row: &ast::Parens<Vec<ast::Expr>>| row.content.get(place).is_some_and(is_default);
        let defaults = rows.iter().filter(|row| of_row(row)).count();
        if defaults == 0 {
            continue;
        }
        if defaults < rows.len() {
            return Err(Error::unsupported(format!(
                "DEFAULT for column \"{}\" in some rows only is not supported",
                fields[place].name()
            ))
            .with_hint("Insert the rows with DEFAULT by a statement of their own."));
        }
        for row in rows.iter_mut() {
            row.content.remove(place);
        }
        fields.remove(place);
    }
    Ok(())
}

/// Bytes are read here; what only the source can read is left to it.
fn leave_constants(
    rows: &mut [ast::Parens<Vec<ast::Expr>>],
    fields: &mut [FieldRef],
) -> Result<()> {
    for (place, field) in fields.iter_mut().enumerate() {
        for row in rows.iter_mut() {
            if let Some(cell) = row.content.get_mut(place) {
                quoted::make_bytes(cell, field)?;
            }
        }
        quoted::leave_to_source(rows, place, field);
    }
    Ok(())
}

/// A parameter that stands as a value has the type of its column.
fn parameters(rows: &[ast::Parens<Vec<ast::Expr>>], fields: &[FieldRef]) -> Vec<Option<FieldRef>> {
    let mut found = Vec::new();
    for row in rows {
        for (value, field) in row.content.iter().zip(fields) {
            expect_parameter(value, field, &mut found);
        }
    }
    found
}

/// Notes the type of `value`, where it is a parameter.
pub(super) fn expect_parameter(
    value: &ast::Expr,
    field: &FieldRef,
    found: &mut Vec<Option<FieldRef>>,
) {
    let ast::Expr::Value(value) = value else {
        return;
    };
    let Value::Placeholder(name) = &value.value else {
        return;
    };
    let number = name.strip_prefix('$').and_then(|n| n.parse::<u16>().ok());
    if let Some(index) = number.and_then(|n| usize::from(n).checked_sub(1)) {
        if found.len() <= index {
            found.resize(index + 1, None);
        }
        found[index].get_or_insert_with(|| field.clone());
    }
}

fn conflict(on: &OnInsert, table: &TableMetadata) -> Result<OnConflict> {
    let OnInsert::OnConflict(on) = on else {
        return Err(Error::unsupported("ON DUPLICATE KEY is not PostgreSQL's")
            .with_hint("Write ON CONFLICT."));
    };
    let key = match &on.conflict_target {
        None => Vec::new(),
        Some(ConflictTarget::Columns(columns)) => columns
            .iter()
            .map(|column| column_of(table, &folded(column)).map(|field| field.name().clone()))
            .collect::<Result<Vec<_>>>()?,
        Some(ConflictTarget::OnConstraint(_)) => {
            return Err(
                Error::unsupported("ON CONFLICT ON CONSTRAINT is not supported")
                    .with_hint("Name the key's columns: ON CONFLICT (column, …)."),
            );
        }
    };
    let update = match &on.action {
        OnConflictAction::DoNothing => {
            return Ok(OnConflict {
                key,
                assignments: Vec::new(),
            });
        }
        OnConflictAction::DoUpdate(update) => update,
    };
    if update.selection.is_some() {
        return Err(Error::unsupported(
            "ON CONFLICT DO UPDATE with WHERE is not supported",
        ));
    }
    if key.is_empty() {
        return Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "ON CONFLICT DO UPDATE requires inference specification or constraint name",
        )
        .with_hint("For example, ON CONFLICT (column_name)."));
    }
    let assignments = update
        .assignments
        .iter()
        .map(|assignment| {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(Error::unsupported(
                    "SET of several columns at once is not supported",
                ));
            };
            let column = set_column(name)?;
            column_of(table, &column)?;
            Ok((column, conflict_value(&assignment.value, table)?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(OnConflict { key, assignments })
}

/// `EXCLUDED.column`, a constant, NULL or DEFAULT.
fn conflict_value(value: &ast::Expr, table: &TableMetadata) -> Result<ConflictValue> {
    if is_default(value) {
        return Ok(ConflictValue::Default);
    }
    if let ast::Expr::CompoundIdentifier(parts) = value
        && let [excluded, column] = parts.as_slice()
        && folded(excluded) == "excluded"
    {
        let column = folded(column);
        column_of(table, &column)?;
        return Ok(ConflictValue::Excluded(column));
    }
    match column_default(value) {
        Ok(None) => Ok(ConflictValue::Null),
        Ok(Some(ColumnDefault::Constant(constant))) => Literal::from_scalar(&constant)
            .map(ConflictValue::Constant)
            .ok_or_else(|| Error::internal("a constant without a literal")),
        _ => Err(Error::unsupported(
            "ON CONFLICT DO UPDATE takes EXCLUDED.column, constants and DEFAULT",
        )),
    }
}

/// The columns that the rows of `plan` fill: fewer than there are, where the statement names none.
pub(super) fn filled<'a>(
    plan: &LogicalPlan,
    fields: &'a [FieldRef],
    named: bool,
) -> Result<&'a [FieldRef]> {
    if fields.is_empty() {
        return Ok(fields);
    }
    let found = plan.schema().fields().len();
    match found.cmp(&fields.len()) {
        Ordering::Greater => Err(too_many_expressions()),
        Ordering::Less if named => Err(too_many_columns()),
        _ => Ok(&fields[..found]),
    }
}

fn too_many_expressions() -> Error {
    Error::new(
        SqlState::SYNTAX_ERROR,
        "INSERT has more expressions than target columns",
    )
}

fn too_many_columns() -> Error {
    Error::new(
        SqlState::SYNTAX_ERROR,
        "INSERT has more target columns than expressions",
    )
}

/// A value that is no expression of the engine's.
pub(super) fn fixed_value(value: &ast::Expr, column: &FieldRef) -> Option<Assigned> {
    if is_default(value) {
        return Some(Assigned::Default);
    }
    let text = quoted::text(value).filter(|_| quoted::is_for_source(value, column))?;
    let literal = Literal::Text(text.to_owned());
    Some(Assigned::Expr(ScalarExpr::Literal(literal)))
}
