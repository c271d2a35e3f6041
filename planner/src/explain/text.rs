//! EXPLAIN as PostgreSQL's indented text. Tools parse `cost=a..b rows=n width=w`, so it stays there.

use super::tree::Node;
use super::{ExplainOptions, ExplainType, RunFigures, placement_line};
use crate::physical::PhysicalStatement;

/// The lines.
pub(super) fn print(
    options: &ExplainOptions,
    statement: &PhysicalStatement,
    root: &Node,
    figures: Option<RunFigures>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if options.kind == ExplainType::Distributed {
        fragments(options, root, &mut lines);
    } else {
        print_node(options, root, 0, true, &mut lines);
    }
    lines.push(placement_line(&statement.placement));
    if let Some(figures) = figures {
        lines.push(format!(
            "Planning Time: {:.3} ms",
            figures.planning.as_secs_f64() * 1e3
        ));
        lines.push(format!(
            "Execution Time: {:.3} ms",
            figures.execution.as_secs_f64() * 1e3
        ));
    }
    lines
}

fn heading(options: &ExplainOptions, node: &Node) -> String {
    let mut line = match &node.exchange {
        Some((exchange, stage, tasks)) => {
            format!(
                "Exchange {} from fragment {stage} ({})",
                exchange.label(),
                counted(*tasks)
            )
        }
        None => node.name.clone(),
    };
    if options.costs {
        line.push_str(&format!(
            "  (cost=0.00..{:.2} rows={} width={})",
            node.cost,
            node.rows.unwrap_or(0),
            node.width
        ));
    }
    if let Some(actual) = &node.actual {
        let mut facts = Vec::new();
        if let (true, Some((began, ended))) = (options.timing, actual.span_ms) {
            facts.push(format!("time={began:.3}..{ended:.3}"));
        }
        if let Some(rows) = actual.rows {
            facts.push(format!("rows={rows} loops=1"));
        }
        if !facts.is_empty() {
            line.push_str(&format!(" (actual {})", facts.join(" ")));
        }
    }
    line
}

fn facts(options: &ExplainOptions, node: &Node) -> Vec<String> {
    let quiet = |key: &str| !options.verbose && matches!(key, "Output" | "Mode" | "Detail");
    let mut lines: Vec<String> = node
        .details
        .iter()
        .filter(|(key, _)| !quiet(key))
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    lines.extend(node.notes.iter().cloned());
    if let Some(actual) = &node.actual {
        // What most steps spend is not worth a line.
        if let (true, Some(ms)) = (options.timing, actual.compute_ms.filter(|ms| *ms >= 1.0)) {
            lines.push(format!("Compute Time: {ms:.3} ms"));
        }
        lines.extend(
            actual
                .extras
                .iter()
                .map(|(name, value)| format!("{}: {value}", capitalized(name))),
        );
    }
    lines
}

fn counted(tasks: usize) -> String {
    if tasks == 1 {
        "1 task".to_owned()
    } else {
        format!("{tasks} tasks")
    }
}

fn capitalized(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

fn print_node(
    options: &ExplainOptions,
    node: &Node,
    depth: usize,
    across: bool,
    lines: &mut Vec<String>,
) {
    // PostgreSQL: the first node stands at the margin, each child six columns further with an arrow.
    let (arrow, indent) = match depth {
        0 => (String::new(), "  ".to_owned()),
        d => (
            format!("{}->  ", " ".repeat(6 * d - 4)),
            " ".repeat(6 * d + 2),
        ),
    };
    lines.push(format!("{arrow}{}", heading(options, node)));
    lines.extend(
        facts(options, node)
            .into_iter()
            .map(|fact| format!("{indent}{fact}")),
    );
    if node.exchange.is_some() && !across {
        return;
    }
    for child in &node.children {
        print_node(options, child, depth + 1, across, lines);
    }
}

/// One block per fragment, the coordinator's first.
fn fragments(options: &ExplainOptions, root: &Node, lines: &mut Vec<String>) {
    lines.push("Fragment 0 [SINGLE] in the coordinator".to_owned());
    print_indented(options, root, lines);
    let mut below = Vec::new();
    exchanges(root, &mut below);
    while !below.is_empty() {
        let mut next = Vec::new();
        for node in below {
            let Some((exchange, stage, tasks)) = &node.exchange else {
                continue;
            };
            for child in &node.children {
                let source = if reads_sources(child) {
                    "SOURCE"
                } else {
                    "INTERMEDIATE"
                };
                lines.push(format!(
                    "Fragment {stage} [{source}, {}] output: {}",
                    counted(*tasks),
                    exchange.label()
                ));
                print_indented(options, child, lines);
                exchanges(child, &mut next);
            }
        }
        below = next;
    }
}

fn print_indented(options: &ExplainOptions, node: &Node, lines: &mut Vec<String>) {
    let mut own = Vec::new();
    print_node(options, node, 0, false, &mut own);
    lines.extend(own.into_iter().map(|line| format!("    {line}")));
}

/// The exchanges that a fragment reads.
fn exchanges<'a>(node: &'a Node, found: &mut Vec<&'a Node>) {
    if node.exchange.is_some() {
        found.push(node);
        return;
    }
    for child in &node.children {
        exchanges(child, found);
    }
}

/// True where a fragment itself scans a source.
fn reads_sources(node: &Node) -> bool {
    node.is_scan || (node.exchange.is_none() && node.children.iter().any(reads_sources))
}
