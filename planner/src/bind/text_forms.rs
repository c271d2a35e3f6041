//! Comparisons of values that travel as text: uuid, enums, jsonb, inet and whatever else Arrow has no type for.
//!
//! Their text is the source's own output, so equal values have equal texts only where that output is
//! canonical, and the order of texts is seldom the order of values. A uuid literal is put into canonical
//! form here, as PostgreSQL's input function would, an enum's is held against the labels; what cannot be answered right is refused. A cast to
//! text says that the text is meant.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use sluice_catalogs::functions::forms;
use sluice_spi::types::{enum_labels, pg_type};
use sluice_spi::{Error, SqlState};

/// Types whose text is not enough to tell whether a value equals a literal.
const AMBIGUOUS_TEXT: [&str; 12] = [
    "json",
    "jsonb",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "bit",
    "bit varying",
    "tsvector",
    "xml",
    "point",
];

/// Text types, which compare as text.
const PLAIN_TEXT: [&str; 6] = [
    "text",
    "name",
    "character varying",
    "character",
    "\"char\"",
    "citext",
];

/// Puts literals into canonical form and refuses what text cannot answer.
pub(super) fn check(plan: LogicalPlan) -> Result<LogicalPlan> {
    let checked = plan.transform_up_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        if let LogicalPlan::TableScan(scan) = &node {
            schema.merge(&scan.projected_schema);
        }
        node.map_expressions(|expr| expr.transform_up(|e| check_expr(e, &schema)))
    })?;
    Ok(checked.data)
}

fn check_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(mut binary) if compares(binary.op) => {
            let form = form_of(&binary.left, schema).or_else(|| form_of(&binary.right, schema));
            let Some(form) = form else {
                return Ok(Transformed::no(Expr::BinaryExpr(binary)));
            };
            let orders = matches!(
                binary.op,
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
            );
            let with_literal = literal(&binary.left).is_some() || literal(&binary.right).is_some();
            form.allow(&binary.op.to_string(), orders, with_literal)?;
            form.canonicalize(&mut binary.left)?;
            form.canonicalize(&mut binary.right)?;
            Ok(Transformed::yes(Expr::BinaryExpr(binary)))
        }
        Expr::InList(InList {
            expr,
            mut list,
            negated,
        }) => {
            if let Some(form) = form_of(&expr, schema) {
                form.allow("=", false, list.iter().any(|e| literal(e).is_some()))?;
                list.iter_mut()
                    .try_for_each(|item| form.canonicalize(item))?;
            }
            Ok(Transformed::yes(Expr::InList(InList {
                expr,
                list,
                negated,
            })))
        }
        Expr::Between(mut between) => {
            if let Some(form) = form_of(&between.expr, schema) {
                form.allow("<=", true, true)?;
                form.canonicalize(&mut between.low)?;
                form.canonicalize(&mut between.high)?;
            }
            Ok(Transformed::yes(Expr::Between(between)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        operator,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

/// What a value's text is good for.
enum Form {
    /// Canonical, and its order is the type's.
    Uuid,
    /// Canonical, in another order. The labels are those of an enum.
    Unordered(String, Option<Vec<String>>),
    /// One value may have several texts.
    Ambiguous(String),
}

/// The form of an expression's type; `None` where it compares like its Arrow type.
fn form_of(expr: &Expr, schema: &DFSchema) -> Option<Form> {
    let field = match expr {
        // A cast to text is plain text, whatever it was before.
        Expr::Cast(cast) => Arc::clone(&cast.field),
        Expr::Literal(..) => return None,
        other => other.to_field(schema).ok()?.1,
    };
    if !field.data_type().is_string() {
        return None;
    }
    let tag = pg_type(&field)?;
    let name = tag.split('(').next().unwrap_or(tag);
    if PLAIN_TEXT.contains(&name) {
        return None;
    }
    Some(match name {
        "uuid" => Form::Uuid,
        _ if AMBIGUOUS_TEXT.contains(&name) || name.ends_with("range") => {
            Form::Ambiguous(tag.to_owned())
        }
        _ => Form::Unordered(tag.to_owned(), enum_labels(&field)),
    })
}

impl Form {
    fn allow(&self, operator: &str, orders: bool, with_literal: bool) -> Result<()> {
        let (tag, refused) = match self {
            Form::Uuid => return Ok(()),
            Form::Unordered(tag, _) => (tag, orders),
            Form::Ambiguous(tag) => (tag, orders || with_literal || tag.starts_with("json")),
        };
        if !refused {
            return Ok(());
        }
        let error = Error::unsupported(format!("operator {operator} is not supported for type {tag}"))
            .with_hint(
                "Cast to text to compare the text, or let the source compare: catalog.system.query('…').",
            );
        Err(error.into())
    }

    fn canonicalize(&self, expr: &mut Expr) -> Result<()> {
        let Some(text) = literal(expr) else {
            return Ok(());
        };
        if let Form::Unordered(tag, Some(labels)) = self
            && !labels.iter().any(|label| label == text)
        {
            let message = format!("invalid input value for enum {tag}: \"{text}\"");
            return Err(Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message).into());
        }
        if !matches!(self, Form::Uuid) {
            return Ok(());
        }
        if let Some(canonical) = forms::canonical("uuid", text) {
            *expr = Expr::Literal(ScalarValue::Utf8(Some(canonical?)), None);
        }
        Ok(())
    }
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        Expr::Cast(cast) => literal(&cast.expr),
        _ => None,
    }
}
