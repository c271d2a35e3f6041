//! Functions that PostgreSQL has and the engine lacks, or where the two differ.
//!
//! [`global_functions`] and [`global_aggregates`] are pure and must be registered by this same call on
//! the coordinator and on every worker, since plans name functions across processes.
//! [`session_functions`] answer from one session's facts; they are stable, so planning folds them into
//! constants wherever their arguments are constant, and what is left runs over catalog rows in the
//! coordinator. Never asks a source.

pub mod arithmetic;
pub(crate) mod catalog;
mod expand;
pub mod forms;
mod keywords;
mod numbers;
mod privileges;
mod same;
mod session;
mod single_value;
mod sleep;
mod text;
mod udf;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use sluice_spi::Result;

use crate::pg_catalog::DatabaseSnapshot;

pub use same::same;
pub use single_value::single_value;

/// What a session can be asked while a statement is planned, and the few things that SQL functions may
/// do to it.
pub trait SessionHost: fmt::Debug + Send + Sync {
    /// The current value of a setting, or `None` where there is none of that name.
    fn setting(&self, name: &str) -> Option<String>;

    /// `set_config`: sets a setting, for the transaction only if `local`, and returns the new value.
    fn set_setting(&self, name: &str, value: &str, local: bool) -> Result<String>;

    /// `pg_cancel_backend` (`terminate` false) and `pg_terminate_backend`. False where no session has
    /// that number.
    fn signal_backend(&self, pid: i32, terminate: bool) -> Result<bool>;

    /// The session's database as the system catalogs show it. Called only by functions that need it.
    fn snapshot(&self) -> Arc<DatabaseSnapshot>;
}

/// Facts of one session that do not change, and the way to those that do.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// The current database.
    pub database: String,
    /// `current_user`.
    pub user: String,
    /// `session_user`.
    pub session_user: String,
    /// `pg_backend_pid()`.
    pub backend_pid: i32,
    /// `version()`: `PostgreSQL 16.x (Sluice …)`.
    pub version: String,
    /// Where the gateway was reached; `None` on a Unix socket.
    pub server_addr: Option<SocketAddr>,
    /// Where the client is; `None` on a Unix socket.
    pub client_addr: Option<SocketAddr>,
    /// When the gateway started: microseconds since 1970, UTC.
    pub started_at: i64,
    /// The rest.
    pub host: Arc<dyn SessionHost>,
}

/// Functions of one session.
pub fn session_functions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let mut functions = session::functions(facts);
    functions.extend(catalog_functions(facts));
    functions
}

/// Those among them that answer from [`SessionHost::snapshot`].
pub fn catalog_functions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let mut functions = session::path_functions(facts);
    functions.extend(privileges::functions(facts));
    functions.extend(catalog::functions(facts));
    functions
}

/// Pure functions: the same on workers and coordinator.
pub fn global_functions() -> Vec<ScalarUDF> {
    let mut functions = text::functions();
    functions.extend(numbers::functions());
    functions.extend(arithmetic::functions());
    functions.extend(forms::functions());
    functions.push(sleep::pg_sleep());
    functions.push(expand::pg_expandarray());
    functions.push(same());
    functions
}

/// Table functions: name and function, for the session's catalog of them.
pub fn table_functions() -> Vec<(&'static str, Arc<dyn TableFunctionImpl>)> {
    vec![("pg_get_keywords", Arc::new(keywords::PgGetKeywords))]
}

/// Aggregates: the same on workers and coordinator.
pub fn global_aggregates() -> Vec<AggregateUDF> {
    let mut aggregates = vec![single_value()];
    aggregates.extend(arithmetic::aggregates());
    aggregates
}
