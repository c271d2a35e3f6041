//! LIKE under the backslash as the escape character, the only one that the engine knows.
//!
//! Both sides take `%`, `_` (one code point) and an escaped character alike, line breaks included. They
//! part on a lone backslash at the end: an error there, a backslash here.

use sluice_spi::ScalarExpr;

use super::{Scope, Verdict, no};
use crate::types::ColumnType;

pub(super) fn judge(like: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    let ScalarExpr::Like {
        expr,
        pattern,
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
        return no("ILIKE follows the source's locale");
    }
    match scope.column(name) {
        Some((_, ColumnType::Text | ColumnType::Name)) => {}
        Some((column, _)) => {
            return no(format!(
                "LIKE over {} is computed by the engine",
                column.native_type
            ));
        }
        None => return no(format!("column \"{name}\" is not of this table")),
    }
    if !scope.utf8 {
        return no("the source's encoding is not UTF-8");
    }
    if *escape != Some('\\') {
        return no("its escape character is not the backslash");
    }
    if ends_with_lone_backslash(pattern) {
        return no("a backslash at a pattern's end is an error at the source");
    }
    Verdict::Exactly(like.clone())
}

fn ends_with_lone_backslash(pattern: &str) -> bool {
    pattern
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'\\')
        .count()
        % 2
        == 1
}
