//! Draws queries. Types always fit, so that nearly every query is valid in PostgreSQL.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::data::{COLUMNS, TABLES, Type, constant};
use crate::query::{Expr, Join, Query, Select, Source, Table};

/// Calls below calls below …
const DEPTH: usize = 3;

/// Templates by the type that they give and the types that they take.
const CALLS: &[(Type, &str, &[Type])] = &[
    (Type::Int, "({0} + {1})", &[Type::Int, Type::Int]),
    (Type::Int, "({0} - {1})", &[Type::Int, Type::Int]),
    (Type::Int, "({0} * {1})", &[Type::Int, Type::Int]),
    (Type::Int, "({0} / nullif({1}, 0))", &[Type::Int, Type::Int]),
    (Type::Int, "({0} % nullif({1}, 0))", &[Type::Int, Type::Int]),
    (Type::Int, "abs({0})", &[Type::Int]),
    (Type::Int, "(- {0})", &[Type::Int]),
    (Type::Int, "length({0})", &[Type::Text]),
    (Type::Int, "coalesce({0}, {1})", &[Type::Int, Type::Int]),
    (
        Type::Int,
        "CASE WHEN {0} THEN {1} ELSE {2} END",
        &[Type::Bool, Type::Int, Type::Int],
    ),
    (Type::Int, "({0} - {1})", &[Type::Date, Type::Date]),
    (Type::Big, "({0} + {1})", &[Type::Big, Type::Int]),
    (Type::Big, "({0} - {1})", &[Type::Big, Type::Big]),
    (Type::Big, "({0})::bigint", &[Type::Int]),
    (Type::Big, "coalesce({0}, {1})", &[Type::Big, Type::Big]),
    (Type::Num, "({0} + {1})", &[Type::Num, Type::Num]),
    (Type::Num, "({0} * {1})", &[Type::Num, Type::Num]),
    (Type::Num, "({0} - {1})", &[Type::Num, Type::Int]),
    (Type::Num, "({0} / nullif({1}, 0))", &[Type::Num, Type::Num]),
    (Type::Num, "round({0}, 1)", &[Type::Num]),
    (Type::Num, "abs({0})", &[Type::Num]),
    (Type::Num, "({0})::numeric", &[Type::Int]),
    (Type::Float, "({0} + {1})", &[Type::Float, Type::Float]),
    (Type::Float, "({0} * {1})", &[Type::Float, Type::Float]),
    (Type::Float, "({0})::float8", &[Type::Int]),
    (Type::Text, "({0} || {1})", &[Type::Text, Type::Text]),
    (Type::Text, "substr({0}, 1, 2)", &[Type::Text]),
    (Type::Text, "replace({0}, 'a', 'b')", &[Type::Text]),
    (Type::Text, "coalesce({0}, {1})", &[Type::Text, Type::Text]),
    (
        Type::Text,
        "CASE WHEN {0} THEN {1} ELSE {2} END",
        &[Type::Bool, Type::Text, Type::Text],
    ),
    (Type::Text, "nullif({0}, {1})", &[Type::Text, Type::Text]),
    (Type::Date, "({0} + 1)", &[Type::Date]),
    (Type::Date, "({0})::date", &[Type::Time]),
    (Type::Time, "({0} + interval '1 day')", &[Type::Time]),
    (Type::Time, "date_trunc('day', {0})", &[Type::Time]),
    (Type::Bool, "({0} AND {1})", &[Type::Bool, Type::Bool]),
    (Type::Bool, "({0} OR {1})", &[Type::Bool, Type::Bool]),
    (Type::Bool, "(NOT {0})", &[Type::Bool]),
    (Type::Bool, "({0} LIKE 'a%')", &[Type::Text]),
    (Type::Bool, "({0} LIKE '%\\%')", &[Type::Text]),
    (Type::Bool, "({0} NOT LIKE '_')", &[Type::Text]),
    (Type::Bool, "({0} IN ('a', 'b ', 'Á'))", &[Type::Text]),
    (Type::Bool, "({0} NOT IN ('A', 'ss'))", &[Type::Text]),
    (Type::Bool, "({0} IN (1, 2, 3, -4))", &[Type::Int]),
    (Type::Bool, "({0} IN (1, NULL, 7))", &[Type::Int]),
    (Type::Bool, "({0} NOT IN (5, 6))", &[Type::Int]),
];

