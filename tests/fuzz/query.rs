//! A query as a tree: how it is written, and which smaller queries it can become.

use crate::data::Type;

/// An expression. A template's `{0}`, `{1}` … stand for its parts.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Leaf {
        sql: String,
        data_type: Type,
    },
    Call {
        template: &'static str,
        parts: Vec<Expr>,
        data_type: Type,
    },
    /// `template` with the select in the place of `{s}` and the operand in that of `{0}`.
    Sub {
        template: &'static str,
        operand: Option<Box<Expr>>,
        select: Box<Select>,
        data_type: Type,
    },
}

impl Expr {
    pub(crate) fn data_type(&self) -> Type {
        match self {
            Expr::Leaf { data_type, .. }
            | Expr::Call { data_type, .. }
            | Expr::Sub { data_type, .. } => *data_type,
        }
    }

    fn write(&self, place: &dyn Fn(&Table) -> String) -> String {
        match self {
            Expr::Leaf { sql, .. } => sql.clone(),
            Expr::Call {
                template, parts, ..
            } => {
                let mut text = (*template).to_owned();
                for (index, part) in parts.iter().enumerate() {
                    text = text.replace(&format!("{{{index}}}"), &part.write(place));
                }
                text
            }
            Expr::Sub {
                template,
                operand,
                select,
                ..
            } => {
                let mut text = template.replace("{s}", &select.write(place));
                if let Some(operand) = operand {
                    text = text.replace("{0}", &operand.write(place));
                }
                text
            }
        }
    }

    fn smaller(&self) -> Vec<Expr> {
        let mut found = Vec::new();
        match self {
            Expr::Leaf { .. } => {}
            Expr::Call {
                template,
                parts,
                data_type,
            } => {
                found.extend(
                    parts
                        .iter()
                        .filter(|p| p.data_type() == *data_type)
                        .cloned(),
                );
                for (index, part) in parts.iter().enumerate() {
                    for less in part.smaller() {
                        let mut parts = parts.clone();
                        parts[index] = less;
                        found.push(Expr::Call {
                            template,
                            parts,
                            data_type: *data_type,
                        });
                    }
                }
            }
            Expr::Sub {
                template,
                operand,
                select,
                data_type,
            } => {
                for less in select.smaller() {
                    found.push(Expr::Sub {
                        template,
                        operand: operand.clone(),
                        select: Box::new(less),
                        data_type: *data_type,
                    });
                }
            }
        }
        found
    }
}

