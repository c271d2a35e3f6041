//! PostgreSQL's spellings that the engine's planner cannot bind, turned into ones that it can.
//!
//! Works on the syntax tree, keeps the meaning, and needs no metadata: casts to OID types become calls of
//! the functions of the same name, which look the name up. What it does not know it leaves alone, so that
//! the planner's error says what is not supported; nothing is dropped that would change a result.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, CharacterLength, DataType, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident,
    ObjectName, ObjectNamePart, OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem, SetExpr, Statement,
    TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use sluice_spi::{Error, Result, SqlState};

use super::output_names;

/// Rewrites a statement in place. Fails where a literal inside of it is not of its type.
pub fn normalize(statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Normalizer) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Normalizer;

/// Schemas whose names PostgreSQL's functions, types and operators may be written with.
const SYSTEM_SCHEMAS: [&str; 2] = ["pg_catalog", "information_schema"];

/// Collations that compare by code point, which is how the engine compares; so does the default one here.
const BINARY_COLLATIONS: [&str; 6] = ["default", "c", "posix", "ucs_basic", "c.utf8", "pg_c_utf8"];

/// Functions that SQL writes without parentheses.
const BARE_FUNCTIONS: [&str; 6] =
    ["current_catalog", "current_schema", "current_user", "current_role", "session_user", "user"];

impl VisitorMut for Normalizer {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        output_names::name_outputs(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        rewrite_table_function(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match rewrite_expr(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite_expr(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::BinaryOp { op, .. } => {
            if let BinaryOperator::PGCustomBinaryOperator(path) = op {
                *op = plain_operator(path)?;
            }
        }
        Expr::AnyOp { right, compare_op, .. } | Expr::AllOp { right, compare_op, .. } => {
            if let BinaryOperator::PGCustomBinaryOperator(path) = compare_op {
                *compare_op = plain_operator(path)?;
            }
            // `= ANY ('{a,b}')`: an array although nothing says so.
            if let Some(text) = string_literal(right) {
                **right = array_literal(&parse_array(text)?);
            }
        }
        Expr::Collate { expr: inner, collation } => {
            let binary = last_part(collation)
                .is_some_and(|name| BINARY_COLLATIONS.contains(&name.to_lowercase().as_str()));
            if binary {
                *expr = take(inner);
            }
        }
        Expr::Cast { .. } => rewrite_cast(expr)?,
        Expr::TypedString(typed) => {
            if let DataType::Custom(..) | DataType::Regclass = typed.data_type
                && let Value::SingleQuotedString(text) = &typed.value.value
            {
                let literal = Expr::Value(Value::SingleQuotedString(text.clone()).into());
                *expr = cast(literal, typed.data_type.clone());
                rewrite_cast(expr)?;
            }
        }
        Expr::Function(_) => rewrite_function(expr),
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            let name = ident.value.to_lowercase();
            // A word of SQL, and never a column: PostgreSQL reserves it.
            if BARE_FUNCTIONS.contains(&name.as_str()) && name != "current_schema" {
                *expr = call(&name, Vec::new());
            }
        }
        _ => {}
    }
    Ok(())
}

/// `OPERATOR(pg_catalog.~)` is the operator of that name.
fn plain_operator(path: &[String]) -> Result<BinaryOperator> {
    let unsupported = || {
        Error::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("operator does not exist: {}", path.join(".")),
        )
    };
    let schema_is_system = match path {
        [_] => true,
        [schema, _] => schema.trim_matches('"') == "pg_catalog",
        _ => false,
    };
    let name = path.last().filter(|_| schema_is_system).ok_or_else(unsupported)?;
    Ok(match name.as_str() {
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "%" => BinaryOperator::Modulo,
        "||" => BinaryOperator::StringConcat,
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        _ => return Err(unsupported()),
    })
}

fn rewrite_cast(expr: &mut Expr) -> Result<()> {
    let Expr::Cast { expr: inner, data_type, kind, .. } = expr else { return Ok(()) };
    if !matches!(kind, CastKind::Cast | CastKind::DoubleColon) {
        return Ok(());
    }
    // Types that are functions here: they need a snapshot, or keep a tag that a cast would lose.
    let function = match data_type {
        DataType::Regclass => Some("regclass"),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => match system_type(name).as_deref() {
            Some("regclass") => Some("regclass"),
            Some("regtype") => Some("regtype"),
            Some("regproc" | "regprocedure") => Some("regproc"),
            Some("regnamespace") => Some("regnamespace"),
            Some("regrole") => Some("regrole"),
            Some("oid" | "xid") => Some("oid"),
            Some("name") => Some("name"),
            _ if is_quoted_char(name) => Some("\"char\""),
            _ => None,
        },
        _ => None,
    };
    if let Some(function) = function {
        let argument = take(inner);
        *expr = call(function, vec![argument]);
        return Ok(());
    }
    plain_type(data_type);
    if let DataType::Array(_) = data_type
        && let Some(text) = string_literal(inner)
    {
        **inner = array_literal(&parse_array(text)?);
    }
    Ok(())
}

/// The unqualified name of a type of the system.
fn system_type(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name.value.to_lowercase()),
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)]
            if SYSTEM_SCHEMAS.contains(&schema.value.to_lowercase().as_str()) =>
        {
            Some(name.value.to_lowercase())
        }
        _ => None,
    }
}

