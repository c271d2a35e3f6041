//! The tables of the `system` catalog, over what the rooms know.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use sluice_catalogs::{Catalogs, SystemTable};
use sluice_spi::{Error, Result};
use sluice_workers::Membership;

use super::introspection::micros;
use super::queries::{QueryRegistry, QueryState};
use crate::session::SETTINGS;

/// What the tables read from.
#[derive(Clone)]
pub struct SystemSources {
    /// Queries.
    pub queries: Arc<QueryRegistry>,
    /// Workers and tasks.
    pub membership: Arc<Membership>,
    /// Catalogs; set after they are made, since `system` is one of them.
    pub catalogs: Arc<std::sync::OnceLock<Arc<Catalogs>>>,
    /// Names of the connectors in this build.
    pub connectors: Arc<[&'static str]>,
}

/// One column: its name and its values.
struct Column(&'static str, ArrayRef);

/// A table made by a function.
struct Table {
    schema_name: &'static str,
    name: &'static str,
    comment: &'static str,
    sources: SystemSources,
    rows: fn(&SystemSources) -> Vec<Column>,
    /// True where workers are asked first, so that a task that just ended is shown as ended.
    asks_workers: bool,
}

/// How long a worker may take to tell of its tasks; a slow one is shown as last heard.
const TASKS_PATIENCE: Duration = Duration::from_millis(300);

#[async_trait]
impl SystemTable for Table {
    fn schema_name(&self) -> &'static str {
        self.schema_name
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn comment(&self) -> &'static str {
        self.comment
    }

    fn columns(&self) -> SchemaRef {
        schema_of(&(self.rows)(&self.sources))
    }

    async fn rows(&self) -> Result<RecordBatch> {
        if self.asks_workers {
            self.sources.membership.refresh_tasks(TASKS_PATIENCE).await;
        }
        let columns = (self.rows)(&self.sources);
        let rows = columns.first().map_or(0, |c| c.1.len());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = schema_of(&columns);
        let arrays = columns.into_iter().map(|c| c.1).collect();
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|e| Error::internal(e.to_string()))
    }
}

