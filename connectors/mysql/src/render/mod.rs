//! Relations to MySQL's SQL: total over what it knows, and `None` for the rest.
//!
//! Whether something *may* be pushed is not decided here ([`crate::pushdown`]); whether it *can* be
//! written is. Constants go through [`crate::literal`] only. Columns of derived tables get names that
//! are made here, since MySQL takes `a` and `A` for one column.

mod expressions;

use mysql_async::Value;
use sluice_spi::{
    AggregateCall, AggregateFunction, JoinKind, RelColumn, Relation, ScalarExpr, SortKey, ValueType,
};

use crate::facts::Facts;
use crate::literal::quote_identifier;
use crate::splits::KeyRange;
use crate::types::ColumnType;
pub(crate) use expressions::is_comparable;
use expressions::{Named, Writer, operand};

/// How constants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constants {
    /// Inside of the statement.
    Inline,
    /// As parameters where the server takes them for the same, so that the statement's text is the same
    /// for other constants.
    Parameters,
}

/// A statement and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RemoteSql {
    pub(crate) text: String,
    pub(crate) parameters: Vec<Value>,
}

/// What is asked of a relation.
pub(crate) struct Query<'a> {
    pub(crate) relation: &'a Relation,
    pub(crate) facts: &'a Facts,
    /// Columns of the relation. None of them: the number of its rows.
    pub(crate) projection: &'a [usize],
    pub(crate) limit: Option<usize>,
    /// Only rows whose key is in there.
    pub(crate) range: Option<&'a KeyRange>,
}

/// `SELECT projection FROM relation LIMIT limit`.
pub(crate) fn select(query: &Query<'_>, constants: Constants) -> Option<RemoteSql> {
    // Parameters go by position: only conjuncts of one table are written in the order of the text.
    let constants = match query.relation.is_plain() {
        true => constants,
        false => Constants::Inline,
    };
    let mut renderer = Renderer::new(query.relation, query.facts, constants);
    let mut block = renderer.block(query.relation)?;
    if let Some(range) = query.range {
        if !query.relation.is_plain() {
            return None;
        }
        block.wheres.push(range.sql()?);
    }
    if let Some(limit) = query.limit {
        block = renderer.opened(block);
        block.tail = format!(" LIMIT {limit}");
    }
    let text = if query.projection.is_empty() {
        if block.is_closed() {
            if !block.distinct {
                block.env.truncate(1);
            }
            block = renderer.opened(block);
        }
        format!("SELECT count(*){}", block.body())
    } else {
        let columns = query
            .projection
            .iter()
            .map(|index| {
                let column = block.env.get(*index)?;
                Some(column.column_type.select(&column.sql))
            })
            .collect::<Option<Vec<_>>>()?;
        if block.distinct && query.projection.len() < block.env.len() {
            // Each row once means all of its columns.
            let mut block = renderer.opened(block);
            let columns: Vec<String> = query
                .projection
                .iter()
                .map(|index| block.env[*index].sql.clone())
                .collect();
            block.distinct = false;
            format!("SELECT {}{}", columns.join(", "), block.body())
        } else {
            let distinct = if block.distinct { "DISTINCT " } else { "" };
            format!("SELECT {distinct}{}{}", columns.join(", "), block.body())
        }
    };
    Some(RemoteSql {
        text,
        parameters: renderer.writer.parameters,
    })
}

/// True where all of a relation can be written.
pub(crate) fn can_write(relation: &Relation, facts: &Facts) -> bool {
    let all: Vec<usize> = (0..facts.columns.len()).collect();
    let query = Query {
        relation,
        facts,
        projection: &all,
        limit: None,
        range: None,
    };
    select(&query, Constants::Inline).is_some()
}

/// Bytes that a predicate over those columns takes with its constants inside; `None` where it cannot be
/// written.
pub(crate) fn predicate_bytes(
    predicate: &ScalarExpr,
    columns: &[RelColumn],
    types: &[ColumnType],
) -> Option<usize> {
    let env = bare(columns, types)?;
    let text = Writer::new(Constants::Inline).predicate(predicate, &env)?;
    Some(text.len())
}

/// A computed value over those columns, to be assigned. That its arithmetic is exact was decided by
/// [`crate::pushdown`].
pub(crate) fn assigned_value(
    expr: &ScalarExpr,
    columns: &[RelColumn],
    types: &[ColumnType],
) -> Option<String> {
    Writer::new(Constants::Inline).value(expr, &bare(columns, types)?)
}

