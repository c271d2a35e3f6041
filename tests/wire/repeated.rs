//! Statements that run again and again over a real PostgreSQL: their plans are kept, and a kept plan gives
//! what a fresh one would, whatever changes between two runs.
//!
//! The source itself is the judge: it runs the same frames.

use std::sync::OnceLock;

use sluice_tests::frames::{bind, execute, frame, parse, sync};
use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, client};

/// More runs than it takes until a plan is kept, and some over it.
const RUNS: usize = 5;

const TABLE: &str = "
    CREATE TABLE things (
        id bigint PRIMARY KEY, small smallint, name text, code char(4), price numeric(10,2),
        ratio double precision, tag uuid, day date, at timestamptz
    );
    INSERT INTO things VALUES
        (1, 1, 'one', 'a', 1.50, 0.5, '6f1c2c52-7a59-4a3e-9a55-8b6b2f0e5c11', '2024-02-29', '2024-03-31 01:30+00'),
        (2, NULL, 'O''Hara \\', 'ab', 2.00, 'NaN', NULL, NULL, NULL),
        (70000, 3, '', NULL, NULL, '-0', '00000000-0000-0000-0000-000000000000', '0001-01-01 BC', '2024-03-31 00:00+02'),
        (9223372036854775807, 4, NULL, 'ABCD', -1, 'Infinity', NULL, 'infinity', NULL);
    ANALYZE things";

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
        for statement in TABLE.split(';') {
            session.query(statement).expect("the table can be made");
        }
        let gateway = GatewayOptions::new()
            .catalog("shop", source.catalog("shop"))
            .catalog("memory", "connector = \"memory\"\n")
            .start();
        Servers { source, gateway }
    })
}

fn ours() -> Connection {
    servers().gateway.connect("shop")
}

fn theirs() -> Connection {
    servers().source.connect("shop")
}

/// Sends frames and gives what came back up to ReadyForQuery: type bytes, and the bodies of rows.
fn ask(session: &mut Connection, frames: &[Vec<u8>]) -> (String, Vec<Vec<u8>>) {
    session
        .send_raw(&frames.concat())
        .expect("frames can be sent");
    let messages = session.receive_all().expect("an answer");
    let rows = messages
        .iter()
        .filter(|message| message.tag == b'D')
        .map(|message| message.body.clone())
        .collect();
    (client::tags(&messages), rows)
}

fn run(session: &mut Connection, values: &[Option<&str>]) -> (String, Vec<Vec<u8>>) {
    ask(session, &[bind("", "q", values, 0), execute("", 0), sync()])
}

fn prepare(session: &mut Connection, sql: &str, types: &[u32]) {
    let answer = ask(session, &[parse("q", sql, types), sync()]);
    assert_eq!(answer.0, "1 Z:I", "{sql}");
}

/// Prepares once on both sides and compares every run.
#[track_caller]
fn same_as_source(sql: &str, types: &[u32], runs: &[&[Option<&str>]]) {
    let (mut ours, mut theirs) = (ours(), theirs());
    prepare(&mut ours, sql, types);
    prepare(&mut theirs, sql, types);
    for round in 0..RUNS {
        for values in runs {
            let expected = run(&mut theirs, values);
            assert_eq!(
                run(&mut ours, values),
                expected,
                "{sql} with {values:?} in round {round}"
            );
        }
    }
}

const INT2: u32 = 21;
const INT4: u32 = 23;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const FLOAT8: u32 = 701;
const NUMERIC: u32 = 1700;
const DATE: u32 = 1082;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;

#[test]
fn values_of_a_key_lookup_are_bound_late() {
    let sql = "SELECT id, name, price FROM things WHERE id = $1";
    let keys: &[&[Option<&str>]] = &[
        &[Some("1")],
        &[None],
        &[Some("2")],
        &[Some("3")],
        &[Some("70000")],
    ];
    for declared in [0, INT4, INT8] {
        same_as_source(sql, &[declared], keys);
    }
    same_as_source(sql, &[INT2], &[&[Some("1")], &[None], &[Some("-32768")]]);
    same_as_source(
        sql,
        &[INT8],
        &[
            &[Some("9223372036854775807")],
            &[Some("-9223372036854775808")],
        ],
    );
}

