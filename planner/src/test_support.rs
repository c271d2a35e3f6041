//! A planner for tests: no catalogs, no workers, a session without tables or functions of its own.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_distributed::{ChannelResolver, WorkerResolver};
use sluice_catalogs::Catalogs;
use sluice_spi::Result;
use url::Url;

use crate::errors::engine_error;
use crate::session::{Fleet, PlanSession, Planner, PlannerConfig, VirtualTables};

/// A planner of one process.
pub(crate) fn planner() -> Planner {
    Planner::new(
        Arc::new(Catalogs::default()),
        Arc::new(NoWorkers),
        Arc::new(RuntimeEnv::default()),
        PlannerConfig {
            target_partitions: 1,
            distribute_above_bytes: usize::MAX,
        },
    )
}

/// The first statement of a text.
pub(crate) fn statement(sql: &str) -> Result<Statement> {
    Parser::parse_sql(&PostgreSqlDialect {}, sql)
        .map_err(|e| engine_error(e.into()))
        .map(|mut statements| statements.remove(0))
}

struct NoTables;

impl VirtualTables for NoTables {
    fn is_schema(&self, _schema: &str) -> bool {
        false
    }
    fn table(&self, _schema: &str, _table: &str) -> Option<Arc<dyn TableProvider>> {
        None
    }
    fn normalize(&self, _statement: &mut Statement) -> Result<()> {
        Ok(())
    }
    fn function(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }
    fn function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn finish(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        Ok(plan)
    }
}

struct NoWorkers;

impl Fleet for NoWorkers {
    fn workers(&self, _limit: Option<usize>) -> Vec<Url> {
        Vec::new()
    }
    fn resolver(&self, _urls: Vec<Url>) -> Arc<dyn WorkerResolver> {
        unreachable!("no workers take part")
    }
    fn channels(&self) -> Arc<dyn ChannelResolver + Send + Sync> {
        unreachable!("no workers take part")
    }
    fn embedded(&self) -> Option<Url> {
        None
    }
    fn headers(&self, _query_id: &str) -> http::HeaderMap {
        http::HeaderMap::new()
    }
}

/// What such a session tells the planner.
pub(crate) fn session() -> PlanSession {
    PlanSession {
        query_id: "q".into(),
        database: "sluice".into(),
        search_path: Arc::from(vec!["public".to_owned()]),
        time_zone: "UTC".to_owned(),
        pushdown: true,
        join_pushdown: "automatic".into(),
        aggregation_pushdown: "automatic".into(),
        run_time_filters: true,
        dynamic_filter_wait: None,
        rules_off: String::new(),
        workers: Some(0),
        target_partitions: Some(1),
        distribute_above_bytes: None,
        virtual_tables: Arc::new(NoTables),
    }
}
