//! PostgreSQL's spellings that the engine's SQL planner refuses, said in words that it knows.
//!
//! `FETCH FIRST n ROWS ONLY`, `LIKE … ESCAPE 'c'`, `U&'…'`, `interval '1 day 02:00'`, `1e300`, and the one column of
//! `generate_series` in FROM. Also refuses what the engine would only stumble over later: one name for two
//! tables, a reserved word for a table. Works on the statement's tree alone: nothing is looked up.

use std::ops::ControlFlow;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::{DataType as ArrowType, IntervalUnit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Ident, LimitClause, Query, Select, Statement,
    TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};
use sluice_catalogs::functions::arithmetic::parse_literal;
use sluice_spi::{Error, Result, SqlState};

use super::windows;

/// Functions of FROM whose one column is called like the function or, where there is one, like its alias.
const SINGLE_COLUMN_FUNCTIONS: [&str; 1] = ["generate_series"];

/// Reserved words that sqlparser takes for a table's name where one is missing.
const RESERVED: [&str; 10] = [
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "union",
    "except",
    "intersect",
    "select",
];

/// Rewrites `statement` in place.
pub(super) fn normalize(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Spellings) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Spellings;

impl VisitorMut for Spellings {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Error>> {
        flow(fetch_as_limit(query).and_then(|()| windows::spell_out(query)))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Box<Error>> {
        let mut names = Vec::new();
        let claimed = select
            .from
            .iter()
            .try_for_each(|item| claim_names(item, &mut names));
        flow(claimed.and_then(|()| windows::spell_out_in(select, None)))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Box<Error>> {
        name_the_column(factor);
        flow(refuse_reserved(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        if let Some(spelled) = unreadable_constant(expr) {
            *expr = spelled;
            return ControlFlow::Continue(());
        }
        if matches!(expr, Expr::SimilarTo { .. }) {
            // The engine would take the pattern for a regular expression.
            let error = Error::unsupported("SIMILAR TO is not supported");
            return flow(Err(
                error.with_hint("Use LIKE, or a regular expression with ~.")
            ));
        }
        let (Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        }) = expr
        else {
            return ControlFlow::Continue(());
        };
        flow(escape_with_backslash(pattern, escape_char))
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<Box<Error>> {
        if let Value::UnicodeStringLiteral(text) = &mut value.value {
            value.value = Value::SingleQuotedString(std::mem::take(text));
        }
        ControlFlow::Continue(())
    }
}

fn flow(result: Result<()>) -> ControlFlow<Box<Error>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

/// `FETCH FIRST n ROWS ONLY` is the standard's `LIMIT n`; without a number it is one row.
fn fetch_as_limit(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.with_ties || fetch.percent {
        return Err(Error::unsupported(
            "FETCH with PERCENT or WITH TIES is not supported",
        ));
    }
    let rows = fetch
        .quantity
        .unwrap_or_else(|| Expr::Value(Value::Number("1".to_owned(), false).with_empty_span()));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(rows),
                offset: None,
                limit_by: Vec::new(),
            });
        }
        Some(LimitClause::LimitOffset {
            limit: limit @ None,
            ..
        }) => *limit = Some(rows),
        Some(_) => {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "multiple LIMIT clauses not allowed",
            ));
        }
    }
    Ok(())
}