#[test]
fn values_of_other_types_are_bound_late() {
    for (column, declared, values) in [
        (
            "name",
            TEXT,
            &["one", "O'Hara \\", "", "a' OR true --", "$1"][..],
        ),
        ("small", INT4, &["1", "3", "32768", "-2147483648"]),
        ("small", INT8, &["4", "9223372036854775807"]),
        ("price", NUMERIC, &["1.5", "2", "1.499", "-1.00"]),
        ("price", INT4, &["2", "-1"]),
        (
            "ratio",
            FLOAT8,
            &["0.5", "0", "-0", "Infinity", "-Infinity"],
        ),
        ("day", DATE, &["2024-02-29", "0001-01-01 BC"]),
        (
            "at",
            TIMESTAMPTZ,
            &["2024-03-31 01:30+00", "2024-03-30 22:00+00"],
        ),
    ] {
        for op in ["=", "<>", "<", ">="] {
            let sql = format!("SELECT id FROM things WHERE {column} {op} $1");
            let mut runs: Vec<[Option<&str>; 1]> = values.iter().map(|v| [Some(*v)]).collect();
            runs.push([None]);
            let runs: Vec<&[Option<&str>]> = runs.iter().map(|run| &run[..]).collect();
            same_as_source(&sql, &[declared], &runs);
        }
    }
}

#[test]
fn filters_of_several_parts() {
    for (sql, runs) in [
        (
            "SELECT name FROM things AS t WHERE t.id = $1 AND t.small < $2 AND name <> 'two'",
            &[&["1", "2"][..], &["1", "1"], &["70000", "9"]][..],
        ),
        (
            "SELECT id + 1 FROM things WHERE id BETWEEN $1 AND $2 LIMIT 2",
            &[&["70000", "70000"], &["2", "1"]],
        ),
        (
            "SELECT upper(name) FROM things WHERE id = $1 + 1",
            &[&["0"], &["1"], &["69999"]],
        ),
        (
            "SELECT id FROM things WHERE $1 = id OR name = $2",
            &[&["1", "one"], &["5", "O'Hara \\"], &["70000", "one"]],
        ),
        (
            "SELECT id FROM things WHERE name LIKE $1",
            &[&["o%"], &["%"], &["_ne"], &["O''%"]],
        ),
        (
            "SELECT id FROM things WHERE name IN ($1, $2, '')",
            &[&["one", "two"], &["", "x"]],
        ),
        (
            "SELECT count(*), max(name) FROM things WHERE id > $1",
            &[&["0"], &["2"], &["100000"]],
        ),
        (
            "SELECT $1::text, name FROM things WHERE id = $2",
            &[&["x", "1"], &["y", "2"]],
        ),
        (
            "SELECT id FROM things WHERE id = $1 AND id = $2",
            &[&["1", "1"], &["1", "2"]],
        ),
        (
            "SELECT (SELECT 'yes' WHERE $1::bigint = 1), id FROM things WHERE id = $2",
            &[&["1", "1"], &["0", "2"]],
        ),
    ] {
        let runs: Vec<Vec<Option<&str>>> = runs
            .iter()
            .map(|run| run.iter().map(|value| Some(*value)).collect())
            .collect();
        let runs: Vec<&[Option<&str>]> = runs.iter().map(Vec::as_slice).collect();
        same_as_source(sql, &[], &runs);
    }
}

#[test]
fn spellings_of_a_uuid_are_one_value() {
    same_as_source(
        "SELECT id FROM things WHERE tag = $1",
        &[UUID],
        &[
            &[Some("6f1c2c52-7a59-4a3e-9a55-8b6b2f0e5c11")],
            &[Some("{6F1C2C527A594A3E9A558B6B2F0E5C11}")],
            &[Some("00000000-0000-0000-0000-000000000000")],
            &[None],
            &[Some("no uuid")],
        ],
    );
}

