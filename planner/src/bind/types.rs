//! PostgreSQL's type names in casts and column definitions → Arrow types with their tag.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::DataType as SqlType;
use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE, tagged};

/// Types that the engine does not know by PostgreSQL's names. `None` leaves a type to the engine.
#[derive(Debug)]
pub(crate) struct PgTypePlanner;

impl TypePlanner for PgTypePlanner {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let text = |tag: &str| Some(tagged("", DataType::Utf8View, true, tag));
        let plain = |data_type: DataType| Some(Field::new("", data_type, true));
        let field = match sql_type {
            SqlType::Uuid => text("uuid"),
            SqlType::JSON => text("json"),
            SqlType::JSONB => text("jsonb"),
            SqlType::Varchar(Some(length)) | SqlType::CharacterVarying(Some(length)) => {
                text(&format!("character varying({length})"))
            }
            SqlType::Numeric(datafusion::sql::sqlparser::ast::ExactNumberInfo::None)
            | SqlType::Decimal(datafusion::sql::sqlparser::ast::ExactNumberInfo::None) => {
                Some(tagged(
                    "",
                    DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE),
                    true,
                    "numeric",
                ))
            }
            SqlType::Custom(name, modifiers) if modifiers.is_empty() => {
                // `pg_catalog.int4` is `int4`.
                match name
                    .0
                    .last()
                    .and_then(|part| part.as_ident())
                    .map(|i| i.value.to_lowercase())
                {
                    Some(name) => custom(&name),
                    None => None,
                }
            }
            _ => None,
        };
        let interval = || plain(DataType::Interval(IntervalUnit::MonthDayNano));
        let field = match (field, sql_type) {
            (None, SqlType::Interval { .. }) => interval(),
            (field, _) => field,
        };
        Ok(field.map(Arc::new))
    }
}

fn custom(name: &str) -> Option<Field> {
    Some(match name {
        "bool" => Field::new("", DataType::Boolean, true),
        "int2" => Field::new("", DataType::Int16, true),
        "int4" => Field::new("", DataType::Int32, true),
        "int8" => Field::new("", DataType::Int64, true),
        "float4" => Field::new("", DataType::Float32, true),
        "float8" => Field::new("", DataType::Float64, true),
        "text" | "varchar" | "bpchar" => Field::new("", DataType::Utf8View, true),
        "name" => tagged("", DataType::Utf8View, true, "name"),
        "citext" | "inet" | "cidr" | "macaddr" | "xml" => {
            tagged("", DataType::Utf8View, true, name)
        }
        _ => return None,
    })
}