fn refuse_reserved(factor: &TableFactor) -> Result<()> {
    let TableFactor::Table { name, .. } = factor else {
        return Ok(());
    };
    match name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident)
                if ident.quote_style.is_none()
                    && RESERVED.contains(&ident.value.to_lowercase().as_str()) =>
            {
                let message = format!("syntax error at or near \"{}\"", ident.value);
                Err(Error::new(SqlState::SYNTAX_ERROR, message))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Digits before and behind the point that a constant may have to be a numeric here.
const NUMERIC_DIGITS: i64 = 76;

/// A constant that the engine does not read, as a cast of its text: an interval in a form of PostgreSQL's, and a
/// number with so large an exponent that it can only be meant as a float.
fn unreadable_constant(expr: &Expr) -> Option<Expr> {
    let (text, data_type) = match expr {
        Expr::Interval(interval)
            if interval.leading_field.is_none() && interval.last_field.is_none() =>
        {
            let Expr::Value(value) = interval.value.as_ref() else {
                return None;
            };
            let text = text_of(&value.value)?;
            let ours = parse_literal(&text, &INTERVAL, false)?.ok();
            let engine = parse_interval_month_day_nano(&text)
                .ok()
                .map(|value| ScalarValue::IntervalMonthDayNano(Some(value)));
            // What both read alike stays a literal, which functions of FROM insist on.
            if ours == engine {
                return None;
            }
            let (fields, precision) = (None, None);
            (text, DataType::Interval { fields, precision })
        }
        Expr::Value(ValueWithSpan {
            value: Value::Number(number, _),
            ..
        }) => {
            let (mantissa, exponent) = number.split_once(['e', 'E'])?;
            let exponent: i64 = exponent.parse().ok()?;
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let before = whole.trim_start_matches('0').len() as i64 + exponent;
            let behind = fraction.len() as i64 - exponent;
            if before <= NUMERIC_DIGITS && behind <= NUMERIC_DIGITS {
                return None;
            }
            let precision = ExactNumberInfo::None;
            (number.clone(), DataType::Double(precision))
        }
        _ => return None,
    };
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(
            Value::SingleQuotedString(text).with_empty_span(),
        )),
        data_type,
        array: false,
        format: None,
    })
}

const INTERVAL: ArrowType = ArrowType::Interval(IntervalUnit::MonthDayNano);

/// What a table is known by in one FROM: an alias, or else its whole name.
struct Claim {
    shown: String,
    whole: Option<String>,
}

fn claim_names(item: &TableWithJoins, names: &mut Vec<Claim>) -> Result<()> {
    claim_name(&item.relation, names)?;
    item.joins
        .iter()
        .try_for_each(|join| claim_name(&join.relation, names))
}

fn claim_name(factor: &TableFactor, names: &mut Vec<Claim>) -> Result<()> {
    let claim = match factor {
        TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } => {
            return claim_names(table_with_joins, names);
        }
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        }
        | TableFactor::NestedJoin {
            alias: Some(alias), ..
        } => Claim {
            shown: folded(&alias.name),
            whole: None,
        },
        TableFactor::Table {
            name, args: None, ..
        } => {
            let parts: Vec<String> = name
                .0
                .iter()
                .filter_map(|part| part.as_ident())
                .map(folded)
                .collect();
            let Some(shown) = parts.last().cloned() else {
                return Ok(());
            };
            Claim {
                shown,
                whole: Some(parts.join(".")),
            }
        }
        _ => return Ok(()),
    };
    // Tables of two schemas may share their name, unless one of the two got it as an alias.
    let taken = names.iter().any(|other| {
        let differ = other.whole.is_some() && claim.whole.is_some() && other.whole != claim.whole;
        other.shown == claim.shown && !differ
    });
    if taken {
        let message = format!("table name \"{}\" specified more than once", claim.shown);
        return Err(Error::new(SqlState::from_source("42712"), message));
    }
    names.push(claim);
    Ok(())
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// `generate_series(1, 3) AS n` is a table `n` of one column `n`.
fn name_the_column(factor: &mut TableFactor) {
    let TableFactor::Table {
        name,
        alias,
        args: Some(_),
        ..
    } = factor
    else {
        return;
    };
    let Some(function) = name.0.last().and_then(|part| part.as_ident()).map(folded) else {
        return;
    };
    if !SINGLE_COLUMN_FUNCTIONS.contains(&function.as_str()) {
        return;
    }
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(function),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef {
            name: alias.name.clone(),
            data_type: None,
        });
    }
}

/// The engine escapes with a backslash only: another escape is put into the pattern.
fn escape_with_backslash(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) -> Result<()> {
    let Some(character) = escape else {
        return Ok(());
    };
    let Some(character) = text_of(&character.value) else {
        return Err(Error::unsupported("ESCAPE takes a text constant"));
    };
    let mut characters = character.chars();
    let escape_character = match (characters.next(), characters.next()) {
        (Some('\\'), None) => {
            *escape = None;
            return Ok(());
        }
        (first, None) => first,
        _ => {
            let error = Error::new(SqlState::from_source("22025"), "invalid escape string")
                .with_hint("Escape string must be empty or one character.");
            return Err(error);
        }
    };
    let Expr::Value(ValueWithSpan { value, .. }) = pattern else {
        return Err(Error::unsupported(
            "LIKE with ESCAPE takes a constant pattern",
        ));
    };
    let Some(text) = text_of(value) else {
        return Err(Error::unsupported(
            "LIKE with ESCAPE takes a constant pattern",
        ));
    };
    *value = Value::SingleQuotedString(with_backslashes(&text, escape_character)?);
    *escape = None;
    Ok(())
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text) => Some(text.clone()),
        Value::DollarQuotedString(text) => Some(text.value.clone()),
        _ => None,
    }
}

