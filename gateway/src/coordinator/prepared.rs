//! Prepared statements: what they are bound to, for how long that holds, and those that sessions share.
//!
//! A plan is believed while the session's settings are those that it was made with, the catalogs have not
//! forgotten what they said of its tables, and its time to live lasts. After that it is bound again, with
//! the parameters' types that the client was told.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::sql::sqlparser::ast::Statement;
use parking_lot::{Mutex, RwLock};
use sluice_catalogs::METADATA_TTL;
use sluice_planner::{BoundStatement, StatementKind};

use crate::engine::{Prepared, SessionView};

/// Settings that no plan depends on: they change with every transaction, or with every request of a pool.
/// Functions that read them do so while they run.
const NEVER_PLANNED: [&str; 9] = [
    "application_name",
    "client_min_messages",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// A statement that this coordinator planned.
pub(super) struct PreparedStatement {
    /// The syntax tree.
    pub(super) statement: Statement,
    /// The text, for the history.
    pub(super) text: Arc<str>,
    /// The client's declarations of its parameters.
    pub(super) declared: Vec<Option<FieldRef>>,
    /// The parameters as the client was told.
    parameters: Vec<FieldRef>,
    /// The columns as the client was told.
    output: Option<SchemaRef>,
    bound: RwLock<Arc<Bound>>,
}

/// A statement with the session that it was bound for.
pub(super) struct Bound {
    /// The plan.
    pub(super) statement: BoundStatement,
    user: Arc<str>,
    database: Arc<str>,
    settings: Arc<BTreeMap<String, String>>,
}

impl Bound {
    pub(super) fn new(statement: BoundStatement, session: &SessionView) -> Arc<Bound> {
        Arc::new(Bound {
            statement,
            user: session.user.clone(),
            database: session.database.clone(),
            settings: session.settings.clone(),
        })
    }

    /// True where binding now would give the same.
    fn holds_for(&self, session: &SessionView) -> bool {
        self.user == session.user
            && self.database == session.database
            && (Arc::ptr_eq(&self.settings, &session.settings)
                || planned(&self.settings).eq(planned(&session.settings)))
            && !self.statement.must_be_bound_again(METADATA_TTL)
    }
}

/// The settings that a plan may depend on.
fn planned(settings: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    settings
        .iter()
        .filter(|(name, _)| !NEVER_PLANNED.contains(&name.as_str()))
}

impl PreparedStatement {
    pub(super) fn new(
        statement: &Statement,
        text: &str,
        declared: &[Option<FieldRef>],
        bound: Arc<Bound>,
    ) -> Self {
        PreparedStatement {
            statement: statement.clone(),
            text: text.into(),
            declared: declared.to_vec(),
            parameters: bound.statement.parameters.clone(),
            output: bound.statement.output.clone(),
            bound: RwLock::new(bound),
        }
    }

    /// What it is bound to; `None` where that no longer holds for `session`.
    pub(super) fn bound_for(&self, session: &SessionView) -> Option<Arc<Bound>> {
        let bound = self.bound.read().clone();
        bound.holds_for(session).then_some(bound)
    }

    /// It was bound again.
    pub(super) fn rebind(&self, bound: Arc<Bound>) {
        *self.bound.write() = bound;
    }

    /// The types that the client writes its parameters in, to bind with. They stay as they were told.
    pub(super) fn told_types(&self) -> Vec<Option<FieldRef>> {
        self.parameters.iter().cloned().map(Some).collect()
    }

    /// True where `bound` gives other columns than the client was told of.
    pub(super) fn is_changed(&self, bound: &BoundStatement) -> bool {
        match (&self.output, &bound.output) {
            (Some(told), Some(now)) => !Arc::ptr_eq(told, now) && !columns(told).eq(columns(now)),
            (told, now) => told.is_some() != now.is_some(),
        }
    }

    /// True where `bound` takes its parameters in the types that the client was told.
    pub(super) fn takes_same_types(&self, bound: &BoundStatement) -> bool {
        let types = |fields: &[FieldRef]| -> Vec<_> {
            fields.iter().map(|f| f.data_type().clone()).collect()
        };
        types(&bound.parameters) == types(&self.parameters)
    }
}

/// What a client is told of columns.
fn columns(schema: &SchemaRef) -> impl Iterator<Item = impl PartialEq> {
    schema
        .fields()
        .iter()
        .map(|field| (field.name(), field.data_type(), field.metadata()))
}

impl Prepared for PreparedStatement {
    fn parameters(&self) -> &[FieldRef] {
        &self.parameters
    }

    fn output(&self) -> Option<&SchemaRef> {
        self.output.as_ref()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Statements by their text, for sessions that send the same text again without preparing it. Only what
/// means the same in every session with the same settings is here: nothing that calls a function of the
/// session or reads its system catalogs.
pub(super) struct SharedStatements {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Statements of one share of the hashes.
#[derive(Default)]
struct Shard {
    kept: HashMap<u64, Arc<PreparedStatement>>,
    /// Texts that came once lately: a text is kept when it comes again, so that one-off texts push
    /// nothing out.
    seen: HashMap<u64, ()>,
}

/// Locks that sessions spread over.
const SHARDS: usize = 16;
/// Statements per lock: 512 in all, some tens of kilobytes each.
const KEPT_PER_SHARD: usize = 32;
/// One-off texts remembered per lock.
const SEEN_PER_SHARD: usize = 128;
/// Longer texts are not worth the memory: planning them costs more than parsing.
const MAX_TEXT_BYTES: usize = 4096;

impl SharedStatements {
    pub(super) fn new() -> Self {
        SharedStatements {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// The statement of that text, where it holds for `session`.
    pub(super) fn get(
        &self,
        session: &SessionView,
        text: &str,
        declared: &[Option<FieldRef>],
    ) -> Option<Arc<PreparedStatement>> {
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let key = self.key(session, text, declared);
        let found = self.shard(key).lock().kept.get(&key).cloned()?;
        if *found.text != *text || found.declared != declared {
            return None;
        }
        let bound = found.bound_for(session)?;
        // A run that found its table changed has bound it to something else since.
        let as_told = bound.statement.is_shareable
            && !found.is_changed(&bound.statement)
            && found.takes_same_types(&bound.statement);
        as_told.then_some(found)
    }

    /// Keeps a statement that `session` has just prepared, where its text came before.
    pub(super) fn offer(&self, session: &SessionView, statement: &Arc<PreparedStatement>) {
        let bound = statement.bound.read().clone();
        let is_query = matches!(bound.statement.kind, StatementKind::Query(_));
        if !is_query || !bound.statement.is_shareable || statement.text.len() > MAX_TEXT_BYTES {
            return;
        }
        let key = self.key(session, &statement.text, &statement.declared);
        let mut shard = self.shard(key).lock();
        if shard.kept.contains_key(&key) || shard.seen.remove(&key).is_some() {
            if shard.kept.len() >= KEPT_PER_SHARD {
                forget_one(&mut shard.kept);
            }
            shard.kept.insert(key, statement.clone());
        } else {
            if shard.seen.len() >= SEEN_PER_SHARD {
                forget_one(&mut shard.seen);
            }
            shard.seen.insert(key, ());
        }
    }

    fn key(&self, session: &SessionView, text: &str, declared: &[Option<FieldRef>]) -> u64 {
        let (user, database) = (&session.user, &session.database);
        self.hasher.hash_one((text, user, database, declared))
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.shards[key as usize % SHARDS]
    }
}

/// Whichever comes first: the hashes are random.
fn forget_one<V>(map: &mut HashMap<u64, V>) {
    if let Some(key) = map.keys().next().copied() {
        map.remove(&key);
    }
}
