//! The planner of a process, and what a session tells it with each statement.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::FieldRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{ChannelResolver, WorkerResolver};
use sluice_catalogs::{Catalogs, SluiceCodec, SluiceOptions};
use sluice_spi::Result;
use url::Url;

use crate::{bind, rules, semantics};

/// What exists beside the catalogs' own: `pg_catalog` and `information_schema` of a session, and the
/// functions that answer from its facts.
pub trait VirtualTables: Send + Sync {
    /// True for the names of virtual schemas.
    fn is_schema(&self, schema: &str) -> bool;
    /// The table, or `None`. Never asks a source.
    fn table(&self, schema: &str, table: &str) -> Option<Arc<dyn TableProvider>>;
    /// The session's own function of that name, with its facts inside (`current_user()`); it is folded while
    /// planning. Goes before the functions that all sessions share.
    fn function(&self, name: &str) -> Option<Arc<ScalarUDF>>;
    /// The names of the session's own functions.
    fn function_names(&self) -> Vec<String>;
    /// Rewrites what only PostgreSQL's parser knows (`::regclass`, `OPERATOR(pg_catalog.~)`) into what the
    /// engine binds.
    fn normalize(&self, statement: &mut datafusion::sql::sqlparser::ast::Statement) -> Result<()>;
    /// Finishes what only typed expressions tell (`oid::regclass::text`), before optimization.
    fn finish(&self, plan: LogicalPlan) -> Result<LogicalPlan>;
}

/// What a session tells the planner of itself.
#[derive(Clone)]
pub struct PlanSession {
    /// The query's id.
    pub query_id: Arc<str>,
    /// The current database: a catalog's name, or `sluice`.
    pub database: Arc<str>,
    /// Schemas to look unqualified names up in, after `pg_catalog`.
    pub search_path: Arc<[String]>,
    /// Time zone of the session.
    pub time_zone: String,
    /// Whether work is offered to the sources.
    pub pushdown: bool,
    /// Whether joins of one source run there: `automatic`, `always` or `never`.
    pub join_pushdown: String,
    /// Whether aggregates of one source run there: `automatic`, `always` or `never`.
    pub aggregation_pushdown: String,
    /// Whether joins tell scans of the keys that they have found.
    pub run_time_filters: bool,
    /// How long a scan may wait for such keys; `None` leaves it to each catalog.
    pub dynamic_filter_wait: Option<Duration>,
    /// Names of optimizer rules that are switched off, separated by commas.
    pub rules_off: String,
    /// Workers that may take part; `None` is all of them.
    pub workers: Option<usize>,
    /// Partitions per task; `None` is the process's default.
    pub target_partitions: Option<usize>,
    /// Bytes of input above which workers take part; `None` is the process's default.
    pub distribute_above_bytes: Option<u64>,
    /// `pg_catalog` and `information_schema`.
    pub virtual_tables: Arc<dyn VirtualTables>,
}

/// The workers, as planning needs them.
pub trait Fleet: Send + Sync {
    /// Addresses of at most `limit` healthy workers, without the one inside of the coordinator.
    fn workers(&self, limit: Option<usize>) -> Vec<Url>;
    /// The engine's view of the same.
    fn resolver(&self, urls: Vec<Url>) -> Arc<dyn WorkerResolver>;
    /// Connections to workers, kept over queries.
    fn channels(&self) -> Arc<dyn ChannelResolver + Send + Sync>;
    /// The worker inside of the coordinator's process, where there is one.
    fn embedded(&self) -> Option<Url>;
    /// What each request to a worker carries of the query.
    fn headers(&self, query_id: &str) -> http::HeaderMap;
}

/// Figures of the planner.
#[derive(Debug, Clone)]
pub struct PlannerConfig {
    /// Partitions per task: the cores of a process.
    pub target_partitions: usize,
    /// Bytes of input under which a plan stays in the coordinator: shipping it would cost more.
    pub distribute_above_bytes: usize,
}

impl Default for PlannerConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        PlannerConfig {
            target_partitions: cores,
            distribute_above_bytes: 1 << 20,
        }
    }
}

