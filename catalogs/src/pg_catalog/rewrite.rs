//! PostgreSQL's spellings that the engine's planner cannot bind, turned into ones that it can.
//!
//! Works on the syntax tree, keeps the meaning, and needs no metadata: casts to OID types become calls of
//! the functions of the same name, which look the name up. What it does not know it leaves alone, so that
//! the planner's error says what is not supported; nothing is dropped that would change a result.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, CharacterLength, DataType, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement, TableAliasColumnDef,
    TableFactor, Value, VisitMut, VisitorMut,
};
use sluice_spi::{Error, Result, SqlState};

use super::arrays::{array_literal, array_subquery, parse_array};
use super::{existence, output_names, system_columns};

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
const BARE_FUNCTIONS: [&str; 6] = [
    "current_catalog",
    "current_schema",
    "current_user",
    "current_role",
    "session_user",
    "user",
];

impl VisitorMut for Normalizer {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        output_names::order_distinct_by_output(query);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        system_columns::replace_tableoid(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        output_names::name_outputs(&mut select.projection);
        existence::count_in_outputs(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        forget_ancestors(expr);
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

/// A subquery over the ancestors of a partition finds none: no partition is shown with its parent.
fn forget_ancestors(expr: &mut Expr) {
    let Expr::Subquery(query) = expr else { return };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return;
    };
    let of_ancestors = |factor: &TableFactor| match factor {
        TableFactor::Table {
            name,
            args: Some(_),
            ..
        } => {
            last_part(name).is_some_and(|name| name.eq_ignore_ascii_case("pg_partition_ancestors"))
        }
        _ => false,
    };
    if select.from.iter().any(|from| of_ancestors(&from.relation)) {
        *expr = Expr::Value(Value::Null.into());
    }
}

fn rewrite_expr(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::BinaryOp { op, .. } => {
            if let BinaryOperator::PGCustomBinaryOperator(path) = op {
                *op = plain_operator(path)?;
            }
        }
        Expr::AnyOp {
            right, compare_op, ..
        }
        | Expr::AllOp {
            right, compare_op, ..
        } => {
            if let BinaryOperator::PGCustomBinaryOperator(path) = compare_op {
                *compare_op = plain_operator(path)?;
            }
            // `= ANY ('{a,b}')`: an array although nothing says so.
            if let Some(text) = string_literal(right) {
                **right = array_literal(&parse_array(text)?);
            }
        }
        Expr::Collate {
            expr: inner,
            collation,
        } => {
            let binary = last_part(collation)
                .is_some_and(|name| BINARY_COLLATIONS.contains(&name.to_lowercase().as_str()));
            if binary {
                *expr = take(inner);
            }
        }
        Expr::Cast { .. } => rewrite_cast(expr)?,
        Expr::CompoundFieldAccess { .. } => rewrite_field_access(expr),
        Expr::TypedString(typed) => {
            if let DataType::Custom(..) | DataType::Regclass = typed.data_type
                && let Value::SingleQuotedString(text) = &typed.value.value
            {
                let literal = Expr::Value(Value::SingleQuotedString(text.clone()).into());
                *expr = cast(literal, typed.data_type.clone());
                rewrite_cast(expr)?;
            }
        }
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => {
            let (moment, zone) = (take(timestamp), take(time_zone));
            *expr = call("timezone", vec![zone, moment]);
        }
        Expr::Function(_) => rewrite_function(expr)?,
        Expr::Identifier(ident) if is_bare_function(ident) => {
            *expr = call(&ident.value.to_lowercase(), Vec::new());
        }
        _ => {}
    }
    Ok(())
}

/// A word of SQL, and never a column: PostgreSQL reserves it.
pub(super) fn is_bare_function(ident: &Ident) -> bool {
    ident.quote_style.is_none() && BARE_FUNCTIONS.contains(&ident.value.to_lowercase().as_str())
}

/// `(row).field`: a field of a composite value.
fn rewrite_field_access(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return;
    };
    let fields: Option<Vec<String>> = access_chain
        .iter()
        .map(|access| match access {
            AccessExpr::Dot(Expr::Identifier(ident)) => Some(output_names::fold(ident)),
            _ => None,
        })
        .collect();
    let Some(fields) = fields else { return };
    let root = take(root);
    *expr = fields.into_iter().fold(root, |value, field| {
        let field = Expr::Value(Value::SingleQuotedString(field).into());
        call("get_field", vec![value, field])
    });
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
    let name = path
        .last()
        .filter(|_| schema_is_system)
        .ok_or_else(unsupported)?;
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
    let Expr::Cast {
        expr: inner,
        data_type,
        kind,
        ..
    } = expr
    else {
        return Ok(());
    };
    if !matches!(kind, CastKind::Cast | CastKind::DoubleColon) {
        return Ok(());
    }
    // Types that are functions here: they need a snapshot, or keep a tag that a cast would lose.
    let function = match data_type {
        DataType::Regclass => Some("regclass"),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            match system_type(name).as_deref() {
                Some("regclass") => Some("regclass"),
                Some("regtype") => Some("regtype"),
                Some("regproc" | "regprocedure") => Some("regproc"),
                Some("regnamespace") => Some("regnamespace"),
                Some("regrole") => Some("regrole"),
                Some("oid" | "xid") => Some("oid"),
                Some("name") => Some("name"),
                _ if is_quoted_char(name) => Some("\"char\""),
                _ => None,
            }
        }
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
        [
            ObjectNamePart::Identifier(schema),
            ObjectNamePart::Identifier(name),
        ] if SYSTEM_SCHEMAS.contains(&schema.value.to_lowercase().as_str()) => {
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
            let Some(system) = system_type(name) else {
                return;
            };
            let length = modifiers.first().and_then(|m| m.parse().ok());
            let bounded =
                length.map(|length| CharacterLength::IntegerLength { length, unit: None });
            let square =
                |item| DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), None));
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

