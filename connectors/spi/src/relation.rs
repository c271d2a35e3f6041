//! Sluice's own small relation tree: what a handle asks its source for.
//!
//! It has just the shapes that some connector can render. A DataFusion expression that does not fit is
//! not converted ([`ScalarExpr::from_expr`] returns `None`) and so never pushed. Rendering to a dialect
//! is the connector's.

use datafusion::logical_expr::{BinaryExpr, Operator, expr::InList};
use datafusion::prelude::lit;
use serde::{Deserialize, Serialize};

use crate::{Expr, ScalarValue};

/// A column as the source knows it: the semantics that decide what may be pushed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelColumn {
    /// Its name.
    pub name: String,
    /// Its type in the source's own words ("character varying(10)").
    pub native_type: String,
    /// Its collation's name, where it has one that is not the byte order.
    pub collation: Option<String>,
    /// Equal under that collation means equal bytes.
    pub deterministic: bool,
    /// False where the source guarantees that it is never NULL.
    pub nullable: bool,
}

/// A relation at the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Relation {
    /// A table or view.
    Scan {
        /// Schema name at the source.
        schema: String,
        /// Table name at the source.
        table: String,
        /// All columns.
        columns: Vec<RelColumn>,
    },
    /// The user's own native text as a table.
    Native {
        /// The text.
        text: String,
        /// Its columns.
        columns: Vec<RelColumn>,
    },
    /// Rows of `input` for which every predicate is true.
    Filter {
        /// Where the rows come from.
        input: Box<Relation>,
        /// Conjuncts.
        predicates: Vec<ScalarExpr>,
    },
}

impl Relation {
    /// The columns that the relation returns.
    pub fn columns(&self) -> &[RelColumn] {
        match self {
            Relation::Scan { columns, .. } | Relation::Native { columns, .. } => columns,
            Relation::Filter { input, .. } => input.columns(),
        }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&RelColumn> {
        self.columns().iter().find(|c| c.name == name)
    }

    /// The relation with further conjuncts.
    #[must_use]
    pub fn filtered(&self, more: Vec<ScalarExpr>) -> Relation {
        if more.is_empty() {
            return self.clone();
        }
        match self {
            Relation::Filter { input, predicates } => Relation::Filter {
                input: input.clone(),
                predicates: predicates.iter().cloned().chain(more).collect(),
            },
            other => Relation::Filter {
                input: Box::new(other.clone()),
                predicates: more,
            },
        }
    }

    /// The conjuncts inside.
    pub fn predicates(&self) -> &[ScalarExpr] {
        match self {
            Relation::Filter { predicates, .. } => predicates,
            _ => &[],
        }
    }
}

/// Comparison operators, with SQL's three-valued meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

/// A typed constant. `None` is not here: NULL constants are folded away before pushdown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// boolean
    Boolean(bool),
    /// Any signed integer type.
    Int(i64),
    /// Any unsigned integer type.
    UInt(u64),
    /// real
    Float32(f32),
    /// double precision
    Float64(f64),
    /// numeric(precision, scale): the value times 10^scale.
    Decimal {
        /// Unscaled value.
        unscaled: i128,
        /// Total digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// text
    Text(String),
    /// bytea
    Bytes(Vec<u8>),
    /// date, days since 1970-01-01
    Date(i32),
    /// time, microseconds since midnight
    Time(i64),
    /// timestamp without time zone, microseconds since 1970-01-01
    Timestamp(i64),
    /// timestamp with time zone, microseconds since 1970-01-01 UTC
    TimestampTz(i64),
}

impl Literal {
    /// From the engine's constant; `None` for NULL and for types that no source is sent.
    pub fn from_scalar(value: &ScalarValue) -> Option<Literal> {
        use ScalarValue as S;
        Some(match value {
            S::Boolean(Some(v)) => Literal::Boolean(*v),
            S::Int8(Some(v)) => Literal::Int((*v).into()),
            S::Int16(Some(v)) => Literal::Int((*v).into()),
            S::Int32(Some(v)) => Literal::Int((*v).into()),
            S::Int64(Some(v)) => Literal::Int(*v),
            S::UInt8(Some(v)) => Literal::UInt((*v).into()),
            S::UInt16(Some(v)) => Literal::UInt((*v).into()),
            S::UInt32(Some(v)) => Literal::UInt((*v).into()),
            S::UInt64(Some(v)) => Literal::UInt(*v),
            S::Float32(Some(v)) => Literal::Float32(*v),
            S::Float64(Some(v)) => Literal::Float64(*v),
            S::Decimal128(Some(v), precision, scale) => Literal::Decimal {
                unscaled: *v,
                precision: *precision,
                scale: *scale,
            },
            S::Decimal256(Some(v), precision, scale) => Literal::Decimal {
                unscaled: v.to_i128()?,
                precision: *precision,
                scale: *scale,
            },
            S::Utf8(Some(v)) | S::LargeUtf8(Some(v)) | S::Utf8View(Some(v)) => {
                Literal::Text(v.clone())
            }
            S::Binary(Some(v)) | S::LargeBinary(Some(v)) | S::BinaryView(Some(v)) => {
                Literal::Bytes(v.clone())
            }
            S::Date32(Some(v)) => Literal::Date(*v),
            S::Time64Microsecond(Some(v)) => Literal::Time(*v),
            S::TimestampSecond(Some(v), tz) => {
                Self::timestamp(v.checked_mul(1_000_000)?, tz.is_some())
            }
            S::TimestampMillisecond(Some(v), tz) => {
                Self::timestamp(v.checked_mul(1_000)?, tz.is_some())
            }
            S::TimestampMicrosecond(Some(v), tz) => Self::timestamp(*v, tz.is_some()),
            // A constant finer than a microsecond has no equal at a source that stores microseconds.
            S::TimestampNanosecond(Some(v), tz) if v % 1_000 == 0 => {
                Self::timestamp(v / 1_000, tz.is_some())
            }
            S::Dictionary(_, inner) => return Self::from_scalar(inner),
            _ => return None,
        })
    }

