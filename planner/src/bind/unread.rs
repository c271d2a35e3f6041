//! Clauses that the parser accepts and that nobody would read.
//!
//! The engine's SQL planner passes over some parts of a statement in silence: row locks, samples, `OVER` behind a
//! function that is no window function. An answer without them would be a wrong one, so this is the one
//! place that walks the whole statement before it is bound, and refuses them: in PostgreSQL's words where it
//! has the same rule, 0A000 where PostgreSQL could do it. Nothing is looked up, nothing is changed.

use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, GroupByExpr, LimitClause, OrderBy, OrderByKind, Query, Select, SelectFlavor,
    Statement, TableFactor, Value, Visit, Visitor, WindowType,
};
use sluice_spi::{Error, Result, SqlState};

use crate::session::PlanSession;

/// Refuses `statement` where some part of it would not be read.
pub(super) fn refuse(
    statement: &Statement,
    state: &SessionState,
    session: &PlanSession,
) -> Result<()> {
    match statement.visit(&mut Unread { state, session }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Unread<'a> {
    state: &'a SessionState,
    session: &'a PlanSession,
}

impl Visitor for Unread<'_> {
    type Break = Box<Error>;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Box<Error>> {
        flow(check_statement(statement))
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Box<Error>> {
        flow(check_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Box<Error>> {
        flow(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Box<Error>> {
        flow(check_factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Box<Error>> {
        flow(match expr {
            Expr::Function(function) => self.check_function(function),
            Expr::Cast {
                format: Some(_), ..
            } => Err(no_such_syntax("FORMAT")),
            Expr::Collate { collation, .. } => {
                let message = format!("collation {collation} is not supported");
                Err(Error::unsupported(message).with_hint("Text is ordered by its bytes."))
            }
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => {
                let error = Error::unsupported("LIKE ANY is not supported");
                Err(error.with_hint("Write one LIKE for each pattern, with OR between them."))
            }
            _ => Ok(()),
        })
    }
}

fn flow(result: Result<()>) -> ControlFlow<Box<Error>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

/// Syntax of other databases.
fn no_such_syntax(word: &str) -> Error {
    let message = format!("syntax error at or near \"{word}\"");
    Error::new(SqlState::SYNTAX_ERROR, message)
}

/// Statements of other databases.
fn check_statement(statement: &Statement) -> Result<()> {
    match statement {
        Statement::ExplainTable { .. } => Err(no_such_syntax("DESCRIBE").with_hint(
            "SELECT * FROM information_schema.columns WHERE table_name = '…', or use \\d in psql.",
        )),
        Statement::Use(_) => Err(no_such_syntax("USE").with_hint(
            "Name the table in full: CATALOG.SCHEMA.TABLE. SET search_path says where other names are looked up, \
             and a connection's database which catalog.",
        )),
        _ => Ok(()),
    }
}

fn check_query(query: &Query) -> Result<()> {
    // Every field by its name: one that a later parser adds has to be decided on.
    let Query {
        with: _,
        body: _,
        order_by,
        limit_clause,
        fetch: _,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    if let Some(lock) = locks.first() {
        let message = format!("FOR {} is not supported", lock.lock_type);
        return Err(Error::unsupported(message)
            .with_hint("Sluice takes no row locks at its sources. Leave the clause out."));
    }
    if let Some(OrderBy { kind, interpolate }) = order_by {
        if interpolate.is_some() {
            return Err(no_such_syntax("INTERPOLATE"));
        }
        match kind {
            OrderByKind::All(_) => return Err(no_such_syntax("ALL")),
            OrderByKind::Expressions(keys) if keys.iter().any(|k| k.with_fill.is_some()) => {
                return Err(no_such_syntax("WITH"));
            }
            OrderByKind::Expressions(_) => {}
        }
    }
    match limit_clause {
        // The gateway's parser writes WITH NO DATA as LIMIT 0, 0.
        Some(LimitClause::OffsetCommaLimit { offset, limit })
            if !(is_zero(offset) && is_zero(limit)) =>
        {
            let message = "LIMIT #,# syntax is not supported";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message)
                .with_hint("Use separate LIMIT and OFFSET clauses."));
        }
        Some(LimitClause::LimitOffset { limit_by, .. }) if !limit_by.is_empty() => {
            return Err(no_such_syntax("BY"));
        }
        _ => {}
    }
    if for_clause.is_some() {
        return Err(no_such_syntax("FOR"));
    }
    if settings.is_some() {
        return Err(no_such_syntax("SETTINGS"));
    }
    if format_clause.is_some() {
        return Err(no_such_syntax("FORMAT"));
    }
    if !pipe_operators.is_empty() {
        return Err(no_such_syntax("|>"));
    }
    Ok(())
}

fn is_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(&value.value, Value::Number(number, _) if number == "0"))
}

fn check_select(select: &Select) -> Result<()> {
    let Select {
        select_token: _,
        optimizer_hints: _,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        // Its names are read by `windows`.
        named_window: _,
        // Not PostgreSQL's, but read.
        qualify: _,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    if into.is_some() {
        let error = Error::unsupported("SELECT INTO is not supported");
        return Err(error.with_hint("Write CREATE TABLE name AS SELECT …."));
    }
    let foreign = [
        (select_modifiers.is_some(), "STRAIGHT_JOIN"),
        (top.is_some(), "TOP"),
        (exclude.is_some(), "EXCLUDE"),
        (!lateral_views.is_empty(), "LATERAL"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT"),
        (!cluster_by.is_empty(), "CLUSTER"),
        (!distribute_by.is_empty(), "DISTRIBUTE"),
        (!sort_by.is_empty(), "SORT"),
        (value_table_mode.is_some(), "AS"),
        (!matches!(flavor, SelectFlavor::Standard), "FROM"),
    ];
    if let Some((_, word)) = foreign.iter().find(|(is_there, _)| *is_there) {
        return Err(no_such_syntax(word));
    }
    match group_by {
        GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)
            if !modifiers.is_empty() =>
        {
            Err(no_such_syntax("WITH").with_hint("Write GROUP BY ROLLUP (…) or CUBE (…)."))
        }
        GroupByExpr::All(_) => Err(no_such_syntax("ALL")),
        GroupByExpr::Expressions(..) => Ok(()),
    }
}

fn check_factor(factor: &TableFactor) -> Result<()> {
    let ordinality = || Error::unsupported("WITH ORDINALITY is not supported");
    let sample = || {
        Error::unsupported("TABLESAMPLE is not supported")
            .with_hint("WHERE random() < 0.01 takes about one row of a hundred.")
    };
    match factor {
        TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample: sampled,
            index_hints,
        } => {
            let is_only = matches!(name.0.as_slice(), [part] if part
                .as_ident()
                .is_some_and(|i| i.quote_style.is_none() && i.value.eq_ignore_ascii_case("only")));
            if is_only && alias.is_some() {
                let error = Error::unsupported("FROM ONLY is not supported");
                return Err(error.with_hint("Let the source do it: catalog.system.query('…')."));
            }
            if sampled.is_some() {
                return Err(sample());
            }
            if *with_ordinality {
                return Err(ordinality());
            }
            let has_settings = args.as_ref().is_some_and(|args| args.settings.is_some());
            if has_settings || json_path.is_some() {
                return Err(no_such_syntax("SETTINGS"));
            }
            if version.is_some() {
                return Err(no_such_syntax("FOR"));
            }
            if !with_hints.is_empty() {
                return Err(no_such_syntax("WITH"));
            }
            if !partitions.is_empty() {
                return Err(no_such_syntax("PARTITION"));
            }
            if !index_hints.is_empty() {
                return Err(no_such_syntax("INDEX"));
            }
            Ok(())
        }
        TableFactor::Derived {
            sample: Some(_), ..
        } => Err(sample()),
        TableFactor::Function {
            with_ordinality: true,
            ..
        }
        | TableFactor::UNNEST {
            with_ordinality: true,
            ..
        } => Err(ordinality()),
        TableFactor::UNNEST {
            with_offset: true, ..
        } => Err(no_such_syntax("WITH")),
        TableFactor::TableFunction { .. } => Err(no_such_syntax("TABLE")
            .with_hint("Write the function itself: FROM catalog.system.query('…').")),
        TableFactor::Pivot { .. } => Err(no_such_syntax("PIVOT")),
        TableFactor::Unpivot { .. } => Err(no_such_syntax("UNPIVOT")),
        TableFactor::MatchRecognize { .. } => Err(no_such_syntax("MATCH_RECOGNIZE")),
        TableFactor::OpenJsonTable { .. } => Err(no_such_syntax("OPENJSON")),
        TableFactor::SemanticView { .. } => Err(no_such_syntax("SEMANTIC_VIEW")),
        TableFactor::JsonTable { .. } => Err(Error::unsupported("JSON_TABLE is not supported")),
        TableFactor::XmlTable { .. } => Err(Error::unsupported("XMLTABLE is not supported")),
        TableFactor::Derived { .. }
        | TableFactor::Function { .. }
        | TableFactor::UNNEST { .. }
        | TableFactor::NestedJoin { .. } => Ok(()),
    }
}

/// What a name stands for, as far as its clauses go.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Kind {
    Scalar,
    Aggregate,
    Window,
    /// Nothing is known of it: binding says that it does not exist.
    Unknown,
}

impl Unread<'_> {
    fn kind_of(&self, name: &str) -> Kind {
        if self.state.aggregate_functions().contains_key(name) || name == "every" {
            Kind::Aggregate
        } else if self.state.window_functions().contains_key(name) {
            Kind::Window
        } else if self.state.scalar_functions().contains_key(name)
            || self.session.virtual_tables.function(name).is_some()
        {
            Kind::Scalar
        } else {
            Kind::Unknown
        }
    }

    fn check_function(&self, function: &Function) -> Result<()> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            filter,
            null_treatment,
            over,
            within_group,
        } = function;
        if *uses_odbc_syntax {
            return Err(no_such_syntax("{"));
        }
        if !matches!(parameters, FunctionArguments::None) {
            return Err(no_such_syntax("("));
        }
        let (is_distinct, is_ordered) = match args {
            FunctionArguments::List(list) => (
                list.duplicate_treatment == Some(DuplicateTreatment::Distinct),
                check_clauses(list)?,
            ),
            _ => (false, false),
        };
        if let Some(treatment) = null_treatment {
            let message = format!("{treatment} is not supported");
            return Err(Error::unsupported(message));
        }
        // Those that are there have been replaced by what they stand for.
        let window = match over {
            Some(WindowType::NamedWindow(name)) => Some(name),
            Some(WindowType::WindowSpec(spec)) => spec.window_name.as_ref(),
            None => None,
        };
        if let Some(window) = window {
            let message = format!("window \"{}\" does not exist", window.value);
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
        }
        let Some(name) = name.0.last().and_then(|part| part.as_ident()) else {
            return Ok(());
        };
        let name = match name.quote_style {
            Some(_) => name.value.clone(),
            None => name.value.to_lowercase(),
        };
        let kind = self.kind_of(&name);
        if kind == Kind::Scalar {
            let clause = [
                (is_distinct, "DISTINCT"),
                (!within_group.is_empty(), "WITHIN GROUP"),
                (is_ordered, "ORDER BY"),
                (filter.is_some(), "FILTER"),
            ]
            .into_iter()
            .find(|(is_there, _)| *is_there);
            if let Some((_, clause)) = clause {
                let message =
                    format!("{clause} specified, but {name} is not an aggregate function");
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
            if over.is_some() {
                let message = format!(
                    "OVER specified, but {name} is not a window function nor an aggregate function"
                );
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
        }
        if over.is_some() && is_distinct {
            let message = "DISTINCT is not implemented for window functions";
            return Err(Error::unsupported(message));
        }
        if over.is_some() && filter.is_some() && kind == Kind::Window {
            let message = "FILTER is not implemented for non-aggregate window functions";
            return Err(Error::unsupported(message));
        }
        Ok(())
    }
}

/// True where the arguments are ordered.
fn check_clauses(list: &FunctionArgumentList) -> Result<bool> {
    let mut is_ordered = false;
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OrderBy(_) => is_ordered = true,
            FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => {
                return Err(Error::unsupported(format!("{treatment} is not supported")));
            }
            FunctionArgumentClause::Limit(_) => return Err(no_such_syntax("LIMIT")),
            FunctionArgumentClause::OnOverflow(_) => return Err(no_such_syntax("ON")),
            FunctionArgumentClause::Having(_) => return Err(no_such_syntax("HAVING")),
            FunctionArgumentClause::Separator(_) => return Err(no_such_syntax("SEPARATOR")),
            other => return Err(Error::unsupported(format!("{other} is not supported"))),
        }
    }
    Ok(is_ordered)
}
