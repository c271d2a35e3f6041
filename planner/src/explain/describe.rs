//! What a reader sees of each operator: PostgreSQL's word for it, and the facts that matter.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use sluice_catalogs::{ConnectorScanExec, as_scan};
use sluice_spi::Pushed;

/// One operator in words.
pub(super) struct Description {
    pub(super) name: String,
    pub(super) details: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
    pub(super) is_scan: bool,
}

impl Description {
    fn new(name: impl Into<String>) -> Self {
        Description {
            name: name.into(),
            details: Vec::new(),
            notes: Vec::new(),
            is_scan: false,
        }
    }

    fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.details.push((key.to_owned(), value));
        }
        self
    }
}

/// Operators that only move or regroup batches inside of a task.
pub(super) fn is_plumbing(plan: &dyn ExecutionPlan) -> bool {
    matches!(
        plan.name(),
        "CooperativeExec"
            | "CoalesceBatchesExec"
            | "BroadcastExec"
            | "BufferExec"
            | "MetricsWrapperExec"
    )
}

/// An operator in words. `keys_above` are the run-time filters that are filled in the same stage.
pub(super) fn describe(plan: &dyn ExecutionPlan, keys_above: &HashSet<u64>) -> Description {
    if let Some(scan) = as_scan(plan) {
        return describe_scan(scan, keys_above);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let keys = join
            .on()
            .iter()
            .map(|(l, r)| format!("({} = {})", expression(l.as_ref()), expression(r.as_ref())))
            .collect::<Vec<_>>()
            .join(" AND ");
        let name = match join.join_type() {
            datafusion::common::JoinType::Inner => "Hash Join".to_owned(),
            other => format!("Hash {other} Join"),
        };
        let filter = join.filter().map(|f| expression(f.expression().as_ref()));
        return Description::new(name)
            .with("Hash Cond", keys)
            .with("Join Filter", filter.unwrap_or_default())
            .with("Mode", format!("{:?}", join.partition_mode()));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return describe_aggregate(aggregate);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return Description::new("Filter").with("Filter", expression(filter.predicate().as_ref()));
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let name = if sort.fetch().is_some() {
            "Top-N Sort"
        } else {
            "Sort"
        };
        let limit = sort.fetch().map(|n| n.to_string()).unwrap_or_default();
        return Description::new(name)
            .with("Sort Key", ordering(sort.expr()))
            .with("Limit", limit);
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return Description::new("Gather Merge").with("Sort Key", ordering(merge.expr()));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let output: Vec<String> = projection
            .expr()
            .iter()
            .map(|p| {
                let text = expression(p.expr.as_ref());
                if text == p.alias {
                    text
                } else {
                    format!("{text} AS {}", p.alias)
                }
            })
            .collect();
        return Description::new("Projection").with("Output", output.join(", "));
    }
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
        return match repartition.partitioning() {
            Partitioning::Hash(keys, partitions) => {
                let keys: Vec<String> = keys.iter().map(|k| expression(k.as_ref())).collect();
                Description::new(format!(
                    "Repartition HASH [{}] into {partitions}",
                    keys.join(", ")
                ))
            }
            other => Description::new(format!("Repartition into {}", other.partition_count())),
        };
    }
    let name = match plan.name() {
        "CoalescePartitionsExec" => "Gather",
        "GlobalLimitExec" | "LocalLimitExec" => "Limit",
        "UnionExec" | "ChildrenIsolatorUnionExec" | "InterleaveExec" => "Append",
        "NestedLoopJoinExec" => "Nested Loop",
        "CrossJoinExec" => "Nested Loop (cross join)",
        "SortMergeJoinExec" => "Merge Join",
        "WindowAggExec" | "BoundedWindowAggExec" => "WindowAgg",
        "PlaceholderRowExec" | "EmptyExec" => "Result",
        "RecursiveQueryExec" => "Recursive Union",
        "NetworkShuffleExec" | "NetworkCoalesceExec" | "NetworkBroadcastExec" => "Exchange",
        other => other,
    };
    let detail = one_line(plan);
    match name {
        "Exchange" | "Gather" | "Result" | "Append" => Description::new(name),
        _ => Description::new(name).with("Detail", detail),
    }
}

