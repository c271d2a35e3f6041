//! One error type for every room: SQLSTATE, message, detail, hint, position, and the source's name.
//!
//! The code is chosen where the cause is known. Messages follow PostgreSQL's style: lower case, no
//! full stop. Secrets never appear in any field.

use std::borrow::Cow;
use std::fmt;

use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};

/// The result of everything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A five-character SQLSTATE code (PostgreSQL manual, appendix A).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlState(Cow<'static, str>);

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: SqlState = SqlState(Cow::Borrowed($code));)*
        }
    };
}

states! {
    /// A source could not be reached.
    CONNECTION_FAILURE = "08006";
    /// A source refused the connection.
    CONNECTION_REJECTED = "08004";
    /// A client spoke out of turn.
    PROTOCOL_VIOLATION = "08P01";
    /// Understood, and not supported.
    FEATURE_NOT_SUPPORTED = "0A000";
    /// A value of the wrong type's data.
    DATA_EXCEPTION = "22000";
    /// A number does not fit its type.
    NUMERIC_OUT_OF_RANGE = "22003";
    /// x / 0.
    DIVISION_BY_ZERO = "22012";
    /// A date or time outside of the type's range.
    DATETIME_OVERFLOW = "22008";
    /// A date or time that cannot be read.
    INVALID_DATETIME_FORMAT = "22007";
    /// A parameter's value is not allowed.
    INVALID_PARAMETER_VALUE = "22023";
    /// Text that is not of the type it is cast to.
    INVALID_TEXT_REPRESENTATION = "22P02";
    /// Bytes that are not of the type they are read as.
    INVALID_BINARY_REPRESENTATION = "22P03";
    /// Bytes that are not in the encoding they claim.
    CHARACTER_NOT_IN_REPERTOIRE = "22021";
    /// NULL where the column forbids it.
    NOT_NULL_VIOLATION = "23502";
    /// A cursor that does not exist, or not any more.
    INVALID_CURSOR_NAME = "34000";
    /// A prepared statement that does not exist.
    INVALID_SQL_STATEMENT_NAME = "26000";
    /// A statement inside of the wrong transaction state.
    ACTIVE_SQL_TRANSACTION = "25001";
    /// A statement that needs a transaction, outside of one.
    NO_ACTIVE_SQL_TRANSACTION = "25P01";
    /// A statement inside of a failed transaction.
    IN_FAILED_SQL_TRANSACTION = "25P02";
    /// A write inside of a read-only transaction or catalog.
    READ_ONLY_SQL_TRANSACTION = "25006";
    /// Login refused.
    INVALID_AUTHORIZATION = "28000";
    /// Wrong password.
    INVALID_PASSWORD = "28P01";
    /// A database (catalog) that does not exist.
    INVALID_CATALOG_NAME = "3D000";
    /// A schema that does not exist.
    INVALID_SCHEMA_NAME = "3F000";
    /// A statement that does not parse.
    SYNTAX_ERROR = "42601";
    /// A privilege is missing.
    INSUFFICIENT_PRIVILEGE = "42501";
    /// A table that does not exist.
    UNDEFINED_TABLE = "42P01";
    /// A column that does not exist.
    UNDEFINED_COLUMN = "42703";
    /// A function or operator that does not exist.
    UNDEFINED_FUNCTION = "42883";
    /// A type, setting or other object that does not exist.
    UNDEFINED_OBJECT = "42704";
    /// A parameter `$n` that was not given.
    UNDEFINED_PARAMETER = "42P02";
    /// A name that could mean two columns.
    AMBIGUOUS_COLUMN = "42702";
    /// A table that is there already.
    DUPLICATE_TABLE = "42P07";
    /// A prepared statement that is there already.
    DUPLICATE_PREPARED_STATEMENT = "42P05";
    /// A cursor that is there already.
    DUPLICATE_CURSOR = "42P03";
    /// Types that do not go together.
    DATATYPE_MISMATCH = "42804";
    /// A column outside of GROUP BY.
    GROUPING_ERROR = "42803";
    /// A type that cannot be inferred.
    INDETERMINATE_DATATYPE = "42P18";
    /// An object of the wrong kind.
    WRONG_OBJECT_TYPE = "42809";
    /// Not enough memory under the configured limit.
    OUT_OF_MEMORY = "53200";
    /// Not enough disk under the configured limit.
    DISK_FULL = "53100";
    /// Too many connections, here or at a source.
    TOO_MANY_CONNECTIONS = "53300";
    /// A configured limit was reached.
    CONFIGURATION_LIMIT_EXCEEDED = "53400";
    /// A statement nested too deeply.
    STATEMENT_TOO_COMPLEX = "54001";
    /// The state of an object forbids this.
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
    /// Cancelled by the user, a timeout or an operator.
    QUERY_CANCELED = "57014";
    /// Ended by an operator or a shutdown.
    ADMIN_SHUTDOWN = "57P01";
    /// Not ready yet.
    CANNOT_CONNECT_NOW = "57P03";
    /// A worker, file or disk failed.
    IO_ERROR = "58030";
    /// A worker process failed while it ran a part of the query.
    SYSTEM_ERROR = "58000";
    /// A source failed in a way that only it can explain.
    FDW_ERROR = "HV000";
    /// A configuration that cannot be used.
    CONFIG_FILE_ERROR = "F0000";
    /// Our own bug.
    INTERNAL_ERROR = "XX000";
    /// Data that is broken at the source.
    DATA_CORRUPTED = "XX001";
}

