//! The engine's expressions as [`ScalarExpr`]: every part has a counterpart, or the whole is refused with a
//! reason.
//!
//! Without a schema ([`ScalarExpr::from_expr`]) only what needs no types is taken: comparisons and tests. With
//! one ([`ScalarExpr::typed`]) arithmetic, casts, CASE and COALESCE are taken too, where the types show that no
//! digit can be lost. Never decides what a source may be sent.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{InList, Like, ScalarFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Case, ExprSchemable, Operator};

use crate::{ArithmeticOp, CompareOp, Expr, Literal, Reason, ScalarExpr, ValueType};

type Converted = Result<ScalarExpr, Reason>;

impl ScalarExpr {
    /// From the engine's expression, where every part of it has a counterpart here that needs no types.
    pub fn from_expr(expr: &Expr) -> Option<ScalarExpr> {
        Converter { schema: None }.convert(expr).ok()
    }

    /// From the engine's expression over columns of `schema`, which are named by their bare names. The
    /// reason tells a user which part has no counterpart.
    pub fn typed(expr: &Expr, schema: &DFSchema) -> Converted {
        Converter {
            schema: Some(schema),
        }
        .convert(expr)
    }
}

struct Converter<'a> {
    schema: Option<&'a DFSchema>,
}

fn refuse(reason: impl Into<String>) -> Reason {
    Reason(reason.into())
}