fn describe_scan(scan: &ConnectorScanExec, keys_above: &HashSet<u64>) -> Description {
    let target = scan.target();
    let name = format!("Scan on {}", target.label());
    let columns: Vec<&str> = scan
        .projection()
        .iter()
        .map(|&i| target.schema.field(i).name().as_str())
        .collect();
    let described = scan.describe();
    let mut description = Description::new(name).with("Columns", columns.join(", "));
    description.is_scan = true;
    if let Some(sql) = described.remote_sql {
        description = description.with("Remote SQL", sql);
    }
    for (key, value) in described.facts {
        description = description.with(&key, value);
    }
    description = description.with("Splits", scan.splits().count().to_string());
    // Before the run a filter is empty; after it, too long to show.
    let (keyed, other): (Vec<_>, Vec<_>) = scan.dynamic_filters().iter().partition(|filter| {
        scan.run_time_keys().is_some()
            && filter
                .expression_id()
                .is_some_and(|id| keys_above.contains(&id))
    });
    description = description.with("Waits for Keys of", column_names(&keyed));
    // A source that takes keys takes them as conditions, and only from joins of its own stage.
    if scan.run_time_keys().is_none() && !other.is_empty() {
        let columns = column_names(&other);
        description = description.with("Run-time Filter", format!("on {columns}"));
    }
    for note in &target.notes {
        description.notes.push(match &note.outcome {
            Pushed::Exactly => format!("Pushed exactly: {}", note.subject),
            Pushed::Superset(reason) => {
                format!("Pushed as a superset: {} ({reason})", note.subject)
            }
            Pushed::No(reason) => format!("Not pushed: {} ({reason})", note.subject),
        });
    }
    description
}

/// The columns that some filters read, each once.
fn column_names(filters: &[&Arc<dyn PhysicalExpr>]) -> String {
    let mut names: Vec<String> = Vec::new();
    for filter in filters {
        for column in filter.children().into_iter().flat_map(collect_columns) {
            if !names.iter().any(|name| name == column.name()) {
                names.push(column.name().to_owned());
            }
        }
    }
    names.join(", ")
}

fn describe_aggregate(aggregate: &AggregateExec) -> Description {
    let step = match aggregate.mode() {
        AggregateMode::Partial | AggregateMode::PartialReduce => "Partial ",
        AggregateMode::Final | AggregateMode::FinalPartitioned => "Finalize ",
        AggregateMode::Single | AggregateMode::SinglePartitioned => "",
    };
    let keys: Vec<String> = aggregate
        .group_expr()
        .expr()
        .iter()
        .map(|(e, _)| expression(e.as_ref()))
        .collect();
    let kind = if keys.is_empty() {
        "Aggregate"
    } else {
        "HashAggregate"
    };
    let output: Vec<String> = aggregate
        .aggr_expr()
        .iter()
        .map(|a| aggregate_name(a.name()))
        .collect();
    Description::new(format!("{step}{kind}"))
        .with("Group Key", keys.join(", "))
        .with("Aggregates", output.join(", "))
}

/// `count(Int64(1))` is the engine's spelling of `count(*)`.
fn aggregate_name(name: &str) -> String {
    name.replace("count(Int64(1))", "count(*)")
        .replace("Int64(", "(")
}

/// Sort keys as PostgreSQL prints them: what is the default is left out.
fn ordering(keys: &LexOrdering) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| {
            let mut text = aggregate_name(&expression(key.expr.as_ref()));
            if key.options.descending {
                text.push_str(" DESC");
            }
            if key.options.nulls_first != key.options.descending {
                text.push_str(if key.options.nulls_first {
                    " NULLS FIRST"
                } else {
                    " NULLS LAST"
                });
            }
            text
        })
        .collect();
    keys.join(", ")
}

/// An expression without the engine's column indices (`o_orderkey@0`).
pub(super) fn expression(expr: &dyn PhysicalExpr) -> String {
    let text = expr.to_string();
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_text = false;
    while let Some(c) = chars.next() {
        if c == '\'' {
            in_text = !in_text;
        }
        if c == '@' && !in_text && chars.peek().is_some_and(char::is_ascii_digit) {
            while chars.peek().is_some_and(char::is_ascii_digit) {
                chars.next();
            }
            continue;
        }
        out.push(c);
    }
    out
}

fn one_line(plan: &dyn ExecutionPlan) -> String {
    struct Line<'a>(&'a dyn ExecutionPlan);
    impl std::fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt_as(DisplayFormatType::Default, f)
        }
    }
    let text = Line(plan).to_string();
    text.split_once(':')
        .map(|(_, rest)| rest.trim().to_owned())
        .unwrap_or_default()
}

/// Bytes of a row as PostgreSQL would guess them.
pub(super) fn row_width(schema: &Schema) -> usize {
    schema
        .fields()
        .iter()
        .map(|f| {
            f.data_type()
                .primitive_width()
                .unwrap_or(match f.data_type() {
                    DataType::Boolean => 1,
                    _ => 32,
                })
        })
        .sum()
}
