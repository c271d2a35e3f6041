//! One SELECT of a relation tree.
//!
//! Operations go into the SELECT of their input as long as SQL evaluates its clauses in their order (FROM,
//! WHERE, GROUP BY, the list, DISTINCT, ORDER BY, LIMIT); where they would not, the input becomes a subquery.
//! One table alone is written without aliases, so that a person sees the statement that they would type.

use sluice_spi::{
    AggregateCall, AggregateFunction, JoinKind, RelColumn, Relation, ScalarExpr, SortKey, ValueType,
};

use super::scalar::{BYTE_ORDER, Field, Value, Writer, find, of_value_type, operand, sql_type};
use crate::literal::quote_identifier;
use crate::types::ColumnType;

/// A SELECT that is being made.
pub(super) struct Select {
    /// After FROM.
    from: String,
    /// The name of FROM's one item, where its columns are written without it.
    item: Option<String>,
    /// FROM is more than one item.
    joined: bool,
    /// Each needs no parentheses below AND.
    filters: Vec<String>,
    /// Aggregates, over these keys.
    grouped: Option<Vec<String>>,
    distinct: bool,
    order: Vec<String>,
    limit: Option<(u64, u64)>,
    /// The list.
    pub(super) fields: Vec<Field>,
}

impl Select {
    fn of(from: String, item: Option<String>, fields: Vec<Field>) -> Select {
        Select {
            from,
            item,
            joined: false,
            filters: Vec::new(),
            grouped: None,
            distinct: false,
            order: Vec::new(),
            limit: None,
            fields,
        }
    }

    /// Nothing but FROM and WHERE.
    fn is_open(&self) -> bool {
        self.grouped.is_none() && !self.distinct && self.order.is_empty() && self.limit.is_none()
    }

    /// Nothing but FROM, with columns as they are.
    fn is_bare(&self) -> bool {
        self.is_open() && self.filters.is_empty() && self.fields.iter().all(|f| !f.computed)
    }

    /// The statement with that list.
    pub(super) fn text(&self, list: &[String]) -> String {
        let distinct = if self.distinct { " DISTINCT" } else { "" };
        let space = if list.is_empty() { "" } else { " " };
        format!("SELECT{distinct}{space}{} {}", list.join(", "), self.body())
    }

    /// Everything after the list.
    fn body(&self) -> String {
        let mut sql = format!("FROM {}", self.from);
        let mut clause = |word: &str, parts: &[String], between: &str| {
            if !parts.is_empty() {
                sql.push_str(word);
                sql.push_str(&parts.join(between));
            }
        };
        clause(" WHERE ", &self.filters, " AND ");
        clause(" GROUP BY ", self.grouped.as_deref().unwrap_or(&[]), ", ");
        clause(" ORDER BY ", &self.order, ", ");
        if let Some((skip, fetch)) = self.limit {
            sql.push_str(&format!(" LIMIT {fetch}"));
            if skip > 0 {
                sql.push_str(&format!(" OFFSET {skip}"));
            }
        }
        sql
    }

    /// The statement that counts the rows.
    pub(super) fn count(&self) -> String {
        if self.is_open() {
            return format!("SELECT count(*) {}", self.body());
        }
        // Aggregates without groups make a row only where there is a list to say so.
        let list: Vec<String> =
            match self.limit.is_some() && self.grouped.is_none() && !self.distinct {
                true => Vec::new(),
                false => self.fields.iter().map(|f| f.sql.clone()).collect(),
            };
        format!("SELECT count(*) FROM ({}) AS \"q\"", self.text(&list))
    }
}

/// Types of each leaf's columns, left to right.
pub(super) type Leaves<'l, 'a> = &'l mut dyn Iterator<Item = &'a [ColumnType]>;

