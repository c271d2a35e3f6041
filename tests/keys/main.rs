//! Keys across sources: which keys of a join's one side reach the source of its other side, and that every row
//! is still right.
//!
//! Two catalogs over one real PostgreSQL, so that joins between them cross sources, and the same server, asked
//! directly, knows the right rows. Its log shows the statements that the big table was read with. Each query
//! runs in the coordinator, on one, two and four workers, and with each of the switches off.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sluice_tests::compare::{self, Order};
use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, leaks};

const WORKERS: usize = 4;

/// What each statement on the big table must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A list of keys, or one key.
    Keys,
    /// Nothing of the join's keys: they could rule out rows that the query needs.
    Whole,
    /// No statement at all.
    NotRead,
    /// The rows alone are of interest.
    Any,
}
use Expect::{Any, Keys, NotRead, Whole};

/// Queries over `small` (in catalog a) and `big` (in catalog b).
const QUERIES: &[(&str, Expect)] = &[
    // Types of keys.
    (
        "SELECT s.id, b.v FROM small s JOIN big b ON s.id = b.id",
        Keys,
    ),
    (
        "SELECT s.id, b.v FROM small s JOIN big b ON s.id = b.k4",
        Keys,
    ),
    (
        "SELECT s.k4, b.v FROM small s JOIN big b ON s.k4 = b.id",
        Any,
    ),
    (
        "SELECT s.t, b.id FROM small s JOIN big b ON s.t = b.t",
        Keys,
    ),
    (
        "SELECT s.d, b.id FROM small s JOIN big b ON s.d = b.d",
        Keys,
    ),
    (
        "SELECT s.ts, b.id FROM small s JOIN big b ON s.ts = b.ts",
        Keys,
    ),
    (
        "SELECT s.n, b.id FROM small s JOIN big b ON s.n = b.n",
        Keys,
    ),
    (
        "SELECT s.u, b.id FROM small s JOIN big b ON s.u = b.u",
        Keys,
    ),
    // NaN equals NaN, and -0 equals 0, at the source; a join compares as the engine does.
    (
        "SELECT s.f, b.id FROM small s JOIN big b ON s.f = b.f WHERE s.f <> 0",
        Any,
    ),
    // Collations under which other text is equal, and blanks that do not count.
    (
        "SELECT s.t, b.id FROM small s JOIN big b ON s.t = b.ci COLLATE \"C\"",
        Any,
    ),
    (
        "SELECT s.t, b.id FROM small s JOIN big b ON s.t = b.c5",
        Any,
    ),
    (
        "SELECT s.t, b.id FROM small s JOIN big b ON s.t = b.cit::text",
        Any,
    ),
    // Several keys.
    (
        "SELECT s.id, b.v FROM small s JOIN big b ON s.id = b.id AND s.t = b.t",
        Keys,
    ),
    // NULL keys: they equal nothing, unless the join says so.
    (
        "SELECT s.id, b.id FROM small s JOIN big b ON s.nk = b.nk",
        Keys,
    ),
    (
        "SELECT s.id, b.id FROM small s JOIN big b ON s.nk IS NOT DISTINCT FROM b.nk WHERE s.id < 20",
        Any,
    ),
    // Duplicates on both sides.
    (
        "SELECT s.id, b.id FROM small s JOIN big b ON s.dup = b.dup",
        Keys,
    ),
    // Joins by kind.
    (
        "SELECT s.id, b.v FROM small s LEFT JOIN big b ON s.id = b.id",
        Keys,
    ),
    (
        "SELECT b.id, s.t FROM big b LEFT JOIN small s ON s.id = b.id WHERE b.id < 3000",
        Whole,
    ),
    (
        "SELECT b.id, s.id FROM big b FULL JOIN small s ON s.id = b.id WHERE coalesce(b.id, 1) < 3000",
        Whole,
    ),
    (
        "SELECT b.id FROM big b WHERE b.id IN (SELECT s.id FROM small s)",
        Keys,
    ),
    (
        "SELECT b.id FROM big b WHERE EXISTS (SELECT 1 FROM small s WHERE s.id = b.id AND s.k4 > 5)",
        Keys,
    ),
    (
        "SELECT s.id FROM small s WHERE EXISTS (SELECT 1 FROM big b WHERE s.id = b.id AND b.v <> 'v7')",
        Keys,
    ),
    (
        "SELECT s.id FROM small s WHERE NOT EXISTS (SELECT 1 FROM big b WHERE s.id = b.id)",
        Keys,
    ),
    (
        "SELECT count(*) FROM big b WHERE NOT EXISTS (SELECT 1 FROM small s WHERE s.id = b.id)",
        Whole,
    ),
    (
        "SELECT count(*) FROM big b WHERE b.nk NOT IN (SELECT s.id FROM small s)",
        Whole,
    ),
    (
        "SELECT count(*) FROM small s WHERE s.nk NOT IN (SELECT b.nk FROM big b)",
        Whole,
    ),
    // Correlated aggregates.
    (
        "SELECT s.id, (SELECT max(b.v) FROM big b WHERE b.dup = s.id) FROM small s WHERE s.id < 30",
        Any,
    ),
    (
        "SELECT s.id FROM small s WHERE s.k4 < (SELECT count(*) FROM big b WHERE b.dup = s.dup)",
        Any,
    ),
    // Joins above joins, aggregates and limits.
    (
        "SELECT s.t, count(*), sum(b.k4) FROM small s JOIN big b ON s.id = b.id JOIN big c ON c.id = b.id \
         GROUP BY s.t",
        Keys,
    ),
    (
        "SELECT s.id, b.n FROM small s JOIN (SELECT id, count(*) AS n FROM big GROUP BY id) b ON s.id = b.id",
        Keys,
    ),
    (
        "SELECT count(*) FROM small s JOIN (SELECT id FROM big ORDER BY id LIMIT 100) b ON s.id = b.id",
        Whole,
    ),
    (
        "SELECT s.id, b.v FROM small s JOIN big b ON s.id = b.id WHERE b.v = 'v3' AND s.t IS NOT NULL",
        Keys,
    ),
    // Nothing to look for.
    (
        "SELECT s.id, b.v FROM small s JOIN big b ON s.id = b.id WHERE s.k4 < -5",
        NotRead,
    ),
    (
        "SELECT count(*) FROM big b WHERE b.id IN (SELECT s.id FROM small s WHERE s.k4 < -5)",
        NotRead,
    ),
];