impl Converter<'_> {
    fn convert(&self, expr: &Expr) -> Converted {
        Ok(match expr {
            Expr::Column(column) => ScalarExpr::Column(column.name.clone()),
            Expr::Literal(value, _) => {
                ScalarExpr::Literal(Literal::from_scalar(value).ok_or_else(|| {
                    refuse(format!(
                        "a constant of type {} is not sent to the source",
                        value.data_type()
                    ))
                })?)
            }
            Expr::Alias(alias) => self.convert(&alias.expr)?,
            Expr::Not(inner) => ScalarExpr::Not(self.boxed(inner)?),
            Expr::IsNull(inner) => ScalarExpr::IsNull {
                expr: self.boxed(inner)?,
                negated: false,
            },
            Expr::IsNotNull(inner) => ScalarExpr::IsNull {
                expr: self.boxed(inner)?,
                negated: true,
            },
            Expr::BinaryExpr(binary) => self.binary(binary, expr)?,
            Expr::Between(between) => self.between(between)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::Like(like) => self.like(like)?,
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.data_type())?,
            Expr::Case(case) => self.case(case, expr)?,
            Expr::ScalarFunction(call) => self.call(call, expr)?,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => {
                return Err(refuse("it holds a subquery"));
            }
            _ => return Err(refuse("it is not an expression that is sent to the source")),
        })
    }

    fn boxed(&self, expr: &Expr) -> Result<Box<ScalarExpr>, Reason> {
        self.convert(expr).map(Box::new)
    }

    fn type_of(&self, expr: &Expr) -> Result<DataType, Reason> {
        let schema = self
            .schema
            .ok_or_else(|| refuse("it computes a value, which the engine does"))?;
        expr.get_type(schema)
            .map_err(|_| refuse("the type of an expression is not known"))
    }

    fn value_type(&self, expr: &Expr) -> Result<ValueType, Reason> {
        let data_type = self.type_of(expr)?;
        ValueType::of(&data_type)
            .ok_or_else(|| refuse(format!("values of type {data_type} are not computed there")))
    }

    fn binary(&self, binary: &BinaryExpr, whole: &Expr) -> Converted {
        let BinaryExpr { left, op, right } = binary;
        let arithmetic = match op {
            Operator::Plus => Some(ArithmeticOp::Add),
            Operator::Minus => Some(ArithmeticOp::Subtract),
            Operator::Multiply => Some(ArithmeticOp::Multiply),
            _ => None,
        };
        if let Some(op) = arithmetic {
            return self.decimals(op, left, right, whole);
        }
        let compare = match op {
            Operator::And | Operator::Or => {
                let both = vec![self.convert(left)?, self.convert(right)?];
                return Ok(match op {
                    Operator::And => ScalarExpr::And(both),
                    _ => ScalarExpr::Or(both),
                });
            }
            Operator::Eq => CompareOp::Eq,
            Operator::NotEq => CompareOp::NotEq,
            Operator::Lt => CompareOp::Lt,
            Operator::LtEq => CompareOp::LtEq,
            Operator::Gt => CompareOp::Gt,
            Operator::GtEq => CompareOp::GtEq,
            op => return Err(refuse(format!("operator {op} is computed by the engine"))),
        };
        Ok(ScalarExpr::Compare {
            op: compare,
            left: self.boxed(left)?,
            right: self.boxed(right)?,
        })
    }

    /// Sums and products of decimals whose result has every digit. The engine's own operators on other types
    /// wrap or round, so only its checked functions stand for those of integers.
    fn decimals(&self, op: ArithmeticOp, left: &Expr, right: &Expr, whole: &Expr) -> Converted {
        let of = self.value_type(whole)?;
        let (l, r) = (self.value_type(left)?, self.value_type(right)?);
        let (
            ValueType::Decimal { scale, .. },
            ValueType::Decimal { scale: l, .. },
            ValueType::Decimal { scale: r, .. },
        ) = (of, l, r)
        else {
            return Err(refuse(format!(
                "operator {} over these types is computed by the engine",
                match op {
                    ArithmeticOp::Add => "+",
                    ArithmeticOp::Subtract => "-",
                    ArithmeticOp::Multiply => "*",
                }
            )));
        };
        let exact = match op {
            ArithmeticOp::Multiply => i16::from(l) + i16::from(r),
            _ => i16::from(l.max(r)),
        };
        if i16::from(scale) < exact {
            return Err(refuse("a product is rounded to fewer digits"));
        }
        Ok(ScalarExpr::Arithmetic {
            op,
            left: self.boxed(left)?,
            right: self.boxed(right)?,
            of,
        })
    }

    fn call(&self, call: &ScalarFunction, whole: &Expr) -> Converted {
        let op = match (call.name(), call.args.len()) {
            ("int_add", 2) => ArithmeticOp::Add,
            ("int_sub", 2) => ArithmeticOp::Subtract,
            ("int_mul", 2) => ArithmeticOp::Multiply,
            ("numeric_mul", 2) => {
                return self.decimals(ArithmeticOp::Multiply, &call.args[0], &call.args[1], whole);
            }
            ("coalesce", 1..) => {
                let of = self.value_type(whole)?;
                let args = call
                    .args
                    .iter()
                    .map(|arg| self.result(arg, of))
                    .collect::<Result<Vec<_>, _>>()?;
                return Ok(ScalarExpr::Coalesce { args, of });
            }
            (name, _) => {
                return Err(refuse(format!(
                    "function {name}() is computed by the engine"
                )));
            }
        };
        let of = self.value_type(whole)?;
        if !of.is_integer() {
            return Err(refuse("it computes with integers of another kind"));
        }
        Ok(ScalarExpr::Arithmetic {
            op,
            left: Box::new(self.widened(&call.args[0], of)?),
            right: Box::new(self.widened(&call.args[1], of)?),
            of,
        })
    }

    /// An integer as the operator's own type: the engine widens the narrower side when it plans.
    fn widened(&self, expr: &Expr, to: ValueType) -> Converted {
        if self.value_type(expr)? == to {
            return self.convert(expr);
        }
        self.cast(expr, &to.data_type())
    }

    /// A branch's result, which must have the one type of all.
    fn result(&self, expr: &Expr, of: ValueType) -> Converted {
        if self.value_type(expr)? != of {
            return Err(refuse("its branches have several types"));
        }
        self.convert(expr)
    }

    fn case(&self, case: &Case, whole: &Expr) -> Converted {
        let of = self.value_type(whole)?;
        let branches = case
            .when_then_expr
            .iter()
            .map(|(when, then)| {
                let when = match &case.expr {
                    None => self.convert(when)?,
                    Some(subject) => ScalarExpr::Compare {
                        op: CompareOp::Eq,
                        left: self.boxed(subject)?,
                        right: self.boxed(when)?,
                    },
                };
                Ok((when, self.result(then, of)?))
            })
            .collect::<Result<Vec<_>, Reason>>()?;
        let otherwise = match case.else_expr.as_deref() {
            None => None,
            Some(Expr::Literal(value, _)) if value.is_null() => None,
            Some(otherwise) => Some(Box::new(self.result(otherwise, of)?)),
        };
        Ok(ScalarExpr::Case {
            branches,
            otherwise,
            of,
        })
    }

    /// A cast, where every value of the one type is a value of the other.
    fn cast(&self, expr: &Expr, to: &DataType) -> Converted {
        let from = self.type_of(expr)?;
        let changed = || {
            refuse(format!(
                "a cast from {from} to {to} is computed by the engine"
            ))
        };
        let (Some(from_type), Some(to_type)) = (ValueType::of(&from), ValueType::of(to)) else {
            return Err(changed());
        };
        use ValueType::{Decimal, Int16, Int32, Int64, UInt64};
        let exact = match (from_type, to_type) {
            (same, other) if same == other => return self.convert(expr),
            (Int16, Int32 | Int64) | (Int32, Int64) => true,
            (Int16 | Int32 | Int64 | UInt64, Decimal { precision, scale }) => {
                let digits = match from_type {
                    Int16 => 5,
                    Int32 => 10,
                    Int64 => 19,
                    _ => 20,
                };
                scale >= 0 && i16::from(precision) - i16::from(scale) >= digits
            }
            (
                Decimal {
                    precision: p,
                    scale: s,
                },
                Decimal { precision, scale },
            ) => {
                scale >= s && i16::from(precision) - i16::from(scale) >= i16::from(p) - i16::from(s)
            }
            _ => false,
        };
        if !exact {
            return Err(changed());
        }
        Ok(ScalarExpr::Cast {
            expr: self.boxed(expr)?,
            to: to_type,
        })
    }

    fn between(&self, between: &Between) -> Converted {
        let subject = self.convert(&between.expr)?;
        let compare = |op, bound: &Expr| -> Converted {
            Ok(ScalarExpr::Compare {
                op,
                left: Box::new(subject.clone()),
                right: self.boxed(bound)?,
            })
        };
        let inside = ScalarExpr::And(vec![
            compare(CompareOp::GtEq, &between.low)?,
            compare(CompareOp::LtEq, &between.high)?,
        ]);
        Ok(if between.negated {
            ScalarExpr::Not(Box::new(inside))
        } else {
            inside
        })
    }

    fn in_list(&self, list: &InList) -> Converted {
        Ok(ScalarExpr::InList {
            expr: self.boxed(&list.expr)?,
            list: list
                .list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => Literal::from_scalar(value),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| refuse("its list holds more than constants"))?,
            negated: list.negated,
        })
    }

    fn like(&self, like: &Like) -> Converted {
        let pattern = match like.pattern.as_ref() {
            Expr::Literal(pattern, _) => Literal::from_scalar(pattern),
            _ => None,
        };
        let Some(Literal::Text(pattern)) = pattern else {
            return Err(refuse("its pattern is not a constant"));
        };
        Ok(ScalarExpr::Like {
            expr: self.boxed(&like.expr)?,
            pattern,
            // SQL's default escape character is the backslash.
            escape: like.escape_char.or(Some('\\')),
            negated: like.negated,
            case_insensitive: like.case_insensitive,
        })
    }
}
