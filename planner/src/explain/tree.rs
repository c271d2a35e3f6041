//! A physical plan as plain nodes: names, properties, estimates, figures, exchanges.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::metrics::{MetricValue, MetricsSet, Timestamp};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use datafusion_distributed::{
    DistributedExec, DistributedLeafExec, MaybeEncoded, NetworkBoundaryExt, NetworkBroadcastExec,
    NetworkCoalesceExec, NetworkShuffleExec, ProducerHead,
};
use sluice_catalogs::keys;
use sluice_spi::Result;

use super::describe::{self, Description};
use crate::errors::engine_error;

/// How rows move between two fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exchange {
    /// To one consumer.
    Single,
    /// By a hash of these keys.
    Hash(Vec<String>),
    /// Every consumer gets every row.
    Broadcast,
    /// In turn.
    RoundRobin,
}

impl Exchange {
    pub(super) fn label(&self) -> String {
        match self {
            Exchange::Single => "SINGLE".into(),
            Exchange::Hash(keys) => format!("HASH [{}]", keys.join(", ")),
            Exchange::Broadcast => "BROADCAST".into(),
            Exchange::RoundRobin => "ROUND ROBIN".into(),
        }
    }
}

/// What one node did.
#[derive(Debug, Clone, Default)]
pub(super) struct Actual {
    pub(super) rows: Option<usize>,
    /// When it began and ended, in milliseconds since the first step began.
    pub(super) span_ms: Option<(f64, f64)>,
    /// Time that threads spent in it.
    pub(super) compute_ms: Option<f64>,
    pub(super) extras: Vec<(String, String)>,
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) details: Vec<(String, String)>,
    /// Details that are lists of lines of their own.
    pub(super) notes: Vec<String>,
    pub(super) rows: Option<usize>,
    pub(super) width: usize,
    pub(super) cost: f64,
    pub(super) actual: Option<Actual>,
    /// The exchange below this node, with the stage it reads and that stage's tasks.
    pub(super) exchange: Option<(Exchange, usize, usize)>,
    pub(super) is_scan: bool,
    pub(super) children: Vec<Node>,
}

/// The nodes of `plan`; with `analyzed`, what each of them did.
pub(super) fn of(plan: &Arc<dyn ExecutionPlan>, analyzed: bool) -> Result<Node> {
    let root = match plan.downcast_ref::<DistributedExec>() {
        Some(distributed) => distributed.children()[0].clone(),
        None => plan.clone(),
    };
    let mut shown = node(&root, analyzed, &HashSet::new())?;
    let began = shown.began();
    if began.is_finite() {
        shown.count_from(began);
    }
    Ok(shown)
}

/// `keys_above` are ids of the run-time filters that joins above fill in the same stage, with this plan on
/// their probe side.
fn node(plan: &Arc<dyn ExecutionPlan>, analyzed: bool, keys_above: &HashSet<u64>) -> Result<Node> {
    if let Some(leaf) = plan.downcast_ref::<DistributedLeafExec>() {
        let metrics = plan.metrics();
        let mut shown = node(leaf.original(), false, keys_above)?;
        shown
            .details
            .push(("Tasks".into(), leaf.variants().len().to_string()));
        if analyzed {
            shown.actual = metrics.as_ref().map(actual);
            shown.add_rows_saved();
        }
        return Ok(shown);
    }
    let exchange = exchange(plan)?;
    let children: Vec<Arc<dyn ExecutionPlan>> = match plan.as_network_boundary() {
        Some(boundary) => boundary
            .input_stage()
            .local_plan()
            .cloned()
            .into_iter()
            .collect(),
        None => plan.children().into_iter().cloned().collect(),
    };
    // The producer's own repartitioning is the exchange, said once.
    let children =
        children.iter().map(
            |child| match (&exchange, child.downcast_ref::<RepartitionExec>()) {
                (Some(_), Some(repartition)) => repartition.input().clone(),
                _ => child.clone(),
            },
        );
    let own_keys = produced_keys(plan);
    let mut children = children
        .enumerate()
        .map(|(side, child)| match (&exchange, own_keys) {
            (Some(_), _) => node(&child, analyzed, &HashSet::new()),
            // The probe side is the second child.
            (None, Some(id)) if side == 1 => {
                let mut below = keys_above.clone();
                below.insert(id);
                node(&child, analyzed, &below)
            }
            _ => node(&child, analyzed, keys_above),
        })
        .collect::<Result<Vec<_>>>()?;
    if exchange.is_none() && describe::is_plumbing(plan.as_ref()) && children.len() == 1 {
        // Nodes that only regroup batches tell a reader nothing.
        return Ok(children.remove(0));
    }
    let Description {
        name,
        details,
        notes,
        is_scan,
    } = describe::describe(plan.as_ref(), keys_above);
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    let rows = match statistics.map(|s| s.num_rows) {
        Ok(Precision::Exact(rows) | Precision::Inexact(rows)) => Some(rows),
        _ => children.first().and_then(|c| c.rows),
    };
    let cost = rows.unwrap_or(0) as f64 * 0.01 + children.iter().map(|c| c.cost).sum::<f64>();
    let actual = analyzed
        .then(|| plan.metrics())
        .flatten()
        .as_ref()
        .map(actual);
    let width = describe::row_width(&plan.schema());
    let mut shown = Node {
        name,
        details,
        notes,
        rows,
        width,
        cost,
        actual,
        exchange,
        is_scan,
        children,
    };
    shown.add_rows_saved();
    Ok(shown)
}