impl SqlState {
    /// A code that a source sent. Anything but five ASCII letters and digits becomes `XX000`.
    pub fn from_source(code: &str) -> Self {
        if code.len() == 5 && code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            SqlState(Cow::Owned(code.to_ascii_uppercase()))
        } else {
            SqlState::INTERNAL_ERROR
        }
    }

    /// The five characters.
    pub fn code(&self) -> &str {
        &self.0
    }
}

/// What went wrong, in the words a client shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// SQLSTATE.
    pub code: SqlState,
    /// One line, lower case, no full stop.
    pub message: String,
    /// More facts, in sentences.
    pub detail: Option<String>,
    /// What to do about it, in sentences.
    pub hint: Option<String>,
    /// Where in the statement, counted in characters from 1.
    pub position: Option<u32>,
    /// The catalog whose source failed.
    pub source_name: Option<String>,
    /// The plan was made for a source that has changed since: with fresh metadata it may well run.
    #[serde(default)]
    pub stale_plan: bool,
    /// Where in a text of the source's own language, where the statement holds one.
    #[serde(default)]
    pub native: Option<Box<NativePlace>>,
}

/// A place in a native text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativePlace {
    /// The text, as it was sent to the source.
    pub text: String,
    /// Counted in characters from 1.
    pub position: u32,
}

/// Marks a structured error inside of text, since errors cross worker boundaries as text only.
const MARK: &str = "\u{1}sluice-error:";
const MARK_END: char = '\u{2}';

impl Error {
    /// An error with a code and a message.
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Error {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            source_name: None,
            stale_plan: false,
            native: None,
        }
    }

    /// Our own bug (`XX000`).
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(SqlState::INTERNAL_ERROR, message)
    }

    /// Understood and not supported (`0A000`).
    pub fn unsupported(message: impl Into<String>) -> Self {
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    /// Adds the detail line.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the hint line.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the position in the statement (characters, from 1).
    #[must_use]
    pub fn with_position(mut self, position: u32) -> Self {
        self.position = Some(position);
        self
    }

    /// Adds the place in a native text (characters, from 1).
    #[must_use]
    pub fn with_native_place(mut self, text: &str, position: u32) -> Self {
        self.native = Some(Box::new(NativePlace {
            text: text.to_owned(),
            position,
        }));
        self
    }

    /// Names the catalog whose source failed.
    #[must_use]
    pub fn with_source(mut self, catalog: impl Into<String>) -> Self {
        self.source_name = Some(catalog.into());
        self
    }

    /// Says that the plan was made for a source that has changed since.
    #[must_use]
    pub fn with_stale_plan(mut self) -> Self {
        self.stale_plan = true;
        self
    }

    /// Puts the place of the trouble before the message ("catalogs/shop.toml: …"), once.
    #[must_use]
    pub fn prefixed(mut self, place: &str) -> Self {
        if !self.message.starts_with(place) {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// Packs the whole error into one string that survives being wrapped in other messages.
    pub fn to_marked(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{MARK}{json}{MARK_END}")
    }

    /// Finds an error packed by [`Error::to_marked`] inside of any text.
    pub fn from_marked(text: &str) -> Option<Error> {
        let start = text.find(MARK)? + MARK.len();
        let end = start + text[start..].find(MARK_END)?;
        let json = &text[start..end];
        // A Debug format on the way escapes the JSON's quotes once.
        serde_json::from_str(json)
            .or_else(|_| serde_json::from_str(&json.replace("\\\"", "\"")))
            .ok()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The carrier inside of the engine: its text holds the whole error, so that it crosses processes.
#[derive(Debug)]
struct Marked(Error);

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_marked())
    }
}

impl std::error::Error for Marked {}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(Marked(error)))
    }
}

/// The candidate nearest to `name`, for "perhaps you meant" hints; `None` when none is near.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    // A third of the letters may differ, at least two: more gives guesses that puzzle.
    let limit = (wanted.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_error_survives_wrapping() {
        let error = Error::new(SqlState::CONNECTION_FAILURE, "could not reach \"shop\"")
            .with_hint("Is it up?")
            .with_source("shop");
        let wrapped = format!(
            "Execution error: {}; while reading",
            DataFusionError::from(error.clone())
        );
        assert_eq!(Error::from_marked(&wrapped), Some(error));
        assert_eq!(Error::from_marked("plain"), None);
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("custmer", ["orders", "customer"]), Some("customer"));
        assert_eq!(nearest("zebra", ["orders", "customer"]), None);
    }
}