const SCHEMA: &str = "
    CREATE EXTENSION citext;
    CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE small (
        id bigint PRIMARY KEY, k4 int, t text, d date, ts timestamptz, n numeric(12, 2), u uuid, f float8,
        nk bigint, dup bigint);
    CREATE TABLE big (
        id bigint PRIMARY KEY, v text, k4 int, t text, ci text COLLATE ci, c5 char(10), cit citext, d date,
        ts timestamptz, n numeric(12, 2), u uuid, f float8, nk bigint, dup bigint);
    INSERT INTO big SELECT
        i, 'v' || i % 10, i, 'Key ' || i, CASE i % 2 WHEN 0 THEN 'KEY ' ELSE 'key ' END || i, 'Key ' || i,
        'KEY ' || i, date '2000-01-01' + (i % 20000)::int, timestamptz '2020-01-01 00:00+00' + i * interval '1 minute',
        i / 100.0, md5(i::text)::uuid,
        CASE i % 1000 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN '-0'::float8 WHEN 2 THEN 0 ELSE i / 8.0 END,
        CASE i % 7 WHEN 0 THEN NULL ELSE i END, i % 5000
        FROM generate_series(1, 40000) AS i;
    INSERT INTO small SELECT
        i * 37, i, 'Key ' || i * 37, date '2000-01-01' + (i * 37)::int,
        timestamptz '2020-01-01 00:00+00' + i * 37 * interval '1 minute', i * 37 / 100.0, md5((i * 37)::text)::uuid,
        CASE i % 10 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN '-0'::float8 ELSE i * 37 / 8.0 END,
        CASE i % 5 WHEN 0 THEN NULL ELSE i * 37 END, i % 40
        FROM generate_series(1, 214) AS i;
    CREATE INDEX ON big (k4);
    ANALYZE;
