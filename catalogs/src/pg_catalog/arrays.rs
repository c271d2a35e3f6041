//! Arrays in PostgreSQL's spelling: the text form of an array, and `ARRAY(SELECT …)`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Array, Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident,
    OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, Value, visit_expressions,
};
use sluice_spi::{Error, Result, SqlState};

use super::rewrite::{call, last_part};

/// Functions that make one row of many, or many of one. A query with one of them in its output has other
/// rows than its FROM.
const NOT_ROW_BY_ROW: [&str; 22] = [
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "generate_series",
    "generate_subscripts",
    "json_agg",
    "jsonb_agg",
    "max",
    "min",
    "pg_expandarray",
    "regexp_matches",
    "regexp_split_to_table",
    "stddev",
    "string_agg",
    "sum",
    "unnest",
    "variance",
];

/// `ARRAY(SELECT x … ORDER BY y)` is the array of all rows in their order, empty for none.
pub(super) fn array_subquery(mut query: Query) -> Result<Query> {
    if let Some((value, order)) = plain_rows(&query) {
        query.order_by = None;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = vec![SelectItem::UnnamedExpr(collect(value, order))];
        }
        return Ok(query);
    }
    // Anything else keeps its rows as they are, in a derived table. An aggregate may read that in any
    // order, so that the order must be one of the value itself.
    const ROWS: &str = "array_rows";
    const VALUE: &str = "value";
    let mut order = Vec::new();
    if let Some(inner) = &query.order_by {
        let by_value = match &inner.kind {
            OrderByKind::Expressions(keys)
                if keys.len() == 1 && means_output(&query, &keys[0].expr) =>
            {
                keys.clone()
            }
            _ => {
                return Err(Error::unsupported(
                    "ARRAY(subquery) that groups, limits or combines rows can only be ordered by its value",
                ));
            }
        };
        order = by_value;
        order[0].expr = Expr::Identifier(Ident::new(VALUE));
    }
    let derived = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query.clone()),
        alias: Some(TableAlias {
            explicit: true,
            name: Ident::new(ROWS),
            columns: vec![TableAliasColumnDef::from_name(VALUE)],
            at: None,
        }),
        sample: None,
    };
    query.with = None;
    query.order_by = None;
    query.limit_clause = None;
    query.fetch = None;
    let value = collect(Expr::Identifier(Ident::new(VALUE)), order);
    query.body = Box::new(SetExpr::Select(Box::new(bare_select(value, derived))));
    Ok(query)
}

/// The array of a value over all rows; an aggregate over none is NULL, an array of none is empty.
fn collect(value: Expr, order: Vec<OrderByExpr>) -> Expr {
    let mut collected = call("array_agg", vec![value]);
    if let Expr::Function(Function {
        args: FunctionArguments::List(list),
        ..
    }) = &mut collected
        && !order.is_empty()
    {
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    call(
        "coalesce",
        vec![
            collected,
            Expr::Array(Array {
                elem: Vec::new(),
                named: true,
            }),
        ],
    )
}

/// The output of a query of one column, and its name.
fn output(query: &Query) -> Option<(&Expr, Option<&str>)> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value)] => Some((value, None)),
        [SelectItem::ExprWithAlias { expr, alias }] => Some((expr, Some(&alias.value))),
        _ => None,
    }
}

/// `ORDER BY 1`, or by the output's name or expression.
fn means_output(query: &Query, key: &Expr) -> bool {
    match key {
        Expr::Value(v) => matches!(&v.value, Value::Number(..)),
        Expr::Identifier(ident)
            if output(query).is_some_and(|(_, name)| name == Some(&ident.value)) =>
        {
            true
        }
        other => output(query).is_some_and(|(value, _)| value == other),
    }
}

/// The one output and the order of a query whose rows are those of its FROM and WHERE.
fn plain_rows(query: &Query) -> Option<(Expr, Vec<OrderByExpr>)> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let limited = query.limit_clause.is_some() || query.fetch.is_some() || query.with.is_some();
    if grouped || limited || select.having.is_some() || select.distinct.is_some() {
        return None;
    }
    let (value, _) = output(query)?;
    let makes_rows = visit_expressions(value, |e| match e {
        Expr::Function(f)
            if f.over.is_some()
                || last_part(&f.name)
                    .is_some_and(|n| NOT_ROW_BY_ROW.contains(&n.to_lowercase().as_str())) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    if makes_rows.is_break() {
        return None;
    }
    let mut order = match &query.order_by {
        None => Vec::new(),
        Some(order) => match &order.kind {
            OrderByKind::Expressions(keys) => keys.clone(),
            OrderByKind::All(_) => return None,
        },
    };
    for key in &mut order {
        if means_output(query, &key.expr) {
            key.expr = value.clone();
        }
    }
    Some((value.clone(), order))
}

/// `SELECT value FROM from`.
fn bare_select(value: Expr, from: TableFactor) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![SelectItem::UnnamedExpr(value)],
        exclude: None,
        into: None,
        from: vec![TableWithJoins {
            relation: from,
            joins: Vec::new(),
        }],
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// The expression of an array of texts.
pub(super) fn array_literal(items: &[Option<String>]) -> Expr {
    let elem = items
        .iter()
        .map(|item| match item {
            Some(text) => Expr::Value(Value::SingleQuotedString(text.clone()).into()),
            None => Expr::Value(Value::Null.into()),
        })
        .collect();
    Expr::Array(Array { elem, named: true })
}

/// The elements of an array's text form (`{a,"b c",NULL}`), one dimension.
pub(super) fn parse_array(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = || {
        Error::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("malformed array literal: \"{text}\""),
        )
    };
    let inner = text
        .trim()
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .ok_or_else(malformed)?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Ok(items);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut item = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        loop {
            match chars.peek().copied() {
                Some('\\') => {
                    chars.next();
                    item.push(chars.next().ok_or_else(malformed)?);
                }
                Some('"') if quoted => {
                    chars.next();
                    break;
                }
                Some(',') | None if !quoted => break,
                None => return Err(malformed()),
                Some('{' | '}') if !quoted => {
                    return Err(Error::unsupported(
                        "array literals of more than one dimension are not supported",
                    ));
                }
                Some(c) => {
                    chars.next();
                    item.push(c);
                }
            }
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let item = if quoted {
            item
        } else {
            item.trim_end().to_owned()
        };
        let is_null = !quoted && item.eq_ignore_ascii_case("null");
        items.push(if is_null { None } else { Some(item) });
        match chars.next() {
            Some(',') => {}
            None => return Ok(items),
            Some(_) => return Err(malformed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_array;

    #[test]
    fn array_texts_parse_like_postgresql() {
        let check = |text: &str, expected: &[Option<&str>]| {
            let parsed = parse_array(text).unwrap();
            let parsed: Vec<Option<&str>> = parsed.iter().map(Option::as_deref).collect();
            assert_eq!(parsed, expected, "{text}");
        };
        check("{}", &[]);
        check("{ a , b c ,NULL}", &[Some("a"), Some("b c"), None]);
        check(
            r#"{"a,b","NULL","x\"y","",\{}"#,
            &[Some("a,b"), Some("NULL"), Some("x\"y"), Some(""), Some("{")],
        );
        for wrong in ["a", "{a", "{\"a}", "{\"a\"b}"] {
            assert!(parse_array(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_array("{{a}}").unwrap_err().code.code(), "0A000");
    }
}
