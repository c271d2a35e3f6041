//! `PushJoinIntoScan`: two remotes of one source are joined there.
//!
//! Equal for inner, left, right, semi- and anti-joins (EXISTS and NOT EXISTS) whose every conjunct the connector
//! evaluates as the engine does. Never NOT IN and never joins that take NULL for equal to NULL, whose meaning
//! hangs on NULLs that the source would treat otherwise; never full or mark joins. Pushed where moving the joined
//! rows is cheaper than moving both sides.

use std::collections::HashSet;

use datafusion::common::{DFSchema, JoinType, NullEquality, Result as EngineResult};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, Operator, binary_expr};
use sluice_catalogs::SluiceOptions;
use sluice_spi::{CompareOp, JoinKind, Operation, Reason, ScalarExpr};

use super::remote::{Remote, RemoteColumn};
use super::{Offer, Refusal, Subtree, cost};

pub(super) fn offer(
    node: &Join,
    left: &Subtree,
    right: &Subtree,
    options: &SluiceOptions,
) -> Offer {
    let (Some(left), Some(right)) = (&left.remote, &right.remote) else {
        return Err(Refusal::Silent);
    };
    if !left.is_same_source(right) {
        return Err(Refusal::Silent);
    }
    let subject = subject(node);
    let because = |reason: Reason| Refusal::Because(subject.clone(), reason);
    let no = |reason: &str| Err(because(Reason(reason.to_owned())));
    if options.join_pushdown == "never" {
        return no("switched off by sluice.join_pushdown");
    }
    if node.null_aware {
        return no("NOT IN is computed by the engine");
    }
    if node.null_equality != NullEquality::NullEqualsNothing {
        return no("NULL is equal to NULL in it");
    }
    // The source is asked for a left join, a semi-join or an anti-join of its left side only.
    let (kind, swapped) = match node.join_type {
        JoinType::Inner => (JoinKind::Inner, false),
        JoinType::Left => (JoinKind::Left, false),
        JoinType::Right => (JoinKind::Left, true),
        JoinType::LeftSemi => (JoinKind::Semi, false),
        JoinType::RightSemi => (JoinKind::Semi, true),
        JoinType::LeftAnti => (JoinKind::Anti, false),
        JoinType::RightAnti => (JoinKind::Anti, true),
        other => {
            return Err(because(Reason(format!(
                "a {} join is computed by the engine",
                other.to_string().to_lowercase()
            ))));
        }
    };
    if node.on.is_empty() && node.filter.is_none() {
        return no("a cross join returns more than it reads");
    }
    let mut taken = HashSet::new();
    let left = left.narrowed(&mut taken)?;
    let right = right.narrowed(&mut taken)?;
    let conjuncts = conditions(node, &left, &right)
        .map_err(|_| Refusal::Silent)?
        .map_err(because)?;
    let columns: Vec<RemoteColumn> = match (kind, swapped) {
        (JoinKind::Inner | JoinKind::Left, _) => {
            left.columns.iter().chain(&right.columns).cloned().collect()
        }
        (_, false) => left.columns.clone(),
        (_, true) => right.columns.clone(),
    };
    let (first, second) = if swapped {
        (&right, &left)
    } else {
        (&left, &right)
    };
    let operation = Operation::Join {
        right: &second.handle,
        kind,
        on: &conjuncts,
    };
    let mut pushed = first.with(subject.clone(), &operation, columns, node.schema.clone())?;
    let pairs = pairs(&conjuncts, first, second);
    pushed.rows = match kind {
        JoinKind::Inner => pairs,
        JoinKind::Left => pairs.max(first.rows),
        JoinKind::Semi => pairs.min(first.rows),
        JoinKind::Anti => (first.rows - pairs.min(first.rows)).max(first.rows * 0.1),
    }
    .max(1.0);
    for column in &mut pushed.columns {
        column.distinct = column.distinct.map(|n| n.min(pushed.rows));
    }
    let joining = cost::Joined {
        kind,
        first,
        second,
        pairs,
        found: (found(&conjuncts, first), found(&conjuncts, second)),
        rows: pushed.rows,
    };
    pushed.work = first.work + second.work + cost::of_joining(&joining);
    pushed.is_worth_it = true;
    pushed.is_forced = options.join_pushdown == "always";
    Ok(pushed.with_notes_of(second))
}

