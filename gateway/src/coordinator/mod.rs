//! The coordinator: owns each query from its text to its last row.
//!
//! | file | holds |
//! | --- | --- |
//! | `prepared` | prepared statements, and how long their plans hold |
//! | `queries` | every query's life and history |
//! | `stream` | the rows, and what can end them |
//! | `snapshots` | one view of each source for a whole query |
//! | `write` | everything that changes a catalog |
//! | `analyze` | ANALYZE |
//! | `procedures` | CALL |
//! | `introspection` | what `pg_catalog` shows of a session |
//! | `system_tables` | the `system` catalog |

mod analyze;
mod introspection;
mod prepared;
mod procedures;
mod queries;
mod snapshots;
mod stream;
mod system_tables;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::FieldRef;
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use futures::StreamExt;
use sluice_catalogs::Catalogs;
use sluice_planner::explain::{ExplainOptions, RunFigures, explain};
use sluice_planner::{
    BoundStatement, PhysicalStatement, Placement, PlanSession, Planner, QueryPlan, RULE_SETTINGS,
    StatementKind,
};
use sluice_spi::{Error, Result};
use sluice_workers::Membership;
use tokio_util::sync::CancellationToken;

pub use introspection::GatewayFacts;
pub use queries::{QueryEntry, QueryRegistry, QueryState, QuerySummary};
pub use system_tables::{SystemSources, system_tables};

use crate::engine::{Engine, Execution, Prepared, RowStream, SessionView};
use introspection::Introspection;
use prepared::{Bound, PreparedStatement, SharedStatements};
use queries::{NewQuery, QueryGuard};
use stream::Running;

/// The coordinator of a gateway.
pub struct Coordinator {
    pub(crate) planner: Planner,
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) queries: Arc<QueryRegistry>,
    pub(crate) facts: Arc<GatewayFacts>,
    shared: SharedStatements,
}

impl Coordinator {
    /// A coordinator.
    pub fn new(
        planner: Planner,
        membership: Arc<Membership>,
        queries: Arc<QueryRegistry>,
        facts: Arc<GatewayFacts>,
    ) -> Self {
        let catalogs = planner.catalogs().clone();
        Coordinator {
            planner,
            catalogs,
            membership,
            queries,
            facts,
            shared: SharedStatements::new(),
        }
    }

