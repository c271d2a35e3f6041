//! The names of a query's columns, as PostgreSQL chooses them.
//!
//! The engine names an output after its whole expression and refuses two of the same name; PostgreSQL
//! names it after the function, column or type at its heart (FigureColname in parse_target.c) and does
//! not mind. Outputs get PostgreSQL's names as aliases; a name that is taken already gets invisible marks,
//! which [`visible_name`] takes off again before a client sees them.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, Ident, ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query,
    SelectItem, SetExpr, TimezoneInfo, Value,
};

use super::rewrite::is_bare_function;

/// Told apart from anything that a user could write in a name.
const MARK: char = '\u{1}';

/// What a client is to see of an output's name.
pub fn visible_name(name: &str) -> &str {
    name.trim_end_matches(MARK)
}

/// Gives every output its name.
pub(super) fn name_outputs(projection: &mut [SelectItem]) {
    let mut taken = HashSet::new();
    // Beside a wildcard, a column may be there a second time.
    let wildcard = projection.iter().any(|i| {
        matches!(
            i,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    });
    for item in projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                // A column keeps its own name and qualifier unless that is taken.
                let path: Option<Vec<String>> = match expr {
                    // A function that is written without parentheses is no column.
                    Expr::Identifier(ident) if is_bare_function(ident) => None,
                    Expr::Identifier(ident) => Some(vec![fold(ident)]),
                    Expr::CompoundIdentifier(parts) => Some(parts.iter().map(fold).collect()),
                    _ => None,
                };
                let name = match path {
                    Some(path) if taken.insert(path.join("\0")) && !wildcard => continue,
                    Some(mut path) => path.pop().map(|name| format!("{name}{MARK}")),
                    None => output_name(expr),
                };
                if let Some(name) = name {
                    let alias = free_name(name, &mut taken);
                    *item = SelectItem::ExprWithAlias {
                        expr: expr.clone(),
                        alias,
                    };
                }
            }
            SelectItem::ExprWithAlias { alias, .. } => *alias = free_name(fold(alias), &mut taken),
            _ => {}
        }
    }
}

/// `SELECT DISTINCT f(a) … ORDER BY f(a)`: the engine would not see that the key is the output once that
/// has a name of its own, so the key becomes the output's number.
pub(super) fn order_distinct_by_output(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return;
    };
    let Some(OrderBy {
        kind: OrderByKind::Expressions(keys),
        ..
    }) = &mut query.order_by
    else {
        return;
    };
    if select.distinct.is_none() {
        return;
    }
    for key in keys {
        let plain = matches!(
            key.expr,
            Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_)
        );
        let text = key.expr.to_string();
        let at = select
            .projection
            .iter()
            .position(|item| matches!(item, SelectItem::UnnamedExpr(e) if e.to_string() == text));
        if let (false, Some(at)) = (plain, at) {
            key.expr = Expr::Value(Value::Number((at + 1).to_string(), false).into());
        }
    }
}

/// The name, marked until nothing else has it.
fn free_name(mut name: String, taken: &mut HashSet<String>) -> Ident {
    while !taken.insert(name.clone()) {
        name.push(MARK);
    }
    Ident::with_quote('"', name)
}

/// A name as PostgreSQL reads it: lower case unless quoted.
pub(super) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

fn last_part(name: &ObjectName) -> Option<String> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(fold(ident)),
        ObjectNamePart::Function(_) => None,
    }
}

/// The name of an output that is not a plain column; `None` leaves it to the engine.
fn output_name(expr: &Expr) -> Option<String> {
    const UNNAMED: &str = "?column?";
    Some(inner_name(expr).unwrap_or_else(|| UNNAMED.to_owned()))
        .filter(|_| !is_expanded_later(expr))
}

/// Wildcards and row makers that the engine names and expands by itself.
fn is_expanded_later(expr: &Expr) -> bool {
    matches!(expr, Expr::Wildcard(_) | Expr::QualifiedWildcard(..))
}

