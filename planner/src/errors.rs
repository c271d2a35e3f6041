//! The one map from the engine's errors to SQLSTATE, message, detail and hint.
//!
//! An [`Error`] of our own passes through unchanged, however deep it is wrapped and whichever process it
//! came from.

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use sluice_spi::{Error, SqlState, nearest};

/// The error a client sees for an error of the engine.
pub fn engine_error(error: DataFusionError) -> Error {
    if let Some(own) = Error::from_marked(&error.to_string()) {
        return own;
    }
    classify(&error)
}

fn classify(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            classify(inner)
        }
        DataFusionError::Shared(inner) => classify(inner),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => classify(first),
            None => Error::internal("an empty list of errors"),
        },
        DataFusionError::SQL(error, _) => syntax(error),
        DataFusionError::SchemaError(error, _) => schema(error),
        DataFusionError::NotImplemented(message) => not_implemented(first_line(message)),
        DataFusionError::ResourcesExhausted(message) => Error::new(
            SqlState::OUT_OF_MEMORY,
            "out of memory under the configured limit",
        )
        .with_detail(first_line(message))
        .with_hint("Raise memory.limit, or select fewer rows or columns."),
        DataFusionError::ArrowError(inner, _) => by_message(&inner.to_string()),
        DataFusionError::ParquetError(inner) => {
            Error::new(SqlState::DATA_CORRUPTED, first_line(&inner.to_string()))
        }
        DataFusionError::ObjectStore(inner) => {
            Error::new(SqlState::IO_ERROR, first_line(&inner.to_string()))
        }
        DataFusionError::IoError(inner) => Error::new(SqlState::IO_ERROR, inner.to_string()),
        DataFusionError::Plan(message) => plan(message),
        DataFusionError::Execution(message) => by_message(message),
        DataFusionError::External(inner) => by_message(&inner.to_string()),
        DataFusionError::Internal(message) => internal(message),
        other => by_message(&other.to_string()),
    }
}

fn syntax(error: &ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return Error::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                "stack depth limit exceeded",
            )
            .with_hint("Write the statement with less nesting.");
        }
    };
    Error::new(SqlState::SYNTAX_ERROR, lower_first(first_line(text)))
}

fn schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            // A qualifier that no table of FROM has is PostgreSQL's other error.
            if let Some(relation) = &field.relation
                && !valid_fields.iter().any(|c| {
                    c.relation
                        .as_ref()
                        .is_some_and(|r| r.table() == relation.table())
                })
            {
                return missing_from_entry(relation.table(), valid_fields);
            }
            let name = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => format!("\"{}\"", field.name),
            };
            let error = Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column {name} does not exist"),
            );
            match nearest(&field.name, valid_fields.iter().map(|c| c.name.as_str())) {
                Some(near) => {
                    let column = valid_fields.iter().find(|c| c.name == near);
                    let near = match column.and_then(|c| c.relation.as_ref()) {
                        Some(relation) => format!("{}.{near}", relation.table()),
                        None => near.to_owned(),
                    };
                    error.with_hint(format!(
                        "Perhaps you meant to reference the column \"{near}\"."
                    ))
                }
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => Error::new(
            SqlState::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        ),
        SchemaError::DuplicateQualifiedField { qualifier, name } => Error::new(
            SqlState::AMBIGUOUS_COLUMN,
            format!(
                "column \"{name}\" of \"{}\" appears twice",
                qualifier.table()
            ),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => Error::new(
            SqlState::AMBIGUOUS_COLUMN,
            format!("column \"{name}\" appears twice"),
        ),
    }
}

fn not_implemented(message: &str) -> Error {
    match message.strip_prefix("Unsupported SQL type ") {
        None if message.contains("OuterReferenceColumn(") || message.contains("Exists(Exists") => {
            Error::unsupported("a correlated subquery of this form is not supported").with_hint(
                "Write it as a join, or with a window function in the place of ORDER BY and LIMIT.",
            )
        }
        // A name that is no type; what has a modifier may well be one.
        Some(name)
            if name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"')) =>
        {
            Error::new(
                SqlState::UNDEFINED_OBJECT,
                format!("type \"{name}\" does not exist"),
            )
        }
        _ => Error::unsupported(in_words(message)),
    }
}

/// What is not supported, without the engine's own names for it.
fn in_words(message: &str) -> String {
    if let Some(statement) = message.strip_prefix("Unsupported SQL statement: ") {
        // Its first words: `COMMENT ON TABLE t IS 'x'` is about COMMENT ON TABLE.
        let is_keyword =
            |word: &&str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase());
        let words: Vec<&str> = statement
            .split(' ')
            .take_while(is_keyword)
            .take(3)
            .collect();
        if !words.is_empty() {
            return format!("{} is not supported", words.join(" "));
        }
    }
    let node = [
        "Unsupported ast node in sqltorel: ",
        "Unsupported ast node ",
        "Unsupported ast node: ",
    ]
    .iter()
    .find_map(|prefix| message.strip_prefix(prefix));
    if let Some(node) = node {
        let name: String = node
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric())
            .flat_map(|c| {
                let gap = c.is_ascii_uppercase().then_some(' ');
                gap.into_iter()
                    .chain(std::iter::once(c.to_ascii_lowercase()))
            })
            .collect();
        return format!(
            "an expression of this form ({}) is not supported",
            name.trim()
        );
    }
    lower_first(message)
}