fn is_quoted_char(name: &ObjectName) -> bool {
    matches!(name.0.last(), Some(ObjectNamePart::Identifier(ident)) if ident.value == "char")
}

/// Types by the names that `pg_type` has for them, as the engine's planner knows them.
fn plain_type(data_type: &mut DataType) {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) => plain_type(item),
        DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            *data_type = DataType::Varchar(*length);
        }
        DataType::Custom(name, modifiers) => {
            let Some(system) = system_type(name) else { return };
            let length = modifiers.first().and_then(|m| m.parse().ok());
            let bounded = length.map(|length| CharacterLength::IntegerLength { length, unit: None });
            let square = |item| DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), None));
            *data_type = match system.as_str() {
                "text" | "name" | "pg_node_tree" | "cstring" => DataType::Text,
                "varchar" => DataType::Varchar(bounded),
                "int2" => DataType::SmallInt(None),
                "int4" => DataType::Integer(None),
                "int8" => DataType::BigInt(None),
                "oid" | "xid" | "regclass" | "regtype" | "regproc" => DataType::IntUnsigned(None),
                "float4" => DataType::Real,
                "float8" => DataType::DoublePrecision,
                "bool" => DataType::Boolean,
                "date" => DataType::Date,
                "bytea" => DataType::Bytea,
                "int2vector" => square(DataType::SmallInt(None)),
                "oidvector" => square(DataType::IntUnsigned(None)),
                _ => return,
            };
        }
        _ => {}
    }
}

fn rewrite_function(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    strip_system_schema(&mut function.name);
    let Some(name) = last_part(&function.name).map(str::to_lowercase) else { return };
    if matches!(function.args, FunctionArguments::None) && BARE_FUNCTIONS.contains(&name.as_str()) {
        function.args = arguments(Vec::new());
    }
    match (name.as_str(), &mut function.args) {
        ("array", FunctionArguments::Subquery(query)) => {
            let query = array_subquery((**query).clone());
            *expr = Expr::Subquery(Box::new(query));
        }
        ("transaction_timestamp" | "statement_timestamp", _) => *expr = call("now", Vec::new()),
        ("generate_subscripts", FunctionArguments::List(list)) => {
            let list = list.clone();
            let mut subscripts = call("pg_subscripts", Vec::new());
            if let Expr::Function(function) = &mut subscripts {
                function.args = FunctionArguments::List(list);
            }
            *expr = call("unnest", vec![subscripts]);
        }
        ("_pg_expandarray", FunctionArguments::List(list)) => {
            let list = list.clone();
            let mut expanded = call("pg_expandarray", Vec::new());
            if let Expr::Function(function) = &mut expanded {
                function.args = FunctionArguments::List(list);
            }
            *expr = call("unnest", vec![expanded]);
        }
        _ => {}
    }
}

/// `ARRAY(SELECT x … ORDER BY y)` is the array of all rows in their order, empty for none.
fn array_subquery(mut query: Query) -> Query {
    let aggregate = |value: Expr, order: Vec<OrderByExpr>| {
        let mut collected = call("array_agg", vec![value]);
        if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut collected
            && !order.is_empty()
        {
            list.clauses.push(FunctionArgumentClause::OrderBy(order));
        }
        call("coalesce", vec![collected, Expr::Array(Array { elem: Vec::new(), named: true })])
    };
    if let Some((value, order)) = plain_rows(&query) {
        query.order_by = None;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = vec![SelectItem::UnnamedExpr(aggregate(value, order))];
        }
        return query;
    }
    // Anything else keeps its rows as they are, in a derived table.
    const ROWS: &str = "array_rows";
    const VALUE: &str = "value";
    let mut outer = query.clone();
    let inner = std::mem::replace(&mut query, outer.clone());
    outer.with = None;
    outer.order_by = None;
    outer.limit_clause = None;
    outer.fetch = None;
    let select = SetExpr::Select(Box::new(bare_select(
        aggregate(Expr::Identifier(Ident::new(VALUE)), Vec::new()),
        TableFactor::Derived {
            lateral: false,
            subquery: Box::new(inner),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::new(ROWS),
                columns: vec![TableAliasColumnDef::from_name(VALUE)],
                at: None,
            }),
            sample: None,
        },
    )));
    outer.body = Box::new(select);
    outer
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
        from: vec![TableWithJoins { relation: from, joins: Vec::new() }],
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