/// Comparisons of two values of one type.
const COMPARISONS: [&str; 9] = [
    "({0} = {1})",
    "({0} = {1})",
    "({0} <> {1})",
    "({0} < {1})",
    "({0} <= {1})",
    "({0} > {1})",
    "({0} >= {1})",
    "({0} IS DISTINCT FROM {1})",
    "({0} IS NOT DISTINCT FROM {1})",
];

const AGGREGATES: &[(Type, &str, Option<Type>)] = &[
    (Type::Big, "count(*)", None),
    (Type::Big, "count({0})", Some(Type::Text)),
    (Type::Big, "count({0})", Some(Type::Int)),
    (Type::Big, "count(DISTINCT {0})", Some(Type::Text)),
    (Type::Big, "count(DISTINCT {0})", Some(Type::Int)),
    (Type::Big, "sum({0})", Some(Type::Int)),
    (Type::Num, "sum({0})", Some(Type::Big)),
    (Type::Num, "sum({0})", Some(Type::Num)),
    (Type::Num, "avg({0})", Some(Type::Int)),
    (Type::Num, "avg({0})", Some(Type::Num)),
    (Type::Int, "min({0})", Some(Type::Int)),
    (Type::Int, "max({0})", Some(Type::Int)),
    (Type::Num, "max({0})", Some(Type::Num)),
    (Type::Float, "min({0})", Some(Type::Float)),
    (Type::Text, "min({0})", Some(Type::Text)),
    (Type::Text, "max({0})", Some(Type::Text)),
    (Type::Date, "max({0})", Some(Type::Date)),
    (Type::Time, "min({0})", Some(Type::Time)),
    (Type::Bool, "bool_or({0})", Some(Type::Bool)),
    (Type::Big, "count(*) FILTER (WHERE {0})", Some(Type::Bool)),
];

/// A column that an expression may name.
#[derive(Clone)]
struct Column {
    sql: String,
    data_type: Type,
}