/// The planner of a process. Cheap to share.
pub struct Planner {
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) config: PlannerConfig,
    base: SessionState,
}

impl Planner {
    /// A planner over `catalogs` and `fleet`, whose plans run with `runtime`'s memory and disk.
    pub fn new(
        catalogs: Arc<Catalogs>,
        fleet: Arc<dyn Fleet>,
        runtime: Arc<RuntimeEnv>,
        config: PlannerConfig,
    ) -> Self {
        let session_config =
            engine_config(config.target_partitions).with_option_extension(SluiceOptions::default());
        let mut builder = SessionStateBuilder::new()
            .with_config(session_config)
            .with_runtime_env(runtime)
            // Before the engine's own, which would answer first.
            .with_expr_planners(vec![Arc::new(semantics::PgExprPlanner)])
            .with_default_features()
            .with_type_planner(Arc::new(bind::PgTypePlanner));
        builder = rules::register(builder);
        let mut base = builder.build();
        register_functions(&mut base);
        Planner {
            catalogs,
            fleet,
            config,
            base,
        }
    }

    /// The catalogs that it resolves names in.
    pub fn catalogs(&self) -> &Arc<Catalogs> {
        &self.catalogs
    }

    /// The engine's state for one statement of `session`, planning for this process alone.
    pub(crate) fn statement_state(&self, session: &PlanSession, workers: usize) -> SessionState {
        let mut state = self.base.clone();
        let config = state.config_mut();
        let options = config.options_mut();
        options.execution.time_zone = Some(session.time_zone.clone());
        // Staged plans cannot hold a scalar subquery that runs beside the plan: it becomes a join.
        options
            .optimizer
            .enable_physical_uncorrelated_scalar_subquery = workers == 0;
        if let Some(partitions) = session.target_partitions {
            options.execution.target_partitions = partitions.max(1);
        }
        options.optimizer.enable_join_dynamic_filter_pushdown = session.run_time_filters;
        if let Some(sluice) = options.extensions.get_mut::<SluiceOptions>() {
            sluice.query_id = session.query_id.to_string();
            sluice.workers = workers;
            sluice.pushdown = session.pushdown;
            sluice.join_pushdown.clone_from(&session.join_pushdown);
            sluice
                .aggregation_pushdown
                .clone_from(&session.aggregation_pushdown);
            sluice.time_zone = session.time_zone.clone();
            sluice.rules_off.clone_from(&session.rules_off);
            if let Some(wait) = session.dynamic_filter_wait {
                sluice.dynamic_filter_wait_millis = wait.as_millis().try_into().unwrap_or(u64::MAX);
            }
        }
        state.mark_start_execution();
        state
    }

    /// The one codec of plan nodes that cross to workers.
    pub(crate) fn codec(&self) -> SluiceCodec {
        SluiceCodec::new(self.catalogs.clone())
    }
}

/// The engine's options that coordinator and workers share.
pub(crate) fn engine_config(target_partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(target_partitions);
    let options = config.options_mut();
    // A shuffle interleaves ordered inputs while still declaring their order (datafusion-distributed
    // #735): never let a plan rely on an order through a shuffle.
    options.optimizer.prefer_existing_sort = false;
    // PostgreSQL's identifiers: unquoted ones are lower case; 1.5 is numeric.
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.parse_float_as_decimal = true;
    config
}

/// The functions that every process has, registered by the one list that workers use too.
fn register_functions(state: &mut SessionState) {
    use datafusion::execution::FunctionRegistry;
    // Registering cannot fail: the engine's own registry only ever replaces.
    for function in sluice_catalogs::functions::global_functions() {
        let _ = state.register_udf(Arc::new(function));
    }
    for function in sluice_catalogs::functions::global_aggregates() {
        let _ = state.register_udaf(Arc::new(function));
    }
    for (name, function) in sluice_catalogs::functions::table_functions() {
        state.register_udtf(name, function);
    }
}

/// A parameter's declared type, where the client declared one.
pub(crate) type ParameterType = Option<FieldRef>;