#[test]
fn wrong_values_are_refused_and_the_statement_lives_on() {
    let mut session = ours();
    prepare(
        &mut session,
        "SELECT name FROM things WHERE id = $1",
        &[INT4],
    );
    let good = |session: &mut Connection| {
        let (tags, _) = run(session, &[Some("1")]);
        assert_eq!(tags, "2 D C:SELECT_1 Z:I");
    };
    let binary = |bytes: &[u8]| {
        let mut body = b"\0q\0\0\x01\0\x01\0\x01".to_vec();
        body.extend((bytes.len() as u32).to_be_bytes());
        body.extend(bytes);
        body.extend([0, 0]);
        frame(b'B', &body)
    };
    for _ in 0..RUNS {
        good(&mut session);
        assert_eq!(run(&mut session, &[Some("2147483648")]).0, "E:22003 Z:I");
        assert_eq!(run(&mut session, &[Some("one")]).0, "E:22P02 Z:I");
        assert_eq!(
            ask(&mut session, &[binary(b"abc"), sync()]).0,
            "E:22P03 Z:I"
        );
        let (tags, rows) = ask(
            &mut session,
            &[binary(&[0, 0, 0, 1]), execute("", 0), sync()],
        );
        assert_eq!((tags.as_str(), rows.len()), ("2 D C:SELECT_1 Z:I", 1));
    }
    let mut session = ours();
    prepare(
        &mut session,
        "SELECT id FROM things WHERE name = $1",
        &[TEXT],
    );
    for _ in 0..RUNS {
        assert_eq!(run(&mut session, &[Some("one")]).0, "2 D C:SELECT_1 Z:I");
        assert_eq!(
            ask(&mut session, &[binary(b"\xff"), sync()]).0,
            "E:22021 Z:I"
        );
        assert_eq!(
            ask(&mut session, &[binary(b"a\0b"), sync()]).0,
            "E:22021 Z:I"
        );
    }
}

#[test]
fn two_portals_of_one_statement_are_open_at_once() {
    let mut session = ours();
    prepare(&mut session, "SELECT id FROM things WHERE id < $1", &[INT8]);
    for _ in 0..RUNS {
        run(&mut session, &[Some("9")]);
    }
    assert_eq!(ask(&mut session, &[crate::query("BEGIN")]).0, "C:BEGIN Z:T");
    let mut read = |portal: &str, frames: &[Vec<u8>]| {
        let (tags, rows) = ask(&mut session, &[frames.concat(), execute(portal, 1), sync()]);
        (tags, rows.concat())
    };
    let (tags, first) = read("a", &[bind("a", "q", &[Some("9")], 0)]);
    assert_eq!(tags, "2 D s Z:T");
    let (tags, other) = read("b", &[bind("b", "q", &[Some("100000")], 0)]);
    assert_eq!((tags.as_str(), &other), ("2 D s Z:T", &first));
    let (tags, second) = read("a", &[]);
    assert_eq!(tags, "D s Z:T");
    assert_ne!(first, second);
    assert_eq!(read("b", &[]).1, second);
    assert_eq!(read("b", &[]).0, "D s Z:T");
    assert_eq!(read("a", &[]).0, "C:SELECT_0 Z:T");
    assert_eq!(
        ask(&mut session, &[crate::query("COMMIT")]).0,
        "C:COMMIT Z:I"
    );
}

#[test]
fn a_changed_setting_is_seen_by_the_next_run() {
    let servers = servers();
    let mut source = servers.source.connect("shop");
    for statement in [
        "CREATE SCHEMA other",
        "CREATE TABLE other.places (id bigint PRIMARY KEY, name text)",
        "INSERT INTO other.places VALUES (1, 'there')",
        "CREATE TABLE places (id bigint PRIMARY KEY, name text)",
        "INSERT INTO places VALUES (1, 'here')",
    ] {
        source.query(statement).expect(statement);
    }
    let mut session = ours();
    let value = |rows: &[Vec<u8>]| String::from_utf8_lossy(&rows.concat()[6..]).into_owned();
    prepare(
        &mut session,
        "SELECT name FROM places WHERE id = $1",
        &[INT8],
    );
    for path in ["public", "other", "public", "other, public"] {
        session
            .query(&format!("SET search_path = {path}"))
            .expect("SET");
        for _ in 0..RUNS {
            let there = path.starts_with("other");
            let expected = if there { "there" } else { "here" };
            assert_eq!(
                value(&run(&mut session, &[Some("1")]).1),
                expected,
                "{path}"
            );
        }
    }
    // A constant without a zone means another moment in another zone.
    let sql =
        "SELECT id FROM public.things WHERE at = timestamptz '2024-03-31 02:00:00' AND id > $1";
    let mut session = ours();
    prepare(&mut session, sql, &[INT8]);
    for (zone, found) in [
        ("UTC", 0),
        ("Etc/GMT-4", 1),
        ("Etc/GMT+4", 0),
        ("Etc/GMT-4", 1),
    ] {
        session
            .query(&format!("SET TIME ZONE '{zone}'"))
            .expect("SET");
        for _ in 0..RUNS {
            assert_eq!(run(&mut session, &[Some("0")]).1.len(), found, "{zone}");
        }
    }
    let mut session = ours();
    prepare(
        &mut session,
        "SELECT name FROM public.things WHERE id = $1",
        &[INT8],
    );
    for pushdown in ["on", "off", "on"] {
        session
            .query(&format!("SET sluice.pushdown = {pushdown}"))
            .expect("SET");
        for _ in 0..RUNS {
            assert_eq!(value(&run(&mut session, &[Some("1")]).1), "one");
        }
    }
}

