//! Rough sizes of logical plans, for rules that choose between equal plans.
//!
//! One walk up from the tables' statistics, with the usual assumptions: values are spread evenly, conditions
//! are independent, a join's smaller set of keys is contained in the larger. Never used for anything that
//! changes the meaning of a plan.

use std::collections::HashMap;

use datafusion::common::stats::Precision;
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, Join, LogicalPlan, Operator, TableScan,
};

/// A condition of which nothing is known keeps this share of the rows.
const UNKNOWN_SHARE: f64 = 0.3;
/// `column = constant`, where the number of distinct values is not known.
const EQUAL_SHARE: f64 = 0.1;
/// A pattern, or a constant that was compared by order.
const RANGE_SHARE: f64 = 0.3;

/// What is believed of a plan's rows.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    /// How many come out.
    pub(super) rows: f64,
    /// How many are read from tables to make them.
    pub(super) scanned: f64,
    /// Distinct values by column of the output, where known.
    distinct: HashMap<Column, f64>,
}

impl Estimate {
    /// The estimate of `plan`; `None` where a table has no statistics or an operator is not known.
    pub(super) fn of(plan: &LogicalPlan) -> Option<Estimate> {
        let estimate = match plan {
            LogicalPlan::TableScan(scan) => of_scan(scan)?,
            LogicalPlan::Filter(filter) => {
                Estimate::of(&filter.input)?.filtered(split_conjunction(&filter.predicate))
            }
            LogicalPlan::Projection(projection) => {
                let input = Estimate::of(&projection.input)?;
                let outputs = projection.schema.columns();
                let distinct = outputs
                    .into_iter()
                    .zip(&projection.expr)
                    .filter_map(|(output, expr)| Some((output, *input.distinct.get(plain(expr)?)?)))
                    .collect();
                Estimate { distinct, ..input }
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = Estimate::of(&alias.input)?;
                let renamed = alias.input.schema().columns().into_iter();
                let distinct = renamed
                    .zip(alias.schema.columns())
                    .filter_map(|(inner, outer)| Some((outer, *input.distinct.get(&inner)?)))
                    .collect();
                Estimate { distinct, ..input }
            }
            LogicalPlan::Sort(sort) => {
                let input = Estimate::of(&sort.input)?;
                input.capped(sort.fetch.map_or(f64::INFINITY, |fetch| fetch as f64))
            }
            LogicalPlan::Limit(limit) => match limit.get_fetch_type().ok()? {
                FetchType::Literal(Some(fetch)) => Estimate::of(&limit.input)?.capped(fetch as f64),
                _ => Estimate::of(&limit.input)?,
            },
            LogicalPlan::Window(window) => Estimate::of(&window.input)?,
            LogicalPlan::Repartition(repartition) => Estimate::of(&repartition.input)?,
            LogicalPlan::Distinct(distinct) => Estimate::of(distinct.input())?,
            LogicalPlan::Aggregate(aggregate) => {
                let input = Estimate::of(&aggregate.input)?;
                let groups = aggregate
                    .group_expr
                    .iter()
                    .map(|key| input.distinct.get(plain(key)?).copied())
                    .reduce(|a, b| Some(a? * b?))
                    .unwrap_or(Some(1.0));
                // A group of few rows each is the worse guess.
                let groups = groups.unwrap_or(input.rows / 2.0).min(input.rows);
                input.capped(groups)
            }
            LogicalPlan::Join(join) => of_join(join)?,
            LogicalPlan::Union(union) => {
                let inputs: Vec<Estimate> = union
                    .inputs
                    .iter()
                    .map(|i| Estimate::of(i))
                    .collect::<Option<_>>()?;
                Estimate {
                    rows: inputs.iter().map(|i| i.rows).sum(),
                    scanned: inputs.iter().map(|i| i.scanned).sum(),
                    distinct: HashMap::new(),
                }
            }
            LogicalPlan::EmptyRelation(empty) => {
                Estimate::of_rows(f64::from(u8::from(empty.produce_one_row)))
            }
            LogicalPlan::Values(values) => Estimate::of_rows(values.values.len() as f64),
            _ => return None,
        };
        Some(estimate)
    }

    fn of_rows(rows: f64) -> Estimate {
        Estimate {
            rows,
            scanned: 0.0,
            distinct: HashMap::new(),
        }
    }

    /// Distinct values of a column, where known; never more than there are rows.
    pub(super) fn distinct(&self, column: &Column) -> Option<f64> {
        self.distinct.get(column).map(|n| n.min(self.rows).max(1.0))
    }

    fn capped(self, rows: f64) -> Estimate {
        Estimate {
            rows: self.rows.min(rows),
            ..self
        }
    }

