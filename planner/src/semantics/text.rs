//! `character(n)`, which travels without its padding: comparisons ignore trailing blanks, and what works on
//! characters sees the padding (`bpcharlike`, `concat`).

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::functions::string::expr_fn::rtrim;
use datafusion::functions::unicode::expr_fn::rpad;
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::{Expr, lit};
use sluice_spi::types::pg_type;
use sluice_spi::{Error, SqlState};

use super::literals;
use super::types::field_of;

/// The length of a value of type `character(n)`; of `bpchar` without a length it is `None` inside.
fn padding(expr: &Expr, schema: &DFSchema) -> Option<Option<i64>> {
    // A constant without a type has that of what it meets.
    if matches!(expr, Expr::Literal(_, None)) {
        return None;
    }
    // A cast has the type that it says, though the engine hands an older tag on.
    let field = match expr {
        Expr::Cast(cast) => Arc::clone(&cast.field),
        other => field_of(other, schema)?,
    };
    let tag = pg_type(&field)?;
    if matches!(tag, "character" | "bpchar") {
        return Some(None);
    }
    let length = tag.strip_prefix("character(")?.strip_suffix(')')?;
    length.parse().ok().map(Some)
}

/// True where a value has a type whose trailing blanks do not count.
pub(super) fn is_padded(expr: &Expr, schema: &DFSchema) -> bool {
    padding(expr, schema).is_some()
}

/// Both sides of a comparison, constants without trailing blanks where the other side does not count them.
/// True where something changed.
pub(super) fn stripped(left: Expr, right: Expr, schema: &DFSchema) -> (Expr, Expr, bool) {
    let (l, r) = (is_padded(&left, schema), is_padded(&right, schema));
    let (left, right) = (strip_if(r, left), strip_if(l, right));
    let moved = left.transformed || right.transformed;
    (left.data, right.data, moved)
}

fn strip_if(other_is_padded: bool, expr: Expr) -> Transformed<Expr> {
    if !other_is_padded {
        return Transformed::no(expr);
    }
    match &expr {
        Expr::Placeholder(_) => Transformed::yes(rtrim(vec![expr])),
        other => match literals::text(other) {
            Some(text) if text.ends_with(' ') => {
                let text = text.trim_end_matches(' ').to_owned();
                Transformed::yes(Expr::Literal(ScalarValue::Utf8(Some(text)), None))
            }
            _ => Transformed::no(expr),
        },
    }
}

/// The value with its padding, where its type has one.
pub(super) fn padded(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match padding(&expr, schema) {
        Some(Some(length)) => Transformed::yes(rpad(vec![expr, lit(length)])),
        _ => Transformed::no(expr),
    }
}

/// LIKE over the padded value. A pattern that ends in the middle of an escape is refused at once: PostgreSQL
/// refuses it as soon as a row gets that far.
pub(super) fn like(mut like: Like, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let escape = like.escape_char.unwrap_or('\\');
    if let Some(pattern) = literals::text(&like.pattern)
        && pattern.chars().rev().take_while(|c| *c == escape).count() % 2 == 1
    {
        let message = "LIKE pattern must not end with escape character";
        return Err(Error::new(SqlState::from_source("22025"), message).into());
    }
    let value = padded(*like.expr, schema);
    like.expr = Box::new(value.data);
    Ok(Transformed::new_transformed(
        Expr::Like(like),
        value.transformed,
    ))
}