/// Columns under their own names.
fn bare(columns: &[RelColumn], types: &[ColumnType]) -> Option<Vec<Named>> {
    columns
        .iter()
        .zip(types)
        .map(|(column, column_type)| {
            Some(Named {
                name: column.name.clone(),
                sql: quote_identifier(&column.name)?,
                column_type: column_type.clone(),
            })
        })
        .collect()
}

/// One SELECT in the making.
struct Block {
    from: String,
    wheres: Vec<String>,
    distinct: bool,
    /// GROUP BY, ORDER BY, LIMIT.
    tail: String,
    /// There is more than one table in `from`.
    joined: bool,
    /// The columns, in order.
    env: Vec<Named>,
}

impl Block {
    /// Nothing may be added to it.
    fn is_closed(&self) -> bool {
        self.distinct || !self.tail.is_empty()
    }

    fn body(&self) -> String {
        let mut body = format!(" FROM {}", self.from);
        for (index, conjunct) in self.wheres.iter().enumerate() {
            body.push_str(if index == 0 { " WHERE " } else { " AND " });
            body.push_str(conjunct);
        }
        body.push_str(&self.tail);
        body
    }
}

struct Renderer<'a> {
    writer: Writer,
    /// Types of the leaves' columns, left to right.
    leaves: std::vec::IntoIter<&'a [ColumnType]>,
    /// One table without operations: names need no table before them.
    plain: bool,
    tables: usize,
}

impl<'a> Renderer<'a> {
    fn new(relation: &Relation, facts: &'a Facts, constants: Constants) -> Self {
        Renderer {
            writer: Writer::new(constants),
            leaves: facts.leaf_types().into_iter(),
            plain: relation.is_plain(),
            tables: 0,
        }
    }

    fn block(&mut self, relation: &Relation) -> Option<Block> {
        match relation {
            Relation::Scan {
                schema,
                table,
                columns,
            } => {
                let name = format!("{}.{}", quote_identifier(schema)?, quote_identifier(table)?);
                if self.plain {
                    return self.leaf(name, "", columns);
                }
                let alias = self.alias();
                self.leaf(format!("{name} AS {alias}"), &format!("{alias}."), columns)
            }
            // The line break ends a comment at the text's end. That the text is one statement, and so
            // cannot close the parenthesis, was checked by the server (`passthrough`).
            Relation::Native { text, columns } => {
                let alias = self.alias();
                self.leaf(
                    format!("(\n{text}\n) AS {alias}"),
                    &format!("{alias}."),
                    columns,
                )
            }
            Relation::Filter { input, predicates } => {
                let mut block = self.open(input)?;
                for predicate in predicates {
                    block
                        .wheres
                        .push(self.writer.predicate(predicate, &block.env)?);
                }
                Some(block)
            }
            Relation::Project {
                input,
                exprs,
                columns,
            } => {
                let mut block = self.open(input)?;
                let types = project_types(exprs, &block.env)?;
                block.env = exprs
                    .iter()
                    .zip(columns)
                    .zip(types)
                    .map(|((expr, column), column_type)| {
                        // A truth value stays the number that it was: it becomes one of two only where
                        // it is compared.
                        let sql = match expr {
                            ScalarExpr::Column(name) => {
                                expressions::find(&block.env, name)?.sql.clone()
                            }
                            expr => self.writer.value(expr, &block.env)?,
                        };
                        Some(Named {
                            name: column.name.clone(),
                            sql,
                            column_type,
                        })
                    })
                    .collect::<Option<Vec<_>>>()?;
                Some(block)
            }
            Relation::Aggregate {
                input,
                groups,
                calls,
                columns,
            } => self.aggregate(input, groups, calls, columns),
            Relation::Distinct { input } => {
                let mut block = self.open(input)?;
                for column in &mut block.env {
                    column.sql = operand(column);
                }
                block.distinct = true;
                Some(block)
            }
            Relation::TopN {
                input,
                keys,
                skip,
                fetch,
            } => {
                let mut block = self.open(input)?;
                let keys = self.order(keys, input.columns(), &block.env)?;
                block.tail = format!(" ORDER BY {keys}{}", limit(*skip, *fetch));
                Some(block)
            }
            Relation::Limit { input, skip, fetch } => {
                let mut block = self.open(input)?;
                block.tail = limit(*skip, *fetch);
                Some(block)
            }
            Relation::Join {
                kind,
                left,
                right,
                on,
                ..
            } => self.join(*kind, left, right, on),
            Relation::Union { inputs, columns } => self.union(inputs, columns),
        }
    }

