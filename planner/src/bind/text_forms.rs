//! Comparisons of values that travel as text: uuid, enums, jsonb, inet and whatever else Arrow has no type for.
//!
//! Their text is the source's own output, so equal values have equal texts only where that output is
//! canonical, and the order of texts is seldom the order of values. A uuid literal is put into canonical
//! form here, as PostgreSQL's input function would; what cannot be answered right is refused. A cast to
//! text says that the text is meant.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use sluice_spi::types::pg_type;
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
    /// Canonical, in another order.
    Unordered(String),
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
        _ => Form::Unordered(tag.to_owned()),
    })
}

impl Form {
    fn allow(&self, operator: &str, orders: bool, with_literal: bool) -> Result<()> {
        let (tag, refused) = match self {
            Form::Uuid => return Ok(()),
            Form::Unordered(tag) => (tag, orders),
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
        let (Form::Uuid, Some(text)) = (self, literal(expr)) else {
            return Ok(());
        };
        let Some(canonical) = canonical_uuid(text) else {
            let message = format!("invalid input syntax for type uuid: \"{text}\"");
            let error = Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message);
            return Err(error.into());
        };
        *expr = Expr::Literal(ScalarValue::Utf8(Some(canonical)), None);
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

/// What PostgreSQL's `uuid_in` takes: 32 hexadecimal digits, a hyphen after any four of them, perhaps in
/// braces.
fn canonical_uuid(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut canonical = String::with_capacity(36);
    let mut digits = 0;
    let mut after_hyphen = true;
    for character in inner.chars() {
        if character == '-' {
            if digits % 4 != 0 || after_hyphen || digits == 32 {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        if !character.is_ascii_hexdigit() || digits == 32 {
            return None;
        }
        if matches!(digits, 8 | 12 | 16 | 20) {
            canonical.push('-');
        }
        canonical.push(character.to_ascii_lowercase());
        digits += 1;
        after_hyphen = false;
    }
    (digits == 32).then_some(canonical)
}

#[cfg(test)]
mod tests {
    use super::canonical_uuid;

    #[test]
    fn uuids_have_one_form() {
        let canonical = Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned());
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(canonical_uuid(text), canonical, "{text}");
        }
        for text in [
            "",
            "zzz",
            "a0eebc99",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0e-ebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(canonical_uuid(text), None, "{text}");
        }
    }
}
