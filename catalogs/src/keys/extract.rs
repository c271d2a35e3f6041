//! What a completed dynamic filter says about each column of a scan.
//!
//! The engine's hash join writes `bounds AND (key IN (…))`, routed by `CASE hash(key) % n` where the join is
//! partitioned, as `struct(keys) IN (…)` over several keys, with `OR key IS NULL` where NULLs match. What is
//! not understood rules nothing out, so the result always covers every row that the filter lets pass.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Column as NamedColumn;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNullExpr,
    Literal,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::lit;
use datafusion::scalar::ScalarValue;
use sluice_spi::types::widens;

/// Which rows can still matter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reduction {
    /// Every row.
    All,
    /// No row.
    Nothing,
    /// Rows in which each of these columns (by index) is as said.
    Columns(BTreeMap<usize, ColumnKeys>),
}

/// What a column must be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ColumnKeys {
    /// One of these, none of them NULL; `None` where they are not known one by one.
    values: Option<Vec<ScalarValue>>,
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    /// Or NULL.
    or_null: bool,
}

impl Reduction {
    /// What `filter`, over the columns of `schema`, lets pass.
    pub(super) fn of(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Reduction {
        if let Some(dynamic) = filter.downcast_ref::<DynamicFilterPhysicalExpr>() {
            return dynamic
                .current()
                .map_or(Reduction::All, |inner| Reduction::of(&inner, schema));
        }
        if let Some(literal) = filter.downcast_ref::<Literal>() {
            return match literal.value() {
                ScalarValue::Boolean(Some(false) | None) => Reduction::Nothing,
                _ => Reduction::All,
            };
        }
        if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
            return match binary.op() {
                Operator::And => {
                    Reduction::of(binary.left(), schema).and(Reduction::of(binary.right(), schema))
                }
                Operator::Or => {
                    Reduction::of(binary.left(), schema).or(Reduction::of(binary.right(), schema))
                }
                op => comparison(binary.left(), *op, binary.right(), schema),
            };
        }
        if let Some(list) = filter.downcast_ref::<InListExpr>() {
            return membership(list, schema);
        }
        if let Some(test) = filter.downcast_ref::<IsNullExpr>() {
            return match KeyColumn::of(test.arg(), schema) {
                Some(column) => Reduction::one(
                    column.index,
                    ColumnKeys {
                        values: Some(Vec::new()),
                        or_null: true,
                        ..ColumnKeys::default()
                    },
                ),
                None => Reduction::All,
            };
        }
        if let Some(case) = filter.downcast_ref::<CaseExpr>() {
            // Whatever decides between the branches, one of them holds.
            let branches = case.when_then_expr().iter().map(|(_, then)| then);
            return branches
                .chain(case.else_expr())
                .fold(Reduction::Nothing, |all, branch| {
                    all.or(Reduction::of(branch, schema))
                });
        }
        Reduction::All
    }

    fn one(index: usize, keys: ColumnKeys) -> Reduction {
        Reduction::Columns(BTreeMap::from([(index, keys)]))
    }

    /// Rows that both let pass.
    pub(super) fn and(self, other: Reduction) -> Reduction {
        match (self, other) {
            (Reduction::Nothing, _) | (_, Reduction::Nothing) => Reduction::Nothing,
            (Reduction::All, known) | (known, Reduction::All) => known,
            (Reduction::Columns(mut columns), Reduction::Columns(more)) => {
                for (index, keys) in more {
                    let both = match columns.remove(&index) {
                        Some(first) => first.and(keys),
                        None => keys,
                    };
                    columns.insert(index, both);
                }
                Reduction::Columns(columns)
            }
        }
    }

    /// Rows that one of the two lets pass.
    fn or(self, other: Reduction) -> Reduction {
        match (self, other) {
            (Reduction::All, _) | (_, Reduction::All) => Reduction::All,
            (Reduction::Nothing, known) | (known, Reduction::Nothing) => known,
            (Reduction::Columns(mut first), Reduction::Columns(second)) => {
                let columns: BTreeMap<_, _> = second
                    .into_iter()
                    .filter_map(|(index, keys)| Some((index, first.remove(&index)?.or(keys)?)))
                    .collect();
                if columns.is_empty() {
                    Reduction::All
                } else {
                    Reduction::Columns(columns)
                }
            }
        }
    }
}

