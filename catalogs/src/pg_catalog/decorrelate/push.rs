//! The way of the domain down through a subquery, operator by operator.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprFunctionExt, FetchType, Filter, Join,
    JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator, Projection, SkipType, Sort,
    SubqueryAlias, lit,
};

use super::Names;

/// A plan whose rows carry the domain values that they belong to.
pub(super) struct Pushed {
    pub(super) plan: LogicalPlan,
    /// The columns of those values, in the order of the outer columns.
    pub(super) keys: Vec<Column>,
}

/// One subquery on its way.
pub(super) struct Unnesting<'a> {
    pub(super) outer: &'a LogicalPlan,
    pub(super) columns: &'a [Column],
    pub(super) names: &'a mut Names,
}

impl Unnesting<'_> {
    /// The distinct outer values, under a new name.
    fn domain(&mut self) -> Result<Pushed> {
        let number = self.names.fresh();
        let alias = format!("__domain_{number}");
        let mut keys = Vec::new();
        let mut outputs = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let name = format!("outer_{number}_{at}");
            outputs.push(Expr::Column(column.clone()).alias(name.as_str()));
            keys.push(Column::new(Some(alias.as_str()), name));
        }
        let plan = LogicalPlanBuilder::from(self.outer.clone())
            .project(outputs)?
            .distinct()?
            .alias(alias.as_str())?
            .build()?;
        Ok(Pushed { plan, keys })
    }

    fn mentions(&self, plan: &LogicalPlan) -> bool {
        let mut found = false;
        let _ = plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|e| {
                    found |=
                        matches!(e, Expr::OuterReferenceColumn(_, c) if self.columns.contains(c));
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        });
        found
    }

    /// Outer columns become domain columns; the expression keeps its name.
    fn bind(&self, expr: Expr, keys: &[Column]) -> Result<Expr> {
        let bound = expr.transform_up(|e| match &e {
            Expr::OuterReferenceColumn(_, column) => {
                match self.columns.iter().position(|c| c == column) {
                    Some(at) => Ok(Transformed::yes(Expr::Column(keys[at].clone()))),
                    None => Ok(Transformed::no(e)),
                }
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(bound.data)
    }

    fn bind_named(&self, exprs: &[Expr], keys: &[Column]) -> Result<Vec<Expr>> {
        let preserver = NamePreserver::new_for_projection();
        exprs
            .iter()
            .map(|expr| {
                let name = preserver.save(expr);
                Ok(name.restore(self.bind(expr.clone(), keys)?))
            })
            .collect()
    }

    /// The plan over all domain values at once, or `None` for a shape that is not understood.
    pub(super) fn push(&mut self, plan: &LogicalPlan) -> Result<Option<Pushed>> {
        if !self.mentions(plan) {
            let domain = self.domain()?;
            let product = LogicalPlanBuilder::from(domain.plan)
                .cross_join(plan.clone())?
                .build()?;
            return Ok(Some(Pushed {
                plan: product,
                keys: domain.keys,
            }));
        }
        match plan {
            LogicalPlan::Projection(p) => {
                let Some(Pushed { plan, keys }) = self.push(&p.input)? else {
                    return Ok(None);
                };
                let mut exprs = self.bind_named(&p.expr, &keys)?;
                exprs.extend(keys.iter().cloned().map(Expr::Column));
                let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
                Ok(Some(Pushed { plan, keys }))
            }
            LogicalPlan::Filter(f) => {
                let Some(Pushed { plan, keys }) = self.push(&f.input)? else {
                    return Ok(None);
                };
                let predicate = self.bind(f.predicate.clone(), &keys)?;
                let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
                Ok(Some(Pushed { plan, keys }))
            }
            LogicalPlan::SubqueryAlias(a) => {
                let Some(Pushed { plan, keys }) = self.push(&a.input)? else {
                    return Ok(None);
                };
                let keys = keys
                    .iter()
                    .map(|k| Column::new(Some(a.alias.clone()), k.name.clone()))
                    .collect();
                let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(
                    Arc::new(plan),
                    a.alias.clone(),
                )?);
                Ok(Some(Pushed { plan, keys }))
            }
            LogicalPlan::Subquery(s) => self.push(&s.subquery),
            LogicalPlan::Sort(s) if s.fetch.is_none() => {
                let Some(Pushed { plan, keys }) = self.push(&s.input)? else {
                    return Ok(None);
                };
                let expr = s
                    .expr
                    .iter()
                    .map(|key| Ok(key.with_expr(self.bind(key.expr.clone(), &keys)?)))
                    .collect::<Result<Vec<_>>>()?;
                let plan = LogicalPlan::Sort(Sort {
                    expr,
                    input: Arc::new(plan),
                    fetch: None,
                });
                Ok(Some(Pushed { plan, keys }))
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(Pushed { plan, keys }) = self.push(input)? else {
                    return Ok(None);
                };
                Ok(Some(Pushed {
                    plan: LogicalPlanBuilder::from(plan).distinct()?.build()?,
                    keys,
                }))
            }
            LogicalPlan::Unnest(u) => {
                let Some(Pushed { plan, keys }) = self.push(&u.input)? else {
                    return Ok(None);
                };
                let plan = LogicalPlanBuilder::from(plan)
                    .unnest_columns_with_options(u.exec_columns.clone(), u.options.clone())?
                    .build()?;
                Ok(Some(Pushed { plan, keys }))
            }
            LogicalPlan::Aggregate(a) => self.push_aggregate(a),
            LogicalPlan::Join(j) => self.push_join(j),
            LogicalPlan::Limit(l) => match (l.get_skip_type()?, l.get_fetch_type()?) {
                (SkipType::Literal(0), FetchType::Literal(Some(rows))) => {
                    self.push_limit(&l.input, rows)
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Groups get the domain values as further keys. Without keys of its own an aggregate has a row for
    /// every domain value, also where nothing was aggregated.
    fn push_aggregate(&mut self, a: &Aggregate) -> Result<Option<Pushed>> {
        let Some(Pushed { plan, keys }) = self.push(&a.input)? else {
            return Ok(None);
        };
        let mut groups: Vec<Expr> = keys.iter().cloned().map(Expr::Column).collect();
        groups.extend(self.bind_named(&a.group_expr, &keys)?);
        let values = self.bind_named(&a.aggr_expr, &keys)?;
        let grouped = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), groups, values)?);
        if !a.group_expr.is_empty() {
            return Ok(Some(Pushed {
                plan: grouped,
                keys,
            }));
        }
        let domain = self.domain()?;
        let mut outputs: Vec<Expr> = domain.keys.iter().cloned().map(Expr::Column).collect();
        for (expr, (qualifier, field)) in a.aggr_expr.iter().zip(a.schema.iter()) {
            let column = Expr::Column(Column::from((qualifier, field)));
            let mut bare = expr;
            while let Expr::Alias(alias) = bare {
                bare = &alias.expr;
            }
            let Expr::AggregateFunction(function) = bare else {
                return Ok(None);
            };
            let of_nothing = function.func.default_value(field.data_type())?;
            outputs.push(if of_nothing.is_null() {
                column
            } else {
                coalesce(vec![column, lit(of_nothing)])
                    .alias_qualified(qualifier.cloned(), field.name())
            });
        }
        let plan = LogicalPlanBuilder::from(domain.plan)
            .join_detailed(
                grouped,
                JoinType::Left,
                (domain.keys.clone(), keys),
                None,
                NullEquality::NullEqualsNull,
            )?
            .project(outputs)?
            .build()?;
        Ok(Some(Pushed {
            plan,
            keys: domain.keys,
        }))
    }

    /// The domain goes to the left side, and to the right one too where that mentions outer columns: then
    /// both sides must be of the same domain value.
    fn push_join(&mut self, j: &Join) -> Result<Option<Pushed>> {
        if !matches!(j.join_type, JoinType::Inner | JoinType::Left) {
            return Ok(None);
        }
        let Some(left) = self.push(&j.left)? else {
            return Ok(None);
        };
        let mut conditions = Vec::new();
        let right = if self.mentions(&j.right) {
            let Some(right) = self.push(&j.right)? else {
                return Ok(None);
            };
            for (l, r) in left.keys.iter().zip(&right.keys) {
                conditions.push(Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(Expr::Column(l.clone())),
                    Operator::IsNotDistinctFrom,
                    Box::new(Expr::Column(r.clone())),
                )));
            }
            right.plan
        } else {
            j.right.as_ref().clone()
        };
        let equal = match j.null_equality {
            NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
            NullEquality::NullEqualsNothing => Operator::Eq,
        };
        let mut on = Vec::new();
        for (l, r) in &j.on {
            if l.contains_outer() || r.contains_outer() {
                let (l, r) = (
                    self.bind(l.clone(), &left.keys)?,
                    self.bind(r.clone(), &left.keys)?,
                );
                conditions.push(Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(l),
                    equal,
                    Box::new(r),
                )));
            } else {
                on.push((l.clone(), r.clone()));
            }
        }
        if let Some(filter) = &j.filter {
            conditions.push(self.bind(filter.clone(), &left.keys)?);
        }
        let join = Join::try_new(
            Arc::new(left.plan),
            Arc::new(right),
            on,
            conditions.into_iter().reduce(Expr::and),
            j.join_type,
            JoinConstraint::On,
            j.null_equality,
            j.null_aware,
        )?;
        Ok(Some(Pushed {
            plan: LogicalPlan::Join(join),
            keys: left.keys,
        }))
    }

    /// The first rows of each domain value.
    fn push_limit(&mut self, input: &LogicalPlan, rows: usize) -> Result<Option<Pushed>> {
        let outputs = input.schema().columns();
        let (source, order) = match input {
            LogicalPlan::Sort(s) => (s.input.as_ref(), s.expr.as_slice()),
            other => (other, [].as_slice()),
        };
        let Some(Pushed { plan, keys }) = self.push(source)? else {
            return Ok(None);
        };
        let order = order
            .iter()
            .map(|key| Ok(key.with_expr(self.bind(key.expr.clone(), &keys)?)))
            .collect::<Result<Vec<_>>>()?;
        let place = format!("place_{}", self.names.fresh());
        let numbered = row_number()
            .partition_by(keys.iter().cloned().map(Expr::Column).collect())
            .order_by(order)
            .build()?
            .alias(place.as_str());
        let mut kept: Vec<Expr> = outputs.into_iter().map(Expr::Column).collect();
        kept.extend(keys.iter().cloned().map(Expr::Column));
        let with_place: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .chain([Expr::Column(Column::from_name(&place))])
            .collect();
        let plan = LogicalPlanBuilder::from(plan)
            .window(vec![numbered])?
            .project(with_place)?
            .filter(Expr::Column(Column::from_name(&place)).lt_eq(lit(rows as u64)))?
            .project(kept)?
            .build()?;
        Ok(Some(Pushed { plan, keys }))
    }
}
