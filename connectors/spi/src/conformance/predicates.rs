//! Makes predicates: each operator over each column with awkward literals and with the table's own
//! values, then combinations drawn from a seed.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::Like;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::{SessionContext, lit};

use super::corpus;
use crate::{Expr, PhysicalExpr, ScalarValue};

/// Values of the table itself that each column's predicates use.
const SAMPLES: usize = 5;

/// Combinations by AND, OR and NOT, per table.
const COMBINATIONS: usize = 80;

/// A predicate as the planner offers it, and as the engine runs it.
pub(super) struct Predicate {
    pub(super) expr: Expr,
    pub(super) physical: Arc<dyn PhysicalExpr>,
}

/// Random numbers that a seed repeats (SplitMix64, Steele et al. 2014).
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

/// Types and compiles predicates over one schema.
pub(super) struct Compiler {
    context: SessionContext,
    schema: DFSchema,
}

impl Compiler {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, String> {
        let schema = DFSchema::try_from(Arc::clone(schema)).map_err(|e| e.to_string())?;
        Ok(Compiler {
            context: SessionContext::new(),
            schema,
        })
    }

    /// The predicate with the engine's type coercion; `None` where its types do not go together.
    pub(super) fn compile(&self, expr: Expr) -> Option<Predicate> {
        let simplify = SimplifyContext::builder()
            .with_schema(Arc::new(self.schema.clone()))
            .build();
        let expr = ExprSimplifier::new(simplify)
            .coerce(expr, &self.schema)
            .ok()?;
        let physical = self
            .context
            .create_physical_expr(expr.clone(), &self.schema)
            .ok()?;
        Some(Predicate { expr, physical })
    }
}

/// At most `most` predicates over the columns of `rows`.
pub(super) fn all(rows: &RecordBatch, most: usize, draw: &mut Draw) -> Vec<Expr> {
    let schema = rows.schema();
    let mut single = Vec::new();
    for (field, array) in schema.fields().iter().zip(rows.columns()) {
        let samples: Vec<ScalarValue> = (0..SAMPLES)
            .filter(|_| !array.is_empty())
            .filter_map(|_| ScalarValue::try_from_array(array, draw.below(array.len())).ok())
            .collect();
        single.extend(of_column(field, &samples, draw));
    }
    single.extend(between_columns(&schema));
    // An even draw: each kind of predicate keeps its share.
    while single.len() > most {
        let out = draw.below(single.len());
        single.swap_remove(out);
    }
    let mut combined = Vec::new();
    if !single.is_empty() {
        let any = |draw: &mut Draw| single[draw.below(single.len())].clone();
        for _ in 0..COMBINATIONS {
            let (a, b, c) = (any(draw), any(draw), any(draw));
            combined.push(match draw.below(6) {
                0 => a.and(b),
                1 => a.or(b),
                2 => Expr::Not(Box::new(a.or(b))),
                3 => Expr::Not(Box::new(a.and(b))),
                4 => a.or(b.and(c)),
                _ => Expr::Not(Box::new(a)).and(b.or(c)),
            });
        }
    }
    single.extend(combined);
    single
}

fn of_column(field: &Field, samples: &[ScalarValue], draw: &mut Draw) -> Vec<Expr> {
    let column = || Expr::Column(Column::from_name(field.name()));
    let data_type = field.data_type();
    let mut values = corpus::literals(data_type);
    values.extend(corpus::extremes(data_type));
    values.extend(samples.iter().filter(|value| !value.is_null()).cloned());
    let mut all = vec![
        column().is_null(),
        column().is_not_null(),
        Expr::Not(Box::new(column().is_null())),
    ];
    if *data_type == DataType::Boolean {
        all.extend([
            column(),
            Expr::Not(Box::new(column())),
            column().is_true(),
            column().is_not_false(),
        ]);
    }
    for value in &values {
        let value = || lit(value.clone());
        all.extend([
            column().eq(value()),
            column().not_eq(value()),
            column().lt(value()),
            column().lt_eq(value()),
            column().gt(value()),
            column().gt_eq(value()),
            value().lt(column()),
            Expr::Not(Box::new(column().eq(value()))),
        ]);
    }
    // Lists and ranges: pairs of neighbours, and some far apart; the first value is NULL.
    for _ in 0..values.len().min(12) {
        let mut any = || lit(values[draw.below(values.len())].clone());
        let (a, b, c) = (any(), any(), any());
        all.push(column().in_list(vec![a.clone(), b.clone(), c.clone()], false));
        all.push(column().in_list(vec![a.clone(), b.clone()], true));
        all.push(column().in_list(vec![c], true));
        all.push(column().between(a.clone(), b.clone()));
        all.push(column().not_between(b, a));
    }
    all.push(column().in_list(values.iter().map(|v| lit(v.clone())).collect(), false));
    all.push(column().in_list(values.iter().map(|v| lit(v.clone())).collect(), true));
    // Literals of another type, which the engine casts its own way.
    if data_type.is_numeric() {
        for other in [
            ScalarValue::from(1.5_f64),
            ScalarValue::from(1_i64 << 40),
            ScalarValue::from("1"),
        ] {
            all.push(column().eq(lit(other.clone())));
            all.push(column().gt(lit(other)));
        }
    }
    if is_text(data_type) {
        all.push(column().eq(lit(0_i64)));
        all.extend(patterns(field.name(), samples));
    }
    all
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn patterns(name: &str, samples: &[ScalarValue]) -> Vec<Expr> {
    let like = |pattern: &str, negated, escape, ignoring_case| {
        let column = Expr::Column(Column::from_name(name));
        Expr::Like(Like::new(
            negated,
            Box::new(column),
            Box::new(lit(pattern)),
            escape,
            ignoring_case,
        ))
    };
    // Prefixes of what the table holds, so that some patterns match; their own wildcards are escaped.
    let prefixes = samples
        .iter()
        .filter_map(|sample| sample.try_as_str().flatten())
        .map(|text| {
            let start: String = text.chars().take(3).collect();
            format!(
                "{}%",
                start
                    .replace('\\', "\\\\")
                    .replace('%', "\\%")
                    .replace('_', "\\_")
            )
        });
    let all: Vec<String> = corpus::patterns()
        .iter()
        .map(|p| (*p).to_owned())
        .chain(prefixes)
        .collect();
    let mut exprs: Vec<Expr> = all
        .iter()
        .flat_map(|pattern| {
            [
                like(pattern, false, None, false),
                like(pattern, true, None, false),
                like(pattern, false, None, true),
            ]
        })
        .collect();
    exprs.push(like("a!%%", false, Some('!'), false));
    exprs
}

/// Columns of one type, compared with each other.
fn between_columns(schema: &SchemaRef) -> Vec<Expr> {
    let mut all = Vec::new();
    for pair in schema.fields().windows(2) {
        if pair[0].data_type() == pair[1].data_type() {
            let [left, right] =
                [&pair[0], &pair[1]].map(|field| Expr::Column(Column::from_name(field.name())));
            all.extend([
                left.clone().eq(right.clone()),
                left.clone().lt(right.clone()),
                left.not_eq(right),
            ]);
        }
    }
    all
}