fn missing_from_entry(qualifier: &str, valid_fields: &[Column]) -> Error {
    let error = Error::new(
        SqlState::UNDEFINED_TABLE,
        format!("missing FROM-clause entry for table \"{qualifier}\""),
    );
    let tables = valid_fields
        .iter()
        .filter_map(|c| c.relation.as_ref())
        .map(|r| r.table());
    match nearest(qualifier, tables) {
        Some(near) => error.with_hint(format!(
            "Perhaps you meant to reference the table alias \"{near}\"."
        )),
        None => error,
    }
}

fn plan(message: &str) -> Error {
    let text = first_line(message);
    let lower = text.to_lowercase();
    if let Some(rest) = lower.strip_prefix("invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        return Error::new(
            SqlState::UNDEFINED_FUNCTION,
            format!("function {name} does not exist"),
        )
        .with_hint(
            "No function matches the given name. You might need to add explicit type casts.",
        );
    }
    if lower.contains("failed to coerce arguments") || lower.contains("no function matches") {
        return Error::new(SqlState::UNDEFINED_FUNCTION, lower_first(text))
            .with_hint("You might need to add explicit type casts.");
    }
    if lower.contains("group by") && (lower.contains("must be") || lower.contains("must appear")) {
        return Error::new(SqlState::GROUPING_ERROR, lower_first(text));
    }
    if lower.contains("aggregate functions are not allowed") || lower.contains("aggregate function")
    {
        return Error::new(SqlState::GROUPING_ERROR, lower_first(text));
    }
    if lower.contains("cannot coerce arithmetic") || lower.contains("result type for") {
        return Error::new(SqlState::UNDEFINED_FUNCTION, lower_first(text)).with_hint(
            "No operator matches the given name and argument types. You might need to add explicit type casts.",
        );
    }
    if lower.contains("cannot coerce")
        || lower.contains("cannot infer common")
        || lower.contains("type mismatch")
        || lower.contains("same number of columns")
        || lower.contains("invalid comparison")
    {
        return Error::new(SqlState::DATATYPE_MISMATCH, lower_first(text));
    }
    if lower.contains("non-boolean predicate") {
        return Error::new(
            SqlState::DATATYPE_MISMATCH,
            "argument of WHERE must be type boolean",
        )
        .with_detail(lower_first(text));
    }
    if let Some((_, rest)) = lower.split_once("order by column out of bounds, specified: ") {
        let position = rest.split(',').next().unwrap_or_default();
        return Error::new(
            SqlState::from_source("42P10"),
            format!("ORDER BY position {position} is not in select list"),
        );
    }
    if lower.contains("placeholder") {
        return Error::new(SqlState::UNDEFINED_PARAMETER, lower_first(text));
    }
    by_message_or(text, SqlState::SYNTAX_ERROR)
}

fn by_message(message: &str) -> Error {
    by_message_or(first_line(message), SqlState::INTERNAL_ERROR)
}

/// Errors of Arrow's kernels have no codes, only these texts.
fn by_message_or(text: &str, otherwise: SqlState) -> Error {
    let lower = text.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Error::new(SqlState::DIVISION_BY_ZERO, "division by zero");
    }
    if lower.contains("overflow")
        || lower.contains("out of range")
        || lower.contains("too large to store")
    {
        return Error::new(SqlState::NUMERIC_OUT_OF_RANGE, lower_first(text));
    }
    if lower.contains("cannot cast string") || lower.contains("cast error") {
        return Error::new(SqlState::INVALID_TEXT_REPRESENTATION, lower_first(text));
    }
    if lower.contains("error parsing") || lower.contains("parser error") {
        return Error::new(SqlState::INVALID_DATETIME_FORMAT, lower_first(text));
    }
    if lower.contains("more than one row") {
        return Error::new(
            SqlState::from_source("21000"),
            "more than one row returned by a subquery used as an expression",
        );
    }
    if lower.contains("negative substring length") || lower.contains("negative count not allowed") {
        return Error::new(
            SqlState::from_source("22011"),
            "negative substring length not allowed",
        );
    }
    if lower.contains("null_aware anti join") {
        return Error::unsupported("a correlated NOT IN of this form is not supported")
            .with_hint("Write it with NOT EXISTS, which also finds rows where NOT IN is unknown.");
    }
    if lower.contains("no space left") || lower.contains("disk spilling limit") {
        return Error::new(SqlState::DISK_FULL, lower_first(text));
    }
    if lower.contains("resources exhausted") || lower.contains("failed to allocate") {
        return Error::new(
            SqlState::OUT_OF_MEMORY,
            "out of memory under the configured limit",
        )
        .with_detail(text)
        .with_hint("Raise memory.limit, or select fewer rows or columns.");
    }
    if lower.contains("not implemented")
        || lower.contains("not supported")
        || lower.contains("unsupported")
    {
        return Error::unsupported(lower_first(text));
    }
    Error::new(otherwise, lower_first(text))
}

fn internal(message: &str) -> Error {
    by_message_or(first_line(message), SqlState::INTERNAL_ERROR)
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or(text).trim();
    [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "External error: ",
    ]
    .iter()
    .fold(line, |line, prefix| {
        line.strip_prefix(prefix).unwrap_or(line)
    })
    .trim_end_matches('.')
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // An acronym keeps its capitals.
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