impl ColumnKeys {
    fn and(self, other: ColumnKeys) -> ColumnKeys {
        let values = match (self.values, other.values) {
            (Some(a), Some(b)) => Some(if a.len() <= b.len() { a } else { b }),
            (a, b) => a.or(b),
        };
        ColumnKeys {
            values,
            min: self.min.or(other.min),
            max: self.max.or(other.max),
            or_null: self.or_null && other.or_null,
        }
    }

    /// `None` where nothing is left to say.
    fn or(self, other: ColumnKeys) -> Option<ColumnKeys> {
        let or_null = self.or_null || other.or_null;
        let is_null_only = |keys: &ColumnKeys| keys.values.as_ref().is_some_and(Vec::is_empty);
        if is_null_only(&self) {
            return Some(ColumnKeys { or_null, ..other });
        }
        if is_null_only(&other) {
            return Some(ColumnKeys { or_null, ..self });
        }
        let values = match (self.values, other.values) {
            (Some(a), Some(b)) => Some(unique(a.into_iter().chain(b))),
            _ => None,
        };
        let keys = ColumnKeys {
            values,
            min: self.min.zip(other.min).and_then(|(a, b)| outer(a, b, true)),
            max: self
                .max
                .zip(other.max)
                .and_then(|(a, b)| outer(a, b, false)),
            or_null,
        };
        (keys.values.is_some() || keys.min.is_some() || keys.max.is_some()).then_some(keys)
    }

    /// The column is one of the keys, with how many they are; `None` where they are not known one by one.
    pub(super) fn list(&self, column: &str) -> Option<(Expr, usize)> {
        let values = self.values.as_ref()?;
        let named = Expr::Column(NamedColumn::from_name(column));
        let some = match values.as_slice() {
            [] => return self.or_null.then(|| (named.is_null(), 0)),
            [key] => named.eq(lit(key.clone())),
            keys => named.in_list(keys.iter().cloned().map(lit).collect(), false),
        };
        Some((self.with_null(column, some), values.len()))
    }

    /// The column is between the smallest and the largest key; `None` where these are not known.
    pub(super) fn range(&self, column: &str) -> Option<Expr> {
        let named = || Expr::Column(NamedColumn::from_name(column));
        let above = self.min.clone().map(|min| named().gt_eq(lit(min)));
        let below = self.max.clone().map(|max| named().lt_eq(lit(max)));
        let between = above.into_iter().chain(below).reduce(Expr::and)?;
        Some(self.with_null(column, between))
    }

    fn with_null(&self, column: &str, keys: Expr) -> Expr {
        if self.or_null {
            keys.or(Expr::Column(NamedColumn::from_name(column)).is_null())
        } else {
            keys
        }
    }
}

/// The smaller (or larger) of two bounds; `None` where they cannot be compared.
fn outer(a: ScalarValue, b: ScalarValue, smaller: bool) -> Option<ScalarValue> {
    let a_first = a.partial_cmp(&b)?.is_le();
    Some(if a_first == smaller { a } else { b })
}

fn unique(values: impl Iterator<Item = ScalarValue>) -> Vec<ScalarValue> {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

/// A column of the scan behind a key, possibly widened on the way.
struct KeyColumn<'a> {
    index: usize,
    data_type: &'a DataType,
    is_cast: bool,
}

impl<'a> KeyColumn<'a> {
    fn of(expr: &Arc<dyn PhysicalExpr>, schema: &'a Schema) -> Option<KeyColumn<'a>> {
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            let inner = KeyColumn::of(cast.expr(), schema)?;
            return widens(inner.data_type, cast.cast_type()).then_some(KeyColumn {
                is_cast: true,
                ..inner
            });
        }
        let index = expr.downcast_ref::<Column>()?.index();
        Some(KeyColumn {
            index,
            data_type: schema.fields().get(index)?.data_type(),
            is_cast: false,
        })
    }

