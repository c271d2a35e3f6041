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
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use sluice_catalogs::functions::{self, SessionFacts, SessionHost};
use sluice_catalogs::pg_catalog::{
    self, DatabaseSnapshot, SchemaSnapshot, SessionRow, SettingRow, bind, rewrite, visible_name,
};
use sluice_spi::types::tagged;
use sluice_spi::{
    ColumnMetadata, Error, ForeignKey, KeyDetails, ReferentialAction, Relation, TableDetails,
    TableHandle, TableKind, TableMetadata,
};

/// `pg_catalog` or `information_schema` as the engine looks it up.
#[derive(Debug)]
struct SystemSchema {
    snapshot: Arc<DatabaseSnapshot>,
    name: &'static str,
}

#[async_trait::async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        pg_catalog::table_names(self.name)
            .iter()
            .map(|n| (*n).to_owned())
            .collect()
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
        self.0
            .settings
            .iter()
            .find(|s| s.name == name)
            .map(|s| s.value.clone())
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
        generated: sluice_spi::Generated::No,
    }
}

fn table(
    name: &str,
    kind: TableKind,
    columns: Vec<ColumnMetadata>,
    key: &[&str],
) -> Arc<TableMetadata> {
    let relation = Relation::Native {
        text: String::new(),
        columns: Vec::new(),
    };
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

/// Orders belong to customers; a view has a query.
fn details() -> Vec<TableDetails> {
    let texts = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let key = |name: &str, columns: &[&str], primary, constraint| KeyDetails {
        name: name.to_owned(),
        columns: texts(columns),
        primary,
        constraint,
    };
    vec![
        TableDetails {
            table: "customer".to_owned(),
            keys: vec![
                key("customer_pkey", &["id"], true, true),
                key("one_name", &["city", "name"], false, true),
                key("quick", &["joined"], false, false),
            ],
            ..TableDetails::default()
        },
        TableDetails {
            table: "orders".to_owned(),
            keys: vec![key("orders_pkey", &["line", "id"], true, true)],
            foreign_keys: vec![ForeignKey {
                name: "buyer".to_owned(),
                columns: texts(&["id"]),
                schema: "sales".to_owned(),
                table: "customer".to_owned(),
                referenced: texts(&["id"]),
                on_update: ReferentialAction::NoAction,
                on_delete: ReferentialAction::Cascade,
            }],
            view_query: None,
        },
        TableDetails {
            table: "big".to_owned(),
            view_query: Some(" SELECT 1 AS a;".to_owned()),
            ..TableDetails::default()
        },
    ]
}

fn snapshot() -> DatabaseSnapshot {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let customer = vec![
        column(
            Field::new("id", DataType::Int64, false),
            Some("its number"),
            None,
        ),
        column(Field::new("name", DataType::Utf8View, false), None, None),
        column(
            tagged("city", DataType::Utf8View, true, "character varying(20)"),
            None,
            None,
        ),
        column(
            Field::new("balance", DataType::Decimal128(12, 2), true),
            None,
            None,
        ),
        column(
            Field::new("joined", DataType::Date32, true),
            None,
            Some("CURRENT_DATE"),
        ),
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
            SchemaSnapshot {
                name: "public".to_owned(),
                ..SchemaSnapshot::default()
            },
            SchemaSnapshot {
                name: "sales".to_owned(),
                tables: vec![
                    table("customer", TableKind::Table, customer, &["id"]),
                    table("orders", TableKind::Table, orders, &["line", "id"]),
                    table(
                        "big",
                        TableKind::View,
                        vec![column(text("a"), None, None)],
                        &[],
                    ),
                ],
                details: Arc::new(
                    details()
                        .into_iter()
                        .map(|d| (d.table.clone(), d))
                        .collect(),
                ),
                prefix: String::new(),
            },
        ],
        user: "ada".to_owned(),
        roles: vec!["ada".to_owned(), "bob".to_owned()],
        search_path: vec![
            "\"$user\"".to_owned(),
            "sales".to_owned(),
            "public".to_owned(),
        ],
        settings: vec![
            setting("search_path", "sales, public"),
            setting("server_version_num", "160004"),
        ],
        sessions: vec![SessionRow {
            pid: 42,
            user: "ada".to_owned(),
            database: "shop".to_owned(),
            ..SessionRow::default()
        }],
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
            let schema = SystemSchema {
                snapshot: snapshot.clone(),
                name,
            };
            catalog
                .register_schema(name, Arc::new(schema))
                .expect("a memory catalog takes any schema");
        }
        context.register_catalog("shop", Arc::new(catalog));
        for function in functions::session_functions(&facts)
            .into_iter()
            .chain(functions::global_functions())
        {
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
        pg_catalog::names::resolve_regclass(&self.facts.host.snapshot(), name).expect(name)
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
            let columns = batch
                .columns()
                .iter()
                .map(|c| ArrayFormatter::try_new(c, &options))
                .collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                rows.push(
                    columns
                        .iter()
                        .map(|c| c.value(row).to_string())
                        .collect::<Vec<_>>()
                        .join("|"),
                );
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
        Error::from_marked(&format!("{error:?}"))
            .or_else(|| Error::from_marked(&error.to_string()))
            .expect(sql)
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
    let oids: BTreeMap<&str, u32> = ["customer_pkey", "orders_pkey", "customer", "orders", "big"]
        .map(|n| (n, engine.oid(n)))
        .into();
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
            failures.push(format!(
                "{name}: {}\n{sql}",
                error.to_string().lines().next().unwrap_or_default()
            ));
        }
    }
    failures
}