fn rewrite_function(expr: &mut Expr) -> Result<()> {
    let Expr::Function(function) = expr else {
        return Ok(());
    };
    strip_system_schema(&mut function.name);
    let Some(name) = last_part(&function.name).map(str::to_lowercase) else {
        return Ok(());
    };
    if matches!(function.args, FunctionArguments::None) && BARE_FUNCTIONS.contains(&name.as_str()) {
        function.args = arguments(Vec::new());
    }
    match (name.as_str(), &mut function.args) {
        ("array", FunctionArguments::Subquery(query)) => {
            *expr = Expr::Subquery(Box::new(array_subquery((**query).clone())?));
        }
        ("transaction_timestamp" | "statement_timestamp", _) => *expr = call("now", Vec::new()),
        // A function of rows: an expression has one row for each of its elements.
        ("generate_series", FunctionArguments::List(list)) => {
            let list = list.clone();
            let mut series = call("generate_series", Vec::new());
            if let Expr::Function(function) = &mut series {
                function.args = FunctionArguments::List(list);
            }
            *expr = call("unnest", vec![series]);
        }
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
    Ok(())
}

/// `pg_catalog.generate_series(…)` in FROM is the function without its schema; `unnest` with one is the
/// keyword.
fn rewrite_table_function(factor: &mut TableFactor) {
    match factor {
        TableFactor::Table {
            name,
            args: Some(_),
            ..
        }
        | TableFactor::Function { name, .. } => {
            strip_system_schema(name);
        }
        _ => {}
    }
    if let TableFactor::Table {
        name,
        args: Some(arguments),
        alias,
        ..
    } = factor
    {
        let Some(function) = last_part(name).map(str::to_lowercase) else {
            return;
        };
        let literal = arguments.args.iter().all(|a| {
            matches!(
                a,
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_) | Expr::UnaryOp { .. }))
            )
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
            let array = if function == "generate_subscripts" {
                "pg_subscripts"
            } else {
                "generate_series"
            };
            values = vec![call(array, values)];
        }
        let mut alias = alias.clone();
        if let Some(alias) = &mut alias
            && alias.columns.is_empty()
        {
            // A function's one column is named after its alias.
            alias.columns = vec![TableAliasColumnDef {
                name: alias.name.clone(),
                data_type: None,
            }];
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

/// The last part of a qualified name.
pub(super) fn last_part(name: &ObjectName) -> Option<&str> {
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

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

fn arguments(args: Vec<Expr>) -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args
            .into_iter()
            .map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e)))
            .collect(),
        clauses: Vec::new(),
    })
}

/// A call of a function.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
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
