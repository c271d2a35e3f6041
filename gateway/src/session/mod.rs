//! Sessions: one per connection. Settings, transaction state, prepared statements, portals and cursors.
//!
//! Relies on the engine only for types; the front (`pgwire`) drives both. Never knows a protocol frame
//! and never waits.
//!
//! | file | holds |
//! | --- | --- |
//! | `catalog` | the list of settings: names, types, documentation |
//! | `settings` | one session's values, under transactions |
//! | `statement`, `utility` | text to statements |
//! | `portal` | prepared statements, portals, cursors |
//! | `registry` | who is connected, for cancelling and `pg_stat_activity` |
//! | `zone` | time zones |

pub mod catalog;
mod collate;
mod portal;
mod registry;
mod settings;
mod statement;
mod utility;
mod zone;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use sluice_spi::{Error, Result, SqlState};

pub use catalog::{Context, Kind, SERVER_VERSION, SETTINGS, Setting};
pub use portal::{Action, Portal, PortalState, PreparedStatement, RowSource, Rows};
pub use registry::{
    Activity, CursorInfo, NewSession, SessionEntry, SessionGuard, SessionRegistry, State,
};
pub use settings::{Scope, Settings};
pub use statement::{Body, Parsed, parse};
pub use utility::{Count, Modes, SetValue, Utility, forward_only, split_names};
pub use zone::Zone;

use crate::engine::SessionView;

/// Where a session is in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// None is open.
    Idle,
    /// The statements of one message, which end together. No `BEGIN` was seen.
    Implicit,
    /// After `BEGIN`.
    Open,
    /// After an error inside of a block.
    Failed,
}

/// Prepared statements and portals that one session may hold: a driver that leaks them is told so instead
/// of filling the gateway's memory.
const MAX_NAMED: usize = 10_000;

/// Settings, and the search path that they say.
type SearchPath = (Arc<BTreeMap<String, String>>, Arc<[String]>);

/// One connection's state.
pub struct Session {
    entry: Arc<SessionEntry>,
    transaction: Transaction,
    savepoints: Vec<String>,
    statements: BTreeMap<String, Arc<PreparedStatement>>,
    portals: HashMap<String, Portal>,
    prepared_view: Arc<Vec<(String, String)>>,
    /// The search path of the settings that it was taken from.
    search_path: Option<SearchPath>,
    /// Notices that the next answer carries.
    notices: Vec<Error>,
    /// Statements of this transaction block that their sources have committed already.
    committed_alone: u64,
}

impl Session {
    /// A fresh session.
    pub fn new(entry: Arc<SessionEntry>) -> Self {
        Session {
            entry,
            transaction: Transaction::Idle,
            savepoints: Vec::new(),
            statements: BTreeMap::new(),
            portals: HashMap::new(),
            prepared_view: Arc::default(),
            search_path: None,
            notices: Vec::new(),
            committed_alone: 0,
        }
    }

    /// The public part.
    pub fn entry(&self) -> &Arc<SessionEntry> {
        &self.entry
    }