impl Writer {
    /// The relation as one SELECT; `aliased` where its columns will stand beside those of others.
    pub(super) fn relation(
        &mut self,
        relation: &Relation,
        leaves: Leaves<'_, '_>,
        aliased: bool,
    ) -> Option<Select> {
        match relation {
            Relation::Scan {
                schema,
                table,
                columns,
            } => {
                let alias = aliased.then(|| self.alias());
                let fields = table_fields(columns, leaves.next()?, alias.as_deref())?;
                if let Some(share) = self.share.take() {
                    let from = (!aliased).then(|| share.item(table, columns))??;
                    return Some(Select::of(from, Some(quote_identifier(table)?), fields));
                }
                let name = quote_identifier(table)?;
                let mut from = format!("{}.{name}", quote_identifier(schema)?);
                let item = match alias {
                    Some(alias) => {
                        from.push_str(&format!(" AS \"{alias}\""));
                        None
                    }
                    None => Some(name),
                };
                Some(Select::of(from, item, fields))
            }
            Relation::Native { text, columns } => {
                let alias = match aliased {
                    true => self.alias(),
                    false => "q".to_owned(),
                };
                let names = columns
                    .iter()
                    .map(|c| quote_identifier(&c.name))
                    .collect::<Option<Vec<_>>>()?;
                let fields =
                    table_fields(columns, leaves.next()?, aliased.then_some(alias.as_str()))?;
                // The line break ends a comment at the text's end. That the text is one statement, and
                // so cannot close the parenthesis, was checked by the server (`passthrough`).
                let from = format!("(\n{text}\n) AS \"{alias}\"({})", names.join(", "));
                Some(Select::of(from, item_name(&alias, aliased), fields))
            }
            Relation::Filter { input, predicates } => {
                let input = self.relation(input, leaves, aliased)?;
                let mut select = self.opened(input, aliased)?;
                for predicate in predicates {
                    let filter = self.predicate(predicate, &select.fields)?;
                    select.filters.push(filter);
                }
                Some(select)
            }
            Relation::Project {
                input,
                exprs,
                columns,
            } => {
                let mut select = self.relation(input, leaves, aliased)?;
                // Expressions of expressions would be written again and again.
                let nests = select.fields.iter().any(|f| f.computed)
                    && exprs.iter().any(|e| e.as_column().is_none());
                // ORDER BY takes a name for an output's before it takes it for a column's.
                let renames = exprs
                    .iter()
                    .zip(columns)
                    .any(|(expr, column)| expr.as_column() != Some(column.name.as_str()));
                if select.distinct || nests || (renames && !select.order.is_empty()) {
                    select = self.closed(select, aliased)?;
                }
                let fields = self.outputs(exprs, columns, &select.fields)?;
                Some(Select { fields, ..select })
            }
            Relation::Aggregate {
                input,
                groups,
                calls,
                columns,
            } => {
                let input = self.relation(input, leaves, aliased)?;
                let select = self.opened(input, aliased)?;
                self.aggregate(select, groups, calls, columns)
            }
            Relation::Distinct { input } => {
                let mut select = self.relation(input, leaves, aliased)?;
                if select.distinct || !select.order.is_empty() || select.limit.is_some() {
                    select = self.closed(select, aliased)?;
                }
                // Two texts that a collation holds equal are two values.
                for field in &mut select.fields {
                    *field = by_bytes(field.clone());
                }
                Some(Select {
                    distinct: true,
                    ..select
                })
            }
            Relation::TopN {
                input,
                keys,
                skip,
                fetch,
            } => {
                let mut select = self.relation(input, leaves, aliased)?;
                if select.distinct || !select.order.is_empty() || select.limit.is_some() {
                    select = self.closed(select, aliased)?;
                }
                let order = keys
                    .iter()
                    .map(|key| self.sort_key(key, &select))
                    .collect::<Option<Vec<_>>>()?;
                Some(Select {
                    order,
                    limit: Some((*skip, *fetch)),
                    ..select
                })
            }
            Relation::Limit { input, skip, fetch } => {
                let select = self.relation(input, leaves, aliased)?;
                self.limited(select, *skip, *fetch, aliased)
            }
            Relation::Join {
                kind,
                left,
                right,
                on,
                ..
            } => {
                let left = self.relation(left, leaves, true)?;
                let right = self.relation(right, leaves, true)?;
                self.join(*kind, left, right, on)
            }
            Relation::Union { inputs, columns } => {
                let mut texts = Vec::new();
                let mut types: Option<Vec<ColumnType>> = None;
                for input in inputs {
                    let select = self.relation(input, leaves, false)?;
                    let found: Vec<ColumnType> = select
                        .fields
                        .iter()
                        .map(|f| f.column_type.clone())
                        .collect();
                    if types.get_or_insert_with(|| found.clone()) != &found {
                        return None;
                    }
                    let list = select
                        .fields
                        .iter()
                        .zip(columns)
                        .map(|(field, column)| named(&field.sql, &column.name))
                        .collect::<Option<Vec<_>>>()?;
                    texts.push(format!("({})", select.text(&list)));
                }
                let alias = self.alias();
                let from = format!("({}) AS \"{alias}\"", texts.join(" UNION ALL "));
                let fields = table_fields(columns, &types?, aliased.then_some(alias.as_str()))?;
                Some(Select::of(from, item_name(&alias, aliased), fields))
            }
        }
    }

