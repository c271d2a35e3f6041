//! Every expression of `postgresql.tsv` has the type, the value or the error that a real server gave.
//!
//! A line is an expression, its type (or `!` and an SQLSTATE) and its value (or the message), as psql
//! printed them. Numerics are compared without zeros at their end, floats by value.

use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sluice_spi::{Error, Result};

use crate::errors::engine_error;
use crate::session::Planner;
use crate::test_support::{planner, session, statement};
use crate::{QueryPlan, StatementKind};

/// Differences that are known, by expression. Each is a line in the product's list of differences.
const KNOWN: &str = include_str!("known.txt");
const EXPECTED: &str = include_str!("postgresql.tsv");

async fn run(planner: &Planner, expression: &str) -> Result<(String, String)> {
    let statement = statement(&format!("SELECT {expression} AS v"))?;
    let session = session();
    let bound = planner.bind(&session, &statement, &[]).await?;
    let promised = bound
        .output
        .as_ref()
        .map(|o| o.field(0).data_type().clone());
    let StatementKind::Query(query) = &bound.kind else {
        panic!("not a query")
    };
    let query: &QueryPlan = query;
    let physical = planner.plan(&session, &bound, query, Vec::new()).await?;
    let batches = datafusion::physical_plan::collect(physical.plan, physical.context)
        .await
        .map_err(engine_error)?;
    let row: &RecordBatch = batches
        .iter()
        .find(|b| b.num_rows() > 0)
        .ok_or_else(|| Error::internal("no row"))?;
    let column = row.column(0);
    let data_type = column.data_type().clone();
    let mut name = pg_name(&data_type);
    if promised.as_ref().map(pg_name) != Some(name.clone()) {
        name = format!("{name} (promised {promised:?})");
    }
    let value = if column.is_null(0) {
        String::new()
    } else {
        let options = FormatOptions::default();
        ArrayFormatter::try_new(column.as_ref(), &options)
            .unwrap()
            .value(0)
            .to_string()
    };
    Ok((name, value))
}

fn pg_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric".to_owned(),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "text".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without time zone".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".to_owned(),
        DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::List(item) => format!("{}[]", pg_name(item.data_type())),
        other => other.to_string(),
    }
}

/// A value as both sides print it.
fn canonical(type_name: &str, value: &str) -> String {
    match type_name {
        "numeric" if value.contains('.') => {
            let value = value.trim_end_matches('0').trim_end_matches('.');
            if value == "-0" {
                "0".to_owned()
            } else {
                value.to_owned()
            }
        }
        "double precision" | "real" => value
            .to_lowercase()
            .parse::<f64>()
            .map_or_else(|_| value.to_owned(), |v| format!("{v:.13e}")),
        "boolean" => value.replace("true", "t").replace("false", "f"),
        name if name.starts_with("timestamp") => {
            let value = value.replace('T', " ");
            match value.contains('.') {
                true => value.trim_end_matches('0').to_owned(),
                false => value,
            }
        }
        name if name.ends_with("[]") => {
            value.replace('[', "{").replace(']', "}").replace(", ", ",")
        }
        _ => value.to_owned(),
    }
}

#[tokio::test]
async fn expressions_mean_what_postgresql_means() {
    let planner = planner();
    let known: Vec<&str> = KNOWN.lines().collect();
    let mut wrong = Vec::new();
    for line in EXPECTED.lines() {
        let mut parts = line.splitn(3, '\t');
        let expression = parts.next().unwrap_or_default();
        // Of a typmod only the type is compared.
        let type_name = parts
            .next()
            .unwrap_or_default()
            .split('(')
            .next()
            .unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let got = match run(&planner, expression).await {
            Ok((name, value)) => {
                let value = canonical(&name, &value);
                (name, value)
            }
            Err(error) => (format!("!{}", error.code.code()), error.message.to_string()),
        };
        let expected = (type_name.to_owned(), canonical(type_name, value));
        let equal = got == expected || (expected.0.starts_with('!') && got.0 == expected.0);
        if equal == known.contains(&expression) {
            wrong.push(format!(
                "{expression}\n    expected {expected:?}\n    got      {got:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