    /// Where the transaction is.
    pub fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// Warnings since the last call, oldest first.
    pub fn take_notices(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.notices)
    }

    fn warn(&mut self, code: SqlState, message: &str) {
        self.notices.push(Error::new(code, message));
    }

    /// A statement has changed something at a source, which committed it.
    pub fn committed_alone(&mut self) {
        if self.transaction == Transaction::Open {
            self.committed_alone += 1;
        }
    }

    /// Nothing undoes what sources have committed.
    fn warn_of_committed(&mut self) {
        let message = match self.committed_alone {
            0 => return,
            1 => {
                "one statement of this transaction was committed by its source and stays".to_owned()
            }
            n => format!(
                "{n} statements of this transaction were committed by their sources and stay"
            ),
        };
        self.warn(SqlState::from_source("01000"), &message);
    }

    /// What the engine is told with each statement.
    pub fn view(&mut self) -> SessionView {
        let settings = self.entry.with_settings(Settings::view);
        let search_path = match &self.search_path {
            Some((of, path)) if Arc::ptr_eq(of, &settings) => Arc::clone(path),
            _ => {
                let value = settings.get("search_path").map_or("", String::as_str);
                let path: Arc<[String]> = split_names(value, &self.entry.user).into();
                self.search_path = Some((Arc::clone(&settings), Arc::clone(&path)));
                path
            }
        };
        SessionView {
            backend_pid: self.entry.pid,
            user: Arc::clone(&self.entry.user),
            database: Arc::clone(&self.entry.database),
            search_path,
            settings,
            in_transaction_block: self.transaction == Transaction::Open,
            client_address: self.entry.client_address,
            prepared_statements: Arc::clone(&self.prepared_view),
        }
    }

    // ----- transactions -----

    /// Statements of one message begin. More than one end together.
    pub fn begin_implicit(&mut self) {
        if self.transaction == Transaction::Idle {
            self.transaction = Transaction::Implicit;
            self.entry.with_settings(Settings::begin);
        }
    }

    /// The message's statements are done.
    pub fn end_implicit(&mut self, succeeded: bool) {
        if self.transaction == Transaction::Implicit {
            self.end_transaction(succeeded);
        }
    }

    /// A statement failed.
    pub fn fail(&mut self) {
        match self.transaction {
            Transaction::Open => self.transaction = Transaction::Failed,
            Transaction::Implicit => self.end_transaction(false),
            Transaction::Idle => self.close_portals(|portal| !portal.is_cursor || !portal.hold),
            Transaction::Failed => {}
        }
    }

    /// Refuses everything but the end of a failed transaction.
    pub fn check_not_failed(&self, action: &Action) -> Result<()> {
        let allowed = match action {
            Action::Utility(utility) => utility.ends_transaction(),
            Action::Empty => true,
            _ => false,
        };
        if self.transaction == Transaction::Failed && !allowed {
            return Err(Error::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    fn end_transaction(&mut self, commit: bool) {
        self.transaction = Transaction::Idle;
        self.savepoints.clear();
        self.entry.with_settings(|settings| {
            if commit {
                settings.commit()
            } else {
                settings.roll_back()
            }
        });
        self.close_portals(|portal| !portal.hold || !portal.is_cursor);
    }

    fn begin(&mut self, modes: &Modes) -> Result<()> {
        match self.transaction {
            Transaction::Idle => self.entry.with_settings(Settings::begin),
            Transaction::Implicit => {}
            Transaction::Open | Transaction::Failed => {
                self.warn(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    "there is already a transaction in progress",
                );
                return Ok(());
            }
        }
        self.transaction = Transaction::Open;
        self.set_modes(modes, Scope::Local, "transaction")
    }

    fn set_modes(&self, modes: &Modes, scope: Scope, prefix: &str) -> Result<()> {
        let on_off = |on: bool| if on { "on" } else { "off" };
        self.entry.with_settings(|settings| {
            if let Some(level) = &modes.isolation {
                settings.set(scope, &format!("{prefix}_isolation"), level)?;
            }
            if let Some(read_only) = modes.read_only {
                settings.set(scope, &format!("{prefix}_read_only"), on_off(read_only))?;
            }
            if let Some(deferrable) = modes.deferrable {
                settings.set(scope, &format!("{prefix}_deferrable"), on_off(deferrable))?;
            }
            Ok(())
        })
    }

    fn end_block(&mut self, commit: bool, chain: bool) -> Result<&'static str> {
        if matches!(self.transaction, Transaction::Idle | Transaction::Implicit) {
            if chain {
                let word = if commit { "COMMIT" } else { "ROLLBACK" };
                return Err(Error::new(
                    SqlState::NO_ACTIVE_SQL_TRANSACTION,
                    format!("{word} AND CHAIN can only be used in transaction blocks"),
                ));
            }
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "there is no transaction in progress",
            );
            return Ok(if commit { "COMMIT" } else { "ROLLBACK" });
        }
        let committed = commit && self.transaction == Transaction::Open;
        if !committed {
            self.warn_of_committed();
        }
        self.committed_alone = 0;
        self.end_transaction(committed);
        if chain {
            self.begin(&Modes::default())?;
        }
        Ok(if committed { "COMMIT" } else { "ROLLBACK" })
    }

    fn require_block(&self, what: &str) -> Result<()> {
        if self.transaction == Transaction::Idle {
            let message = format!("{what} can only be used in transaction blocks");
            return Err(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    fn savepoint_index(&self, name: &str) -> Result<usize> {
        self.savepoints
            .iter()
            .rposition(|savepoint| savepoint == name)
            .ok_or_else(|| {
                Error::new(
                    SqlState::from_source("3B001"),
                    format!("savepoint \"{name}\" does not exist"),
                )
            })
    }

    // ----- prepared statements and portals -----

    /// A prepared statement by name.
    pub fn statement(&self, name: &str) -> Result<Arc<PreparedStatement>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Error::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Refuses a name that is in use.
    pub fn check_new_statement(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(Error::new(
                SqlState::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        if self.statements.len() >= MAX_NAMED {
            return Err(Error::new(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("a session can hold at most {MAX_NAMED} prepared statements"),
            ));
        }
        Ok(())
    }

    /// Keeps a statement; the unnamed one is replaced.
    pub fn keep_statement(&mut self, name: String, statement: PreparedStatement) -> Result<()> {
        self.check_new_statement(&name)?;
        self.statements.insert(name, Arc::new(statement));
        self.refresh_prepared_view();
        Ok(())
    }

    /// Forgets a statement; true when there was one.
    pub fn drop_statement(&mut self, name: &str) -> bool {
        let found = self.statements.remove(name).is_some();
        if found {
            self.refresh_prepared_view();
        }
        found
    }

    fn refresh_prepared_view(&mut self) {
        let named = self.statements.iter().filter(|(name, _)| !name.is_empty());
        let count = named.clone().count();
        // The unnamed statement is parsed again and again by most drivers: no work for it.
        if count == 0 && self.prepared_view.is_empty() {
            return;
        }
        self.prepared_view = Arc::new(
            named
                .map(|(name, statement)| (name.clone(), statement.text.to_string()))
                .collect(),
        );
    }

    /// A portal by name.
    pub fn portal_mut(&mut self, name: &str) -> Result<&mut Portal> {
        self.portals
            .get_mut(name)
            .ok_or_else(|| missing_portal(name))
    }

    /// A cursor by name: the same namespace in SQL's words.
    pub fn cursor_mut(&mut self, name: &str) -> Result<&mut Portal> {
        self.portals
            .get_mut(name)
            .ok_or_else(|| missing_cursor(name))
    }

    /// The columns of a portal.
    pub fn portal_output(&self, name: &str) -> Option<SchemaRef> {
        let portal = self.portals.get(name)?;
        match &portal.state {
            PortalState::Open(rows) => Some(Arc::clone(rows.source.schema())),
            _ => portal.statement.output.clone(),
        }
    }

    /// Keeps a portal; the unnamed one is replaced.
    pub fn keep_portal(&mut self, name: String, portal: Portal) -> Result<()> {
        if !name.is_empty() && self.portals.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_CURSOR, message));
        }
        if self.portals.len() >= MAX_NAMED {
            return Err(Error::new(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("a session can hold at most {MAX_NAMED} portals"),
            ));
        }
        let is_cursor = portal.is_cursor;
        self.drop_portal(&name);
        self.portals.insert(name, portal);
        if is_cursor {
            self.publish_cursors();
        }
        Ok(())
    }

    /// Closes a portal; true when there was one. What a `FETCH` borrowed from a cursor goes back.
    pub fn drop_portal(&mut self, name: &str) -> bool {
        let Some(portal) = self.portals.remove(name) else {
            return false;
        };
        let is_cursor = portal.is_cursor;
        if let PortalState::Open(rows) = portal.state {
            self.release_rows(*rows);
        }
        if is_cursor {
            self.publish_cursors();
        }
        true
    }

    /// Ends the reading of a result: a cursor gets its source back, anything else is cancelled.
    pub fn release_rows(&mut self, rows: Rows) {
        match &rows.cursor {
            Some(cursor) => {
                if let Some(Portal { state, .. }) = self.portals.get_mut(cursor)
                    && let PortalState::Open(open) = state
                {
                    open.source = rows.source;
                }
            }
            None => rows.cancel.cancel(),
        }
    }

    fn close_portals(&mut self, which: impl Fn(&Portal) -> bool) {
        if self.portals.is_empty() {
            return;
        }
        let names: Vec<String> = self
            .portals
            .iter()
            .filter(|(_, portal)| which(portal))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.drop_portal(&name);
        }
    }

    /// What is not a cursor with hold ends with the transaction.
    pub fn close_transaction_portals(&mut self) {
        if self.transaction == Transaction::Idle {
            self.close_portals(|portal| !portal.is_cursor || !portal.hold);
        }
    }

    fn publish_cursors(&self) {
        let cursors = self
            .portals
            .iter()
            .filter(|(_, portal)| portal.is_cursor)
            .map(|(name, portal)| CursorInfo {
                name: name.clone(),
                statement: portal.statement.text.to_string(),
                is_holdable: portal.hold,
                is_binary: portal.binary.first().copied().unwrap_or(false),
                creation_time: portal.created,
            });
        self.entry.publish_cursors(cursors.collect());
    }

    /// Keeps a cursor whose query runs already.
    pub fn keep_cursor(&mut self, name: String, portal: Portal) -> Result<()> {
        if !portal.hold {
            self.require_block("DECLARE CURSOR")?;
        }
        self.keep_portal(name, portal)
    }

    /// Refuses `DECLARE` before its query runs.
    pub fn check_new_cursor(&self, name: &str, hold: bool) -> Result<()> {
        if !hold {
            self.require_block("DECLARE CURSOR")?;
        }
        if self.portals.contains_key(name) {
            return Err(Error::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{name}\" already exists"),
            ));
        }
        Ok(())
    }

    // ----- statements that need no engine -----

    /// Columns of a session statement's answer.
    pub fn utility_output(&self, utility: &Utility) -> Option<SchemaRef> {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        match utility {
            Utility::Show(name) => {
                let spelled = catalog::find(name).map_or(name.as_str(), |setting| setting.name);
                Some(Arc::new(Schema::new(vec![text(spelled)])))
            }
            Utility::ShowAll => Some(Arc::new(Schema::new(vec![
                text("name"),
                text("setting"),
                text("description"),
            ]))),
            Utility::Fetch {
                name,
                discard: false,
                ..
            } => self.portal_output(name),
            Utility::Execute { name, .. } => self.statements.get(name)?.output.clone(),
            _ => None,
        }
    }

    /// Runs a session statement that needs neither engine nor client: gives its tag, or its rows.
    pub fn run(&mut self, utility: &Utility) -> Result<Ran> {
        let tag = match utility {
            Utility::Begin { tag, modes } => {
                self.begin(modes)?;
                *tag
            }
            Utility::Commit { chain } => self.end_block(true, *chain)?,
            Utility::Rollback { chain } => self.end_block(false, *chain)?,
            Utility::Savepoint(name) => {
                self.require_block("SAVEPOINT")?;
                self.savepoints.push(name.clone());
                self.entry.with_settings(Settings::begin);
                "SAVEPOINT"
            }
            Utility::Release(name) => {
                self.require_block("RELEASE SAVEPOINT")?;
                let index = self.savepoint_index(name)?;
                self.savepoints.truncate(index);
                self.entry
                    .with_settings(|settings| settings.release(index + 1));
                "RELEASE"
            }
            Utility::RollbackTo(name) => {
                self.require_block("ROLLBACK TO SAVEPOINT")?;
                let index = self.savepoint_index(name)?;
                self.savepoints.truncate(index + 1);
                self.entry
                    .with_settings(|settings| settings.roll_back_to(index + 1));
                self.transaction = Transaction::Open;
                self.warn_of_committed();
                "ROLLBACK"
            }
            Utility::SetTransaction {
                session: true,
                modes,
            } => {
                self.set_modes(modes, Scope::Session, "default_transaction")?;
                "SET"
            }
            Utility::SetTransaction {
                session: false,
                modes,
            } => {
                if self.transaction == Transaction::Idle {
                    let message = "SET TRANSACTION can only be used in transaction blocks";
                    self.warn(SqlState::NO_ACTIVE_SQL_TRANSACTION, message);
                } else {
                    self.set_modes(modes, Scope::Local, "transaction")?;
                }
                "SET"
            }
            Utility::Set { scope, name, value } => {
                self.set(*scope, name, value)?;
                "SET"
            }
            Utility::SetRole { role, session } => {
                self.set_role(role.as_deref(), *session)?;
                "SET"
            }
            Utility::Reset(name) => {
                self.entry
                    .with_settings(|settings| settings.reset(Scope::Session, name))?;
                "RESET"
            }
            Utility::ResetAll => {
                self.entry.with_settings(Settings::reset_all);
                "RESET"
            }
            Utility::Show(name) => {
                let value = self.entry.with_settings(|settings| settings.show(name))?;
                let schema = self
                    .utility_output(utility)
                    .ok_or_else(|| Error::internal("SHOW without columns"))?;
                return rows("SHOW", schema, vec![vec![value]]);
            }
            Utility::ShowAll => {
                let all = self.entry.with_settings(|settings| settings.show_all());
                let schema = self
                    .utility_output(utility)
                    .ok_or_else(|| Error::internal("SHOW without columns"))?;
                let lines = all
                    .into_iter()
                    .map(|(name, value, text)| vec![name.to_owned(), value, text.to_owned()]);
                return rows("SHOW", schema, lines.collect());
            }
            Utility::Discard(what) => return self.discard(what),
            Utility::Deallocate(Some(name)) => {
                if !self.drop_statement(name) {
                    let message = format!("prepared statement \"{name}\" does not exist");
                    return Err(Error::new(SqlState::INVALID_SQL_STATEMENT_NAME, message));
                }
                "DEALLOCATE"
            }
            Utility::Deallocate(None) => {
                self.statements.clear();
                self.refresh_prepared_view();
                "DEALLOCATE ALL"
            }
            Utility::Close(Some(name)) => {
                if !self.drop_portal(name) {
                    return Err(missing_cursor(name));
                }
                "CLOSE CURSOR"
            }
            Utility::Close(None) => {
                self.close_portals(|portal| portal.is_cursor);
                "CLOSE CURSOR ALL"
            }
            Utility::Listen { tag } => *tag,
            Utility::Notify => return Err(Error::unsupported("NOTIFY is not supported")),
            Utility::Prepare { .. }
            | Utility::Execute { .. }
            | Utility::Declare { .. }
            | Utility::Fetch { .. } => {
                return Err(Error::internal(
                    "a statement that needs the engine was run without it",
                ));
            }
        };
        Ok(Ran::Done(tag.to_owned()))
    }

    fn set(&mut self, scope: Scope, name: &str, value: &SetValue) -> Result<()> {
        if name == "role" || name == "session_authorization" {
            let role = match value {
                SetValue::Value(role) if role != "none" => Some(role.as_str()),
                _ => None,
            };
            return self.set_role(role, name != "role");
        }
        if scope == Scope::Local && self.transaction == Transaction::Idle {
            self.warn(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            );
            // The value is checked all the same.
            return self.entry.with_settings(|settings| {
                settings.begin();
                let result = match value {
                    SetValue::Default => settings.reset(scope, name),
                    SetValue::Value(value) => settings.set(scope, name, value),
                };
                settings.roll_back();
                result
            });
        }
        self.entry.with_settings(|settings| match value {
            SetValue::Default => settings.reset(scope, name),
            SetValue::Value(value) => settings.set(scope, name, value),
        })
    }

    /// There are no roles but the user's own.
    fn set_role(&mut self, role: Option<&str>, session: bool) -> Result<()> {
        match role {
            Some(role) if role != self.entry.user.as_ref() => {
                let what = if session {
                    "set session authorization"
                } else {
                    "set role"
                };
                let message = format!("permission denied to {what} \"{role}\"");
                Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
            }
            _ if session => Ok(()),
            role => self
                .entry
                .with_settings(|s| s.set(Scope::Session, "role", role.unwrap_or("none"))),
        }
    }

    fn discard(&mut self, what: &str) -> Result<Ran> {
        if what == "ALL" {
            if self.transaction != Transaction::Idle {
                let message = "DISCARD ALL cannot run inside a transaction block";
                return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            self.close_portals(|_| true);
            self.statements.clear();
            self.refresh_prepared_view();
            self.entry.with_settings(|settings| {
                settings.reset_all();
                settings.set(Scope::Session, "role", "none")
            })?;
        }
        Ok(Ran::Done(format!("DISCARD {what}")))
    }
}