#[test]
fn functions_of_the_session_and_of_the_moment_are_asked_each_time() {
    let mut session = ours();
    let sql = "SELECT current_setting('application_name'), clock_timestamp()::text, id FROM things WHERE id = $1";
    prepare(&mut session, sql, &[INT8]);
    let mut last = Vec::new();
    for round in 0..RUNS {
        session
            .query(&format!("SET application_name = 'round{round}'"))
            .expect("SET");
        let (_, rows) = run(&mut session, &[Some("1")]);
        let text = String::from_utf8_lossy(&rows.concat()).into_owned();
        assert!(text.contains(&format!("round{round}")), "{text}");
        assert_ne!(rows, last);
        last = rows;
    }
    // A text that many sessions send alike.
    let (mut one, mut two) = (ours(), ours());
    for _ in 0..RUNS {
        let pids = [&mut one, &mut two].map(|session| {
            let rows = session.query("SELECT pg_backend_pid()").expect("a row");
            rows.single().to_owned()
        });
        assert_ne!(pids[0], pids[1]);
    }
}

#[test]
fn a_changed_table_is_noticed() {
    let mut source = theirs();
    source
        .query("CREATE TABLE changing (id bigint PRIMARY KEY, v integer)")
        .expect("CREATE TABLE");
    source
        .query("INSERT INTO changing VALUES (1, 10)")
        .expect("INSERT");
    let mut session = ours();
    let sql = "SELECT v FROM changing WHERE id = $1";
    prepare(&mut session, sql, &[INT8]);
    // From the second time on, sessions share it.
    for _ in 0..2 {
        prepare(&mut ours(), sql, &[INT8]);
    }
    let mut simple = ours();
    let text = "SELECT * FROM changing WHERE id = 1";
    for _ in 0..RUNS {
        assert_eq!(run(&mut session, &[Some("1")]).0, "2 D C:SELECT_1 Z:I");
        assert_eq!(simple.query(text).expect("a row").columns.len(), 2);
    }
    // Rows are never kept.
    source.query("UPDATE changing SET v = 11").expect("UPDATE");
    assert_eq!(
        run(&mut session, &[Some("1")]).1.concat().last(),
        Some(&b'1')
    );
    source
        .query("ALTER TABLE changing ALTER COLUMN v TYPE text")
        .expect("ALTER TABLE");
    source
        .query("ALTER TABLE changing ADD COLUMN w integer")
        .expect("ALTER TABLE");
    simple
        .query("CALL shop.system.flush_metadata()")
        .expect("CALL");
    for _ in 0..RUNS {
        // As PostgreSQL answers: the client was told of an integer.
        assert_eq!(run(&mut session, &[Some("1")]).0, "2 E:0A000 Z:I");
        assert_eq!(simple.query(text).expect("a row").columns.len(), 3);
    }
    let mut session = ours();
    prepare(&mut session, sql, &[INT8]);
    for _ in 0..RUNS {
        assert_eq!(run(&mut session, &[Some("1")]).0, "2 D C:SELECT_1 Z:I");
    }
    source.query("DROP TABLE changing").expect("DROP TABLE");
    simple
        .query("CALL shop.system.flush_metadata()")
        .expect("CALL");
    assert_eq!(run(&mut session, &[Some("1")]).0, "2 E:42P01 Z:I");
}

