//! Statements that change a catalog. A failed one leaves nothing behind: a sink shows its rows only when
//! it commits, and what runs at the source is one statement there.
//!
//! Each statement is committed by its source when it ends. Inside of BEGIN … COMMIT it is refused, since
//! the ROLLBACK that the client may still send could not undo it; `sluice.writes_in_transactions` says
//! otherwise.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use sluice_catalogs::Catalog;
use sluice_planner::{
    BoundStatement, PlanSession, QueryPlan, RowsAtSource, StatementKind, TargetTable,
};
use sluice_spi::{
    Assigned, Definitions, Error, InsertTarget, NewTable, NewView, Result, RowChanges, SqlState,
    TableSink, WriteTarget, Writer,
};
use tokio_util::sync::CancellationToken;

use super::{Coordinator, Run, stream};
use crate::engine::SessionView;

/// Runs a writing statement and gives its command tag.
pub(super) async fn run(
    coordinator: &Coordinator,
    session: &SessionView,
    plan_session: &PlanSession,
    bound: &BoundStatement,
    run: Run,
) -> Result<String> {
    let statement = Statement {
        coordinator,
        session,
        plan_session,
        bound,
        cancel: run.cancel.clone(),
        deadline: run.deadline,
    };
    let end = run.clone();
    let outcome = statement.run(run).await;
    // Also where the rows came to their end, and what was to be done with them failed.
    end.end(&outcome);
    outcome
}

struct Statement<'a> {
    coordinator: &'a Coordinator,
    session: &'a SessionView,
    plan_session: &'a PlanSession,
    bound: &'a BoundStatement,
    cancel: CancellationToken,
    deadline: Option<Instant>,
}

