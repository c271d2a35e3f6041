//! What `pg_catalog`, `information_schema` and the session functions tell one statement.
//!
//! Most statements ask nothing, so nothing is gathered first: a statement that turns out to need the
//! system catalogs is bound again after they were loaded from the metadata caches.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::sql::sqlparser::ast::Statement;
use sluice_catalogs::functions::{SessionFacts, SessionHost, catalog_functions, session_functions};
use sluice_catalogs::pg_catalog::{
    self, DatabaseSnapshot, SchemaSnapshot, SessionRow, SettingRow, bind, rewrite,
};
use sluice_catalogs::{Catalog, Catalogs};
use sluice_planner::{VirtualTables, engine_error};
use sluice_spi::{Error, Result, SqlState};

use crate::engine::SessionView;
use crate::session::{Activity, SERVER_VERSION, SETTINGS, SessionRegistry};

/// What all sessions share.
pub struct GatewayFacts {
    /// Who is connected.
    pub sessions: Arc<SessionRegistry>,
    /// Names of the users that exist; empty without a users file.
    pub roles: Vec<String>,
    /// Databases that a client may connect to.
    pub databases: Vec<String>,
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// When the gateway started.
    pub started: SystemTime,
}

/// One statement's view of its session.
pub(super) struct Introspection {
    facts: Arc<SessionFacts>,
    host: Arc<Host>,
    /// The session's functions, made when the first of them is called.
    functions: OnceLock<HashMap<String, Arc<ScalarUDF>>>,
}

/// The names of the session's functions: the same in every session.
static FUNCTION_NAMES: OnceLock<HashSet<String>> = OnceLock::new();

/// The names of those that answer from the system catalogs.
static CATALOG_FUNCTION_NAMES: OnceLock<HashSet<String>> = OnceLock::new();

impl Introspection {
    pub(super) fn new(gateway: &Arc<GatewayFacts>, session: &SessionView) -> Arc<Self> {
        let host = Arc::new(Host {
            gateway: gateway.clone(),
            session: session.clone(),
            snapshot: OnceLock::new(),
            missed: AtomicBool::new(false),
        });
        let facts = Arc::new(SessionFacts {
            database: session.database.to_string(),
            user: session.user.to_string(),
            session_user: session.user.to_string(),
            backend_pid: session.backend_pid,
            version: format!(
                "PostgreSQL {SERVER_VERSION} (Sluice {})",
                env!("CARGO_PKG_VERSION")
            ),
            server_addr: Some(gateway.listen),
            client_addr: session.client_address,
            started_at: micros(gateway.started),
            host: host.clone(),
        });
        let functions = OnceLock::new();
        Arc::new(Introspection {
            facts,
            host,
            functions,
        })
    }

    fn functions(&self) -> &HashMap<String, Arc<ScalarUDF>> {
        self.functions.get_or_init(|| {
            let mut by_name = HashMap::new();
            for function in session_functions(&self.facts) {
                let function = Arc::new(function);
                for alias in function.aliases() {
                    by_name.insert(alias.clone(), function.clone());
                }
                by_name.insert(function.name().to_owned(), function);
            }
            by_name
        })
    }

    fn names(&self) -> &'static HashSet<String> {
        FUNCTION_NAMES.get_or_init(|| self.functions().keys().cloned().collect())
    }

    /// True where something asked for the system catalogs before they were loaded.
    pub(super) fn was_missed(&self) -> bool {
        self.host.missed.load(Ordering::Acquire) && self.host.snapshot.get().is_none()
    }

    /// Gathers the session's database from the metadata caches. A source that does not answer is left
    /// out: its neighbours are shown all the same.
    pub(super) async fn load(&self, catalogs: &Catalogs) {
        let mut snapshot = self.host.base();
        let database = self.host.session.database.as_ref();
        if database == "sluice" {
            for catalog in catalogs.iter() {
                let prefix = format!("{}.", catalog.name());
                snapshot.schemas.extend(schemas_of(catalog, &prefix).await);
            }
        } else if let Some(catalog) = catalogs.get(database) {
            snapshot.schemas = schemas_of(catalog, "").await;
        }
        // The first load wins; a second one would only be newer.
        let _ = self.host.snapshot.set(Arc::new(snapshot));
    }
}

async fn schemas_of(catalog: &Catalog, prefix: &str) -> Vec<SchemaSnapshot> {
    let names = match catalog.metadata().schemas().await {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(catalog = catalog.name(), %error, "left out of the system catalogs");
            return Vec::new();
        }
    };
    let metadata = catalog.metadata();
    let described = futures::future::join_all(names.iter().map(|name| async move {
        tokio::join!(metadata.describe_schema(name), metadata.details(name))
    }));
    let mut schemas = Vec::new();
    for (name, (tables, details)) in names.iter().zip(described.await) {
        let details = details.unwrap_or_else(|error| {
            tracing::warn!(catalog = catalog.name(), schema = %name, %error, "shown without keys");
            Arc::default()
        });
        let tables = tables.map(|tables| tables.as_ref().clone()).unwrap_or_else(|error| {
            tracing::warn!(catalog = catalog.name(), schema = %name, %error, "shown without tables");
            Vec::new()
        });
        schemas.push(SchemaSnapshot {
            name: format!("{prefix}{name}"),
            tables,
            details,
            prefix: prefix.to_owned(),
        });
    }
    schemas
}