    /// A block that may be added to.
    fn open(&mut self, relation: &Relation) -> Option<Block> {
        let block = self.block(relation)?;
        Some(if block.is_closed() {
            self.opened(block)
        } else {
            block
        })
    }

    /// The block as a derived table, where it is closed.
    fn opened(&mut self, block: Block) -> Block {
        if !block.is_closed() {
            return block;
        }
        self.derived(block)
    }

    fn derived(&mut self, block: Block) -> Block {
        let alias = self.alias();
        let distinct = if block.distinct { "DISTINCT " } else { "" };
        let columns: Vec<String> = block
            .env
            .iter()
            .enumerate()
            .map(|(index, column)| format!("{} AS `c{index}`", column.sql))
            .collect();
        Block {
            from: format!(
                "(SELECT {distinct}{}{}) AS {alias}",
                columns.join(", "),
                block.body()
            ),
            wheres: Vec::new(),
            distinct: false,
            tail: String::new(),
            joined: false,
            env: block
                .env
                .into_iter()
                .enumerate()
                .map(|(index, column)| Named {
                    sql: format!("{alias}.`c{index}`"),
                    ..column
                })
                .collect(),
        }
    }

    fn leaf(&mut self, from: String, prefix: &str, columns: &[RelColumn]) -> Option<Block> {
        let types = self.leaves.next()?;
        if types.len() != columns.len() {
            return None;
        }
        let env = columns
            .iter()
            .zip(types)
            .map(|(column, column_type)| {
                Some(Named {
                    name: column.name.clone(),
                    sql: format!("{prefix}{}", quote_identifier(&column.name)?),
                    column_type: column_type.clone(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Block {
            from,
            wheres: Vec::new(),
            distinct: false,
            tail: String::new(),
            joined: false,
            env,
        })
    }

    fn aggregate(
        &mut self,
        input: &Relation,
        groups: &[ScalarExpr],
        calls: &[AggregateCall],
        columns: &[RelColumn],
    ) -> Option<Block> {
        let mut block = self.open(input)?;
        let types = project_types(groups, &block.env)?;
        let mut sqls = groups
            .iter()
            .map(|group| self.writer.value(group, &block.env))
            .collect::<Option<Vec<_>>>()?;
        let keys = sqls.join(", ");
        let mut types: Vec<ColumnType> = types;
        for call in calls {
            let (sql, column_type) = self.call(call, &block.env)?;
            sqls.push(sql);
            types.push(column_type);
        }
        // Without groups there is one row; the source gives one too, as no GROUP BY is written.
        block.tail = match groups.is_empty() {
            true => " HAVING 1 = 1".to_owned(),
            false => format!(" GROUP BY {keys}"),
        };
        block.env = columns
            .iter()
            .zip(sqls)
            .zip(types)
            .map(|((column, sql), column_type)| Named {
                name: column.name.clone(),
                sql,
                column_type,
            })
            .collect();
        (block.env.len() == groups.len() + calls.len()).then_some(block)
    }

    fn call(&mut self, call: &AggregateCall, env: &[Named]) -> Option<(String, ColumnType)> {
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let Some(argument) = &call.argument else {
            let counts = call.function == AggregateFunction::Count && !call.distinct;
            return counts.then(|| ("count(*)".to_owned(), ColumnType::Int64));
        };
        let sql = self.writer.value(argument, env)?;
        Some(match call.function {
            AggregateFunction::Count => (format!("count({distinct}{sql})"), ColumnType::Int64),
            AggregateFunction::Min | AggregateFunction::Max => {
                let column_type = project_types(std::slice::from_ref(argument), env)?.pop()?;
                (format!("{}({sql})", call.function), column_type)
            }
            // A sum of whole numbers is a decimal there.
            AggregateFunction::Sum => match call.result? {
                ValueType::Int64 => (
                    format!("CAST(sum({distinct}{sql}) AS SIGNED)"),
                    ColumnType::Int64,
                ),
                ValueType::Decimal { precision, scale } => (
                    format!("sum({distinct}{sql})"),
                    ColumnType::Decimal { precision, scale },
                ),
                _ => return None,
            },
            AggregateFunction::BoolAnd | AggregateFunction::BoolOr => return None,
        })
    }

    fn order(&mut self, keys: &[SortKey], columns: &[RelColumn], env: &[Named]) -> Option<String> {
        let mut parts = Vec::new();
        for key in keys {
            let sql = self.writer.value(&key.expr, env)?;
            let nullable = match &key.expr {
                ScalarExpr::Column(name) => columns
                    .iter()
                    .find(|column| column.name == *name)
                    .is_none_or(|column| column.nullable),
                _ => true,
            };
            if nullable {
                // 1 for NULL: last, unless the greatest comes first.
                let first = if key.nulls_first { " DESC" } else { "" };
                parts.push(format!("{sql} IS NULL{first}"));
            }
            let direction = if key.descending { " DESC" } else { "" };
            parts.push(format!("{sql}{direction}"));
        }
        Some(parts.join(", "))
    }

    fn join(
        &mut self,
        kind: JoinKind,
        left: &Relation,
        right: &Relation,
        on: &[ScalarExpr],
    ) -> Option<Block> {
        let mut left = self.open(left)?;
        let mut right = self.open(right)?;
        // The rows of the right side have to be known before a left join fills up with NULLs.
        if (kind == JoinKind::Left && !right.wheres.is_empty()) || right.joined {
            right = self.derived(right);
        }
        let mut env = left.env.clone();
        env.extend(right.env.iter().cloned());
        let mut conditions = on
            .iter()
            .map(|conjunct| self.writer.predicate(conjunct, &env))
            .collect::<Option<Vec<_>>>()?;
        match kind {
            JoinKind::Inner | JoinKind::Left => {
                if conditions.is_empty() {
                    conditions.push("1 = 1".to_owned());
                }
                let word = if kind == JoinKind::Left {
                    "LEFT JOIN"
                } else {
                    "JOIN"
                };
                left.from = format!(
                    "{} {word} {} ON {}",
                    left.from,
                    right.from,
                    conditions.join(" AND ")
                );
                left.wheres.append(&mut right.wheres);
                left.joined = true;
                left.env = env;
            }
            JoinKind::Semi | JoinKind::Anti => {
                right.wheres.append(&mut conditions);
                let not = if kind == JoinKind::Anti { "NOT " } else { "" };
                left.wheres
                    .push(format!("{not}EXISTS (SELECT 1{})", right.body()));
            }
        }
        Some(left)
    }

    fn union(&mut self, inputs: &[Relation], columns: &[RelColumn]) -> Option<Block> {
        let mut selects = Vec::new();
        let mut types: Vec<ColumnType> = Vec::new();
        for input in inputs {
            let block = self.open(input)?;
            let items: Vec<String> = block
                .env
                .iter()
                .enumerate()
                .map(|(index, column)| format!("{} AS `c{index}`", column.sql))
                .collect();
            selects.push(format!("SELECT {}{}", items.join(", "), block.body()));
            types = block
                .env
                .into_iter()
                .map(|column| column.column_type)
                .collect();
        }
        let alias = self.alias();
        Some(Block {
            from: format!("({}) AS {alias}", selects.join(" UNION ALL ")),
            wheres: Vec::new(),
            distinct: false,
            tail: String::new(),
            joined: false,
            env: columns
                .iter()
                .zip(types)
                .enumerate()
                .map(|(index, (column, column_type))| Named {
                    name: column.name.clone(),
                    sql: format!("{alias}.`c{index}`"),
                    column_type,
                })
                .collect(),
        })
    }

    fn alias(&mut self) -> String {
        self.tables += 1;
        format!("`t{}`", self.tables)
    }
}

fn limit(skip: u64, fetch: u64) -> String {
    match skip {
        0 => format!(" LIMIT {fetch}"),
        skip => format!(" LIMIT {fetch} OFFSET {skip}"),
    }
}

/// How values over the columns of `env` are read.
fn project_types(exprs: &[ScalarExpr], env: &[Named]) -> Option<Vec<ColumnType>> {
    exprs
        .iter()
        .map(|expr| match expr {
            ScalarExpr::Column(name) => {
                expressions::find(env, name).map(|column| column.column_type.clone())
            }
            ScalarExpr::Cast { to, .. } => computed_type(*to),
            ScalarExpr::Arithmetic { of, .. } => computed_type(*of),
            _ => None,
        })
        .collect()
}

/// How the result of arithmetic is read.
pub(crate) fn computed_type(of: ValueType) -> Option<ColumnType> {
    Some(match of {
        ValueType::Int64 => ColumnType::Int64,
        ValueType::Decimal { precision, scale } => ColumnType::Decimal { precision, scale },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