impl Statement<'_> {
    async fn run(&self, run: Run) -> Result<String> {
        match &self.bound.kind {
            StatementKind::CreateTable { .. } => self.create_table(run).await,
            StatementKind::Insert {
                target,
                columns,
                input,
                on_conflict,
            } => {
                let write = WriteTarget::Insert(InsertTarget {
                    schema: target.schema.clone(),
                    table: target.table.clone(),
                    columns: columns.clone(),
                    on_conflict: on_conflict.clone(),
                });
                let rows = self
                    .fill("INSERT", &target.catalog, write, Some(input), run)
                    .await?;
                Ok(format!("INSERT 0 {rows}"))
            }
            _ => self.run_at_source(&run).await,
        }
    }

    /// Everything whose rows, if any, stay at the source.
    async fn run_at_source(&self, run: &Run) -> Result<String> {
        match &self.bound.kind {
            StatementKind::Update {
                target,
                columns,
                fixed,
                rows,
            } => {
                let catalog = self.writable("UPDATE", &target.catalog)?;
                let changes = row_changes(catalog)?;
                let Some(found) = self.rows_at_source(rows, columns, run, "UPDATE")? else {
                    return Ok("UPDATE 0".to_owned());
                };
                let assignments: Vec<(String, Assigned)> = columns
                    .iter()
                    .cloned()
                    .zip(found.values)
                    .chain(fixed.iter().cloned())
                    .collect();
                let rows = self.within(changes.update(&found.rows, &assignments)).await;
                catalog.metadata().flush();
                Ok(format!("UPDATE {}", rows?))
            }
            StatementKind::Delete { target, rows } => {
                let catalog = self.writable("DELETE", &target.catalog)?;
                let changes = row_changes(catalog)?;
                let Some(found) = self.rows_at_source(rows, &[], run, "DELETE")? else {
                    return Ok("DELETE 0".to_owned());
                };
                let rows = self.within(changes.delete(&found.rows)).await;
                catalog.metadata().flush();
                Ok(format!("DELETE {}", rows?))
            }
            StatementKind::Truncate { tables, options } => {
                let Some(first) = tables.first() else {
                    return Err(Error::internal("TRUNCATE without a table"));
                };
                if tables.iter().any(|table| table.catalog != first.catalog) {
                    return Err(Error::unsupported(
                        "a statement can write to one catalog only",
                    ));
                }
                let catalog = self.writable("TRUNCATE TABLE", &first.catalog)?;
                let names: Vec<(String, String)> = tables
                    .iter()
                    .map(|table| (table.schema.clone(), table.table.clone()))
                    .collect();
                let done = self
                    .within(row_changes(catalog)?.truncate(&names, *options))
                    .await;
                catalog.metadata().flush();
                done.map(|()| "TRUNCATE TABLE".to_owned())
            }
            StatementKind::AlterTable {
                target,
                changes,
                if_exists,
            } => {
                let catalog = self.writable("ALTER TABLE", &target.catalog)?;
                let change =
                    definitions(catalog)?.alter_table(&target.schema, &target.table, changes);
                let done = self.within(change).await;
                catalog.metadata().flush();
                existed(done, *if_exists, "relation", &target.table, "ALTER TABLE")
            }
            StatementKind::CreateView {
                target,
                names,
                query,
                or_replace,
            } => {
                self.create_view(target, names, query, *or_replace, run)
                    .await
            }
            StatementKind::DropView {
                target,
                if_exists,
                cascade,
            } => {
                let catalog = self.writable("DROP VIEW", &target.catalog)?;
                let change =
                    definitions(catalog)?.drop_view(&target.schema, &target.table, *cascade);
                let done = self.within(change).await;
                catalog.metadata().flush();
                existed(done, *if_exists, "view", &target.table, "DROP VIEW")
            }
            StatementKind::DropTable {
                target,
                if_exists,
                cascade,
            } => {
                let catalog = self.writable("DROP TABLE", &target.catalog)?;
                let change = writer(catalog)?.drop_table(&target.schema, &target.table, *cascade);
                let done = self.within(change).await;
                catalog.metadata().flush();
                existed(done, *if_exists, "table", &target.table, "DROP TABLE")
            }
            StatementKind::CreateSchema {
                catalog,
                schema,
                if_not_exists,
            } => {
                let catalog = self.writable("CREATE SCHEMA", catalog)?;
                let created = self.within(writer(catalog)?.create_schema(schema)).await;
                catalog.metadata().flush();
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
                let catalog = self.writable("DROP SCHEMA", catalog)?;
                let dropped = self
                    .within(writer(catalog)?.drop_schema(schema, *cascade))
                    .await;
                catalog.metadata().flush();
                if !dropped? && !if_exists {
                    return Err(Error::new(
                        SqlState::INVALID_SCHEMA_NAME,
                        format!("schema \"{schema}\" does not exist"),
                    ));
                }
                Ok("DROP SCHEMA".to_owned())
            }
            _ => Err(Error::internal(
                "a statement that writes nothing was sent to be written",
            )),
        }
    }

    async fn create_table(&self, run: Run) -> Result<String> {
        let StatementKind::CreateTable {
            target,
            columns,
            primary_key,
            unique,
            input,
            with_data,
            if_not_exists,
            or_replace,
        } = &self.bound.kind
        else {
            return Err(Error::internal("not a CREATE TABLE"));
        };
        let tag = match input {
            Some(_) => "CREATE TABLE AS",
            None => "CREATE TABLE",
        };
        if *if_not_exists {
            let catalog = self.writable(tag, &target.catalog)?;
            if self.within(exists(catalog, target)).await? {
                return Ok(tag.to_owned());
            }
        }
        let write = WriteTarget::Create(NewTable {
            schema: target.schema.clone(),
            table: target.table.clone(),
            columns: columns.clone(),
            primary_key: primary_key.clone(),
            unique: unique.clone(),
            replace: *or_replace,
        });
        let filled = self
            .fill(tag, &target.catalog, write, input.as_ref(), run)
            .await;
        match (filled, input) {
            (Ok(rows), Some(_)) if *with_data => Ok(format!("SELECT {rows}")),
            (Ok(_), _) => Ok(tag.to_owned()),
            // Made by someone else in the meantime.
            (Err(error), _) if *if_not_exists && error.code == SqlState::DUPLICATE_TABLE => {
                Ok(tag.to_owned())
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn create_view(
        &self,
        target: &TargetTable,
        names: &[String],
        query: &QueryPlan,
        replace: bool,
        run: &Run,
    ) -> Result<String> {
        let catalog = self.writable("CREATE VIEW", &target.catalog)?;
        let definitions = definitions(catalog)?;
        let cannot = || {
            Error::unsupported(format!(
                "CREATE VIEW cannot run at the source of catalog \"{}\"",
                catalog.name()
            ))
            .with_hint(
                "A view shows columns of one table or of system.query('…'), under conditions that the \
                 source takes over exactly.",
            )
        };
        let found = self
            .rows_at_source(query, &[], run, "CREATE VIEW")?
            .ok_or_else(cannot)?;
        if found.catalog.name() != catalog.name() {
            return Err(Error::unsupported(
                "a view reads the catalog that it belongs to, and no other",
            ));
        }
        let projection: Vec<usize> = found
            .columns
            .iter()
            .copied()
            .collect::<Option<_>>()
            .ok_or_else(cannot)?;
        let done = self
            .within(definitions.create_view(NewView {
                schema: &target.schema,
                view: &target.table,
                query: &found.rows,
                projection: &projection,
                names,
                replace,
            }))
            .await;
        catalog.metadata().flush();
        done.map(|()| "CREATE VIEW".to_owned())
    }

    fn rows_at_source(
        &self,
        rows: &QueryPlan,
        targets: &[String],
        run: &Run,
        what: &str,
    ) -> Result<Option<RowsAtSource>> {
        self.coordinator.planner.rows_at_source(
            self.plan_session,
            rows,
            targets,
            run.parameters.clone(),
            what,
        )
    }

    /// The catalog, where this session may write to it now. `what` is the statement's name.
    fn writable(&self, what: &str, catalog: &str) -> Result<&Arc<Catalog>> {
        let catalog = self.coordinator.catalogs.require(catalog)?;
        check_writable(self.session, catalog, what)?;
        Ok(catalog)
    }

    /// Waits, but no longer than the client and `statement_timeout` do. What is given up is dropped, and
    /// with it what runs at the source.
    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(stream::cancelled()),
            done = work => done,
            () = stream::deadline_passes(self.deadline) => Err(stream::timed_out()),
        }
    }

    async fn open(
        &self,
        what: &str,
        catalog: &str,
        target: WriteTarget,
    ) -> Result<(&Arc<Catalog>, Box<dyn TableSink>)> {
        let catalog = self.writable(what, catalog)?;
        let sink = self.within(writer(catalog)?.begin(target)).await?;
        Ok((catalog, sink))
    }

    /// Opens the sink, runs the input into it, and commits. An error or a cancel drops the sink.
    async fn fill(
        &self,
        what: &str,
        catalog: &str,
        target: WriteTarget,
        input: Option<&QueryPlan>,
        run: Run,
    ) -> Result<u64> {
        let has_columns = match &target {
            WriteTarget::Insert(insert) => !insert.columns.is_empty(),
            WriteTarget::Create(_) => true,
        };
        let (catalog, mut sink) = self.open(what, catalog, target).await?;
        if let Some(input) = input {
            let (mut running, _) = self
                .coordinator
                .run_query(self.plan_session, self.bound, input, run)
                .await?;
            while let Some(batch) = running.next().await {
                let batch = batch?;
                let batch = match has_columns {
                    true => batch,
                    // A row of nothing but defaults.
                    false => batch
                        .project(&[])
                        .map_err(|error| Error::internal(error.to_string()))?,
                };
                self.within(sink.write(batch)).await?;
            }
            // The sources that were read are free again before the target's locks are taken.
            drop(running);
        }
        self.within(sink.finish()).await?;
        let rows = sink.commit().await;
        catalog.metadata().flush();
        rows
    }
}