fn names_of(functions: Vec<ScalarUDF>) -> HashSet<String> {
    functions
        .iter()
        .map(|function| function.name().to_owned())
        .collect()
}

impl VirtualTables for Introspection {
    fn is_schema(&self, schema: &str) -> bool {
        pg_catalog::is_virtual_schema(schema)
    }

    fn table(&self, schema: &str, table: &str) -> Option<Arc<dyn TableProvider>> {
        pg_catalog::relation(schema, table)?;
        pg_catalog::table(&self.host.snapshot(), schema, table)
    }

    fn function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        // Most statements call none: they must not pay for making them.
        if !self.names().contains(name) {
            return None;
        }
        // A call with constants is computed when the statement runs, too late to say that something is missing.
        if CATALOG_FUNCTION_NAMES
            .get_or_init(|| names_of(catalog_functions(&self.facts)))
            .contains(name)
        {
            self.host.snapshot();
        }
        self.functions().get(name).cloned()
    }

    fn function_names(&self) -> Vec<String> {
        self.names().iter().cloned().collect()
    }

    fn normalize(&self, statement: &mut Statement) -> Result<()> {
        rewrite::normalize(statement)
    }

    fn finish(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        bind::finish(plan, &self.facts).map_err(engine_error)
    }
}

/// What functions ask.
struct Host {
    gateway: Arc<GatewayFacts>,
    session: SessionView,
    snapshot: OnceLock<Arc<DatabaseSnapshot>>,
    missed: AtomicBool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.session.backend_pid)
    }
}

impl Host {
    /// Everything that is known without asking the catalogs.
    fn base(&self) -> DatabaseSnapshot {
        let mut roles = self.gateway.roles.clone();
        if !roles.iter().any(|role| role == self.session.user.as_ref()) {
            roles.push(self.session.user.to_string());
        }
        DatabaseSnapshot {
            database: self.session.database.to_string(),
            databases: self.gateway.databases.clone(),
            schemas: Vec::new(),
            user: self.session.user.to_string(),
            roles,
            search_path: self.session.search_path.to_vec(),
            settings: self.settings(),
            sessions: self
                .gateway
                .sessions
                .list()
                .iter()
                .map(session_row)
                .collect(),
            prepared_statements: self.session.prepared_statements.to_vec(),
            ..DatabaseSnapshot::default()
        }
    }

    fn settings(&self) -> Vec<SettingRow> {
        let mut rows: Vec<SettingRow> = SETTINGS
            .iter()
            .map(|setting| {
                let value = self.session.settings.get(&setting.name.to_lowercase());
                SettingRow {
                    name: setting.name.to_owned(),
                    value: value.cloned().unwrap_or_else(|| setting.default.to_owned()),
                    default: setting.default.to_owned(),
                    unit: setting.unit().map(str::to_owned),
                    category: setting.category.to_owned(),
                    description: setting.description.to_owned(),
                    vartype: setting.vartype().to_owned(),
                    context: setting.context.name().to_owned(),
                    ..SettingRow::default()
                }
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }
}

impl SessionHost for Host {
    fn setting(&self, name: &str) -> Option<String> {
        let entry = self.gateway.sessions.session(self.session.backend_pid)?;
        entry.with_settings(|settings| settings.show(name).ok())
    }

    fn set_setting(&self, name: &str, value: &str, local: bool) -> Result<String> {
        let gone = || Error::new(SqlState::ADMIN_SHUTDOWN, "the session has ended");
        let entry = self
            .gateway
            .sessions
            .session(self.session.backend_pid)
            .ok_or_else(gone)?;
        entry.set_config(name, value, local)
    }

    fn signal_backend(&self, pid: i32, terminate: bool) -> Result<bool> {
        let sessions = &self.gateway.sessions;
        Ok(if terminate {
            sessions.terminate(pid)
        } else {
            sessions.cancel(pid)
        })
    }

    fn snapshot(&self) -> Arc<DatabaseSnapshot> {
        match self.snapshot.get() {
            Some(snapshot) => snapshot.clone(),
            None => {
                self.missed.store(true, Ordering::Release);
                Arc::new(self.base())
            }
        }
    }
}

fn session_row(activity: &Activity) -> SessionRow {
    SessionRow {
        pid: activity.pid,
        user: activity.user.to_string(),
        database: activity.database.to_string(),
        application_name: activity.application_name.clone(),
        client_addr: activity.client_address.map(|a| a.ip().to_string()),
        client_port: activity.client_address.map(|a| i32::from(a.port())),
        state: activity.state.name().to_owned(),
        query: activity.query.to_string(),
        backend_start: Some(micros(activity.backend_start)),
        xact_start: activity.transaction_start.map(micros),
        query_start: activity.query_start.map(micros),
        state_change: Some(micros(activity.state_change)),
    }
}

/// Microseconds since 1970, UTC.
pub(super) fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}