/// The run-time filter that a hash join fills from its build side.
fn produced_keys(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    if !plan.is::<HashJoinExec>() {
        return None;
    }
    plan.dynamic_expressions_produced().first()?.expression_id()
}

impl Node {
    /// When the first step of this subtree began.
    fn began(&self) -> f64 {
        let own = self.actual.as_ref().and_then(|actual| actual.span_ms);
        let own = own.map_or(f64::INFINITY, |(began, _)| began);
        self.children.iter().map(Node::began).fold(own, f64::min)
    }

    /// Counts times from `origin` on.
    fn count_from(&mut self, origin: f64) {
        if let Some((began, ended)) = self.actual.as_mut().and_then(|a| a.span_ms.as_mut()) {
            *began -= origin;
            *ended -= origin;
        }
        for child in &mut self.children {
            child.count_from(origin);
        }
    }

    /// What keys have saved a scan: the rows that it was expected to read without them, less those it read.
    fn add_rows_saved(&mut self) {
        let (Some(expected), Some(actual)) = (self.rows, &mut self.actual) else {
            return;
        };
        let is_keyed = actual.extras.iter().any(|(name, _)| name == KEYS_SENT);
        if let (true, true, Some(read)) = (self.is_scan, is_keyed, actual.rows) {
            let saved = expected.saturating_sub(read);
            actual
                .extras
                .push(("rows saved".into(), format!("about {saved} of {expected}")));
        }
    }
}

fn exchange(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<(Exchange, usize, usize)>> {
    let Some(boundary) = plan.as_network_boundary() else {
        return Ok(None);
    };
    let stage = boundary.input_stage();
    let kind = if plan.is::<NetworkBroadcastExec>() {
        Exchange::Broadcast
    } else if plan.is::<NetworkCoalesceExec>() {
        Exchange::Single
    } else if plan.is::<NetworkShuffleExec>() {
        let head = boundary.producer_head(1).map_err(engine_error)?;
        let partitioning = match head {
            ProducerHead::RepartitionExec {
                partitioning: MaybeEncoded::Decoded(keys),
            } => Some(keys),
            _ => None,
        };
        match partitioning.as_ref().unwrap_or(plan.output_partitioning()) {
            Partitioning::Hash(keys, _) => Exchange::Hash(
                keys.iter()
                    .map(|k| describe::expression(k.as_ref()))
                    .collect(),
            ),
            _ => Exchange::RoundRobin,
        }
    } else {
        Exchange::RoundRobin
    };
    Ok(Some((kind, stage.num(), stage.task_count())))
}

fn actual(metrics: &MetricsSet) -> Actual {
    let by_name = metrics.aggregate_by_name();
    let mut extras = key_figures(&by_name);
    for metric in by_name.iter() {
        let shown = match metric.value() {
            MetricValue::Count { name, count } if count.value() > 0 && !is_noise(name) => {
                Some((name.replace('_', " "), count.value().to_string()))
            }
            MetricValue::SpillCount(count) if count.value() > 0 => {
                Some(("spill files".into(), count.value().to_string()))
            }
            MetricValue::SpilledBytes(count) if count.value() > 0 => {
                Some(("spilled bytes".into(), count.value().to_string()))
            }
            _ => None,
        };
        if let Some((name, value)) = shown {
            extras.push((name, value));
        }
    }
    let millis = |time: &Timestamp| Some(time.value()?.timestamp_micros() as f64 / 1e3);
    let (mut began, mut ended) = (None, None);
    for metric in by_name.iter() {
        match metric.value() {
            MetricValue::StartTimestamp(time) => began = millis(time),
            MetricValue::EndTimestamp(time) => ended = millis(time),
            _ => {}
        }
    }
    Actual {
        rows: metrics.output_rows(),
        span_ms: began.zip(ended),
        compute_ms: metrics.elapsed_compute().map(|nanos| nanos as f64 / 1e6),
        extras,
    }
}

/// The keys that a scan was given, and what it took to get them.
const KEYS_SENT: &str = "keys sent";

/// What run-time keys did to a scan. Each task of it gets all keys, so the sum over tasks is divided again.
fn key_figures(metrics: &MetricsSet) -> Vec<(String, String)> {
    let value = |wanted: &str| {
        let found = metrics
            .iter()
            .find(|metric| metric.value().name() == wanted);
        found.map_or(0, |metric| metric.value().as_usize())
    };
    let (scans, keys) = (value(keys::KEYED_SCANS), value(keys::KEYS));
    let (late, waited_nanos) = (value(keys::LATE_KEYS), value(keys::KEYS_WAIT));
    let mut figures = Vec::new();
    if waited_nanos > 0 {
        figures.push((
            "waited for keys".into(),
            format!("{:.3} ms", waited_nanos as f64 / 1e6),
        ));
    }
    if late > 0 {
        figures.push(("keys came too late".into(), "read without them".into()));
    }
    if let Some(count) = keys.checked_div(scans) {
        let said = match count {
            0 => "no list".to_owned(),
            count => count.to_string(),
        };
        figures.push((KEYS_SENT.into(), said));
    }
    figures
}

/// Counts that only a developer of the engine reads.
fn is_noise(name: &str) -> bool {
    matches!(name, keys::KEYED_SCANS | keys::KEYS | keys::LATE_KEYS)
        || name.contains("network")
        || name.contains("msg_count")
        || name.contains("connections_used")
        || name.contains("batches")
        || name.ends_with("input_rows")
        || name == "array_map_created_count"
}