";

struct Servers {
    source: PostgresServer,
    gateway: Gateway,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let source = PostgresServer::start();
        source.create_database("shop");
        let mut session = source.connect("shop");
        for statement in SCHEMA.split(';').map(str::trim).filter(|s| !s.is_empty()) {
            session
                .query(statement)
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        for setting in ["log_statement = 'all'", "log_line_prefix = '%a|'"] {
            session
                .query(&format!("ALTER SYSTEM SET {setting}"))
                .expect("a superuser may");
        }
        session
            .query("SELECT pg_reload_conf()")
            .expect("it reloads");
        let gateway = GatewayOptions::new()
            .catalog("a", source.catalog("shop"))
            .catalog("b", source.catalog("shop"))
            .catalog(
                "unshared",
                source.catalog("shop") + "snapshot = \"statement\"\n",
            )
            .workers(WORKERS)
            .start();
        Servers { source, gateway }
    })
}

/// The same query over the catalogs.
fn across(sql: &str) -> String {
    sql.replace("small s", "a.public.small s")
        .replace("big b", "b.public.big b")
        .replace("big c", "b.public.big c")
        .replace("FROM big ", "FROM b.public.big ")
}

/// The statements that read the big table since the log was `from` bytes long.
fn reads_of_big(source: &PostgresServer, from: usize) -> Vec<String> {
    let log = source.log();
    log[from..]
        .split("\nsluice")
        .filter(|entry| entry.contains("\"big\"") && !entry.contains("pg_catalog"))
        // The statement itself: COPY only describes it before.
        .filter(|entry| entry.contains("COPY (") || entry.contains("execute"))
        .map(str::to_owned)
        .collect()
}

/// A condition on keys, as it is written: a list, or a single one.
fn holds_keys(statement: &str) -> bool {
    statement.contains("= ANY (")
        || statement.contains(" IN (")
        || statement.contains("WHERE \"id\" = ")
}

fn check_variant(variant: &str, settings: &[&str], sends_keys: bool, report: &mut String) {
    let servers = servers();
    let mut oracle = servers.source.connect("shop");
    let mut session = servers.gateway.connect("sluice");
    for setting in settings {
        session
            .query(setting)
            .unwrap_or_else(|error| panic!("{setting}: {error}"));
    }
    for (sql, expect) in QUERIES {
        let problem = check(&mut session, &mut oracle, servers, sql, *expect, sends_keys);
        if let Err(problem) = problem {
            report.push_str(&format!("{variant}: {sql}\n    {problem}\n"));
        }
    }
}

fn check(
    session: &mut Connection,
    oracle: &mut Connection,
    servers: &Servers,
    sql: &str,
    expect: Expect,
    sends_keys: bool,
) -> Result<(), String> {
    let expected = oracle.query(sql).map_err(|e| format!("PostgreSQL: {e}"))?;
    let from = servers.source.log().len();
    let actual = session
        .query(&across(sql))
        .map_err(|error| format!("refused: {error}"))?;
    compare::rows(&expected, &actual, Order::Any)?;
    if !sends_keys || expect == Any {
        return Ok(());
    }
    let reads = reads_of_big(&servers.source, from);
    let keyed = reads.iter().filter(|read| holds_keys(read)).count();
    let ok = match expect {
        Keys => !reads.is_empty() && keyed == reads.len(),
        Whole => !reads.is_empty() && keyed == 0,
        NotRead => reads.is_empty(),
        Any => true,
    };
    if ok {
        return Ok(());
    }
    let shown: Vec<String> = reads
        .iter()
        .map(|r| r.chars().take(300).collect())
        .collect();
    Err(format!("expected {expect:?}, read with {shown:#?}"))
}

#[test]
fn keys_reach_the_source_and_rows_are_right() {
    let _alone = leaks::alone();
    let mut report = String::new();
    for workers in [0, 1, 2, 4] {
        let setting = format!("SET sluice.workers = {workers}");
        check_variant(&setting, &[&setting], true, &mut report);
    }
    assert!(report.is_empty(), "\n{report}");
    leaks::assert_nothing_left(&servers().gateway, &[&servers().source]);
}