#[test]
fn tables_made_here_are_seen_at_once() {
    let mut session = servers().gateway.connect("memory");
    let text = "SELECT count(*) FROM public.made";
    for round in 0..3 {
        session
            .query("CREATE TABLE public.made AS SELECT 1 AS a")
            .expect("CREATE TABLE");
        for _ in 0..RUNS {
            assert_eq!(session.query(text).expect("a row").single(), "1");
        }
        session
            .query("INSERT INTO public.made VALUES (2)")
            .expect("INSERT");
        assert_eq!(session.query(text).expect("a row").single(), "2", "{round}");
        session.query("DROP TABLE public.made").expect("DROP TABLE");
        let error = session.query(text).expect_err("it is gone");
        assert_eq!(error.code(), "42P01");
    }
}

#[test]
fn a_table_that_comes_first_in_the_search_path_is_seen_at_once() {
    let mut source = theirs();
    source
        .query("CREATE TABLE shaded AS SELECT 1 AS a")
        .expect("CREATE TABLE");
    let mut session = servers().gateway.connect("sluice");
    session
        .query("SET search_path = \"memory.public\", \"shop.public\"")
        .expect("SET");
    for change in [
        "SELECT 1",
        "CREATE TABLE memory.public.shaded AS SELECT 2 AS a",
        "DROP TABLE memory.public.shaded",
    ] {
        session.query(change).expect(change);
        let expected = if change.starts_with("CREATE") {
            "2"
        } else {
            "1"
        };
        for _ in 0..RUNS {
            let rows = session.query("SELECT a FROM shaded").expect("a row");
            assert_eq!(rows.single(), expected, "after {change}");
        }
    }
}

#[test]
fn texts_of_the_simple_protocol_are_kept_too() {
    let (mut ours, mut theirs) = (ours(), theirs());
    for text in [
        "SELECT 1",
        "SELECT 1;",
        "SELECT 1 ; ",
        "SELECT 1 AS a, 'x;'",
        "SELECT 1 -- ;",
        "SELECT id, name, code FROM things WHERE id = 2",
        "SELECT id FROM things WHERE id < 100 ORDER BY id",
        "SELECT name FROM things WHERE id = 5 LIMIT 1",
        "SELECT $1",
        "SELECT nothing FROM things",
    ] {
        for round in 0..RUNS {
            let mut answers = [&mut ours, &mut theirs].map(|session| session.query(text));
            for answer in answers.iter_mut().flatten() {
                answer.columns.clear();
            }
            let [our, their] = answers.map(|answer| answer.map_err(|e| e.code().to_owned()));
            assert_eq!(our, their, "{text} in round {round}");
        }
    }
    // In a failed transaction nothing runs, however well it is known.
    ours.query("BEGIN").expect("BEGIN");
    ours.query("SELECT nothing").expect_err("no such column");
    assert_eq!(ours.query("SELECT 1").expect_err("failed").code(), "25P02");
    ours.query("ROLLBACK").expect("ROLLBACK");
    assert_eq!(ours.query("SELECT 1").expect("a row").single(), "1");
}

#[test]
fn a_worker_that_joins_takes_part_in_the_next_run() {
    let source = PostgresServer::start();
    source.create_database("shop");
    let mut session = source.connect("shop");
    session
        .query("CREATE TABLE pairs AS SELECT i AS id, i % 7 AS kind FROM generate_series(1, 1000) AS i")
        .expect("CREATE TABLE");
    session
        .query("ALTER TABLE pairs ADD PRIMARY KEY (id)")
        .expect("ALTER TABLE");
    let mut gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .set("worker.embedded", "false")
        .set("planner.distribute_above", "0")
        .start();
    let mut grouped = gateway.connect("shop");
    let sql = "SELECT kind, count(*) FROM pairs WHERE id > $1 GROUP BY kind ORDER BY kind";
    prepare(&mut grouped, sql, &[INT8]);
    let mut lookup = gateway.connect("shop");
    prepare(&mut lookup, "SELECT kind FROM pairs WHERE id = $1", &[INT8]);
    let mut before = None;
    for workers in 0..3 {
        for _ in 0..RUNS {
            let answer = run(&mut grouped, &[Some("10")]);
            assert_eq!(answer.0, "2 D D D D D D D C:SELECT_7 Z:I");
            assert_eq!(*before.get_or_insert_with(|| answer.clone()), answer);
            assert_eq!(run(&mut lookup, &[Some("8")]).0, "2 D C:SELECT_1 Z:I");
        }
        if workers < 2 {
            gateway.add_worker();
        }
    }
}