/// The one output and the order of a query whose rows are those of its FROM and WHERE.
fn plain_rows(query: &Query) -> Option<(Expr, Vec<OrderByExpr>)> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let limited = query.limit_clause.is_some() || query.fetch.is_some() || query.with.is_some();
    if grouped || limited || select.having.is_some() || select.distinct.is_some() {
        return None;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    if matches!(value, Expr::Function(_)) && !is_plain_call(value) {
        return None;
    }
    let mut order = match &query.order_by {
        None => Vec::new(),
        Some(order) => match &order.kind {
            OrderByKind::Expressions(keys) => keys.clone(),
            OrderByKind::All(_) => return None,
        },
    };
    let alias = match &select.projection[0] {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    };
    for key in &mut order {
        // `ORDER BY 1` and the output's own name mean the output.
        let means_output = match &key.expr {
            Expr::Value(v) => matches!(&v.value, Value::Number(..)),
            Expr::Identifier(ident) => Some(&ident.value) == alias.as_ref(),
            _ => false,
        };
        if means_output {
            key.expr = value.clone();
        }
    }
    Some((value.clone(), order))
}

/// Functions of one row. An aggregate, or a function that makes rows, is not one; whatever is not known
/// here takes the way through a derived table, which is right for all.
fn is_plain_call(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return true };
    let known = ["format_type", "quote_ident", "pg_get_expr", "concat", "lower", "upper", "regclass", "name"];
    function.over.is_none()
        && last_part(&function.name).is_some_and(|name| known.contains(&name.to_lowercase().as_str()))
}

/// `pg_catalog.generate_series(…)` in FROM is the function without its schema; `unnest` with one is the
/// keyword.
fn rewrite_table_function(factor: &mut TableFactor) {
    match factor {
        TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
            strip_system_schema(name);
        }
        _ => {}
    }
    if let TableFactor::Table { name, args: Some(arguments), alias, .. } = factor {
        let Some(function) = last_part(name).map(str::to_lowercase) else { return };
        let literal = arguments.args.iter().all(|a| {
            matches!(a, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_) | Expr::UnaryOp { .. })))
        });
        // With arguments that are not constant, a series is the elements of an array.
        let wrap = match function.as_str() {
            "unnest" => false,
            "generate_series" if !literal => true,
            "generate_subscripts" => true,
            _ => return,
        };
        let mut values: Vec<Expr> = arguments
            .args
            .iter()
            .filter_map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                _ => None,
            })
            .collect();
        if wrap {
            let array = if function == "generate_subscripts" { "pg_subscripts" } else { "generate_series" };
            values = vec![call(array, values)];
        }
        let mut alias = alias.clone();
        if let Some(alias) = &mut alias
            && alias.columns.is_empty()
        {
            // A function's one column is named after its alias.
            alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
        }
        *factor = TableFactor::UNNEST {
            alias,
            array_exprs: values,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        };
    }
}

fn strip_system_schema(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), _] = name.0.as_slice()
        && SYSTEM_SCHEMAS.contains(&schema.value.to_lowercase().as_str())
    {
        name.0.remove(0);
    }
}

fn last_part(name: &ObjectName) -> Option<&str> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(&ident.value),
        ObjectNamePart::Function(_) => None,
    }
}

fn string_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => string_literal(inner),
        _ => None,
    }
}

fn array_literal(items: &[Option<String>]) -> Expr {
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
pub fn parse_array(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = || {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
    };
    let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(malformed)?;
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
                    return Err(Error::unsupported("array literals of more than one dimension are not supported"));
                }
                Some(c) => {
                    chars.next();
                    item.push(c);
                }
            }
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let item = if quoted { item } else { item.trim_end().to_owned() };
        let is_null = !quoted && item.eq_ignore_ascii_case("null");
        items.push(if is_null { None } else { Some(item) });
        match chars.next() {
            Some(',') => {}
            None => return Ok(items),
            Some(_) => return Err(malformed()),
        }
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(expr), data_type, array: false, format: None }
}

fn arguments(args: Vec<Expr>) -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect(),
        clauses: Vec::new(),
    })
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    // The type "char" keeps its quotes in the function's name.
    let ident = Ident::with_quote('"', name);
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(ident)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: arguments(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
