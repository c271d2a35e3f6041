//! `IS NULL`. MySQL answers yes for `0000-00-00` in a date or datetime column that is NOT NULL.

use sluice_spi::ScalarExpr;

use super::{Scope, Verdict, no};
use crate::config::ZeroDates;

pub(super) fn judge(test: &ScalarExpr, inner: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    let ScalarExpr::Column(name) = inner else {
        return no("it tests an expression for NULL");
    };
    let Some((column, column_type)) = scope.column(name) else {
        return no(format!("column \"{name}\" is not of this table"));
    };
    if !column_type.is_calendar() {
        return Verdict::Exactly(test.clone());
    }
    if scope.zero_dates == ZeroDates::Null {
        return no("dates that no calendar has are NULL here, and not at the source");
    }
    // Above a join, a column that was NOT NULL may be NULL.
    if !column.nullable || !scope.plain {
        return no("0000-00-00 passes for NULL at the source");
    }
    Verdict::Exactly(test.clone())
}