    fn timestamp(micros: i64, with_zone: bool) -> Literal {
        if with_zone {
            Literal::TimestampTz(micros)
        } else {
            Literal::Timestamp(micros)
        }
    }

    /// The engine's constant again.
    pub fn to_scalar(&self) -> ScalarValue {
        match self {
            Literal::Boolean(v) => ScalarValue::Boolean(Some(*v)),
            Literal::Int(v) => ScalarValue::Int64(Some(*v)),
            Literal::UInt(v) => ScalarValue::UInt64(Some(*v)),
            Literal::Float32(v) => ScalarValue::Float32(Some(*v)),
            Literal::Float64(v) => ScalarValue::Float64(Some(*v)),
            Literal::Decimal {
                unscaled,
                precision,
                scale,
            } if *precision <= 38 => ScalarValue::Decimal128(Some(*unscaled), *precision, *scale),
            Literal::Decimal {
                unscaled,
                precision,
                scale,
            } => ScalarValue::Decimal256(
                Some(arrow::datatypes::i256::from_i128(*unscaled)),
                *precision,
                *scale,
            ),
            Literal::Text(v) => ScalarValue::Utf8(Some(v.clone())),
            Literal::Bytes(v) => ScalarValue::Binary(Some(v.clone())),
            Literal::Date(v) => ScalarValue::Date32(Some(*v)),
            Literal::Time(v) => ScalarValue::Time64Microsecond(Some(*v)),
            Literal::Timestamp(v) => ScalarValue::TimestampMicrosecond(Some(*v), None),
            Literal::TimestampTz(v) => {
                ScalarValue::TimestampMicrosecond(Some(*v), Some("UTC".into()))
            }
        }
    }
}

/// An expression over the columns of a relation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScalarExpr {
    /// A column by name.
    Column(String),
    /// A constant.
    Literal(Literal),
    /// A comparison.
    Compare {
        /// Which.
        op: CompareOp,
        /// Left side.
        left: Box<ScalarExpr>,
        /// Right side.
        right: Box<ScalarExpr>,
    },
    /// All of them.
    And(Vec<ScalarExpr>),
    /// Any of them.
    Or(Vec<ScalarExpr>),
    /// Not.
    Not(Box<ScalarExpr>),
    /// IS NULL, or IS NOT NULL when `negated`.
    IsNull {
        /// What.
        expr: Box<ScalarExpr>,
        /// IS NOT NULL.
        negated: bool,
    },
    /// IN over constants.
    InList {
        /// What.
        expr: Box<ScalarExpr>,
        /// Constants, none of them NULL.
        list: Vec<Literal>,
        /// NOT IN.
        negated: bool,
    },
    /// LIKE with a constant pattern.
    Like {
        /// What.
        expr: Box<ScalarExpr>,
        /// The pattern, in which `escape` takes the meaning from the next character.
        pattern: String,
        /// The escape character; none when `None`.
        escape: Option<char>,
        /// NOT LIKE.
        negated: bool,
        /// ILIKE.
        case_insensitive: bool,
    },
}