/// A table in FROM, and the place that it is read from.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) alias: String,
    pub(crate) place: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Table(Table),
    Derived { select: Box<Select>, alias: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// `JOIN`, `LEFT JOIN` …; empty for the first.
    pub(crate) kind: &'static str,
    pub(crate) source: Source,
    pub(crate) on: Option<Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct Select {
    pub(crate) distinct: bool,
    pub(crate) items: Vec<Expr>,
    pub(crate) from: Vec<Join>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group: Vec<Expr>,
    pub(crate) having: Option<Expr>,
}

impl Select {
    pub(crate) fn write(&self, place: &dyn Fn(&Table) -> String) -> String {
        let list = |exprs: &[Expr]| {
            exprs
                .iter()
                .map(|e| e.write(place))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let items: Vec<String> = self
            .items
            .iter()
            .enumerate()
            .map(|(i, e)| format!("{} AS c{i}", e.write(place)))
            .collect();
        let mut text = format!(
            "SELECT {}{} FROM ",
            if self.distinct { "DISTINCT " } else { "" },
            items.join(", ")
        );
        for join in &self.from {
            if !join.kind.is_empty() {
                text.push_str(&format!(" {} ", join.kind));
            }
            match &join.source {
                Source::Table(table) => {
                    text.push_str(&format!("{} AS {}", place(table), table.alias))
                }
                Source::Derived { select, alias } => {
                    text.push_str(&format!("({}) AS {alias}", select.write(place)))
                }
            }
            if let Some(on) = &join.on {
                text.push_str(&format!(" ON {}", on.write(place)));
            }
        }
        if let Some(filter) = &self.filter {
            text.push_str(&format!(" WHERE {}", filter.write(place)));
        }
        if !self.group.is_empty() {
            text.push_str(&format!(" GROUP BY {}", list(&self.group)));
        }
        if let Some(having) = &self.having {
            text.push_str(&format!(" HAVING {}", having.write(place)));
        }
        text
    }

    fn smaller(&self) -> Vec<Select> {
        let mut found = Vec::new();
        let mut push = |change: &dyn Fn(&mut Select)| {
            let mut less = self.clone();
            change(&mut less);
            found.push(less);
        };
        if self.distinct {
            push(&|s| s.distinct = false);
        }
        if self.filter.is_some() {
            push(&|s| s.filter = None);
        }
        if self.having.is_some() {
            push(&|s| s.having = None);
        }
        if self.from.len() > 1 {
            push(&|s| {
                s.from.pop();
            });
        }
        for index in 0..self.items.len() {
            if self.items.len() > 1 {
                push(&|s| {
                    s.items.remove(index);
                });
            }
        }
        for index in 0..self.group.len() {
            push(&|s| {
                s.group.remove(index);
            });
        }
        for (index, item) in self.items.iter().enumerate() {
            for less in item.smaller() {
                push(&|s| s.items[index] = less.clone());
            }
        }
        for less in self.filter.iter().flat_map(Expr::smaller) {
            push(&|s| s.filter = Some(less.clone()));
        }
        for less in self.having.iter().flat_map(Expr::smaller) {
            push(&|s| s.having = Some(less.clone()));
        }
        for (index, join) in self.from.iter().enumerate() {
            for less in join.on.iter().flat_map(Expr::smaller) {
                push(&|s| s.from[index].on = Some(less.clone()));
            }
            match &join.source {
                Source::Derived { select, alias } => {
                    for less in select.smaller() {
                        let source = Source::Derived {
                            select: Box::new(less),
                            alias: alias.clone(),
                        };
                        push(&|s| s.from[index].source = source.clone());
                    }
                }
                Source::Table(table) if table.place != 0 => {
                    let moved = Source::Table(Table {
                        place: 0,
                        ..table.clone()
                    });
                    push(&|s| s.from[index].source = moved.clone());
                }
                Source::Table(_) => {}
            }
        }
        found
    }
}

/// One or two selects, and what is asked of their rows together.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) arms: Vec<Select>,
    /// `UNION ALL`, `EXCEPT` …
    pub(crate) set: &'static str,
    /// By every column, so that the order is total up to equal rows.
    pub(crate) descending: Option<bool>,
    pub(crate) limit: Option<(usize, usize)>,
}

impl Query {
    pub(crate) fn write(&self, place: &dyn Fn(&Table) -> String) -> String {
        let arms: Vec<String> = self.arms.iter().map(|arm| arm.write(place)).collect();
        let mut text = arms.join(&format!(" {} ", self.set));
        if let Some(descending) = self.descending {
            let keys: Vec<String> = (1..=self.arms[0].items.len())
                .map(|n| format!("{n}{}", if descending { " DESC" } else { "" }))
                .collect();
            text.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        }
        if let Some((limit, offset)) = self.limit {
            text.push_str(&format!(" LIMIT {limit} OFFSET {offset}"));
        }
        text
    }

    /// Queries with a part less each. Not all of them are valid.
    pub(crate) fn smaller(&self) -> Vec<Query> {
        let mut found = Vec::new();
        if self.arms.len() > 1 {
            found.extend(self.arms.iter().map(|arm| Query {
                arms: vec![arm.clone()],
                ..self.clone()
            }));
        }
        if self.limit.is_some() {
            found.push(Query {
                limit: None,
                ..self.clone()
            });
        } else if self.descending.is_some() {
            found.push(Query {
                descending: None,
                ..self.clone()
            });
        }
        for (index, arm) in self.arms.iter().enumerate() {
            for less in arm.smaller() {
                let mut query = self.clone();
                query.arms[index] = less;
                found.push(query);
            }
        }
        found
    }
}