/// What a session statement gave.
pub enum Ran {
    /// No rows; the tag.
    Done(String),
    /// Rows, all there.
    Rows(&'static str, RecordBatch),
}

fn rows(verb: &'static str, schema: SchemaRef, lines: Vec<Vec<String>>) -> Result<Ran> {
    let columns: Vec<ArrayRef> = (0..schema.fields().len())
        .map(|column| {
            Arc::new(
                lines
                    .iter()
                    .map(|line| Some(line[column].as_str()))
                    .collect::<StringArray>(),
            ) as ArrayRef
        })
        .collect();
    let batch = RecordBatch::try_new(schema, columns)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(Ran::Rows(verb, batch))
}

fn missing_cursor(name: &str) -> Error {
    Error::new(
        SqlState::INVALID_CURSOR_NAME,
        format!("cursor \"{name}\" does not exist"),
    )
}

fn missing_portal(name: &str) -> Error {
    Error::new(
        SqlState::INVALID_CURSOR_NAME,
        format!("portal \"{name}\" does not exist"),
    )
}

/// A portal over a statement, not run yet.
pub fn bind(
    statement: Arc<PreparedStatement>,
    parameters: Vec<datafusion::scalar::ScalarValue>,
    binary: Vec<bool>,
) -> Portal {
    Portal {
        statement,
        parameters,
        binary,
        state: PortalState::Ready,
        hold: false,
        is_cursor: false,
        created: SystemTime::now(),
    }
}