fn schema_of(columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|c| Field::new(c.0, c.1.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn text<T: AsRef<str>>(name: &'static str, values: impl IntoIterator<Item = Option<T>>) -> Column {
    Column(name, Arc::new(values.into_iter().collect::<StringArray>()))
}

fn bigint(name: &'static str, values: impl IntoIterator<Item = Option<i64>>) -> Column {
    Column(name, Arc::new(values.into_iter().collect::<Int64Array>()))
}

fn double(name: &'static str, values: impl IntoIterator<Item = Option<f64>>) -> Column {
    Column(name, Arc::new(values.into_iter().collect::<Float64Array>()))
}

fn time(name: &'static str, values: impl IntoIterator<Item = Option<i64>>) -> Column {
    let array: TimestampMicrosecondArray = values.into_iter().collect();
    Column(name, Arc::new(array.with_timezone("UTC")))
}

fn count(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

/// Every table of the catalog.
pub fn system_tables(sources: &SystemSources) -> Vec<Arc<dyn SystemTable>> {
    type Rows = fn(&SystemSources) -> Vec<Column>;
    let tables: [(&str, &str, &str, Rows); 7] = [
        (
            "runtime",
            "queries",
            "Running queries, and the latest that ended.",
            queries,
        ),
        (
            "runtime",
            "tasks",
            "Tasks of every worker: running, and the latest that ended.",
            tasks,
        ),
        (
            "runtime",
            "workers",
            "Workers of the fleet, those that left last.",
            workers,
        ),
        (
            "runtime",
            "source_connections",
            "Connections of each process to each catalog's source; max_connections holds over all of them.",
            source_connections,
        ),
        ("metadata", "catalogs", "The configured catalogs.", catalogs),
        (
            "metadata",
            "connectors",
            "The connectors of this build.",
            connectors,
        ),
        (
            "metadata",
            "settings",
            "Every setting with its documentation.",
            settings,
        ),
    ];
    tables
        .into_iter()
        .map(|(schema_name, name, comment, rows)| {
            let sources = sources.clone();
            let asks_workers = matches!(name, "tasks" | "workers");
            Arc::new(Table {
                schema_name,
                name,
                comment,
                sources,
                rows,
                asks_workers,
            }) as Arc<dyn SystemTable>
        })
        .collect()
}

fn queries(sources: &SystemSources) -> Vec<Column> {
    let list = sources.queries.list();
    let error = |state: &QueryState| match state {
        QueryState::Failed(error) => Some(error.clone()),
        _ => None,
    };
    let start = |time: SystemTime| Some(micros(time));
    vec![
        text("query_id", list.iter().map(|q| Some(q.entry.id.as_ref()))),
        text("state", list.iter().map(|q| Some(q.state.name()))),
        text("query", list.iter().map(|q| Some(q.entry.text.as_ref()))),
        text(
            "user_name",
            list.iter().map(|q| Some(q.entry.user.as_ref())),
        ),
        text(
            "database",
            list.iter().map(|q| Some(q.entry.database.as_ref())),
        ),
        Column(
            "backend_pid",
            Arc::new(
                list.iter()
                    .map(|q| Some(q.entry.backend_pid))
                    .collect::<Int32Array>(),
            ),
        ),
        time("started", list.iter().map(|q| start(q.entry.started))),
        double(
            "planning_ms",
            list.iter()
                .map(|q| q.planning.map(|d| d.as_secs_f64() * 1e3)),
        ),
        double(
            "elapsed_ms",
            list.iter().map(|q| Some(q.elapsed.as_secs_f64() * 1e3)),
        ),
        bigint("rows", list.iter().map(|q| count(q.rows))),
        bigint("workers", list.iter().map(|q| count(q.workers as u64))),
        text(
            "error_code",
            list.iter()
                .map(|q| error(&q.state).map(|e| e.code.code().to_owned())),
        ),
        text(
            "error",
            list.iter().map(|q| error(&q.state).map(|e| e.message)),
        ),
    ]
}

fn tasks(sources: &SystemSources) -> Vec<Column> {
    let list = sources.membership.tasks();
    vec![
        text("query_id", list.iter().map(|t| Some(t.query_id.as_str()))),
        bigint("stage", list.iter().map(|t| count(t.stage))),
        bigint("task", list.iter().map(|t| count(t.task))),
        text("worker_id", list.iter().map(|t| Some(t.worker_id.as_str()))),
        text("state", list.iter().map(|t| Some(t.state.name()))),
        time("started", list.iter().map(|t| Some(t.started_micros))),
        time("ended", list.iter().map(|t| t.ended_micros)),
        bigint("splits", list.iter().map(|t| count(t.splits))),
        bigint("input_rows", list.iter().map(|t| count(t.input_rows))),
        bigint("output_rows", list.iter().map(|t| count(t.output_rows))),
        bigint("output_bytes", list.iter().map(|t| count(t.output_bytes))),
        text("error", list.iter().map(|t| t.error.as_deref())),
    ]
}

fn workers(sources: &SystemSources) -> Vec<Column> {
    let list = sources.membership.workers();
    vec![
        text("worker_id", list.iter().map(|w| Some(w.id.as_str()))),
        text("url", list.iter().map(|w| Some(w.url.as_str()))),
        text("state", list.iter().map(|w| Some(w.state.name()))),
        text("version", list.iter().map(|w| Some(w.build_id.as_str()))),
        text(
            "embedded",
            list.iter()
                .map(|w| Some(if w.embedded { "yes" } else { "no" })),
        ),
        time("started", list.iter().map(|w| Some(w.started_micros))),
        time(
            "last_heartbeat",
            list.iter().map(|w| Some(w.last_heartbeat_micros)),
        ),
        bigint("cores", list.iter().map(|w| count(w.cores))),
        bigint(
            "memory_limit_bytes",
            list.iter().map(|w| count(w.memory_limit_bytes)),
        ),
        bigint(
            "memory_used_bytes",
            list.iter().map(|w| count(w.memory_used_bytes)),
        ),
        bigint(
            "memory_peak_bytes",
            list.iter().map(|w| count(w.memory_peak_bytes)),
        ),
        bigint("running_tasks", list.iter().map(|w| count(w.running_tasks))),
    ]
}

fn source_connections(sources: &SystemSources) -> Vec<Column> {
    let list = sources.membership.connection_reports();
    vec![
        text("catalog", list.iter().map(|c| Some(c.catalog.as_str()))),
        text("process", list.iter().map(|c| Some(c.process.as_str()))),
        text("state", list.iter().map(|c| Some(c.state))),
        bigint("open", list.iter().map(|c| count(c.open as u64))),
        bigint("in_use", list.iter().map(|c| count(c.in_use as u64))),
        bigint(
            "max_connections",
            list.iter().map(|c| count(c.limit as u64)),
        ),
    ]
}

fn catalogs(sources: &SystemSources) -> Vec<Column> {
    let catalogs = sources.catalogs.get();
    let list: Vec<_> = catalogs.iter().flat_map(|c| c.iter()).collect();
    let writable = |yes: bool| Some(if yes { "yes" } else { "no" });
    vec![
        text("catalog", list.iter().map(|c| Some(c.name()))),
        text("connector", list.iter().map(|c| Some(c.connector_name()))),
        text(
            "writable",
            list.iter()
                .map(|c| writable(c.connector().writer().is_some())),
        ),
    ]
}

fn connectors(sources: &SystemSources) -> Vec<Column> {
    vec![text(
        "connector",
        sources.connectors.iter().map(|name| Some(*name)),
    )]
}

fn settings(_sources: &SystemSources) -> Vec<Column> {
    vec![
        text("name", SETTINGS.iter().map(|s| Some(s.name))),
        text("default_value", SETTINGS.iter().map(|s| Some(s.default))),
        text("type", SETTINGS.iter().map(|s| Some(s.vartype()))),
        text("category", SETTINGS.iter().map(|s| Some(s.category))),
        text("description", SETTINGS.iter().map(|s| Some(s.description))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_table_has_columns_and_rows_of_its_own_schema() {
        let sources = SystemSources {
            queries: QueryRegistry::new(),
            membership: Membership::new("test"),
            catalogs: Arc::default(),
            connectors: Arc::from(["tpch"]),
        };
        for table in system_tables(&sources) {
            let rows = table.rows().await.unwrap();
            assert_eq!(rows.schema(), table.columns(), "{}", table.name());
            assert!(rows.num_columns() > 0);
        }
    }
}
