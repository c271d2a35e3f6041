//! Statements that change a catalog. A failed one leaves nothing behind: a sink shows its rows only when
//! it commits.

use sluice_catalogs::Catalog;
use sluice_planner::{BoundStatement, PlanSession, QueryPlan, StatementKind, TargetTable};
use sluice_spi::{Error, InsertTarget, NewTable, Result, SqlState, WriteTarget, Writer};

use super::{Coordinator, Run};
use crate::engine::SessionView;

/// Runs a writing statement and gives its command tag.
pub(super) async fn run(
    coordinator: &Coordinator,
    session: &SessionView,
    plan_session: &PlanSession,
    bound: &BoundStatement,
    run: Run,
) -> Result<String> {
    if session.setting("transaction_read_only") == "on" {
        let error = Error::new(
            SqlState::READ_ONLY_SQL_TRANSACTION,
            "cannot execute a writing statement in a read-only transaction",
        );
        run.guard.fail(&error);
        return Err(error);
    }
    let entry = run.guard.entry().clone();
    let outcome = Statement {
        coordinator,
        session,
        plan_session,
        bound,
    }
    .run(run)
    .await;
    if let Err(error) = &outcome {
        tracing::debug!(query = %entry.id, %error, "writing statement failed");
    }
    outcome
}

struct Statement<'a> {
    coordinator: &'a Coordinator,
    session: &'a SessionView,
    plan_session: &'a PlanSession,
    bound: &'a BoundStatement,
}

impl Statement<'_> {
    async fn run(&self, run: Run) -> Result<String> {
        match &self.bound.kind {
            StatementKind::CreateTable {
                target,
                columns,
                input,
                if_not_exists,
                or_replace,
            } => {
                let catalog = self.catalog(&target.catalog)?;
                let exists = self.exists(catalog, target).await?;
                if exists && *if_not_exists {
                    return Ok(if input.is_some() {
                        "CREATE TABLE AS"
                    } else {
                        "CREATE TABLE"
                    }
                    .to_owned());
                }
                if exists && !or_replace {
                    return Err(Error::new(
                        SqlState::DUPLICATE_TABLE,
                        format!("relation \"{}\" already exists", target.table),
                    ));
                }
                let write = WriteTarget::Create(NewTable::plain(
                    &target.schema,
                    &target.table,
                    columns,
                    *or_replace,
                ));
                let rows = self.fill(catalog, write, input.as_ref(), run).await?;
                Ok(match input {
                    Some(_) => format!("SELECT {rows}"),
                    None => "CREATE TABLE".to_owned(),
                })
            }
            StatementKind::Insert {
                target,
                columns,
                input,
            } => {
                let catalog = self.catalog(&target.catalog)?;
                let write = WriteTarget::Insert(InsertTarget {
                    schema: target.schema.clone(),
                    table: target.table.clone(),
                    columns: columns.clone(),
                    on_conflict: None,
                });
                let rows = self.fill(catalog, write, Some(input), run).await?;
                Ok(format!("INSERT 0 {rows}"))
            }
            StatementKind::DropTable { target, if_exists } => {
                let catalog = self.catalog(&target.catalog)?;
                let dropped = writer(catalog)?
                    .drop_table(&target.schema, &target.table, false)
                    .await;
                catalog.metadata().flush();
                run.end(&dropped);
                if !dropped? && !if_exists {
                    return Err(Error::new(
                        SqlState::UNDEFINED_TABLE,
                        format!("table \"{}\" does not exist", target.table),
                    ));
                }
                Ok("DROP TABLE".to_owned())
            }
            StatementKind::CreateSchema {
                catalog,
                schema,
                if_not_exists,
            } => {
                let catalog = self.catalog(catalog)?;
                let created = writer(catalog)?.create_schema(schema).await;
                catalog.metadata().flush();
                run.end(&created);
                if !created? && !if_not_exists {
                    return Err(Error::new(
                        SqlState::from_source("42P06"),
                        format!("schema \"{schema}\" already exists"),
                    ));
                }
                Ok("CREATE SCHEMA".to_owned())
            }
            StatementKind::DropSchema {
                catalog,
                schema,
                if_exists,
                cascade,
            } => {
                let catalog = self.catalog(catalog)?;
                let dropped = writer(catalog)?.drop_schema(schema, *cascade).await;
                catalog.metadata().flush();
                run.end(&dropped);
                if !dropped? && !if_exists {
                    return Err(Error::new(
                        SqlState::INVALID_SCHEMA_NAME,
                        format!("schema \"{schema}\" does not exist"),
                    ));
                }
                Ok("DROP SCHEMA".to_owned())
            }
            StatementKind::Query(_) | StatementKind::Explain(..) | StatementKind::Call { .. } => {
                Err(Error::internal(
                    "a statement that writes nothing was sent to be written",
                ))
            }
        }
    }

    fn catalog(&self, name: &str) -> Result<&std::sync::Arc<Catalog>> {
        self.coordinator.catalogs.require(name)
    }

    async fn exists(&self, catalog: &Catalog, target: &TargetTable) -> Result<bool> {
        Ok(catalog
            .metadata()
            .table(&target.schema, &target.table)
            .await?
            .is_some())
    }

    /// Opens the sink, runs the input into it, and commits. An error or a cancel drops the sink.
    async fn fill(
        &self,
        catalog: &Catalog,
        target: WriteTarget,
        input: Option<&QueryPlan>,
        run: Run,
    ) -> Result<u64> {
        let opened = match writer(catalog) {
            Ok(writer) => writer.begin(target).await,
            Err(error) => Err(error),
        };
        let mut sink = opened.inspect_err(|error| run.guard.fail(error))?;
        if let Some(input) = input {
            let (mut running, _) = self
                .coordinator
                .run_query(self.session, self.plan_session, self.bound, input, run)
                .await?;
            while let Some(batch) = running.next().await {
                let written = sink.write(batch?).await;
                written.inspect_err(|error| running.guard().fail(error))?;
            }
        } else {
            run.guard.finish();
        }
        let rows = sink.commit().await;
        catalog.metadata().flush();
        rows
    }
}

fn writer(catalog: &Catalog) -> Result<&dyn Writer> {
    catalog.connector().writer().ok_or_else(|| {
        Error::unsupported(format!("catalog \"{}\" cannot be written", catalog.name())).with_hint(
            format!(
                "Its connector is {}, which only reads.",
                catalog.connector_name()
            ),
        )
    })
}
