//! A source that joins by looking rows up, and what it is given to do: joins of few rows, few keys.

use std::sync::OnceLock;

use sluice_tests::{Connection, Gateway, GatewayOptions, MariaDbServer};

const TABLES: &str = "
    CREATE DATABASE IF NOT EXISTS shop;
    USE shop;
    CREATE TABLE customer (id int PRIMARY KEY, nation int NOT NULL);
    CREATE TABLE purchase (id int PRIMARY KEY, customer int NOT NULL, made date NOT NULL, KEY (customer));
    INSERT INTO customer SELECT seq, seq % 25 FROM seq_1_to_5000;
    INSERT INTO purchase SELECT seq, seq * 7 % 5000 + 1, date '2024-01-01' + INTERVAL seq % 300 DAY
        FROM seq_1_to_50000;
    ANALYZE TABLE customer, purchase PERSISTENT FOR COLUMNS () INDEXES ALL;";

const BY_NATION: &str = "SELECT nation, count(*) FROM store.shop.customer c JOIN store.shop.purchase p \
     ON c.id = p.customer WHERE made >= DATE '2024-03-01' AND made < DATE '2024-05-01' GROUP BY nation ORDER BY nation";

const OF_ONE: &str = "SELECT c.nation, p.made FROM store.shop.customer c JOIN store.shop.purchase p \
     ON c.id = p.customer WHERE c.id = 17 ORDER BY p.made";

fn session() -> Connection {
    static SERVERS: OnceLock<(MariaDbServer, Gateway)> = OnceLock::new();
    let (_, gateway) = SERVERS.get_or_init(|| {
        let source = MariaDbServer::start();
        source.query(TABLES);
        let gateway = GatewayOptions::new()
            .catalog("store", source.catalog())
            .catalog("memory", "connector = \"memory\"\n")
            .start();
        (source, gateway)
    });
    gateway.connect("memory")
}

fn lines(session: &mut Connection, sql: &str) -> String {
    session
        .query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .lines()
}

#[test]
fn a_join_goes_there_only_while_it_finds_few_rows() {
    let mut session = session();
    let large = lines(&mut session, &format!("EXPLAIN {BY_NATION}"));
    assert!(large.contains("Not pushed: join on "), "{large}");
    let small = lines(&mut session, &format!("EXPLAIN {OF_ONE}"));
    assert!(small.contains("Pushed exactly: join on "), "{small}");
    for sql in [BY_NATION, OF_ONE] {
        let here = lines(&mut session, sql);
        lines(&mut session, "SET sluice.join_pushdown = always");
        let plan = lines(&mut session, &format!("EXPLAIN {sql}"));
        assert!(plan.contains("Pushed exactly: join on "), "{plan}");
        assert_eq!(lines(&mut session, sql), here, "{sql}");
        lines(&mut session, "RESET sluice.join_pushdown");
    }
}

#[test]
fn more_keys_than_pay_are_not_sent_one_by_one() {
    let mut session = session();
    lines(
        &mut session,
        "CREATE TABLE IF NOT EXISTS memory.public.wanted AS SELECT g::int AS id FROM generate_series(1, 3000) AS g",
    );
    let with = |wanted: u32| {
        format!(
            "SELECT count(*), min(p.id), max(p.id) FROM store.shop.purchase p JOIN memory.public.wanted w \
             ON p.customer = w.id WHERE w.id <= {wanted} AND p.made < DATE '2024-02-01'"
        )
    };
    for (wanted, sent) in [(20, "Keys sent: 20"), (3000, "Keys sent: no list")] {
        let plan = lines(
            &mut session,
            &format!("EXPLAIN (ANALYZE, COSTS OFF) {}", with(wanted)),
        );
        assert!(plan.contains(sent), "{plan}");
        let keyed = lines(&mut session, &with(wanted));
        lines(&mut session, "SET sluice.dynamic_filter_wait = 0");
        assert_eq!(lines(&mut session, &with(wanted)), keyed);
        lines(&mut session, "RESET sluice.dynamic_filter_wait");
    }
}