#[tokio::test]
async fn every_query_of_psql_plans_and_runs() {
    let failures = run_all(include_str!("clients/psql.sql")).await;
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[tokio::test]
async fn every_query_of_the_drivers_plans_and_runs() {
    let failures = run_all(include_str!("clients/drivers.sql")).await;
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[tokio::test]
async fn describe_shows_columns_as_postgresql_does() {
    let engine = Engine::new();
    let sql = format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
           (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d
             WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
           a.attnotnull
         FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = '{}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        engine.oid("customer")
    );
    engine
        .check(
            &sql,
            &[
                "id|bigint|NULL|true",
                "name|text|NULL|true",
                "city|character varying(20)|NULL|false",
                "balance|numeric(12,2)|NULL|false",
                "joined|date|CURRENT_DATE|false",
            ],
        )
        .await;
}

#[tokio::test]
async fn keys_are_shown_as_postgresql_does() {
    let engine = Engine::new();
    let constraints = "SELECT conname, contype, conrelid::regclass, confrelid::regclass, confdeltype, \
         pg_get_constraintdef(oid), pg_get_constraintdef(oid, true) FROM pg_constraint ORDER BY conname";
    engine
        .check(
            constraints,
            &[
                "buyer|f|orders|customer|c|FOREIGN KEY (id) REFERENCES sales.customer(id) ON DELETE CASCADE|\
                 FOREIGN KEY (id) REFERENCES customer(id) ON DELETE CASCADE",
                "customer_pkey|p|customer|-| |PRIMARY KEY (id)|PRIMARY KEY (id)",
                "one_name|u|customer|-| |UNIQUE (city, name)|UNIQUE (city, name)",
                "orders_pkey|p|orders|-| |PRIMARY KEY (line, id)|PRIMARY KEY (line, id)",
            ],
        )
        .await;
    engine
        .check(
            "SELECT c.relname, i.indisprimary, i.indkey, pg_get_indexdef(c.oid) FROM pg_index i \
             JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'customer'::regclass ORDER BY 1",
            &[
                "customer_pkey|true|[1]|CREATE UNIQUE INDEX customer_pkey ON sales.customer USING btree (id)",
                "one_name|false|[3, 2]|CREATE UNIQUE INDEX one_name ON sales.customer USING btree (city, name)",
                "quick|false|[5]|CREATE UNIQUE INDEX quick ON sales.customer USING btree (joined)",
            ],
        )
        .await;
    engine
        .check(
            "SELECT constraint_name, constraint_type FROM information_schema.table_constraints ORDER BY 1",
            &[
                "buyer|FOREIGN KEY",
                "customer_pkey|PRIMARY KEY",
                "one_name|UNIQUE",
                "orders_pkey|PRIMARY KEY",
            ],
        )
        .await;
    engine
        .check(
            "SELECT constraint_name, column_name, ordinal_position, position_in_unique_constraint \
             FROM information_schema.key_column_usage WHERE constraint_name IN ('buyer', 'one_name') ORDER BY 1, 3",
            &["buyer|id|1|1", "one_name|city|1|NULL", "one_name|name|2|NULL"],
        )
        .await;
    engine
        .check(
            "SELECT r.constraint_name, r.unique_constraint_name, r.match_option, r.update_rule, r.delete_rule, \
             u.table_name, u.column_name FROM information_schema.referential_constraints r \
             JOIN information_schema.constraint_column_usage u ON u.constraint_name = r.constraint_name",
            &["buyer|customer_pkey|NONE|NO ACTION|CASCADE|customer|id"],
        )
        .await;
    engine
        .check(
            "SELECT pg_get_viewdef('big'::regclass, true), definition, view_definition FROM pg_views \
             JOIN information_schema.views ON table_name = viewname WHERE viewname = 'big'",
            &[" SELECT 1 AS a;| SELECT 1 AS a;| SELECT 1 AS a;"],
        )
        .await;
}

#[tokio::test]
async fn drivers_read_keys_and_comments() {
    let engine = Engine::new();
    let drivers = queries(&engine, include_str!("clients/drivers.sql"));
    let named = |name: &str| &drivers.iter().find(|(n, _)| n == name).unwrap().1;
    let keys = named("pgjdbc: DatabaseMetaData.getPrimaryKeys").replace("'customer'", "'orders'");
    engine
        .check(
            &keys,
            &[
                "shop|sales|orders|line|1|orders_pkey",
                "shop|sales|orders|id|2|orders_pkey",
            ],
        )
        .await;
    let tables: Vec<String> = engine
        .rows(named("pgjdbc: DatabaseMetaData.getTables"))
        .await
        .unwrap();
    assert_eq!(tables.len(), 3);
    assert!(
        tables[0].starts_with("NULL|sales|customer|TABLE|who buys"),
        "{tables:?}"
    );
    assert!(
        tables[2].starts_with("NULL|sales|big|VIEW|NULL"),
        "{tables:?}"
    );
    engine.check(named("Grafana: version"), &["1600"]).await;
    engine.check(named("pgjdbc: after connect"), &[","]).await;
    engine
        .check(named("psycopg 3: TypeInfo"), &["jsonb|3802|3807|jsonb|,"])
        .await;
    let comments = engine.rows(named("Metabase: comments")).await.unwrap();
    assert!(
        comments.contains(&"id|its number".to_owned()),
        "{comments:?}"
    );
    engine
        .check(
            named("Power BI: keys"),
            &[
                "sales_customer_pkey|id|1|Y",
                "sales_one_name|city|1|N",
                "sales_one_name|name|2|N",
            ],
        )
        .await;
    let columns = engine.rows(named("SQLAlchemy: columns")).await.unwrap();
    assert_eq!(columns[0], "id|bigint|NULL|true|customer|its number|");
}

#[tokio::test]
async fn names_and_oids_convert_both_ways() {
    let engine = Engine::new();
    let oid = engine.oid("customer").to_string();
    engine
        .check("SELECT 'customer'::regclass", &["customer"])
        .await;
    engine
        .check("SELECT 'sales.customer'::regclass::oid", &[&oid])
        .await;
    engine
        .check(&format!("SELECT {oid}::regclass::text"), &["customer"])
        .await;
    engine
        .check(
            "SELECT relname FROM pg_class WHERE oid = 'pg_class'::regclass",
            &["pg_class"],
        )
        .await;
    engine
        .check(
            "SELECT 'int8'::regtype, 'jsonb'::regtype::oid",
            &["bigint|3802"],
        )
        .await;
    engine
        .check(
            "SELECT typinput, typinput::text FROM pg_type WHERE typinput = 'boolin'",
            &["boolin|boolin"],
        )
        .await;
    engine
        .check(
            "SELECT to_regclass('nothing'), to_regtype('nothing')",
            &["NULL|NULL"],
        )
        .await;
    engine
        .check(
            "SELECT 'sales'::regnamespace::text, 'ada'::regrole",
            &["sales|ada"],
        )
        .await;
    engine
        .check(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'sales'::regnamespace",
            &["7"],
        )
        .await;
    let error = engine.error("SELECT 'nothing'::regclass").await;
    assert_eq!(
        (error.code.code(), error.message.as_str()),
        ("42P01", "relation \"nothing\" does not exist")
    );
}

#[tokio::test]
async fn correlated_subqueries_keep_their_meaning() {
    let engine = Engine::new();
    // No row is NULL, of a list it is the empty list, and a count it is 0.
    engine
        .check(
            "SELECT n.nspname, (SELECT c.relname FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'v'),
               (SELECT count(*) FROM pg_class c WHERE c.relnamespace = n.oid AND n.nspname <> 'x'),
               ARRAY(SELECT c.relname FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r' ORDER BY 1 DESC)
             FROM pg_namespace n WHERE n.nspname IN ('sales', 'public') ORDER BY 1",
            &["public|NULL|0|[]", "sales|big|7|[orders, customer]"],
        )
        .await;
    // The first of each.
    engine
        .check(
            "SELECT n.nspname, (SELECT c.relname FROM pg_class c WHERE c.relnamespace = n.oid ORDER BY c.relname LIMIT 1)
             FROM pg_namespace n WHERE n.nspname = 'sales'",
            &["sales|big"],
        )
        .await;
    // Two rows are an error.
    let error = engine
        .error("SELECT (SELECT c.relname FROM pg_class c WHERE c.relnamespace = n.oid) FROM pg_namespace n")
        .await;
    assert_eq!(error.code.code(), "21000");
    // Subqueries in a filter, and one within another.
    engine
        .check(
            "SELECT n.nspname FROM pg_namespace n WHERE n.nspname = 'sales' AND 'orders' = (SELECT c.relname FROM pg_class c
               WHERE c.relnamespace = n.oid AND c.relname >= 'orders' AND c.relkind = 'r'
               AND 4 = (SELECT max(a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum < 100))",
            &["sales"],
        )
        .await;
}

#[tokio::test]
async fn existence_is_an_output_too() {
    let engine = Engine::new();
    engine
        .check(
            "SELECT n.nspname, EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid) AS filled,
               NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'v')
             FROM pg_namespace n WHERE n.nspname IN ('sales', 'public') ORDER BY 1",
            &["public|false|true", "sales|true|false"],
        )
        .await;
    engine
        .check(
            "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'nothing')",
            &["false"],
        )
        .await;
    engine
        .check("SELECT DISTINCT c.tableoid::regclass, lower(c.relkind) FROM pg_class c ORDER BY lower(c.relkind) LIMIT 1",
            &["pg_class|i"])
        .await;
}

#[tokio::test]
async fn named_outputs_still_group_and_sort() {
    let engine = Engine::new();
    let from = "FROM pg_class WHERE relnamespace = 'sales'::regnamespace";
    let check = async |sql: String, expected: &[&str]| engine.check(&sql, expected).await;
    check(
        format!("SELECT upper(relkind) {from} GROUP BY upper(relkind) ORDER BY upper(relkind)"),
        &["I", "R", "V"],
    )
    .await;
    check(format!("SELECT relkind, count(*) {from} GROUP BY relkind HAVING count(*) > 1 ORDER BY count(*) DESC, relkind"), &["i|4", "r|2"]).await;
    check(
        format!("SELECT relkind::text {from} GROUP BY relkind ORDER BY relkind"),
        &["i", "r", "v"],
    )
    .await;
    check(
        format!("SELECT relnatts + 1 {from} ORDER BY relnatts + 1, 1 LIMIT 2"),
        &["2", "2"],
    )
    .await;
    check(
        format!("SELECT DISTINCT upper(relkind) AS k {from} ORDER BY k DESC LIMIT 1"),
        &["V"],
    )
    .await;
    check(
        format!("SELECT s.upper FROM (SELECT upper(relkind) {from}) s ORDER BY 1 LIMIT 1"),
        &["I"],
    )
    .await;
}

#[tokio::test]
async fn arrays_of_the_catalogs_behave() {
    let engine = Engine::new();
    engine
        .check(
            "SELECT indkey[0], indkey[1] FROM pg_index WHERE indnatts = 2",
            &["3|2", "2|1"],
        )
        .await;
    engine
        .check(
            "SELECT conkey[1], 2 = ANY(conkey) FROM pg_constraint WHERE conname = 'orders_pkey'",
            &["2|true"],
        )
        .await;
    engine.check("SELECT unnest(conkey), generate_subscripts(conkey, 1) FROM pg_constraint WHERE conname = 'orders_pkey'", &["2|1", "1|2"]).await;
    engine
        .check(
            "SELECT generate_subscripts(indkey, 1) FROM pg_index WHERE indnatts = 2",
            &["0", "1", "0", "1"],
        )
        .await;
    engine
        .check("SELECT '{a,\"b c\",NULL}'::text[]", &["[a, b c, NULL]"])
        .await;
    engine
        .check("SELECT 3 = ANY('{1,2,3}'::int[])", &["true"])
        .await;
}

#[tokio::test]
async fn session_functions_answer() {
    let engine = Engine::new();
    engine
        .check(
            "SELECT current_user, session_user, current_database(), current_schema()",
            &["ada|ada|shop|sales"],
        )
        .await;
    engine
        .check(
            "SELECT current_schemas(true), current_schemas(false)",
            &["[pg_catalog, sales, public]|[sales, public]"],
        )
        .await;
    engine
        .check(
            "SELECT pg_catalog.version(), pg_backend_pid()",
            &["PostgreSQL 16.4 (Sluice 0.1.0)|42"],
        )
        .await;
    engine
        .check("SELECT current_setting('nothing', true)", &["NULL"])
        .await;
    let error = engine.error("SELECT current_setting('nothing')").await;
    assert_eq!(
        (error.code.code(), error.message.as_str()),
        ("42704", "unrecognized configuration parameter \"nothing\"")
    );
    engine.check("SELECT has_table_privilege('customer', 'SELECT'), has_schema_privilege('sales', 'usage')", &["true|true"]).await;
    let error = engine
        .error("SELECT has_table_privilege('customer', 'EAT')")
        .await;
    assert_eq!(error.code.code(), "22023");
    engine
        .check(
            "SELECT quote_ident('a b'), quote_literal('it''s'), quote_nullable(NULL)",
            &["\"a b\"|'it''s'|NULL"],
        )
        .await;
    engine.check("SELECT format('%I.%I = %L', 'Sales', 'x', 'o''k'), format('%2$s-%1$s', 'a', 7), format('%-4s|%4s', 'a', 'b')",
        &["\"Sales\".x = 'o''k'|7-a|a   |   b"]).await;
    engine
        .check("SELECT parse_ident('Sales.\"Big\"')", &["[sales, Big]"])
        .await;
    engine.check("SELECT pg_sleep(0.01)", &[""]).await;
    engine
        .check(
            "SELECT pg_cancel_backend(42), pg_cancel_backend(1)",
            &["true|false"],
        )
        .await;
    engine
        .check(
            "SELECT pg_typeof(1::int), pg_typeof('x'::name), pg_typeof(ARRAY[1::bigint])",
            &["integer|name|bigint[]"],
        )
        .await;
}

#[tokio::test]
async fn outputs_have_postgresql_s_names() {
    let engine = Engine::new();
    let batches = engine
        .batches("SELECT 1, 2, 'x'::text, count(*), oid::regclass::text FROM pg_class GROUP BY oid")
        .await
        .unwrap();
    let schema = batches[0].schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|f| visible_name(f.name()))
        .collect();
    assert_eq!(names, ["?column?", "?column?", "text", "count", "oid"]);
}

#[tokio::test]
async fn every_relation_scans_and_oids_are_stable() {
    let engine = Engine::new();
    for schema in pg_catalog::VIRTUAL_SCHEMAS {
        for name in pg_catalog::table_names(schema) {
            engine
                .rows(&format!("SELECT * FROM {schema}.{name}"))
                .await
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    // Written down: a client may have kept it, so it must not change from one build to the next.
    assert_eq!(engine.oid("customer"), Engine::new().oid("customer"));
    let rows = engine
        .rows("SELECT count(*), count(DISTINCT oid) FROM pg_class")
        .await
        .unwrap();
    let (all, distinct) = rows[0].split_once('|').unwrap();
    assert_eq!(all, distinct);
}
