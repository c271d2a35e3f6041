//! Turns the client library's errors into [`sluice_spi::Error`], with the catalog's name.
//!
//! The server's own message and SQLSTATE are kept. Never holds a connection string or a password.

use std::error::Error as _;

use sluice_spi::{Error, SqlState};
use tokio_postgres::error::{DbError, ErrorPosition};

/// An error while a connection was being opened.
pub(crate) fn connect_error(catalog: &str, error: &tokio_postgres::Error) -> Error {
    let (code, hint) = match error.as_db_error() {
        // The server answered, and will not have us: wrong password, no such database, no entry in
        // pg_hba.conf. Other answers (starting up, too many clients) are worth another try later.
        Some(db) if matches!(db.code().code().get(..2), Some("28" | "3D" | "42")) => (
            SqlState::CONNECTION_REJECTED,
            "Check the user, the password and the database in the catalog's file.",
        ),
        Some(db) if db.code().code() == "53300" => (
            SqlState::TOO_MANY_CONNECTIONS,
            "The server allows no more connections; lower max_connections here or raise it there.",
        ),
        Some(_) => (
            SqlState::CONNECTION_FAILURE,
            "The server is not ready for connections.",
        ),
        None => (
            SqlState::CONNECTION_FAILURE,
            "Is the server running at the address in the catalog's file?",
        ),
    };
    let mut out = Error::new(code, could_not_connect(catalog, &words(error)))
        .with_hint(hint)
        .with_source(catalog);
    if let Some(detail) = error.as_db_error().and_then(DbError::detail) {
        out = out.with_detail(detail);
    }
    out
}

/// No server was met where the catalog says that one is.
pub(crate) fn unreachable_error(catalog: &str, error: &std::io::Error) -> Error {
    Error::new(
        SqlState::CONNECTION_FAILURE,
        could_not_connect(catalog, &in_style(error.to_string())),
    )
    .with_hint("Is the server running at the address in the catalog's file?")
    .with_source(catalog)
}

fn could_not_connect(catalog: &str, why: &str) -> String {
    format!("could not connect to the source of catalog \"{catalog}\": {why}")
}

/// An error while a statement was prepared or ran.
pub(crate) fn statement_error(catalog: &str, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::new(
            SqlState::CONNECTION_FAILURE,
            format!(
                "lost the connection to the source of catalog \"{catalog}\": {}",
                words(error)
            ),
        )
        .with_source(catalog);
    };
    if is_shutdown(db) {
        return Error::new(
            SqlState::CONNECTION_FAILURE,
            format!(
                "lost the connection to the source of catalog \"{catalog}\": {}",
                db.message()
            ),
        )
        .with_source(catalog);
    }
    let mut out =
        Error::new(SqlState::from_source(db.code().code()), db.message()).with_source(catalog);
    if let Some(detail) = db.detail() {
        out = out.with_detail(detail);
    }
    if let Some(hint) = db.hint() {
        out = out.with_hint(hint);
    }
    out
}

/// An error about the user's own native text, which the server's position points into.
pub(crate) fn native_error(catalog: &str, text: &str, error: &tokio_postgres::Error) -> Error {
    let out = statement_error(catalog, error);
    match error.as_db_error().and_then(DbError::position) {
        Some(ErrorPosition::Original(position)) => out.with_native_place(text, *position),
        _ => out,
    }
}

/// True where the connection is gone, so that a fresh one may do what this one could not.
pub(crate) fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(db) => is_shutdown(db),
        None => true,
    }
}

fn is_shutdown(db: &DbError) -> bool {
    // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped, idle session timeout
    matches!(
        db.code().code(),
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03"
    )
}

/// The innermost cause says what happened ("Connection refused"); the outer ones say only where.
fn words(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(inner) = source {
        cause = inner;
        source = inner.source();
    }
    in_style(cause.to_string())
}

/// "Connection refused (os error 111)" in the style of PostgreSQL's messages.
fn in_style(text: String) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text,
    }
}