    fn filtered<'a>(self, conjuncts: impl IntoIterator<Item = &'a Expr>) -> Estimate {
        let share: f64 = conjuncts.into_iter().map(|e| self.share(e)).product();
        let rows = self.rows * share;
        self.capped(rows)
    }

    /// The share of the rows for which `condition` is true.
    fn share(&self, condition: &Expr) -> f64 {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => self.share(left) * self.share(right),
                Operator::Or => (self.share(left) + self.share(right)).min(1.0),
                Operator::Eq => match (plain(left), plain(right)) {
                    (Some(column), None) | (None, Some(column)) => self
                        .distinct
                        .get(column)
                        .map_or(EQUAL_SHARE, |n| 1.0 / n.max(1.0)),
                    _ => EQUAL_SHARE,
                },
                Operator::NotEq => 1.0 - EQUAL_SHARE,
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => RANGE_SHARE,
                _ => UNKNOWN_SHARE,
            },
            Expr::InList(InList {
                expr,
                list,
                negated: false,
            }) => {
                let one = plain(expr)
                    .and_then(|column| self.distinct.get(column))
                    .map_or(EQUAL_SHARE, |n| 1.0 / n.max(1.0));
                (one * list.len() as f64).min(1.0)
            }
            Expr::Between(_) => RANGE_SHARE,
            Expr::Not(inner) => 1.0 - self.share(inner),
            Expr::IsNull(_) => EQUAL_SHARE,
            Expr::IsNotNull(_) => 1.0,
            Expr::Like(like) if !like.negated => EQUAL_SHARE,
            Expr::Literal(ScalarValue::Boolean(Some(true)), _) => 1.0,
            _ => UNKNOWN_SHARE,
        }
    }
}

/// The column that an expression is, under any alias.
fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

fn of_scan(scan: &TableScan) -> Option<Estimate> {
    let provider = source_as_provider(&scan.source).ok()?;
    let statistics = provider.statistics()?;
    let rows = *statistics.num_rows.get_value()? as f64;
    let schema = provider.schema();
    let constraints = provider.constraints();
    let keys: Vec<usize> = constraints
        .into_iter()
        .flat_map(|constraints| constraints.iter())
        .filter_map(|constraint| match constraint {
            datafusion::common::Constraint::PrimaryKey(key) if key.len() == 1 => key.first(),
            _ => None,
        })
        .copied()
        .collect();
    let mut distinct = HashMap::new();
    for (index, (field, known)) in schema
        .fields()
        .iter()
        .zip(&statistics.column_statistics)
        .enumerate()
    {
        let count = if keys.contains(&index) {
            Some(rows)
        } else {
            known
                .distinct_count
                .get_value()
                .map(|n| *n as f64)
                .or_else(|| integers_between(&known.min_value, &known.max_value))
        };
        if let Some(count) = count {
            let column = Column::new(Some(scan.table_name.clone()), field.name());
            distinct.insert(column, count.min(rows).max(1.0));
        }
    }
    let whole = Estimate {
        rows,
        scanned: rows,
        distinct,
    };
    Some(
        whole
            .filtered(&scan.filters)
            .capped(scan.fetch.map_or(f64::INFINITY, |fetch| fetch as f64)),
    )
}

/// There are no more distinct integers than lie between the smallest and the largest.
fn integers_between(min: &Precision<ScalarValue>, max: &Precision<ScalarValue>) -> Option<f64> {
    let whole = |value: &Precision<ScalarValue>| {
        let value = value.get_value()?;
        if !value.data_type().is_integer() {
            return None;
        }
        match value.cast_to(&arrow::datatypes::DataType::Int64).ok()? {
            ScalarValue::Int64(Some(n)) => Some(n as f64),
            _ => None,
        }
    };
    Some(whole(max)? - whole(min)? + 1.0).filter(|n| *n >= 1.0)
}

fn of_join(join: &Join) -> Option<Estimate> {
    let (left, right) = (Estimate::of(&join.left)?, Estimate::of(&join.right)?);
    // Of each pair of keys, how many there are on either side.
    let keys = join.on.iter().filter_map(|(l, r)| {
        let l = plain(l).and_then(|c| left.distinct(c));
        let r = plain(r).and_then(|c| right.distinct(c));
        l.zip(r)
    });
    let pairs: Vec<(f64, f64)> = keys.collect();
    let most = pairs.iter().map(|(l, r)| l.max(*r)).fold(0.0, f64::max);
    let mut inner = match (join.on.is_empty(), most > 0.0) {
        (true, _) => left.rows * right.rows,
        (false, true) => left.rows * right.rows / most,
        (false, false) => left.rows.max(right.rows),
    };
    let kept = pairs
        .iter()
        .map(|(l, r)| (r / l).min(1.0))
        .reduce(f64::min)
        .unwrap_or_else(|| (right.rows / left.rows.max(1.0)).min(1.0));
    let mut semi = left.rows * kept;
    if join.filter.is_some() {
        inner *= UNKNOWN_SHARE;
        semi *= UNKNOWN_SHARE;
    }
    let rows = match join.join_type {
        JoinType::Inner => inner,
        JoinType::Left => inner.max(left.rows),
        JoinType::Right => inner.max(right.rows),
        JoinType::Full => inner.max(left.rows + right.rows),
        JoinType::LeftSemi => semi,
        JoinType::LeftAnti => left.rows - semi,
        JoinType::LeftMark => left.rows,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.rows,
    };
    let scanned = left.scanned + right.scanned;
    let mut distinct = left.distinct;
    distinct.extend(right.distinct);
    Some(Estimate {
        rows,
        scanned,
        distinct,
    })
}