    /// At most `fetch` of its rows.
    pub(super) fn limited(
        &mut self,
        select: Select,
        skip: u64,
        fetch: u64,
        aliased: bool,
    ) -> Option<Select> {
        let select = match select.limit {
            Some(_) => self.closed(select, aliased)?,
            None => select,
        };
        Some(Select {
            limit: Some((skip, fetch)),
            ..select
        })
    }

    /// The same rows where the list may be cut to `projection`.
    pub(super) fn narrowed(&mut self, select: Select, projection: &[usize]) -> Option<Select> {
        let whole = projection.iter().copied().eq(0..select.fields.len());
        match select.distinct && !whole {
            true => self.closed(select, false),
            false => Some(select),
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    fn opened(&mut self, select: Select, aliased: bool) -> Option<Select> {
        match select.is_open() {
            true => Some(select),
            false => self.closed(select, aliased),
        }
    }

    /// The SELECT as a subquery of another.
    fn closed(&mut self, select: Select, aliased: bool) -> Option<Select> {
        let list = select
            .fields
            .iter()
            .map(|field| named(&field.sql, &field.column.name))
            .collect::<Option<Vec<_>>>()?;
        let alias = self.alias();
        let from = format!("({}) AS \"{alias}\"", select.text(&list));
        let fields = select
            .fields
            .iter()
            .map(|field| {
                let alias = aliased.then_some(alias.as_str());
                Field::of_table(&field.column, &field.column_type, alias)
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Select::of(from, item_name(&alias, aliased), fields))
    }

    fn outputs(
        &mut self,
        exprs: &[ScalarExpr],
        columns: &[RelColumn],
        fields: &[Field],
    ) -> Option<Vec<Field>> {
        if exprs.len() != columns.len() {
            return None;
        }
        exprs
            .iter()
            .zip(columns)
            .map(|(expr, column)| {
                let Value {
                    sql,
                    column_type,
                    computed,
                } = self.value(expr, None, fields)?;
                Some(Field {
                    column: column.clone(),
                    column_type,
                    sql,
                    computed,
                })
            })
            .collect()
    }

    fn aggregate(
        &mut self,
        select: Select,
        groups: &[ScalarExpr],
        calls: &[AggregateCall],
        columns: &[RelColumn],
    ) -> Option<Select> {
        let (keys, results) = columns.split_at_checked(groups.len())?;
        if results.len() != calls.len() || columns.is_empty() {
            return None;
        }
        let mut fields = self.outputs(groups, keys, &select.fields)?;
        for (field, group) in fields.iter_mut().zip(groups) {
            // A key's own collation says what is one group.
            let source = group
                .as_column()
                .and_then(|name| find(&select.fields, name));
            let key = Field {
                column: source.map_or_else(|| field.column.clone(), |s| s.column.clone()),
                ..field.clone()
            };
            field.sql = by_bytes(key).sql;
        }
        let grouped = fields.iter().map(|field| field.sql.clone()).collect();
        for (call, column) in calls.iter().zip(results) {
            let value = self.call(call, &select.fields)?;
            fields.push(Field {
                column: column.clone(),
                column_type: value.column_type,
                sql: value.sql,
                computed: true,
            });
        }
        Some(Select {
            grouped: Some(grouped),
            fields,
            ..select
        })
    }

    fn call(&mut self, call: &AggregateCall, fields: &[Field]) -> Option<Value> {
        let argument = match &call.argument {
            Some(argument) => Some(self.value(argument, None, fields)?),
            None => None,
        };
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let (sql, column_type) = match (call.function, argument) {
            (AggregateFunction::Count, None) if !call.distinct => {
                ("count(*)".to_owned(), ColumnType::Int8)
            }
            (AggregateFunction::Count, Some(argument)) => {
                let collate = match argument.column_type {
                    ColumnType::Text | ColumnType::Bpchar { .. } if call.distinct => BYTE_ORDER,
                    _ => "",
                };
                (
                    format!("count({distinct}{}{collate})", argument.sql),
                    ColumnType::Int8,
                )
            }
            (AggregateFunction::Sum, Some(argument)) => {
                let own = match argument.column_type {
                    ColumnType::Int2 | ColumnType::Int4 => ColumnType::Int8,
                    ColumnType::Int8 | ColumnType::Numeric { .. } | ColumnType::FreeNumeric => {
                        ColumnType::FreeNumeric
                    }
                    _ => return None,
                };
                let sum = format!("sum({distinct}{})", argument.sql);
                let result = call.result?;
                let target = of_value_type(result)?;
                match own == target {
                    true => (sum, target),
                    // A numeric sum has every digit of what it adds; the cast says so to the reader.
                    false
                        if own == ColumnType::FreeNumeric
                            && matches!(target, ColumnType::Numeric { .. })
                            && digits_fit(&argument.column_type, result) =>
                    {
                        (format!("{sum}::{}", sql_type(result)?), target)
                    }
                    false => return None,
                }
            }
            (AggregateFunction::Min | AggregateFunction::Max, Some(argument)) => {
                let collate = match argument.column_type {
                    ColumnType::Text | ColumnType::Bpchar { .. } => BYTE_ORDER,
                    _ => "",
                };
                (
                    format!("{}({}{collate})", call.function, argument.sql),
                    argument.column_type,
                )
            }
            (AggregateFunction::BoolAnd | AggregateFunction::BoolOr, Some(argument)) => {
                if argument.column_type != ColumnType::Bool {
                    return None;
                }
                (
                    format!("{}({})", call.function, argument.sql),
                    ColumnType::Bool,
                )
            }
            _ => return None,
        };
        Some(Value {
            sql,
            column_type,
            computed: true,
        })
    }

    fn sort_key(&mut self, key: &SortKey, select: &Select) -> Option<String> {
        let mut field = find(&select.fields, key.expr.as_column()?)?.clone();
        // A bare name would be that of an output (`a AS b`, and also `b::text`) where there is one.
        if let Some(item) = &select.item
            && !field.computed
            && !select.fields.iter().all(is_itself)
        {
            field.sql = format!("{item}.{}", field.sql);
        }
        let collate = match field.column_type {
            ColumnType::Bpchar { .. } => BYTE_ORDER,
            _ => "",
        };
        Some(format!(
            "{}{collate}{} NULLS {}",
            operand(&field, true),
            if key.descending { " DESC" } else { "" },
            if key.nulls_first { "FIRST" } else { "LAST" }
        ))
    }

    fn join(
        &mut self,
        kind: JoinKind,
        left: Select,
        right: Select,
        on: &[ScalarExpr],
    ) -> Option<Select> {
        let mut left = self.opened(left, true)?;
        let mut right = self.opened(right, true)?;
        // Beside a row without a match, an expression is NULL whatever it computes.
        if kind == JoinKind::Left && !right.is_bare() {
            right = self.closed(right, true)?;
        }
        let both: Vec<Field> = left.fields.iter().chain(&right.fields).cloned().collect();
        let on = on
            .iter()
            .map(|conjunct| self.predicate(conjunct, &both))
            .collect::<Option<Vec<_>>>()?;
        match kind {
            JoinKind::Inner | JoinKind::Left => {
                let right_from = match right.joined {
                    true => format!("({})", right.from),
                    false => right.from,
                };
                let (word, condition) = match (kind, on.is_empty()) {
                    (JoinKind::Inner, true) => ("CROSS JOIN", String::new()),
                    (JoinKind::Inner, false) => ("JOIN", format!(" ON {}", on.join(" AND "))),
                    (_, true) => ("LEFT JOIN", " ON true".to_owned()),
                    (_, false) => ("LEFT JOIN", format!(" ON {}", on.join(" AND "))),
                };
                left.from = format!("{} {word} {right_from}{condition}", left.from);
                left.joined = true;
                left.filters.append(&mut right.filters);
                left.fields = both;
                if kind == JoinKind::Left {
                    let from = left.fields.len() - right.fields.len();
                    for field in &mut left.fields[from..] {
                        field.column = field.column.optional();
                    }
                }
            }
            JoinKind::Semi | JoinKind::Anti => {
                right.filters.extend(on);
                let not = if kind == JoinKind::Anti { "NOT " } else { "" };
                left.filters
                    .push(format!("{not}EXISTS (SELECT {})", right.body()));
            }
        }
        Some(left)
    }
}

/// The alias, where columns are written without it.
fn item_name(alias: &str, aliased: bool) -> Option<String> {
    (!aliased).then(|| format!("\"{alias}\""))
}

/// True where a field in the list is a column under its own name.
fn is_itself(field: &Field) -> bool {
    !field.computed
        && quote_identifier(&field.column.name).as_ref() == Some(&field.sql)
        && field.column_type.select(&field.sql) == field.sql
}

/// True where every sum of the argument's values has no more digits after the point than the result.
fn digits_fit(argument: &ColumnType, result: ValueType) -> bool {
    let ValueType::Decimal { scale: room, .. } = result else {
        return false;
    };
    match argument {
        ColumnType::Int8 => room >= 0,
        ColumnType::Numeric { scale, .. } => room >= *scale,
        _ => false,
    }
}

fn named(sql: &str, name: &str) -> Option<String> {
    let name = quote_identifier(name)?;
    let same = sql == name
        || sql
            .split_once('.')
            .is_some_and(|(_, column)| column == name);
    Some(match same {
        true => sql.to_owned(),
        false => format!("{sql} AS {name}"),
    })
}

/// Text in which equal means equal bytes.
fn by_bytes(field: Field) -> Field {
    let by_locale = matches!(
        field.column_type,
        ColumnType::Text | ColumnType::Bpchar { .. }
    ) && !field.column.deterministic;
    match by_locale {
        true => Field {
            sql: format!("{}{BYTE_ORDER}", field.sql),
            computed: true,
            ..field
        },
        false => field,
    }
}

fn table_fields(
    columns: &[RelColumn],
    types: &[ColumnType],
    alias: Option<&str>,
) -> Option<Vec<Field>> {
    if columns.len() != types.len() {
        return None;
    }
    columns
        .iter()
        .zip(types)
        .map(|(column, column_type)| Field::of_table(column, column_type, alias))
        .collect()
}