fn subject(node: &Join) -> String {
    let mut keys: Vec<String> = node
        .on
        .iter()
        .map(|(l, r)| format!("{} = {}", l.human_display(), r.human_display()))
        .collect();
    keys.extend(node.filter.iter().map(|f| f.human_display().to_string()));
    let kind = match node.join_type {
        JoinType::Inner => "join",
        JoinType::Left => "left join",
        JoinType::Right => "right join",
        JoinType::LeftSemi | JoinType::RightSemi => "semi-join",
        JoinType::LeftAnti | JoinType::RightAnti => "anti-join",
        _ => "join",
    };
    format!("{kind} on {}", keys.join(" AND "))
}

/// Every conjunct over the names of both sides.
fn conditions(
    node: &Join,
    left: &Remote,
    right: &Remote,
) -> EngineResult<Result<Vec<ScalarExpr>, Reason>> {
    let names = left.names_schema()?.join(&right.names_schema()?)?;
    let mut exprs = Vec::new();
    for (l, r) in &node.on {
        exprs.push(binary_expr(
            left.over_names(l)?,
            Operator::Eq,
            right.over_names(r)?,
        ));
    }
    if let Some(filter) = &node.filter {
        for conjunct in split_conjunction(filter) {
            exprs.push(over_both(conjunct, left, right)?);
        }
    }
    Ok(exprs
        .iter()
        .map(|expr| typed(expr, &names))
        .collect::<Result<Vec<_>, _>>())
}

fn typed(expr: &Expr, names: &DFSchema) -> Result<ScalarExpr, Reason> {
    ScalarExpr::typed(expr, names)
}

fn over_both(expr: &Expr, left: &Remote, right: &Remote) -> EngineResult<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    expr.clone()
        .transform_up(|e| {
            Ok(match e {
                Expr::Column(column) => {
                    let name = match left.schema.maybe_index_of_column(&column) {
                        Some(index) => &left.columns[index].name,
                        None => &right.columns[right.schema.index_of_column(&column)?].name,
                    };
                    Transformed::yes(Expr::Column(Column::from_name(name)))
                }
                other => Transformed::no(other),
            })
        })
        .map(|t| t.data)
}

/// Rows of `side` that a look-up of one row's keys finds, where known.
fn found(conjuncts: &[ScalarExpr], side: &Remote) -> Option<f64> {
    let repeats = conjuncts.iter().filter_map(|conjunct| match conjunct {
        ScalarExpr::Compare {
            op: CompareOp::Eq,
            left,
            right,
        } => side.repeats(left).or_else(|| side.repeats(right)),
        _ => None,
    });
    repeats.reduce(f64::min)
}

/// Pairs that match, as System R guessed them: each value of the side with more of them finds its equals.
fn pairs(conjuncts: &[ScalarExpr], left: &Remote, right: &Remote) -> f64 {
    let mut rows = left.rows * right.rows;
    let mut has_key = false;
    for conjunct in conjuncts {
        match conjunct {
            ScalarExpr::Compare {
                op: CompareOp::Eq,
                left: a,
                right: b,
            } if a.as_column().is_some() && b.as_column().is_some() => {
                let known = |expr| left.distinct(expr).or_else(|| right.distinct(expr));
                let distinct = match (known(a), known(b)) {
                    (Some(a), Some(b)) => a.max(b),
                    (Some(n), None) | (None, Some(n)) => n,
                    // A key of the larger side, most often.
                    (None, None) => left.rows.max(right.rows),
                };
                // Two keys between the same sides hardly ever narrow each other down by as much.
                let distinct = if has_key { distinct.sqrt() } else { distinct };
                has_key = true;
                rows /= distinct.max(1.0);
            }
            _ => rows *= 0.33,
        }
    }
    rows
}
