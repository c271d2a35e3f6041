//! The system catalogs, asked as clients ask: every query that psql sends for its backslash commands, and
//! those of drivers and tools, over a snapshot of a few tables.
//!
//! Planning here is the engine's own with the two passes of `pg_catalog` around it; names are resolved by a
//! schema provider over the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::{MemoryCatalogProvider, CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use sluice_catalogs::functions::{self, SessionFacts, SessionHost};
use sluice_catalogs::pg_catalog::{
    self, DatabaseSnapshot, SchemaSnapshot, SessionRow, SettingRow, bind, rewrite, visible_name,
};
use sluice_spi::types::tagged;
use sluice_spi::{ColumnMetadata, Error, Relation, TableHandle, TableKind, TableMetadata};

/// `pg_catalog` or `information_schema` as the engine looks it up.
#[derive(Debug)]
struct SystemSchema {
    snapshot: Arc<DatabaseSnapshot>,
    name: &'static str,
}

#[async_trait::async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        pg_catalog::table_names(self.name).iter().map(|n| (*n).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(pg_catalog::table(&self.snapshot, self.name, name))
    }

    fn table_exist(&self, name: &str) -> bool {
        pg_catalog::relation(self.name, name).is_some()
    }
}

#[derive(Debug)]
struct Host(Arc<DatabaseSnapshot>);

impl SessionHost for Host {
    fn setting(&self, name: &str) -> Option<String> {
        self.0.settings.iter().find(|s| s.name == name).map(|s| s.value.clone())
    }

    fn set_setting(&self, _name: &str, value: &str, _local: bool) -> sluice_spi::Result<String> {
        Ok(value.to_owned())
    }

    fn signal_backend(&self, pid: i32, _terminate: bool) -> sluice_spi::Result<bool> {
        Ok(pid == 42)
    }

    fn snapshot(&self) -> Arc<DatabaseSnapshot> {
        self.0.clone()
    }
}

fn column(field: Field, comment: Option<&str>, default: Option<&str>) -> ColumnMetadata {
    ColumnMetadata {
        native_type: field.data_type().to_string(),
        field: Arc::new(field),
        comment: comment.map(str::to_owned),
        default: default.map(str::to_owned),
    }
}

fn table(name: &str, kind: TableKind, columns: Vec<ColumnMetadata>, key: &[&str]) -> Arc<TableMetadata> {
    let relation = Relation::Native { text: String::new(), columns: Vec::new() };
    Arc::new(TableMetadata {
        schema: "sales".to_owned(),
        name: name.to_owned(),
        kind,
        comment: (name == "customer").then(|| "who buys".to_owned()),
        columns,
        primary_key: key.iter().map(|k| (*k).to_owned()).collect(),
        handle: TableHandle::new("shop", relation, Vec::new()),
    })
}

fn snapshot() -> DatabaseSnapshot {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let customer = vec![
        column(Field::new("id", DataType::Int64, false), Some("its number"), None),
        column(Field::new("name", DataType::Utf8View, false), None, None),
        column(tagged("city", DataType::Utf8View, true, "character varying(20)"), None, None),
        column(Field::new("balance", DataType::Decimal128(12, 2), true), None, None),
        column(Field::new("joined", DataType::Date32, true), None, Some("CURRENT_DATE")),
    ];
    let placed = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let tags = DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)));
    let orders = vec![
        column(Field::new("id", DataType::Int32, false), None, None),
        column(Field::new("line", DataType::Int32, false), None, None),
        column(Field::new("placed", placed, true), None, None),
        column(Field::new("tags", tags, true), None, None),
    ];
    let setting = |name: &str, value: &str| SettingRow {
        name: name.to_owned(),
        value: value.to_owned(),
        default: value.to_owned(),
        vartype: "string".to_owned(),
        ..SettingRow::default()
    };
    DatabaseSnapshot {
        database: "shop".to_owned(),
        databases: vec!["lake".to_owned(), "shop".to_owned(), "sluice".to_owned()],
        schemas: vec![
            SchemaSnapshot { name: "public".to_owned(), tables: Vec::new() },
            SchemaSnapshot {
                name: "sales".to_owned(),
                tables: vec![
                    table("customer", TableKind::Table, customer, &["id"]),
                    table("orders", TableKind::Table, orders, &["line", "id"]),
                    table("big", TableKind::View, vec![column(text("a"), None, None)], &[]),
                ],
            },
        ],
        user: "ada".to_owned(),
        roles: vec!["ada".to_owned(), "bob".to_owned()],
        search_path: vec!["\"$user\"".to_owned(), "sales".to_owned(), "public".to_owned()],
        settings: vec![setting("search_path", "sales, public"), setting("server_version_num", "160004")],
        sessions: vec![SessionRow { pid: 42, user: "ada".to_owned(), database: "shop".to_owned(), ..SessionRow::default() }],
        ..DatabaseSnapshot::default()
    }
}