/// The name at the heart of an expression.
fn inner_name(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Identifier(ident) => fold(ident),
        Expr::CompoundIdentifier(parts) => fold(parts.last()?),
        Expr::Function(function) => last_part(&function.name)?,
        Expr::Cast {
            expr, data_type, ..
        } => match is_weak(expr) {
            true => type_name(data_type).or_else(|| inner_name(expr))?,
            false => inner_name(expr).or_else(|| type_name(data_type))?,
        },
        Expr::TypedString(typed) => type_name(&typed.data_type)?,
        Expr::Case { else_result, .. } => else_result
            .as_deref()
            .and_then(inner_name)
            .unwrap_or_else(|| "case".to_owned()),
        Expr::Collate { expr, .. } | Expr::Nested(expr) => inner_name(expr)?,
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(ident))) => fold(ident),
            _ => inner_name(root)?,
        },
        Expr::Array(_) => "array".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Substring {
            shorthand: true, ..
        } => "substr".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Overlay { .. } => "overlay".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::Value(value) => match value.value {
            Value::Boolean(_) => "bool".to_owned(),
            _ => return None,
        },
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => inner_name(expr)?,
                SelectItem::ExprWithAlias { alias, .. } => visible_name(&alias.value).to_owned(),
                _ => return None,
            },
            _ => return None,
        },
        _ => return None,
    })
}

/// True where the name of an expression is only that of its type, which a cast around it replaces.
fn is_weak(expr: &Expr) -> bool {
    match expr {
        Expr::TypedString(_) | Expr::Interval(_) | Expr::Value(_) => true,
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_weak(expr),
        _ => false,
    }
}

/// The name that `pg_type` has for a cast's type.
fn type_name(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Custom(name, _) => last_part(name)?,
        DataType::Regclass => "regclass".to_owned(),
        DataType::Text => "text".to_owned(),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4".to_owned(),
        DataType::BigInt(_) | DataType::Int8(_) => "int8".to_owned(),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2".to_owned(),
        DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar".to_owned(),
        DataType::Boolean | DataType::Bool => "bool".to_owned(),
        DataType::Real | DataType::Float4 => "float4".to_owned(),
        DataType::DoublePrecision | DataType::Float8 => "float8".to_owned(),
        DataType::Numeric(_) | DataType::Decimal(_) => "numeric".to_owned(),
        DataType::Date => "date".to_owned(),
        DataType::Uuid => "uuid".to_owned(),
        DataType::JSON => "json".to_owned(),
        DataType::JSONB => "jsonb".to_owned(),
        DataType::Interval { .. } => "interval".to_owned(),
        DataType::Bytea => "bytea".to_owned(),
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "time".to_owned(),
        DataType::Char(_) | DataType::Character(_) => "bpchar".to_owned(),
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            "timestamptz".to_owned()
        }
        DataType::Timestamp(..) => "timestamp".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn names(sql: &str) -> Vec<String> {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        let Statement::Query(query) = &mut statements[0] else {
            panic!("not a query")
        };
        let SetExpr::Select(select) = query.body.as_mut() else {
            panic!("not a select")
        };
        name_outputs(&mut select.projection);
        let shown = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { alias, .. } => visible_name(&alias.value).to_owned(),
            other => other.to_string(),
        };
        select.projection.iter().map(shown).collect()
    }

    /// Each list is what the real server answers.
    #[test]
    fn outputs_are_named_like_postgresql() {
        let check = |sql: &str, expected: &[&str]| assert_eq!(names(sql), expected, "{sql}");
        check("SELECT 1, 2, NULL", &["?column?", "?column?", "?column?"]);
        check(
            "SELECT count(*), COUNT(*), max(a)",
            &["count", "count", "max"],
        );
        check("SELECT a::text, 'x'::text, (a)::int8", &["a", "text", "a"]);
        check(
            "SELECT CASE WHEN a THEN 1 END, CASE WHEN a THEN 1 ELSE b END",
            &["case", "b"],
        );
        check(
            "SELECT ARRAY[1], ARRAY(SELECT 1), EXISTS (SELECT 1)",
            &["array", "array", "exists"],
        );
        check("SELECT (SELECT x.b FROM x), (SELECT 1)", &["b", "?column?"]);
        check(
            "SELECT a + 1, -a, true, x.f",
            &["?column?", "?column?", "bool", "x.f"],
        );
        check("SELECT 1 AS \"A\", 2 AS B, 3 AS b", &["A", "b", "b"]);
        check(
            "SELECT pg_catalog.version(), extract(year from a), substr(a, 1), substring(a, 1)",
            &["version", "extract", "substr", "substring"],
        );
    }
}
