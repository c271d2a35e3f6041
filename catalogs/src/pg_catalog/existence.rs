//! `EXISTS` among a query's outputs, which the engine only knows in filters: a count of more than none.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Query, SelectItem, SetExpr, UnaryOperator, Value, VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

use super::rewrite::call;

/// Rewrites every `EXISTS` of the outputs that asks about plain rows; others keep the engine's own error.
pub(super) fn count_in_outputs(projection: &mut [SelectItem]) {
    for item in projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = VisitMut::visit(expr, &mut Outputs { depth: 0 });
        }
    }
}

/// Visits the expressions of an output, but not the queries inside of them: those have outputs and filters
/// of their own.
struct Outputs {
    depth: usize,
}

impl VisitorMut for Outputs {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Expr::Exists { subquery, negated } = expr
            && let Some(counted) = counted(subquery)
        {
            let exists = Expr::Subquery(Box::new(counted));
            *expr = match *negated {
                true => Expr::UnaryOp {
                    op: UnaryOperator::Not,
                    expr: Box::new(exists),
                },
                false => exists,
            };
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT count(*) > 0` over the rows of a query, where those are the rows of its FROM and WHERE.
fn counted(query: &Query) -> Option<Query> {
    let mut query = query.clone();
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return None;
    }
    query.order_by = None;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let constant = select.projection.iter().all(|item| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => {
            matches!(
                e,
                Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_)
            )
        }
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        _ => false,
    });
    if grouped || select.having.is_some() || !constant {
        return None;
    }
    select.distinct = None;
    let mut count = call("count", Vec::new());
    if let Expr::Function(Function {
        args: FunctionArguments::List(list),
        ..
    }) = &mut count
    {
        list.args
            .push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    }
    let some = Expr::BinaryOp {
        left: Box::new(count),
        op: BinaryOperator::Gt,
        right: Box::new(Expr::Value(Value::Number("0".to_owned(), false).into())),
    };
    select.projection = vec![SelectItem::UnnamedExpr(some)];
    Some(query)
}