/// Refuses where the session or the catalog forbids writing now. `what` is the statement's name.
pub(super) fn check_writable(session: &SessionView, catalog: &Catalog, what: &str) -> Result<()> {
    if session.setting("transaction_read_only") == "on" {
        return Err(Error::new(
            SqlState::READ_ONLY_SQL_TRANSACTION,
            format!("cannot execute {what} in a read-only transaction"),
        ));
    }
    let name = catalog.name();
    if writer(catalog)?.read_only() {
        return Err(Error::new(
            SqlState::READ_ONLY_SQL_TRANSACTION,
            format!("cannot execute {what} in the read-only catalog \"{name}\""),
        )
        .with_hint(format!("catalogs/{name}.toml says read_only = true.")));
    }
    if session.in_transaction_block && session.setting("sluice.writes_in_transactions") != "commit"
    {
        return Err(Error::new(
            SqlState::ACTIVE_SQL_TRANSACTION,
            format!("{what} cannot run inside a transaction block"),
        )
        .with_detail(
            "Each writing statement is committed by its source when it ends: a later ROLLBACK could not \
             undo it.",
        )
        .with_hint(
            "Run it outside of BEGIN … COMMIT (drivers call this autocommit), or SET \
             sluice.writes_in_transactions = 'commit'.",
        ));
    }
    Ok(())
}

async fn exists(catalog: &Catalog, target: &TargetTable) -> Result<bool> {
    let found = catalog.metadata().table(&target.schema, &target.table);
    Ok(found.await?.is_some())
}

/// The tag of a statement about something that had to exist, unless the statement says otherwise.
fn existed(
    done: Result<bool>,
    may_be_missing: bool,
    kind: &str,
    name: &str,
    tag: &str,
) -> Result<String> {
    if !done? && !may_be_missing {
        return Err(Error::new(
            SqlState::UNDEFINED_TABLE,
            format!("{kind} \"{name}\" does not exist"),
        ));
    }
    Ok(tag.to_owned())
}

/// The catalog's writer.
pub(super) fn writer(catalog: &Catalog) -> Result<&dyn Writer> {
    catalog
        .connector()
        .writer()
        .ok_or_else(|| cannot(catalog, "be written"))
}

fn row_changes(catalog: &Catalog) -> Result<&dyn RowChanges> {
    writer(catalog)?
        .row_changes()
        .ok_or_else(|| cannot(catalog, "change rows where they are"))
}

fn definitions(catalog: &Catalog) -> Result<&dyn Definitions> {
    writer(catalog)?
        .definitions()
        .ok_or_else(|| cannot(catalog, "change definitions"))
}

fn cannot(catalog: &Catalog, what: &str) -> Error {
    Error::unsupported(format!("catalog \"{}\" cannot {what}", catalog.name()))
        .with_hint(format!("Its connector is {}.", catalog.connector_name()))
}
