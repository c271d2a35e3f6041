//! Scalar expressions over the columns of a relation: just the shapes that some source computes as the engine
//! does.
//!
//! Relies on nothing but the engine's constants. What an expression may *mean* at a source, and whether it may
//! be pushed, is the connector's to say; how an engine's expression becomes one is in `convert.rs`.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{BinaryExpr, Case, Cast, Operator};
use datafusion::prelude::lit;
use serde::{Deserialize, Serialize};

use crate::{Expr, ScalarValue};

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

impl CompareOp {
    /// The operator with its sides exchanged: `a < b` is `b > a`.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            CompareOp::Eq => CompareOp::Eq,
            CompareOp::NotEq => CompareOp::NotEq,
            CompareOp::Lt => CompareOp::Gt,
            CompareOp::LtEq => CompareOp::GtEq,
            CompareOp::Gt => CompareOp::Lt,
            CompareOp::GtEq => CompareOp::LtEq,
        }
    }
}

/// Arithmetic that sources do as the engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArithmeticOp {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

/// A type of values, without the names that sources have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    /// boolean
    Boolean,
    /// smallint
    Int16,
    /// integer
    Int32,
    /// bigint
    Int64,
    /// bigint without a sign
    UInt64,
    /// real
    Float32,
    /// double precision
    Float64,
    /// numeric(precision, scale)
    Decimal {
        /// Total digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// text
    Text,
    /// bytea
    Bytes,
    /// date
    Date,
    /// time, in microseconds
    Time,
    /// timestamp without time zone, in microseconds
    Timestamp,
    /// timestamp with time zone, in microseconds
    TimestampTz,
}

impl ValueType {
    /// The type of values of that Arrow type; `None` where sources are sent none of it.
    pub fn of(data_type: &DataType) -> Option<ValueType> {
        Some(match data_type {
            DataType::Boolean => ValueType::Boolean,
            DataType::Int16 => ValueType::Int16,
            DataType::Int32 => ValueType::Int32,
            DataType::Int64 => ValueType::Int64,
            DataType::UInt64 => ValueType::UInt64,
            DataType::Float32 => ValueType::Float32,
            DataType::Float64 => ValueType::Float64,
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                ValueType::Decimal {
                    precision: *precision,
                    scale: *scale,
                }
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueType::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ValueType::Bytes,
            DataType::Date32 => ValueType::Date,
            DataType::Time64(TimeUnit::Microsecond) => ValueType::Time,
            DataType::Timestamp(TimeUnit::Microsecond, None) => ValueType::Timestamp,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => ValueType::TimestampTz,
            _ => return None,
        })
    }

    /// The Arrow type that the engine computes with.
    pub fn data_type(self) -> DataType {
        match self {
            ValueType::Boolean => DataType::Boolean,
            ValueType::Int16 => DataType::Int16,
            ValueType::Int32 => DataType::Int32,
            ValueType::Int64 => DataType::Int64,
            ValueType::UInt64 => DataType::UInt64,
            ValueType::Float32 => DataType::Float32,
            ValueType::Float64 => DataType::Float64,
            ValueType::Decimal { precision, scale } if precision <= 38 => {
                DataType::Decimal128(precision, scale)
            }
            ValueType::Decimal { precision, scale } => DataType::Decimal256(precision, scale),
            ValueType::Text => DataType::Utf8View,
            ValueType::Bytes => DataType::Binary,
            ValueType::Date => DataType::Date32,
            ValueType::Time => DataType::Time64(TimeUnit::Microsecond),
            ValueType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            ValueType::TimestampTz => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
        }
    }

    /// True for signed integers.
    pub fn is_integer(self) -> bool {
        matches!(self, ValueType::Int16 | ValueType::Int32 | ValueType::Int64)
    }
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
    /// Arithmetic that is exact, or an error where its result does not fit `of`.
    Arithmetic {
        /// Which.
        op: ArithmeticOp,
        /// Left side, of type `of` where that is an integer.
        left: Box<ScalarExpr>,
        /// Right side, of type `of` where that is an integer.
        right: Box<ScalarExpr>,
        /// The result's type: an integer, or a decimal that has every digit of the result.
        of: ValueType,
    },
    /// A cast that changes no value.
    Cast {
        /// What.
        expr: Box<ScalarExpr>,
        /// To which type.
        to: ValueType,
    },
    /// The first branch whose condition is true.
    Case {
        /// Conditions and results.
        branches: Vec<(ScalarExpr, ScalarExpr)>,
        /// The result where no condition is true; NULL when `None`.
        otherwise: Option<Box<ScalarExpr>>,
        /// The type of every result.
        of: ValueType,
    },
    /// The first that is not NULL.
    Coalesce {
        /// Candidates, in order.
        args: Vec<ScalarExpr>,
        /// The type of every candidate.
        of: ValueType,
    },
}

impl ScalarExpr {
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
            // The engine's own operator, which is exact as long as its result fits.
            ScalarExpr::Arithmetic {
                op, left, right, ..
            } => Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left.to_expr()),
                match op {
                    ArithmeticOp::Add => Operator::Plus,
                    ArithmeticOp::Subtract => Operator::Minus,
                    ArithmeticOp::Multiply => Operator::Multiply,
                },
                Box::new(right.to_expr()),
            )),
            ScalarExpr::Cast { expr, to } => {
                Expr::Cast(Cast::new(Box::new(expr.to_expr()), to.data_type()))
            }
            ScalarExpr::Case {
                branches,
                otherwise,
                ..
            } => Expr::Case(Case::new(
                None,
                branches
                    .iter()
                    .map(|(when, then)| (Box::new(when.to_expr()), Box::new(then.to_expr())))
                    .collect(),
                otherwise.as_ref().map(|expr| Box::new(expr.to_expr())),
            )),
            ScalarExpr::Coalesce { args, .. } => {
                coalesce(args.iter().map(ScalarExpr::to_expr).collect())
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
            | ScalarExpr::Like { expr, .. }
            | ScalarExpr::Cast { expr, .. } => expr.visit_columns(visit),
            ScalarExpr::Arithmetic { left, right, .. } => {
                left.visit_columns(visit);
                right.visit_columns(visit);
            }
            ScalarExpr::Case {
                branches,
                otherwise,
                ..
            } => {
                for (when, then) in branches {
                    when.visit_columns(visit);
                    then.visit_columns(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.visit_columns(visit);
                }
            }
            ScalarExpr::Coalesce { args, .. } => args.iter().for_each(|e| e.visit_columns(visit)),
        }
    }

    /// The column's name, where the expression is just a column.
    pub fn as_column(&self) -> Option<&str> {
        match self {
            ScalarExpr::Column(name) => Some(name),
            _ => None,
        }
    }
}
