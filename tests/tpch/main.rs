//! TPC-H: the 22 queries over each place that the tables can live in, and over a mix of all of them.
//!
//! The real PostgreSQL's rows are right. Each query runs in the coordinator alone, on one, two and four
//! worker processes, and with pushdown off. `SLUICE_TPCH_SCALE` chooses the scale factor.

use std::sync::OnceLock;

use sluice_tests::compare::{self, Order};
use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, Rows, data, leaks, tpch};

/// Large enough for several splits and exchanges, small enough for a run of all variants in minutes.
const DEFAULT_SCALE: &str = "0.1";

/// The worker processes of the fleet; a session uses as many of them as it says.
const WORKERS: usize = 4;

/// Session settings of each variant.
const VARIANTS: [(&str, &[&str]); 6] = [
    ("no worker", &["SET sluice.workers = 0"]),
    ("one worker", &["SET sluice.workers = 1"]),
    ("two workers", &["SET sluice.workers = 2"]),
    ("four workers", &["SET sluice.workers = 4"]),
    (
        "no worker, everything pushed",
        &[
            "SET sluice.workers = 0",
            "SET sluice.join_pushdown = always",
            "SET sluice.aggregation_pushdown = always",
        ],
    ),
    (
        "two workers, no pushdown",
        &["SET sluice.workers = 2", "SET sluice.pushdown = off"],
    ),
];

struct Servers {
    oracle: PostgresServer,
    gateway: Gateway,
    schema: String,
    expected: Vec<Rows>,
}

fn scale() -> String {
    std::env::var("SLUICE_TPCH_SCALE").unwrap_or_else(|_| DEFAULT_SCALE.to_owned())
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let scale = scale();
        let oracle = PostgresServer::start();
        tpch::load(&oracle, "shop", &scale);
        let mut session = oracle.connect("shop");
        let expected = tpch::queries()
            .iter()
            .map(|query| {
                session.query(&query.sql).unwrap_or_else(|error| {
                    panic!("PostgreSQL refuses query {}: {error}", query.number)
                })
            })
            .collect();
        let gateway = GatewayOptions::new()
            .catalog("shop", oracle.catalog("shop"))
            .catalog("tpch", "connector = \"tpch\"\n")
            .catalog(
                "lake",
                format!(
                    "connector = \"lake\"\nlocation = \"file://{}\"\n",
                    data::tpch(&scale, "parquet").display()
                ),
            )
            .workers(WORKERS)
            .start();
        Servers {
            oracle,
            gateway,
            schema: data::schema(&scale),
            expected,
        }
    })
}

/// Runs all queries in all variants with the tables under the names that `place` gives them.
fn check(what: &str, place: impl Fn(&str, &str) -> String) {
    let _alone = leaks::alone();
    let servers = servers();
    let mut report = String::new();
    for (variant, settings) in VARIANTS {
        let mut session = servers.gateway.connect("sluice");
        for setting in settings {
            session
                .query(setting)
                .unwrap_or_else(|error| panic!("{setting}: {error}"));
        }
        for (query, expected) in tpch::queries().iter().zip(&servers.expected) {
            let sql = tpch::rename_tables(&query.sql, |table| place(&servers.schema, table));
            if let Err(problem) = answer(&mut session, &sql, expected) {
                report.push_str(&format!(
                    "query {} over {what}, {variant}: {problem}\n",
                    query.number
                ));
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
    leaks::assert_nothing_left(&servers.gateway, &[&servers.oracle]);
}

fn answer(session: &mut Connection, sql: &str, expected: &Rows) -> Result<(), String> {
    let actual = session
        .query(sql)
        .map_err(|error| format!("refused: {error}"))?;
    compare::rows(expected, &actual, Order::Given)
}

/// Where a table of the mixed run lives: big facts in files, orders and customers in PostgreSQL, the rest generated.
fn mixed(schema: &str, table: &str) -> String {
    match table {
        "lineitem" | "part" => format!("lake.{schema}.{table}"),
        "orders" | "customer" => format!("shop.public.{table}"),
        _ => format!("tpch.{schema}.{table}"),
    }
}

#[test]
fn over_parquet_files() {
    check("Parquet", |schema, table| format!("lake.{schema}.{table}"));
}

#[test]
fn over_postgresql() {
    check("PostgreSQL", |_, table| format!("shop.public.{table}"));
}

#[test]
fn over_generated_tables() {
    check("tpch", |schema, table| format!("tpch.{schema}.{table}"));
}

#[test]
fn over_all_of_them_mixed() {
    check("a mix", mixed);
}

/// The proof that the fleet is one: tasks of a federated join ran in more than one process.
#[test]
fn two_workers_share_a_federated_join() {
    let _alone = leaks::alone();
    let servers = servers();
    let mut session = servers.gateway.connect("sluice");
    session
        .query("SET sluice.workers = 2")
        .expect("the setting exists");
    let five = &tpch::queries()[4];
    let sql = tpch::rename_tables(&five.sql, |table| mixed(&servers.schema, table));
    // A comment makes this run recognizable among the others in the history of queries.
    let marked = format!("{sql} /* shared join */");
    session
        .query(&marked)
        .unwrap_or_else(|error| panic!("{error}"));
    let tasks = session
        .query("SELECT * FROM system.runtime.tasks")
        .expect("system.runtime.tasks answers");
    let queries = session
        .query("SELECT * FROM system.runtime.queries")
        .expect("system.runtime.queries answers");
    let id = (0..queries.rows.len())
        .find(|row| {
            queries.rows[*row]
                .iter()
                .flatten()
                .any(|value| value.contains("shared join"))
        })
        .and_then(|row| queries.value(row, "query_id"))
        .expect("the query is in the history");
    let mut workers: Vec<&str> = (0..tasks.rows.len())
        .filter(|row| tasks.value(*row, "query_id") == Some(id))
        .filter_map(|row| tasks.value(row, "worker_id"))
        .collect();
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), 2, "tasks of {id} ran on {workers:?}");
}
