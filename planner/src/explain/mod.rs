//! EXPLAIN: what will run, or what ran, in the shape PostgreSQL's tools know.
//!
//! `tree` turns a physical plan into plain nodes; `text` and `json` print them. Under each scan stand
//! the source's own statement and each filter's fate, with the reason where it was not pushed.

mod describe;
mod json;
mod text;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{self, Statement, UtilityOption};
use datafusion_distributed::{DistributedMetricsFormat, rewrite_distributed_plan_with_metrics};
use sluice_spi::types::tagged;
use sluice_spi::{Error, Result, SqlState, nearest};

use crate::errors::engine_error;
use crate::physical::{PhysicalStatement, Placement};

/// How long EXPLAIN ANALYZE waits for the figures of workers after the last row: a task that never ran
/// sends none (datafusion-distributed #739).
const METRICS_WAIT: Duration = Duration::from_secs(3);

/// Which plan to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainType {
    /// What will run, as one tree.
    Physical,
    /// The optimized logical plan.
    Logical,
    /// What will run, cut into fragments at its exchanges.
    Distributed,
}

/// How to print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    /// PostgreSQL's indented text.
    Text,
    /// One JSON document.
    Json,
    /// The same document as YAML.
    Yaml,
}

/// The options of one EXPLAIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Run it and show what happened.
    pub analyze: bool,
    /// More of everything.
    pub verbose: bool,
    /// Show costs and row estimates.
    pub costs: bool,
    /// Show times.
    pub timing: bool,
    /// Which plan.
    pub kind: ExplainType,
    /// How to print.
    pub format: ExplainFormat,
}

impl ExplainOptions {
    /// The options and the explained statement, where `statement` is an EXPLAIN.
    pub(crate) fn of(statement: &Statement) -> Result<Option<(ExplainOptions, Statement)>> {
        let Statement::Explain {
            analyze,
            verbose,
            statement,
            options,
            ..
        } = statement
        else {
            return Ok(None);
        };
        let mut parsed = ExplainOptions {
            analyze: *analyze,
            verbose: *verbose,
            costs: true,
            timing: true,
            kind: ExplainType::Physical,
            format: ExplainFormat::Text,
        };
        for option in options.iter().flatten() {
            parsed.set(option)?;
        }
        Ok(Some((parsed, statement.as_ref().clone())))
    }

    fn set(&mut self, option: &UtilityOption) -> Result<()> {
        const NAMES: [&str; 11] = [
            "analyze",
            "verbose",
            "costs",
            "timing",
            "type",
            "format",
            "buffers",
            "settings",
            "wal",
            "summary",
            "generic_plan",
        ];
        let name = option.name.value.to_lowercase();
        let value = option.arg.as_ref().map(argument).unwrap_or_default();
        match name.as_str() {
            "analyze" => self.analyze = boolean(&name, &value)?,
            "verbose" => self.verbose = boolean(&name, &value)?,
            "costs" => self.costs = boolean(&name, &value)?,
            "timing" => self.timing = boolean(&name, &value)?,
            // PostgreSQL's own options about things that Sluice does not have.
            "buffers" | "settings" | "wal" | "summary" | "generic_plan" => {
                boolean(&name, &value)?;
            }
            "type" => {
                self.kind = match value.as_str() {
                    "logical" => ExplainType::Logical,
                    "distributed" => ExplainType::Distributed,
                    "physical" => ExplainType::Physical,
                    _ => {
                        return Err(unknown_value(
                            &name,
                            &value,
                            "LOGICAL, DISTRIBUTED or PHYSICAL",
                        ));
                    }
                }
            }
            "format" => {
                self.format = match value.as_str() {
                    "text" => ExplainFormat::Text,
                    "json" => ExplainFormat::Json,
                    "yaml" => ExplainFormat::Yaml,
                    _ => return Err(unknown_value(&name, &value, "TEXT, JSON or YAML")),
                }
            }
            _ => {
                let error = Error::new(
                    SqlState::SYNTAX_ERROR,
                    format!("unrecognized EXPLAIN option \"{name}\""),
                );
                return Err(match nearest(&name, NAMES) {
                    Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                    None => error,
                });
            }
        }
        Ok(())
    }

    /// One column `QUERY PLAN`, as PostgreSQL has it.
    pub(crate) fn output_schema(&self) -> SchemaRef {
        let field = match self.format {
            ExplainFormat::Json => tagged("QUERY PLAN", DataType::Utf8, false, "json"),
            ExplainFormat::Text | ExplainFormat::Yaml => {
                Field::new("QUERY PLAN", DataType::Utf8, false)
            }
        };
        Arc::new(Schema::new(vec![field]))
    }
}

fn argument(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Identifier(ident) => ident.value.to_lowercase(),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => text.to_lowercase(),
            other => other.to_string().to_lowercase(),
        },
        other => other.to_string().to_lowercase(),
    }
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value {
        "" | "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            format!("{name} requires a Boolean value"),
        )),
    }
}

fn unknown_value(name: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unrecognized value for EXPLAIN option \"{name}\": \"{value}\""),
    )
    .with_hint(format!("Write {allowed}."))
}

/// What a run took, for EXPLAIN ANALYZE.
#[derive(Debug, Clone, Copy)]
pub struct RunFigures {
    /// Time spent on names, types and plans.
    pub planning: Duration,
    /// Time from the first poll to the last row.
    pub execution: Duration,
    /// Rows that came out at the top.
    pub rows: u64,
}

/// The rows of EXPLAIN. With `figures`, the statement has run and its plan holds metrics.
pub async fn explain(
    options: &ExplainOptions,
    statement: &PhysicalStatement,
    figures: Option<RunFigures>,
) -> Result<RecordBatch> {
    let lines = match options.kind {
        ExplainType::Logical => statement
            .logical
            .display_indent()
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect(),
        ExplainType::Physical | ExplainType::Distributed => {
            let plan = with_metrics(statement.plan.clone(), figures.is_some()).await?;
            let root = tree::of(&plan, figures.is_some())?;
            match options.format {
                ExplainFormat::Text => text::print(options, statement, &root, figures),
                ExplainFormat::Json => vec![json::print(statement, &root, figures)?],
                ExplainFormat::Yaml => json::print_yaml(statement, &root, figures)?,
            }
        }
    };
    let column: ArrayRef = Arc::new(StringArray::from(lines));
    RecordBatch::try_new(options.output_schema(), vec![column])
        .map_err(|e| Error::internal(e.to_string()))
}

/// The plan with the figures of its workers on it.
async fn with_metrics(plan: Arc<dyn ExecutionPlan>, ran: bool) -> Result<Arc<dyn ExecutionPlan>> {
    if !ran {
        return Ok(plan);
    }
    let format = DistributedMetricsFormat::Aggregated;
    match tokio::time::timeout(
        METRICS_WAIT,
        rewrite_distributed_plan_with_metrics(plan.clone(), format),
    )
    .await
    {
        Ok(rewritten) => rewritten.map_err(engine_error),
        // Better a plan without the workers' figures than none.
        Err(_) => Ok(plan),
    }
}

/// `Workers: 2 (…)` or `Coordinator: it is too small …`.
fn placement_line(placement: &Placement) -> String {
    match placement {
        Placement::Coordinator(reason) => format!("Runs in the coordinator: {reason}"),
        Placement::Workers(urls) => format!("Runs on {} workers", urls.len()),
    }
}
