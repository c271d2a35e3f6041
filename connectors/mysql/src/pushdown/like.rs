//! LIKE, under a collation that tells characters apart by their code points.
//!
//! Both sides take `%`, `_` (one code point) and an escaped character alike, line breaks included. The
//! pattern is written with another escape character, since the backslash's meaning there depends on the
//! SQL mode.

use sluice_spi::ScalarExpr;

use super::{Scope, Verdict, no};
use crate::types::{Charset, ColumnType};

pub(super) fn judge(like: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    let ScalarExpr::Like {
        expr,
        escape,
        case_insensitive,
        ..
    } = like
    else {
        return no("it is not LIKE");
    };
    let ScalarExpr::Column(name) = expr.as_ref() else {
        return no("LIKE over an expression is computed by the engine");
    };
    if *case_insensitive {
        return no("ILIKE follows the source's collation");
    }
    let text = match scope.column(name) {
        Some((_, ColumnType::Text(text))) => text,
        Some((column, _)) => {
            return no(format!(
                "LIKE over {} is computed by the engine",
                column.native_type
            ));
        }
        None => return no(format!("column \"{name}\" is not of this table")),
    };
    if text.charset == Charset::Other {
        return no("its character set is converted by the source");
    }
    if text.is_long {
        return no("long texts are compared by the engine");
    }
    if *escape != Some('\\') {
        return no("its escape character is not the backslash");
    }
    Verdict::Exactly(like.clone())
}
