//! Which predicates a lake takes over: partition predicates exactly, what Parquet statistics can use as
//! a superset.

use arrow::datatypes::DataType;
use sluice_spi::{
    CompareOp, Expr, FilterPushdown, Literal, Pushdown, Pushed, Reason, ScalarExpr, TableHandle,
    TableMetadata,
};

use crate::config::FileFormat;
use crate::payload::TablePayload;

/// Chooses files by their folders and row groups by their statistics.
pub(crate) struct FilePruning;

impl Pushdown for FilePruning {
    fn apply_filter(
        &self,
        table: &TableMetadata,
        handle: &TableHandle,
        conjuncts: &[Expr],
    ) -> FilterPushdown {
        let no = |why: &str| Pushed::No(Reason(why.to_owned()));
        let Ok(payload) = TablePayload::of(handle) else {
            let outcome = conjuncts
                .iter()
                .map(|_| no("the handle is another connector's"))
                .collect();
            return FilterPushdown {
                handle: handle.clone(),
                outcome,
            };
        };
        let mut taken = Vec::new();
        let outcome = conjuncts
            .iter()
            .map(|conjunct| {
                let Some(predicate) = ScalarExpr::from_expr(conjunct) else {
                    return no("neither folders nor statistics can answer this expression");
                };
                if payload.is_partition_predicate(&predicate) {
                    taken.push(predicate);
                    return Pushed::Exactly;
                }
                if payload.format != FileFormat::Parquet {
                    return no(&format!("{} files have no statistics", payload.format));
                }
                if !statistics_hold(&predicate, table) {
                    return no("statistics of floating-point columns leave NaN out");
                }
                taken.push(predicate);
                Pushed::Superset(Reason(
                    "pruned by statistics; rows are checked again".to_owned(),
                ))
            })
            .collect();
        FilterPushdown {
            handle: handle.with_relation(handle.relation.filtered(taken)),
            outcome,
        }
    }
}

/// False where statistics could rule out rows that the predicate keeps.
///
/// Minimum and maximum of a floating-point chunk leave NaN out, while NaN sorts above every number (or
/// below, with its sign bit set), so only tests that NaN fails anyway may use them.
fn statistics_hold(predicate: &ScalarExpr, table: &TableMetadata) -> bool {
    let is_float = |expr: &ScalarExpr| {
        let mut float = false;
        expr.visit_columns(&mut |name| {
            float |= table
                .columns
                .iter()
                .any(|c| c.field.name() == name && is_float_type(c.field.data_type()));
        });
        float
    };
    if !is_float(predicate) {
        return true;
    }
    match predicate {
        ScalarExpr::Compare {
            op: CompareOp::Eq,
            left,
            right,
        } => match (left.as_ref(), right.as_ref()) {
            (ScalarExpr::Column(_), ScalarExpr::Literal(value))
            | (ScalarExpr::Literal(value), ScalarExpr::Column(_)) => !is_ambiguous(value),
            _ => false,
        },
        ScalarExpr::InList {
            expr,
            list,
            negated: false,
        } => matches!(expr.as_ref(), ScalarExpr::Column(_)) && !list.iter().any(is_ambiguous),
        ScalarExpr::IsNull { expr, .. } => matches!(expr.as_ref(), ScalarExpr::Column(_)),
        ScalarExpr::And(all) | ScalarExpr::Or(all) => all.iter().all(|p| statistics_hold(p, table)),
        _ => false,
    }
}

pub(crate) fn is_float_type(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Float16 | DataType::Float32 | DataType::Float64
    )
}

/// NaN, and zero: writers differ in whether -0 is below +0 in their statistics.
fn is_ambiguous(value: &Literal) -> bool {
    match value {
        Literal::Float32(v) => v.is_nan() || *v == 0.0,
        Literal::Float64(v) => v.is_nan() || *v == 0.0,
        _ => false,
    }
}