#[test]
fn rows_are_the_same_with_every_switch_off() {
    let _alone = leaks::alone();
    let mut report = String::new();
    for off in [
        "SET sluice.run_time_filters = off",
        "SET sluice.dynamic_filter_wait = 0",
        "SET sluice.pushdown = off",
        "SET sluice.semi_join_reduction = off",
    ] {
        for workers in [0, 2] {
            let setting = format!("SET sluice.workers = {workers}");
            check_variant(
                &format!("{off}, {setting}"),
                &[off, &setting],
                false,
                &mut report,
            );
        }
    }
    assert!(report.is_empty(), "\n{report}");
    leaks::assert_nothing_left(&servers().gateway, &[&servers().source]);
}

/// EXPLAIN says for what a scan will wait, and EXPLAIN ANALYZE what came of it.
#[test]
fn explain_tells_of_keys() {
    let _alone = leaks::alone();
    let servers = servers();
    let sql = across("SELECT s.id, b.v FROM small s JOIN big b ON s.id = b.id");
    for workers in [0, 2] {
        let mut session = servers.gateway.connect("sluice");
        session
            .query(&format!("SET sluice.workers = {workers}"))
            .expect("the setting exists");
        let plan = session
            .query(&format!("EXPLAIN {sql}"))
            .expect("it plans")
            .lines();
        assert!(plan.contains("Waits for Keys of: id"), "{plan}");
        let ran = session
            .query(&format!("EXPLAIN ANALYZE {sql}"))
            .expect("it runs")
            .lines();
        assert!(ran.contains("Keys sent: 214"), "{ran}");
        assert!(ran.contains("Rows saved: about 39786 of 40000"), "{ran}");
    }
}

/// An aggregate on workers computes the groups that a join asks for, whose keys are read a second time: only
/// where a row that comes in between is seen by neither read.
#[test]
fn a_table_is_read_again_only_under_one_snapshot() {
    let _alone = leaks::alone();
    let mut session = servers().gateway.connect("sluice");
    for setting in ["SET sluice.workers = 2", "SET sluice.distribute_above = 0"] {
        session.query(setting).expect("the setting exists");
    }
    for (catalog, reads) in [("a", 2), ("unshared", 1)] {
        let plan = session
            .query(&format!(
                "EXPLAIN SELECT s.id, g.n FROM {catalog}.public.small s \
                 JOIN (SELECT id, count(*) AS n FROM b.public.big GROUP BY id) g ON s.id = g.id"
            ))
            .expect("it plans")
            .lines();
        assert_eq!(
            plan.matches(&format!("on {catalog}.public.small")).count(),
            reads,
            "{plan}"
        );
    }
}

/// A build side that takes two seconds, above another join with the big table.
const SLOW_BUILD: &str = "SELECT count(*) FROM \
    a.system.query('SELECT id FROM small WHERE pg_sleep(0.01) IS NOT NULL') AS z \
    JOIN (SELECT x.id FROM b.public.big b JOIN a.public.small x ON b.id = x.id) AS y ON y.id = z.id";

/// The wait has an end: a slow build side costs rows that nobody needs, never the query.
#[test]
fn a_wait_that_ends_early_or_is_cancelled() {
    let _alone = leaks::alone();
    let servers = servers();
    let mut session = servers.gateway.connect("sluice");
    session.query("SET sluice.workers = 0").expect("a setting");
    for wait in ["0", "50", "60000"] {
        session
            .query(&format!("SET sluice.dynamic_filter_wait = {wait}"))
            .expect("a setting");
        let rows = session.query(SLOW_BUILD).expect("it runs");
        assert_eq!(rows.single(), "214", "wait of {wait} ms");
    }
    let canceller = session.canceller();
    let began = Instant::now();
    let waiting = std::thread::spawn(move || session.query(SLOW_BUILD));
    std::thread::sleep(Duration::from_millis(500));
    canceller.cancel().expect("the request is sent");
    let error = waiting
        .join()
        .expect("no panic")
        .expect_err("it was cancelled");
    assert_eq!(error.code(), "57014");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    leaks::assert_nothing_left(&servers.gateway, &[&servers.source]);
}
