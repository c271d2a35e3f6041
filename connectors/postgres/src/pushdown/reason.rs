//! Words for expressions that have no counterpart at the source.

use sluice_spi::{Expr, Literal, Reason};

/// Why an expression that the relation tree cannot hold is computed here.
pub(super) fn of_unknown(expr: &Expr) -> Reason {
    Reason(match expr {
        Expr::ScalarFunction(call) => {
            format!("function {}() may differ at the source", call.name())
        }
        Expr::Cast(_) | Expr::TryCast(_) => {
            "it casts a value, and casts may differ at the source".to_owned()
        }
        Expr::Case(_) => "CASE is computed by the engine".to_owned(),
        Expr::SimilarTo(_) => "regular expressions differ at the source".to_owned(),
        Expr::BinaryExpr(binary) => {
            let inside =
                [&binary.left, &binary.right]
                    .into_iter()
                    .find(|side| match side.as_ref() {
                        Expr::Column(_) => false,
                        Expr::Literal(value, _) => Literal::from_scalar(value).is_none(),
                        _ => true,
                    });
            match inside {
                Some(inner) if !matches!(inner.as_ref(), Expr::BinaryExpr(b) if b.op == binary.op) =>
                {
                    return of_unknown(inner);
                }
                _ => format!("operator {} is computed by the engine", binary.op),
            }
        }
        Expr::Not(inner) | Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
            return of_unknown(inner);
        }
        Expr::InList(list) if !matches!(list.expr.as_ref(), Expr::Column(_)) => {
            return of_unknown(&list.expr);
        }
        Expr::Like(like) if !matches!(like.expr.as_ref(), Expr::Column(_)) => {
            return of_unknown(&like.expr);
        }
        Expr::Literal(value, _) => format!(
            "a constant of type {} is not sent to the source",
            value.data_type()
        ),
        _ => "it is not an expression that is sent to the source".to_owned(),
    })
}