    /// The key as a value of the column; `None` where the column holds no such value.
    fn value(&self, key: &ScalarValue) -> Option<ScalarValue> {
        if !self.is_cast {
            return Some(key.clone());
        }
        let value = key.cast_to(self.data_type).ok()?;
        (!value.is_null()).then_some(value)
    }
}

fn comparison(
    left: &Arc<dyn PhysicalExpr>,
    op: Operator,
    right: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Reduction {
    let (Some(column), Some(literal)) =
        (KeyColumn::of(left, schema), right.downcast_ref::<Literal>())
    else {
        return Reduction::All;
    };
    // The bounds of floating-point keys say nothing of NaN, which a join matches.
    let is_safe = !literal.value().is_null() && !column.data_type.is_floating();
    let Some(bound) = column.value(literal.value()).filter(|_| is_safe) else {
        return Reduction::All;
    };
    let keys = match op {
        Operator::GtEq => ColumnKeys {
            min: Some(bound),
            ..ColumnKeys::default()
        },
        Operator::LtEq => ColumnKeys {
            max: Some(bound),
            ..ColumnKeys::default()
        },
        _ => return Reduction::All,
    };
    Reduction::one(column.index, keys)
}

fn membership(list: &InListExpr, schema: &Schema) -> Reduction {
    if list.negated() {
        return Reduction::All;
    }
    let literals: Option<Vec<&ScalarValue>> = list
        .list()
        .iter()
        .map(|item| item.downcast_ref::<Literal>().map(Literal::value))
        .collect();
    let Some(literals) = literals else {
        return Reduction::All;
    };
    if let Some(column) = KeyColumn::of(list.expr(), schema) {
        return keys_of(&column, literals.into_iter().cloned());
    }
    // Several keys: what each column can be, whatever stands beside it.
    let Some(row) = list
        .expr()
        .downcast_ref::<ScalarFunctionExpr>()
        .filter(|function| function.name() == "struct")
    else {
        return Reduction::All;
    };
    row.args()
        .iter()
        .enumerate()
        .fold(Reduction::All, |known, (position, key)| {
            let Some(column) = KeyColumn::of(key, schema) else {
                return known;
            };
            let values: Option<Vec<ScalarValue>> = literals
                .iter()
                .map(|literal| match literal {
                    ScalarValue::Struct(row) if row.is_valid(0) => {
                        ScalarValue::try_from_array(row.columns().get(position)?, 0).ok()
                    }
                    _ => None,
                })
                .collect();
            match values {
                Some(values) => known.and(keys_of(&column, values.into_iter())),
                None => known,
            }
        })
}

/// A NULL among the keys matches nothing here: where it does, the filter says so with IS NULL.
fn keys_of(column: &KeyColumn<'_>, values: impl Iterator<Item = ScalarValue>) -> Reduction {
    let values = unique(
        values
            .filter(|value| !value.is_null())
            .filter_map(|value| column.value(&value)),
    );
    if values.is_empty() {
        return Reduction::Nothing;
    }
    Reduction::one(
        column.index,
        ColumnKeys {
            values: Some(values),
            ..ColumnKeys::default()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{
        binary, cast, col, in_list, is_null, lit as value,
    };

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("t", DataType::Utf8, true),
            Field::new("f", DataType::Float64, true),
        ])
    }

    fn column(name: &str) -> Arc<dyn PhysicalExpr> {
        col(name, &schema()).unwrap()
    }

    fn op(
        left: Arc<dyn PhysicalExpr>,
        op: Operator,
        right: Arc<dyn PhysicalExpr>,
    ) -> Arc<dyn PhysicalExpr> {
        binary(left, op, right, &schema()).unwrap()
    }

    fn one_of(name: &str, keys: Vec<ScalarValue>) -> Arc<dyn PhysicalExpr> {
        let keys = keys.into_iter().map(value).collect();
        in_list(column(name), keys, &false, &schema()).unwrap()
    }

    fn int(n: i32) -> ScalarValue {
        ScalarValue::Int32(Some(n))
    }

    /// The conjuncts of a filter, as they would be offered.
    fn shown(filter: &Arc<dyn PhysicalExpr>) -> String {
        let Reduction::Columns(columns) = Reduction::of(filter, &schema()) else {
            return match Reduction::of(filter, &schema()) {
                Reduction::All => "all",
                _ => "nothing",
            }
            .to_owned();
        };
        let parts: Vec<String> = columns
            .iter()
            .map(|(index, keys)| {
                let schema = schema();
                let name = schema.field(*index).name();
                let list = keys.list(name).map(|(list, _)| list);
                let said = list.or(keys.range(name)).expect("something is said");
                said.human_display().to_string()
            })
            .collect();
        parts.join("; ")
    }

    #[test]
    fn lists_bounds_and_branches() {
        let keys = one_of("i", vec![int(3), int(1), int(3), ScalarValue::Int32(None)]);
        assert_eq!(shown(&keys), "i IN 3, 1");
        let bounded = op(
            op(column("i"), Operator::GtEq, value(1i32)),
            Operator::And,
            op(column("i"), Operator::LtEq, value(9i32)),
        );
        assert_eq!(shown(&bounded), "i >= 1 AND i <= 9");
        let both = op(bounded.clone(), Operator::And, keys.clone());
        assert_eq!(shown(&both), "i IN 3, 1");
        let other = one_of("i", vec![int(7)]);
        assert_eq!(shown(&other), "i = 7");
        // Partitioned joins: CASE hash WHEN 0 THEN … WHEN 1 THEN … ELSE false.
        let routed = |last: bool| -> Arc<dyn PhysicalExpr> {
            let branches = vec![(value(0u64), both.clone()), (value(1u64), other.clone())];
            Arc::new(CaseExpr::try_new(Some(value(0u64)), branches, Some(value(last))).unwrap())
        };
        assert_eq!(shown(&routed(false)), "i IN 3, 1, 7");
        assert_eq!(shown(&routed(true)), "all");
        let wider = op(
            bounded,
            Operator::Or,
            op(column("i"), Operator::GtEq, value(5i32)),
        );
        assert_eq!(shown(&wider), "i >= 1");
    }

    #[test]
    fn nulls_pass_where_the_join_lets_them() {
        let keys = one_of("i", vec![int(1), int(2)]);
        let or_null = op(keys, Operator::Or, is_null(column("i")).unwrap());
        assert_eq!(shown(&or_null), "i IN 1, 2 OR i IS NULL");
        let nulls = one_of("i", vec![ScalarValue::Int32(None)]);
        assert_eq!(shown(&nulls), "nothing");
        let only = op(nulls, Operator::Or, is_null(column("i")).unwrap());
        assert_eq!(shown(&only), "i IS NULL");
        assert_eq!(shown(&value(false)), "nothing");
    }

    #[test]
    fn what_is_not_certain_rules_nothing_out() {
        // NaN is a key that bounds do not tell of.
        let floats = op(column("f"), Operator::LtEq, value(1.5f64));
        assert_eq!(shown(&floats), "all");
        let either = op(one_of("i", vec![int(1)]), Operator::Or, floats);
        assert_eq!(shown(&either), "all");
        let two = op(
            one_of("i", vec![int(1)]),
            Operator::Or,
            one_of("t", vec!["x".into()]),
        );
        assert_eq!(shown(&two), "all");
        let computed = op(column("i"), Operator::Plus, value(1i32));
        let sums = in_list(computed, vec![value(int(1))], &false, &schema()).unwrap();
        assert_eq!(shown(&sums), "all");
    }

    #[test]
    fn a_widened_column_gets_its_keys_back() {
        let wide = cast(column("i"), &schema(), DataType::Int64).unwrap();
        let keys = [5, i64::from(i32::MAX) + 1].map(|n| value(ScalarValue::Int64(Some(n))));
        let list = in_list(wide.clone(), keys.to_vec(), &false, &schema()).unwrap();
        assert_eq!(shown(&list), "i = 5");
        let narrow = cast(column("i"), &schema(), DataType::Int16).unwrap();
        let keys = vec![value(ScalarValue::Int16(Some(5)))];
        let list = in_list(narrow, keys, &false, &schema()).unwrap();
        assert_eq!(shown(&list), "all");
        let bound = op(
            wide,
            Operator::LtEq,
            value(ScalarValue::Int64(Some(i64::MAX))),
        );
        assert_eq!(shown(&bound), "all");
    }
}