    /// What the planner is told of a session, for one statement.
    fn plan_session(
        &self,
        session: &SessionView,
        query_id: Arc<str>,
        introspection: &Arc<Introspection>,
    ) -> PlanSession {
        let number = |name: &str| session.setting(name).parse::<i64>().ok();
        PlanSession {
            query_id,
            database: session.database.clone(),
            search_path: session.search_path.clone(),
            time_zone: session.setting("timezone").to_owned(),
            pushdown: session.setting("sluice.pushdown") != "off",
            join_pushdown: session.setting("sluice.join_pushdown").to_owned(),
            aggregation_pushdown: session.setting("sluice.aggregation_pushdown").to_owned(),
            run_time_filters: session.setting("sluice.run_time_filters") != "off",
            dynamic_filter_wait: number("sluice.dynamic_filter_wait")
                .and_then(|n| u64::try_from(n).ok())
                .map(Duration::from_millis),
            rules_off: RULE_SETTINGS
                .iter()
                .filter(|(setting, _)| session.setting(setting) == "off")
                .map(|(_, rule)| *rule)
                .collect::<Vec<_>>()
                .join(","),
            workers: number("sluice.workers").and_then(|n| usize::try_from(n).ok()),
            target_partitions: number("sluice.target_partitions")
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0),
            distribute_above_bytes: number("sluice.distribute_above")
                .and_then(|n| u64::try_from(n).ok()),
            virtual_tables: introspection.clone(),
        }
    }

    /// Binds; a second time with the system catalogs loaded, where the statement turned out to need them.
    async fn bind(
        &self,
        session: &SessionView,
        statement: &Statement,
        declared: &[Option<FieldRef>],
        query_id: &Arc<str>,
    ) -> Result<BoundStatement> {
        let introspection = Introspection::new(&self.facts, session);
        let plan_session = self.plan_session(session, query_id.clone(), &introspection);
        let bound = self.planner.bind(&plan_session, statement, declared).await;
        if !introspection.was_missed() {
            return bound;
        }
        introspection.load(&self.catalogs).await;
        let mut bound = self
            .planner
            .bind(&plan_session, statement, declared)
            .await?;
        // It holds what this session's catalogs said.
        bound.is_shareable = false;
        Ok(bound)
    }

    /// What a prepared statement is bound to now.
    async fn bound(
        &self,
        session: &SessionView,
        prepared: &PreparedStatement,
        query_id: &Arc<str>,
    ) -> Result<Arc<Bound>> {
        if let Some(bound) = prepared.bound_for(session) {
            return Ok(bound);
        }
        let statement = &prepared.statement;
        let mut again = self
            .bind(session, statement, &prepared.declared, query_id)
            .await?;
        // A column's type may have changed, and with it what was inferred; the client's values have not.
        if !prepared.takes_same_types(&again) {
            let told = prepared.told_types();
            again = self.bind(session, statement, &told, query_id).await?;
        }
        let bound = Bound::new(again, session);
        prepared.rebind(bound.clone());
        Ok(bound)
    }

    /// Starts a planned run.
    async fn start(
        &self,
        mut statement: PhysicalStatement,
        run: Run,
    ) -> Result<(Running, PhysicalStatement)> {
        let snapshots = run
            .within(snapshots::open(&self.catalogs, &mut statement))
            .await?;
        let workers = match &statement.placement {
            Placement::Coordinator(_) => 0,
            Placement::Workers(urls) => urls.len(),
        };
        run.guard.planned(run.began.elapsed(), workers);
        let running = Running::start(
            &statement,
            snapshots,
            run.guard,
            run.cancel,
            run.deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now())),
            &self.membership,
        )?;
        Ok((running, statement))
    }

    /// Forgets what was known of the source whose answer did not fit the plan.
    fn forget(&self, error: &Error) {
        let source = error.source_name.as_deref();
        match source.and_then(|name| self.catalogs.get(name)) {
            Some(catalog) => catalog.metadata().flush(),
            None => self.catalogs.iter().for_each(|c| c.metadata().flush()),
        }
    }

    /// Runs a prepared statement. An error with [`Error::stale_plan`] comes before any row.
    async fn run_prepared(
        &self,
        session: &SessionView,
        query_id: &Arc<str>,
        prepared: &PreparedStatement,
        run: Run,
    ) -> Result<Execution> {
        let bound = run.within(self.bound(session, prepared, query_id)).await?;
        let mut done = self
            .run_bound(session, query_id, &bound.statement, run)
            .await?;
        if let Execution::Rows(rows) = &mut done {
            rows.changed = prepared.is_changed(&bound.statement);
        }
        Ok(done)
    }

    async fn run_bound(
        &self,
        session: &SessionView,
        query_id: &Arc<str>,
        bound: &BoundStatement,
        run: Run,
    ) -> Result<Execution> {
        if let StatementKind::Query(query) = &bound.kind {
            let again = self.planner.plan_again(query_id, query, &run.parameters);
            if let Some(statement) = run.within(again).await? {
                let (running, statement) = self.start(statement, run).await?;
                return rows(running, &statement).await;
            }
        }
        let introspection = Introspection::new(&self.facts, session);
        let plan_session = self.plan_session(session, query_id.clone(), &introspection);
        match &bound.kind {
            StatementKind::Query(query) => {
                let (running, statement) = self.run_query(&plan_session, bound, query, run).await?;
                rows(running, &statement).await
            }
            StatementKind::Explain(options, query) => {
                self.run_explain(&plan_session, bound, options, query, run)
                    .await
            }
            StatementKind::Analyze(table) => {
                self.analyze(&plan_session, bound, table, run).await?;
                Ok(Execution::Done("ANALYZE".to_owned()))
            }
            StatementKind::Call { name, arguments } => {
                let done = self.call(session, name, arguments, &run.cancel).await;
                run.end(&done);
                done.map(|()| Execution::Done("CALL".to_owned()))
            }
            _ => write::run(self, session, &plan_session, bound, run)
                .await
                .map(Execution::Done),
        }
    }

    async fn run_query(
        &self,
        plan_session: &PlanSession,
        bound: &BoundStatement,
        query: &QueryPlan,
        mut run: Run,
    ) -> Result<(Running, PhysicalStatement)> {
        let parameters = std::mem::take(&mut run.parameters);
        let plan = self.planner.plan(plan_session, bound, query, parameters);
        let statement = run.within(plan).await?;
        self.start(statement, run).await
    }

    async fn run_explain(
        &self,
        plan_session: &PlanSession,
        bound: &BoundStatement,
        options: &ExplainOptions,
        query: &QueryPlan,
        run: Run,
    ) -> Result<Execution> {
        let (statement, figures) = if options.analyze {
            let (mut running, statement) = self.run_query(plan_session, bound, query, run).await?;
            let planning = running.guard().planning();
            let began = Instant::now();
            let mut rows = 0;
            while let Some(batch) = running.next().await {
                rows += batch?.num_rows() as u64;
            }
            let figures = RunFigures {
                planning,
                execution: began.elapsed(),
                rows,
            };
            (statement, Some(figures))
        } else {
            let plan = self
                .planner
                .plan(plan_session, bound, query, run.parameters.clone());
            let statement = run.within(plan).await?;
            run.guard.finish();
            (statement, None)
        };
        let batch = explain(options, &statement, figures).await?;
        let schema = batch.schema();
        let batches = futures::stream::once(async { Ok(batch) }).boxed();
        Ok(Execution::Rows(RowStream {
            schema,
            verb: "EXPLAIN",
            changed: false,
            batches,
        }))
    }
}