/// Draws from a seed.
pub(crate) struct Generator<'a> {
    pub(crate) rng: &'a mut StdRng,
    /// Places that tables may be read from.
    pub(crate) places: usize,
    aliases: usize,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(rng: &'a mut StdRng, places: usize) -> Self {
        Generator {
            rng,
            places,
            aliases: 0,
        }
    }

    pub(crate) fn query(&mut self) -> Query {
        let width = self.rng.random_range(1..5);
        let types: Vec<Type> = (0..width).map(|_| self.any_type()).collect();
        // Half of the queries stay in one place: those are the ones that sources can be sent whole.
        let home = self
            .rng
            .random_bool(0.5)
            .then(|| self.rng.random_range(0..self.places));
        let arms = if self.rng.random_ratio(1, 6) { 2 } else { 1 };
        let arms = (0..arms)
            .map(|_| self.select(&types, &[], 2, home))
            .collect();
        let set = self.pick(&[
            "UNION ALL",
            "UNION ALL",
            "UNION",
            "EXCEPT",
            "INTERSECT",
            "EXCEPT ALL",
        ]);
        let descending = self.rng.random_bool(0.4).then(|| self.rng.random_bool(0.4));
        let limit = (descending.is_some() && self.rng.random_bool(0.5))
            .then(|| (self.rng.random_range(0..12), self.pick(&[0, 0, 0, 3])));
        Query {
            arms,
            set,
            descending,
            limit,
        }
    }

    /// A select of those types. `outer` are columns of the query around it.
    fn select(
        &mut self,
        types: &[Type],
        outer: &[Column],
        depth: usize,
        home: Option<usize>,
    ) -> Select {
        let mut from = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        let joins = *[1, 1, 1, 2, 2, 3].choose(self.rng).unwrap_or(&1);
        for index in 0..joins {
            let (source, names) = self.source(depth, home);
            let kind = match index {
                0 => "",
                _ => self.pick(&[
                    "JOIN",
                    "JOIN",
                    "JOIN",
                    "LEFT JOIN",
                    "RIGHT JOIN",
                    "FULL JOIN",
                    "CROSS JOIN",
                ]),
            };
            let on = match kind {
                "" | "CROSS JOIN" => None,
                _ => Some(self.join_condition(&columns, &names, kind == "FULL JOIN")),
            };
            columns.extend(names);
            from.push(Join { kind, source, on });
            if kind == "CROSS JOIN" {
                break;
            }
        }
        let mut visible = columns.clone();
        visible.extend(outer.iter().cloned());
        let filter = self
            .rng
            .random_bool(0.7)
            .then(|| self.condition(&visible, depth, home));
        if self.rng.random_ratio(1, 3) {
            let (mut group, mut items) = (Vec::new(), Vec::new());
            for data_type in types {
                let aggregates: Vec<_> =
                    AGGREGATES.iter().filter(|(t, ..)| t == data_type).collect();
                match aggregates.choose(self.rng) {
                    Some((_, template, argument)) if self.rng.random_bool(0.6) => {
                        let parts = argument
                            .iter()
                            .map(|t| self.expr(*t, &columns, 1))
                            .collect();
                        items.push(Expr::Call {
                            template,
                            parts,
                            data_type: *data_type,
                        });
                    }
                    _ => {
                        let key = self.column(*data_type, &columns);
                        group.push(key.clone());
                        items.push(key);
                    }
                }
            }
            // A constant is no key: GROUP BY 1 is a position.
            group.retain(|key| matches!(key, Expr::Leaf { sql, .. } if sql.contains('.') && !sql.contains('\'')));
            let having = self.rng.random_ratio(1, 4).then(|| Expr::Call {
                template: "(count(*) > 1)",
                parts: Vec::new(),
                data_type: Type::Bool,
            });
            return Select {
                distinct: false,
                items,
                from,
                filter,
                group,
                having,
            };
        }
        let items = types
            .iter()
            .map(|t| self.expr(*t, &visible, DEPTH))
            .collect();
        Select {
            distinct: self.rng.random_ratio(1, 6),
            items,
            from,
            filter,
            group: Vec::new(),
            having: None,
        }
    }

    fn source(&mut self, depth: usize, home: Option<usize>) -> (Source, Vec<Column>) {
        self.aliases += 1;
        let alias = format!("a{}", self.aliases);
        if depth > 0 && self.rng.random_ratio(1, 8) {
            let types: Vec<Type> = (0..3).map(|_| self.any_type()).chain([Type::Int]).collect();
            let select = Box::new(self.select(&types, &[], 0, home));
            let names = types
                .iter()
                .enumerate()
                .map(|(i, t)| Column {
                    sql: format!("{alias}.c{i}"),
                    data_type: *t,
                })
                .collect();
            return (Source::Derived { select, alias }, names);
        }
        let weights = [0, 1, 1, 1, 2, 2, 2, 3, 3];
        let (name, _) = TABLES[*weights.choose(self.rng).unwrap_or(&1)];
        let place = home.unwrap_or_else(|| self.rng.random_range(0..self.places));
        let names = COLUMNS
            .iter()
            .map(|(column, t)| Column {
                sql: format!("{alias}.{column}"),
                data_type: *t,
            })
            .collect();
        (Source::Table(Table { name, alias, place }), names)
    }

    fn join_condition(&mut self, left: &[Column], right: &[Column], plain: bool) -> Expr {
        let shared = [
            Type::Int,
            Type::Int,
            Type::Int,
            Type::Text,
            Type::Big,
            Type::Date,
            Type::Num,
        ];
        let data_type = *shared.choose(self.rng).unwrap_or(&Type::Int);
        let equal = Expr::Call {
            template: "({0} = {1})",
            parts: vec![self.column(data_type, left), self.column(data_type, right)],
            data_type: Type::Bool,
        };
        // PostgreSQL itself refuses FULL JOIN with other conditions.
        if plain || self.rng.random_bool(0.75) {
            return equal;
        }
        let both: Vec<Column> = left.iter().chain(right).cloned().collect();
        let more = self.expr(Type::Bool, &both, 1);
        Expr::Call {
            template: "({0} AND {1})",
            parts: vec![equal, more],
            data_type: Type::Bool,
        }
    }

    fn condition(&mut self, visible: &[Column], depth: usize, home: Option<usize>) -> Expr {
        let plain = self.expr(Type::Bool, visible, DEPTH);
        if depth == 0 || !self.rng.random_ratio(1, 4) {
            return plain;
        }
        let (template, operand): (_, Option<Type>) = self.pick(&[
            ("EXISTS ({s})", None),
            ("NOT EXISTS ({s})", None),
            ("{0} IN ({s})", Some(Type::Int)),
            ("{0} IN ({s})", Some(Type::Text)),
            ("{0} NOT IN ({s})", Some(Type::Int)),
            (
                "({0} > (SELECT max(q.c0) FROM ({s}) AS q))",
                Some(Type::Int),
            ),
        ]);
        let correlated = operand.is_none();
        let outer = if correlated { visible } else { &[] };
        let select = Box::new(self.select(&[operand.unwrap_or(Type::Int)], outer, 0, home));
        let operand = operand.map(|t| Box::new(self.column(t, visible)));
        let sub = Expr::Sub {
            template,
            operand,
            select,
            data_type: Type::Bool,
        };
        if self.rng.random_bool(0.5) {
            return sub;
        }
        let template = self.pick(&["({0} AND {1})", "({0} OR {1})"]);
        Expr::Call {
            template,
            parts: vec![plain, sub],
            data_type: Type::Bool,
        }
    }

    fn expr(&mut self, data_type: Type, visible: &[Column], depth: usize) -> Expr {
        if data_type == Type::Bool && depth > 0 && self.rng.random_bool(0.65) {
            let of = self.any_type();
            if of != Type::Bool {
                let left = self.expr(of, visible, depth - 1);
                if self.rng.random_ratio(1, 9) {
                    let template = self.pick(&["({0} IS NULL)", "({0} IS NOT NULL)"]);
                    return Expr::Call {
                        template,
                        parts: vec![left],
                        data_type,
                    };
                }
                if self.rng.random_ratio(1, 9) {
                    let parts = vec![left, self.literal(of), self.literal(of)];
                    return Expr::Call {
                        template: "({0} BETWEEN {1} AND {2})",
                        parts,
                        data_type,
                    };
                }
                let right = if self.rng.random_bool(0.6) {
                    self.literal(of)
                } else {
                    self.expr(of, visible, depth - 1)
                };
                return Expr::Call {
                    template: self.pick(&COMPARISONS),
                    parts: vec![left, right],
                    data_type,
                };
            }
        }
        if depth == 0 || self.rng.random_bool(0.5) {
            return self.column(data_type, visible);
        }
        let calls: Vec<_> = CALLS.iter().filter(|(t, ..)| *t == data_type).collect();
        match calls.choose(self.rng) {
            Some((_, template, arguments)) => {
                let parts = arguments
                    .iter()
                    .map(|t| self.expr(*t, visible, depth - 1))
                    .collect();
                Expr::Call {
                    template,
                    parts,
                    data_type,
                }
            }
            None => self.column(data_type, visible),
        }
    }

    /// A column of that type, or a constant where there is none.
    fn column(&mut self, data_type: Type, visible: &[Column]) -> Expr {
        let fitting: Vec<_> = visible
            .iter()
            .filter(|c| c.data_type == data_type)
            .collect();
        match fitting.choose(self.rng) {
            Some(column) if !self.rng.random_ratio(1, 12) => Expr::Leaf {
                sql: column.sql.clone(),
                data_type,
            },
            _ => self.literal(data_type),
        }
    }

    fn literal(&mut self, data_type: Type) -> Expr {
        let value = constant(self.rng, data_type);
        let sql = match data_type {
            Type::Int if value == "-2147483648" => "(-2147483647 - 1)".to_owned(),
            Type::Int | Type::Bool => value,
            Type::Big => format!("'{value}'::bigint"),
            Type::Num => format!("'{value}'::numeric(12,2)"),
            Type::Float => format!("'{value}'::float8"),
            Type::Text => format!("'{}'::text", value.replace('\'', "''")),
            Type::Date => format!("DATE '{value}'"),
            Type::Time => format!("TIMESTAMP '{value}'"),
        };
        let sql = if sql.starts_with('-') {
            format!("({sql})")
        } else {
            sql
        };
        Expr::Leaf { sql, data_type }
    }

    fn any_type(&mut self) -> Type {
        self.pick(&[
            Type::Int,
            Type::Int,
            Type::Int,
            Type::Big,
            Type::Num,
            Type::Num,
            Type::Float,
            Type::Text,
            Type::Text,
            Type::Text,
            Type::Date,
            Type::Time,
            Type::Bool,
        ])
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }
}
