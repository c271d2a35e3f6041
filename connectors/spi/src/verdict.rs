//! What a connector says of a predicate, and how the answers on its parts go together.
//!
//! SQL's AND, OR and NOT mean the same everywhere, so that only what stands below them is a connector's to judge.

use crate::{Expr, FilterPushdown, Pushed, Reason, ScalarExpr, TableHandle};

/// The verdict on a predicate, with what to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// As in [`Pushed::Exactly`].
    Exactly(ScalarExpr),
    /// As in [`Pushed::Superset`].
    Superset(ScalarExpr, Reason),
    /// As in [`Pushed::No`].
    No(Reason),
}

impl Verdict {
    /// Nothing is sent, because …
    pub fn no(reason: impl Into<String>) -> Verdict {
        Verdict::No(Reason(reason.into()))
    }

    /// The verdict on `expr`, whose parts below AND, OR and NOT `leaf` judges.
    pub fn of(expr: &ScalarExpr, leaf: &dyn Fn(&ScalarExpr) -> Verdict) -> Verdict {
        match expr {
            ScalarExpr::And(all) => {
                let mut sent = Vec::new();
                let mut why = None;
                for part in all {
                    match Verdict::of(part, leaf) {
                        Verdict::Exactly(part) => sent.push(part),
                        Verdict::Superset(part, reason) => {
                            sent.push(part);
                            why.get_or_insert(reason);
                        }
                        // Without this part, more rows come back.
                        Verdict::No(reason) => {
                            why.get_or_insert(reason);
                        }
                    }
                }
                match (sent.is_empty(), why) {
                    (true, why) => Verdict::No(why.unwrap_or_else(|| Reason("it is empty".into()))),
                    (false, None) => Verdict::Exactly(ScalarExpr::And(sent)),
                    (false, Some(reason)) => Verdict::Superset(ScalarExpr::And(sent), reason),
                }
            }
            ScalarExpr::Or(any) => {
                let mut sent = Vec::new();
                let mut why = None;
                for part in any {
                    match Verdict::of(part, leaf) {
                        Verdict::Exactly(part) => sent.push(part),
                        Verdict::Superset(part, reason) => {
                            sent.push(part);
                            why.get_or_insert(reason);
                        }
                        Verdict::No(reason) => return Verdict::No(reason),
                    }
                }
                match why {
                    None => Verdict::Exactly(ScalarExpr::Or(sent)),
                    Some(reason) => Verdict::Superset(ScalarExpr::Or(sent), reason),
                }
            }
            // Three-valued NOT is the same here and there; the opposite of a superset is a subset.
            ScalarExpr::Not(inner) => match Verdict::of(inner, leaf) {
                Verdict::Exactly(inner) => Verdict::Exactly(ScalarExpr::Not(Box::new(inner))),
                Verdict::Superset(_, reason) | Verdict::No(reason) => Verdict::No(reason),
            },
            other => leaf(other),
        }
    }
}

impl FilterPushdown {
    /// The handle with all that the verdicts on `conjuncts` send, and the answers.
    pub fn judged(
        handle: &TableHandle,
        conjuncts: &[Expr],
        mut judge: impl FnMut(&Expr) -> Verdict,
    ) -> FilterPushdown {
        let mut taken = Vec::new();
        let outcome = conjuncts
            .iter()
            .map(|conjunct| match judge(conjunct) {
                Verdict::Exactly(expr) => {
                    taken.push(expr);
                    Pushed::Exactly
                }
                Verdict::Superset(expr, reason) => {
                    taken.push(expr);
                    Pushed::Superset(reason)
                }
                Verdict::No(reason) => Pushed::No(reason),
            })
            .collect();
        FilterPushdown {
            handle: handle.with_relation(handle.relation.filtered(taken)),
            outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns named for the verdict on them.
    fn leaf(expr: &ScalarExpr) -> Verdict {
        match expr.as_column() {
            Some("exact") => Verdict::Exactly(expr.clone()),
            Some("more") => Verdict::Superset(expr.clone(), Reason("more".into())),
            _ => Verdict::no("no"),
        }
    }

    fn columns(names: &[&str]) -> Vec<ScalarExpr> {
        names
            .iter()
            .map(|name| ScalarExpr::Column((*name).to_owned()))
            .collect()
    }

    fn judged(expr: &ScalarExpr) -> Verdict {
        Verdict::of(expr, &leaf)
    }

    #[test]
    fn of_a_conjunction_some_parts_may_be_sent() {
        let and = |names| judged(&ScalarExpr::And(columns(names)));
        let sent = |names| ScalarExpr::And(columns(names));
        assert_eq!(
            and(&["exact", "exact"]),
            Verdict::Exactly(sent(&["exact", "exact"]))
        );
        assert_eq!(
            and(&["exact", "no"]),
            Verdict::Superset(sent(&["exact"]), Reason("no".into()))
        );
        assert_eq!(
            and(&["more", "exact"]),
            Verdict::Superset(sent(&["more", "exact"]), Reason("more".into()))
        );
        assert_eq!(and(&["no"]), Verdict::no("no"));
    }

    #[test]
    fn of_a_disjunction_all_parts_must_be() {
        let or = |names| judged(&ScalarExpr::Or(columns(names)));
        assert!(matches!(or(&["exact", "exact"]), Verdict::Exactly(_)));
        assert!(matches!(or(&["exact", "more"]), Verdict::Superset(..)));
        assert_eq!(or(&["exact", "no"]), Verdict::no("no"));
    }

    #[test]
    fn the_opposite_of_more_rows_is_fewer() {
        let not = |name| {
            judged(&ScalarExpr::Not(Box::new(ScalarExpr::Column(
                String::from(name),
            ))))
        };
        assert!(matches!(not("exact"), Verdict::Exactly(ScalarExpr::Not(_))));
        assert_eq!(not("more"), Verdict::no("more"));
    }
}