/// One run of a statement.
#[derive(Clone)]
struct Run {
    guard: Arc<QueryGuard>,
    cancel: CancellationToken,
    parameters: Vec<ScalarValue>,
    began: Instant,
    /// When `statement_timeout` ends it; the wait of a client that asks for no rows puts that off.
    deadline: Option<Instant>,
}

/// The rows of a run whose source, where it has one, has answered.
async fn rows(mut running: Running, statement: &PhysicalStatement) -> Result<Execution> {
    if !statement.reads().is_empty() {
        running.meet_source().await?;
    }
    Ok(Execution::Rows(RowStream {
        schema: statement.schema.clone(),
        verb: "SELECT",
        changed: false,
        batches: running.into_stream(),
    }))
}

fn statement_timeout(session: &SessionView) -> Option<Duration> {
    let millis: u64 = session.setting("statement_timeout").parse().ok()?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

#[async_trait]
impl Engine for Coordinator {
    async fn prepare(
        &self,
        session: &SessionView,
        statement: &Statement,
        text: &str,
        parameter_types: &[Option<FieldRef>],
    ) -> Result<Arc<dyn Prepared>> {
        let query_id = self.queries.next_id();
        let deadline = statement_timeout(session).map(|timeout| Instant::now() + timeout);
        let bound = tokio::select! {
            biased;
            bound = self.bind(session, statement, parameter_types, &query_id) => bound?,
            () = stream::deadline_passes(deadline) => return Err(stream::timed_out()),
        };
        let bound = Bound::new(bound, session);
        let prepared = PreparedStatement::new(statement, text, parameter_types, bound);
        let prepared = Arc::new(prepared);
        self.shared.offer(session, &prepared);
        Ok(prepared)
    }

    fn recall(
        &self,
        session: &SessionView,
        text: &str,
        parameter_types: &[Option<FieldRef>],
    ) -> Option<Arc<dyn Prepared>> {
        let found = self.shared.get(session, text, parameter_types)?;
        Some(found)
    }

    async fn execute(
        &self,
        session: &SessionView,
        prepared: &Arc<dyn Prepared>,
        parameters: Vec<ScalarValue>,
        cancel: CancellationToken,
    ) -> Result<Execution> {
        let began = Instant::now();
        let prepared = prepared
            .as_any()
            .downcast_ref::<PreparedStatement>()
            .ok_or_else(|| Error::internal("a statement of another engine"))?;
        let query_id = self.queries.next_id();
        let guard = self.queries.begin(
            query_id.clone(),
            NewQuery {
                text: &prepared.text,
                user: session.user.clone(),
                database: session.database.clone(),
                backend_pid: session.backend_pid,
                cancel: cancel.clone(),
            },
        );
        let run = Run {
            guard: Arc::new(guard),
            cancel,
            parameters,
            began,
            deadline: statement_timeout(session).map(|timeout| began + timeout),
        };
        let done = self.run_prepared(session, &query_id, prepared, run.clone());
        match done.await {
            // No row has left, so that nobody can tell: once more, with what the source says now.
            Err(error) if error.stale_plan => {
                tracing::debug!(query = %query_id, %error, "planning again");
                self.forget(&error);
                run.guard.plan_again();
                self.run_prepared(session, &query_id, prepared, run).await
            }
            done => done,
        }
    }

    fn databases(&self) -> Vec<String> {
        let mut names: Vec<String> = self.catalogs.names().map(str::to_owned).collect();
        names.push("sluice".to_owned());
        names.sort();
        names
    }
}

impl Run {
    /// Waits for `work`, but no longer than the client and `statement_timeout` do. What is given up is dropped,
    /// and with it what runs at the source.
    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(stream::cancelled()),
            done = work => done,
            () = stream::deadline_passes(self.deadline) => Err(stream::timed_out()),
        };
        done.inspect_err(|error| self.guard.fail(error))
    }

    fn end<T>(&self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => self.guard.finish(),
            Err(error) => self.guard.fail(error),
        }
    }
}