/// The same pattern with backslashes as its escapes. `None` is a pattern without any.
fn with_backslashes(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut rewritten = String::with_capacity(pattern.len() + 4);
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = if Some(character) == escape {
            let Some(next) = characters.next() else {
                return Err(Error::new(
                    SqlState::from_source("22025"),
                    "LIKE pattern must not end with escape character",
                ));
            };
            next
        } else if character == '\\' {
            character
        } else {
            rewritten.push(character);
            continue;
        };
        if matches!(literal, '%' | '_' | '\\') {
            rewritten.push('\\');
        }
        rewritten.push(literal);
    }
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn check(input: &str, expect: &str) {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, input).unwrap();
        let got = match normalize(&mut statements[0]) {
            Ok(()) => statements[0].to_string(),
            Err(error) => format!("{} {}", error.code.code(), error.message),
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn fetch_is_a_limit() {
        check(
            "SELECT a FROM t FETCH FIRST 2 ROWS ONLY",
            "SELECT a FROM t LIMIT 2",
        );
        check(
            "SELECT a FROM t OFFSET 1 FETCH NEXT ROW ONLY",
            "SELECT a FROM t LIMIT 1 OFFSET 1",
        );
        check(
            "SELECT a FROM t FETCH FIRST 2 ROWS WITH TIES",
            "0A000 FETCH with PERCENT or WITH TIES is not supported",
        );
    }

    #[test]
    fn escapes_become_backslashes() {
        check("SELECT a LIKE 'x!%y%' ESCAPE '!'", r"SELECT a LIKE 'x\%y%'");
        check(
            r"SELECT a LIKE 'x\y!!!z' ESCAPE '!'",
            r"SELECT a LIKE 'x\\y!z'",
        );
        check(r"SELECT a LIKE 'x\%' ESCAPE ''", r"SELECT a LIKE 'x\\%'");
        check(r"SELECT a LIKE 'x\%' ESCAPE '\'", r"SELECT a LIKE 'x\%'");
        check(
            "SELECT a LIKE 'x!' ESCAPE '!'",
            "22025 LIKE pattern must not end with escape character",
        );
        check(
            "SELECT a LIKE b ESCAPE '!'",
            "0A000 LIKE with ESCAPE takes a constant pattern",
        );
    }

    #[test]
    fn constants_that_the_engine_cannot_read_are_casts() {
        check(
            "SELECT INTERVAL '1 day 02:00', INTERVAL '1 day'",
            "SELECT CAST('1 day 02:00' AS INTERVAL), INTERVAL '1 day'",
        );
        check(
            "SELECT 1e300, 1.5e20",
            "SELECT CAST('1e300' AS DOUBLE), 1.5e20",
        );
    }

    #[test]
    fn a_reserved_word_is_no_table() {
        check(
            "SELECT FROM WHERE",
            "42601 syntax error at or near \"WHERE\"",
        );
    }

    #[test]
    fn two_tables_need_two_names() {
        check(
            "SELECT 1 FROM a x, b x",
            "42712 table name \"x\" specified more than once",
        );
        check(
            "SELECT 1 FROM a JOIN s.a ON true",
            "SELECT 1 FROM a JOIN s.a ON true",
        );
        check(
            "SELECT 1 FROM t, (SELECT 1 FROM t) u",
            "SELECT 1 FROM t, (SELECT 1 FROM t) u",
        );
    }

    #[test]
    fn a_series_has_a_name() {
        check(
            "SELECT * FROM generate_series(1, 3)",
            "SELECT * FROM generate_series(1, 3) AS generate_series (generate_series)",
        );
        check(
            "SELECT * FROM generate_series(1, 3) AS n",
            "SELECT * FROM generate_series(1, 3) AS n (n)",
        );
    }
}