struct Engine {
    context: SessionContext,
    facts: Arc<SessionFacts>,
}

impl Engine {
    fn new() -> Self {
        let snapshot = Arc::new(snapshot());
        let facts = Arc::new(SessionFacts {
            database: "shop".to_owned(),
            user: "ada".to_owned(),
            session_user: "ada".to_owned(),
            backend_pid: 42,
            version: "PostgreSQL 16.4 (Sluice 0.1.0)".to_owned(),
            server_addr: None,
            client_addr: None,
            started_at: 0,
            host: Arc::new(Host(snapshot.clone())),
        });
        let config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema("shop", "pg_catalog")
            .with_target_partitions(2)
            .set_str("datafusion.sql_parser.dialect", "postgres");
        let context = SessionContext::new_with_config(config);
        let catalog = MemoryCatalogProvider::new();
        for name in pg_catalog::VIRTUAL_SCHEMAS {
            let schema = SystemSchema { snapshot: snapshot.clone(), name };
            catalog.register_schema(name, Arc::new(schema)).unwrap();
        }
        context.register_catalog("shop", Arc::new(catalog));
        for function in functions::session_functions(&facts).into_iter().chain(functions::global_functions()) {
            context.register_udf(function);
        }
        for function in functions::global_aggregates() {
            context.register_udaf(function);
        }
        for (name, function) in functions::table_functions() {
            context.register_udtf(name, function);
        }
        Engine { context, facts }
    }

    fn oid(&self, name: &str) -> u32 {
        pg_catalog::names::resolve_regclass(&self.facts.host.snapshot(), name).unwrap()
    }

    async fn batches(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let state = self.context.state();
        let dialect = state.config_options().sql_parser.dialect;
        let mut statement = state.sql_to_statement(sql, &dialect)?;
        if let Statement::Statement(statement) = &mut statement {
            rewrite::normalize(statement)?;
        }
        let plan = bind::finish(state.statement_to_plan(statement).await?, &self.facts)?;
        let frame = self.context.execute_logical_plan(plan).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let mut batches = frame.collect().await?;
        batches.push(RecordBatch::new_empty(schema));
        Ok(batches)
    }

    /// Rows as text, as psql would print them without alignment.
    async fn rows(&self, sql: &str) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        for batch in self.batches(sql).await? {
            let options = FormatOptions::default().with_null("NULL");
            let columns =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
            }
        }
        Ok(rows)
    }

    async fn check(&self, sql: &str, expected: &[&str]) {
        match self.rows(sql).await {
            Ok(rows) => assert_eq!(rows, expected, "{sql}"),
            Err(error) => panic!("{sql}\n{error}"),
        }
    }

    async fn error(&self, sql: &str) -> Error {
        let error = self.rows(sql).await.expect_err(sql);
        Error::from_marked(&format!("{error:?}")).or_else(|| Error::from_marked(&error.to_string())).expect(sql)
    }
}

/// The queries of a file: what each is called, and its text with OIDs filled in.
fn queries(engine: &Engine, file: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in file.lines() {
        match line.strip_prefix("-- ") {
            Some(name) => all.push((name.to_owned(), String::new())),
            None => {
                if let Some((_, text)) = all.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    let oids: BTreeMap<&str, u32> =
        ["customer_pkey", "orders_pkey", "customer", "orders", "big"].map(|n| (n, engine.oid(n))).into();
    // Longest first: `$customer` begins `$customer_pkey`.
    for (_, text) in &mut all {
        for (name, oid) in oids.iter().rev() {
            *text = text.replace(&format!("${name}"), &oid.to_string());
        }
    }
    all.retain(|(_, text)| !text.trim().is_empty());
    all
}

async fn run_all(file: &str) -> Vec<String> {
    let engine = Engine::new();
    let mut failures = Vec::new();
    for (name, sql) in queries(&engine, file) {
        if let Err(error) = engine.rows(&sql).await {
            failures.push(format!("{name}: {}\n{sql}", error.to_string().lines().next().unwrap_or_default()));
        }
    }
    failures
}

#[tokio::test]
async fn every_query_of_psql_plans_and_runs() {
    let failures = run_all(include_str!("clients/psql.sql")).await;
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn every_query_of_the_drivers_plans_and_runs() {
    let failures = run_all(include_str!("clients/drivers.sql")).await;
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