impl ScalarExpr {
    /// From the engine's expression, where every part of it has a counterpart here.
    pub fn from_expr(expr: &Expr) -> Option<ScalarExpr> {
        Some(match expr {
            Expr::Column(column) => ScalarExpr::Column(column.name.clone()),
            Expr::Literal(value, _) => ScalarExpr::Literal(Literal::from_scalar(value)?),
            Expr::Alias(alias) => return Self::from_expr(&alias.expr),
            Expr::Not(inner) => ScalarExpr::Not(Box::new(Self::from_expr(inner)?)),
            Expr::IsNull(inner) => ScalarExpr::IsNull {
                expr: Box::new(Self::from_expr(inner)?),
                negated: false,
            },
            Expr::IsNotNull(inner) => ScalarExpr::IsNull {
                expr: Box::new(Self::from_expr(inner)?),
                negated: true,
            },
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (l, r) = (Self::from_expr(left)?, Self::from_expr(right)?);
                match op {
                    Operator::And => ScalarExpr::And(vec![l, r]),
                    Operator::Or => ScalarExpr::Or(vec![l, r]),
                    _ => ScalarExpr::Compare {
                        op: compare_op(*op)?,
                        left: Box::new(l),
                        right: Box::new(r),
                    },
                }
            }
            Expr::Between(between) => {
                let subject = Self::from_expr(&between.expr)?;
                let compare = |op, bound: &Expr| {
                    Some(ScalarExpr::Compare {
                        op,
                        left: Box::new(subject.clone()),
                        right: Box::new(Self::from_expr(bound)?),
                    })
                };
                let inside = ScalarExpr::And(vec![
                    compare(CompareOp::GtEq, &between.low)?,
                    compare(CompareOp::LtEq, &between.high)?,
                ]);
                if between.negated {
                    ScalarExpr::Not(Box::new(inside))
                } else {
                    inside
                }
            }
            Expr::InList(InList {
                expr,
                list,
                negated,
            }) => ScalarExpr::InList {
                expr: Box::new(Self::from_expr(expr)?),
                list: list
                    .iter()
                    .map(|item| match item {
                        Expr::Literal(value, _) => Literal::from_scalar(value),
                        _ => None,
                    })
                    .collect::<Option<Vec<_>>>()?,
                negated: *negated,
            },
            Expr::Like(like) => {
                let Expr::Literal(pattern, _) = like.pattern.as_ref() else {
                    return None;
                };
                let Literal::Text(pattern) = Literal::from_scalar(pattern)? else {
                    return None;
                };
                ScalarExpr::Like {
                    expr: Box::new(Self::from_expr(&like.expr)?),
                    pattern,
                    // SQL's default escape character is the backslash.
                    escape: like.escape_char.or(Some('\\')),
                    negated: like.negated,
                    case_insensitive: like.case_insensitive,
                }
            }
            _ => return None,
        })
    }

    /// The engine's expression again, column references by bare name.
    pub fn to_expr(&self) -> Expr {
        use datafusion::common::Column;
        match self {
            ScalarExpr::Column(name) => Expr::Column(Column::from_name(name)),
            ScalarExpr::Literal(value) => lit(value.to_scalar()),
            ScalarExpr::Compare { op, left, right } => Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left.to_expr()),
                match op {
                    CompareOp::Eq => Operator::Eq,
                    CompareOp::NotEq => Operator::NotEq,
                    CompareOp::Lt => Operator::Lt,
                    CompareOp::LtEq => Operator::LtEq,
                    CompareOp::Gt => Operator::Gt,
                    CompareOp::GtEq => Operator::GtEq,
                },
                Box::new(right.to_expr()),
            )),
            ScalarExpr::And(all) => all
                .iter()
                .map(Self::to_expr)
                .reduce(Expr::and)
                .unwrap_or_else(|| lit(true)),
            ScalarExpr::Or(any) => any
                .iter()
                .map(Self::to_expr)
                .reduce(Expr::or)
                .unwrap_or_else(|| lit(false)),
            ScalarExpr::Not(inner) => Expr::Not(Box::new(inner.to_expr())),
            ScalarExpr::IsNull {
                expr,
                negated: false,
            } => Expr::IsNull(Box::new(expr.to_expr())),
            ScalarExpr::IsNull {
                expr,
                negated: true,
            } => Expr::IsNotNull(Box::new(expr.to_expr())),
            ScalarExpr::InList {
                expr,
                list,
                negated,
            } => expr
                .to_expr()
                .in_list(list.iter().map(|l| lit(l.to_scalar())).collect(), *negated),
            ScalarExpr::Like {
                expr,
                pattern,
                escape,
                negated,
                case_insensitive,
            } => {
                Expr::Like(datafusion::logical_expr::Like::new(
                    *negated,
                    Box::new(expr.to_expr()),
                    Box::new(lit(pattern.as_str())),
                    // The backslash is the default, and the engine's kernels know no other way to say it.
                    escape.filter(|c| *c != '\\'),
                    *case_insensitive,
                ))
            }
        }
    }

    /// Calls `visit` with every column's name.
    pub fn visit_columns(&self, visit: &mut impl FnMut(&str)) {
        match self {
            ScalarExpr::Column(name) => visit(name),
            ScalarExpr::Literal(_) => {}
            ScalarExpr::Compare { left, right, .. } => {
                left.visit_columns(visit);
                right.visit_columns(visit);
            }
            ScalarExpr::And(all) | ScalarExpr::Or(all) => {
                all.iter().for_each(|e| e.visit_columns(visit))
            }
            ScalarExpr::Not(expr)
            | ScalarExpr::IsNull { expr, .. }
            | ScalarExpr::InList { expr, .. }
            | ScalarExpr::Like { expr, .. } => expr.visit_columns(visit),
        }
    }
}

fn compare_op(op: Operator) -> Option<CompareOp> {
    Some(match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::NotEq,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::LtEq,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::GtEq,
        _ => return None,
    })
}
