//! Values in the types of the columns that they are written to: PostgreSQL's assignment casts.
//!
//! Unlike an explicit cast, an assignment never cuts a text to a column's length (the source refuses what
//! is too long), and is refused between types that have little to do with each other. Text is taken for
//! any type, since a quoted literal is text here.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Column, DFSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, LogicalPlanBuilder, lit};
use sluice_catalogs::pg_catalog::pg_types::pg_type_of;
use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE, pg_type};
use sluice_spi::{Error, SqlState};

use super::casts;
use super::types::{call, cast_to, is_text};

/// The plan with its first columns in the types of `fields`. `zone` is the session's.
pub(crate) fn assign(plan: LogicalPlan, fields: &[FieldRef], zone: &str) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let pairs = || schema.iter().zip(fields);
    if pairs().all(|((_, found), field)| found.data_type() == field.data_type()) {
        return Ok(plan);
    }
    let columns = pairs()
        .map(|((qualifier, found), field)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), found.name()));
            if found.data_type() == field.data_type() {
                return Ok(column);
            }
            check(found, field)?;
            let value = match field.data_type() {
                DataType::Timestamp(_, Some(_)) if !is_moment(found.data_type()) => {
                    let here = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
                    cast_to(column, here)
                }
                _ => column,
            };
            let value = assigned(value, field, &schema)?;
            Ok(value.alias_qualified(qualifier.cloned(), found.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The type in which the cells of VALUES are bound for a column: what stands there without a zone is a
/// moment of the session's.
pub(crate) fn bound_type(field: &FieldRef, zone: &str) -> DataType {
    match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some(zone.into())),
        other => other.clone(),
    }
}

/// A value that is not of the column's type yet, as it is written there.
pub(super) fn assigned(value: Expr, to: &Field, schema: &DFSchema) -> Result<Expr> {
    if stands_for_any_numeric(to) {
        // Values that need more digits than the engine's numerics have are errors, never rounded.
        return call("cast_numeric", vec![value, lit(0i64), lit(0i64)]);
    }
    // Without the tag, whose length would cut.
    let plain = Field::new(to.name(), to.data_type().clone(), true);
    let cast = Cast::new_from_field(Box::new(value), Arc::new(plain));
    Ok(casts::cast(cast, schema)?.data)
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// True for the decimal that a numeric without typmod is here. VALUES forgets the tag.
fn stands_for_any_numeric(field: &Field) -> bool {
    field.data_type() == &DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE)
        && pg_type(field).is_none_or(|tag| tag == "numeric")
}

/// Refuses what PostgreSQL has no cast for, or another one than the engine: a cell of VALUES may be of another
/// type than its column by its own explicit cast.
pub(super) fn check_cell(from: &FieldRef, to: &FieldRef) -> Result<()> {
    let (found, wanted) = (from.data_type(), to.data_type());
    let never = found.is_numeric() && wanted.is_temporal()
        || found.is_temporal() && wanted.is_numeric()
        // The engine would take the text itself for the bytes, or for the only item.
        || is_text(found) && (is_bytes(wanted) || wanted.is_nested());
    if never {
        return Err(mismatch(from, to));
    }
    Ok(())
}

fn check(from: &FieldRef, to: &FieldRef) -> Result<()> {
    if is_assignable(from.data_type(), to) {
        Ok(())
    } else {
        Err(mismatch(from, to))
    }
}

fn mismatch(from: &FieldRef, to: &FieldRef) -> DataFusionError {
    Error::new(
        SqlState::DATATYPE_MISMATCH,
        format!(
            "column \"{}\" is of type {} but expression is of type {}",
            to.name(),
            pg_type(to).map_or_else(|| pg_type_of(to).display(), str::to_owned),
            pg_type(from).map_or_else(|| pg_type_of(from).display(), str::to_owned),
        ),
    )
    .with_hint("You will need to rewrite or cast the expression.")
    .into()
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType as D;
    matches!(
        data_type,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_)
    )
}

fn is_assignable(from: &DataType, to: &Field) -> bool {
    use DataType as D;
    if from == to.data_type() || from.is_null() {
        return true;
    }
    match (from, to.data_type()) {
        (D::Dictionary(_, values), _) => is_assignable(values, to),
        (from, target) if is_text(target) => {
            // A uuid, an enum or a jsonb travels as text, and is none.
            let holds_text = match pg_type(to) {
                None => true,
                Some("numeric") => from.is_numeric(),
                Some(tag) => tag.starts_with("char") || tag == "name",
            };
            is_text(from)
                || holds_text
                    && (from.is_numeric()
                        || matches!(
                            from,
                            D::Boolean | D::Date32 | D::Time64(_) | D::Timestamp(_, None)
                        ))
        }
        (from, target) if is_text(from) => !target.is_nested() && !is_bytes(target),
        (from, target) if from.is_numeric() && target.is_numeric() => true,
        (D::Date32 | D::Date64 | D::Timestamp(..), D::Date32 | D::Timestamp(..)) => true,
        (D::Timestamp(..) | D::Time32(_) | D::Time64(_), D::Time64(_)) => true,
        (D::Interval(_), D::Interval(_)) => true,
        (from, target) if is_bytes(from) && is_bytes(target) => true,
        (
            D::List(from) | D::LargeList(from) | D::FixedSizeList(from, _),
            D::List(to) | D::LargeList(to) | D::FixedSizeList(to, _),
        ) => is_assignable(from.data_type(), to),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use sluice_spi::types::tagged;

    use super::*;

    #[test]
    fn what_has_nothing_to_do_with_the_column_is_refused() {
        let allowed = |from: DataType, to: Field| is_assignable(&from, &to);
        let plain = |data_type: DataType| Field::new("c", data_type, true);
        let uuid = || tagged("c", DataType::Utf8View, true, "uuid");
        assert!(allowed(DataType::Int64, plain(DataType::Int16)));
        assert!(allowed(DataType::Utf8, plain(DataType::Date32)));
        assert!(allowed(DataType::Int32, plain(DataType::Utf8View)));
        assert!(allowed(DataType::Utf8, uuid()));
        assert!(allowed(DataType::Null, uuid()));
        assert!(!allowed(DataType::Int32, uuid()));
        assert!(!allowed(DataType::Int32, plain(DataType::Date32)));
        assert!(!allowed(DataType::Int32, plain(DataType::Boolean)));
        assert!(!allowed(DataType::Boolean, plain(DataType::Int32)));
        assert!(!allowed(DataType::Binary, plain(DataType::Utf8View)));
    }
}
