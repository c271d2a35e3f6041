//! EXPLAIN as one JSON document with PostgreSQL's keys, and the same as YAML.

use serde_json::{Map, Value, json};
use sluice_spi::{Error, Result};

use super::tree::Node;
use super::{RunFigures, placement_line};
use crate::physical::PhysicalStatement;

fn document(statement: &PhysicalStatement, root: &Node, figures: Option<RunFigures>) -> Value {
    let mut top = Map::new();
    top.insert("Plan".into(), plan(root));
    top.insert(
        "Placement".into(),
        json!(placement_line(&statement.placement)),
    );
    if let Some(figures) = figures {
        top.insert(
            "Planning Time".into(),
            json!(figures.planning.as_secs_f64() * 1e3),
        );
        top.insert(
            "Execution Time".into(),
            json!(figures.execution.as_secs_f64() * 1e3),
        );
    }
    json!([top])
}

fn plan(node: &Node) -> Value {
    let mut map = Map::new();
    map.insert("Node Type".into(), json!(node.name));
    map.insert("Startup Cost".into(), json!(0.0));
    map.insert("Total Cost".into(), json!(node.cost));
    map.insert("Plan Rows".into(), json!(node.rows.unwrap_or(0)));
    map.insert("Plan Width".into(), json!(node.width));
    if let Some((exchange, stage, tasks)) = &node.exchange {
        map.insert("Exchange".into(), json!(exchange.label()));
        map.insert("Fragment".into(), json!(stage));
        map.insert("Tasks".into(), json!(tasks));
    }
    for (key, value) in &node.details {
        map.insert(key.clone(), json!(value));
    }
    if !node.notes.is_empty() {
        map.insert("Pushdown".into(), json!(node.notes));
    }
    if let Some(actual) = &node.actual {
        if let Some(rows) = actual.rows {
            map.insert("Actual Rows".into(), json!(rows));
            map.insert("Actual Loops".into(), json!(1));
        }
        if let Some((began, ended)) = actual.span_ms {
            map.insert("Actual Startup Time".into(), json!(began));
            map.insert("Actual Total Time".into(), json!(ended));
        }
        if let Some(ms) = actual.compute_ms {
            map.insert("Compute Time".into(), json!(ms));
        }
        for (name, value) in &actual.extras {
            map.insert(name.clone(), json!(value));
        }
    }
    if !node.children.is_empty() {
        map.insert(
            "Plans".into(),
            Value::Array(node.children.iter().map(plan).collect()),
        );
    }
    Value::Object(map)
}

/// The document, indented.
pub(super) fn print(
    statement: &PhysicalStatement,
    root: &Node,
    figures: Option<RunFigures>,
) -> Result<String> {
    serde_json::to_string_pretty(&document(statement, root, figures))
        .map_err(|e| Error::internal(e.to_string()))
}

/// The document as YAML, a line each.
pub(super) fn print_yaml(
    statement: &PhysicalStatement,
    root: &Node,
    figures: Option<RunFigures>,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    yaml(&document(statement, root, figures), 0, &mut lines)?;
    Ok(lines)
}

/// Maps and lists by indentation, scalars as JSON (which is YAML too).
fn yaml(value: &Value, depth: usize, lines: &mut Vec<String>) -> Result<()> {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) => {
            for item in items {
                let start = lines.len();
                yaml(item, depth + 1, lines)?;
                if let Some(first) = lines.get_mut(start) {
                    first.replace_range(2 * depth..2 * depth + 2, "- ");
                }
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                match item {
                    Value::Array(_) | Value::Object(_) => {
                        lines.push(format!("{indent}{key}:"));
                        yaml(item, depth + 1, lines)?;
                    }
                    scalar => lines.push(format!("{indent}{key}: {scalar}")),
                }
            }
        }
        scalar => lines.push(format!("{indent}{scalar}")),
    }
    Ok(())
}
