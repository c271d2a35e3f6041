//! Goldens of EXPLAIN: what is pushed to which source and why the rest is not, and how stages exchange rows.
//!
//! `UPDATE_GOLDENS=1 cargo test --release -p sluice-tests --test plans` writes them anew.

mod guide;

use std::fmt::Write;
use std::sync::OnceLock;

use sluice_tests::{Gateway, GatewayOptions, PostgresServer, data, golden, leaks, paths, tpch};

/// Plans depend on statistics, and these on the data: a fixed scale, large enough for several tasks.
const SCALE: &str = "0.1";

struct Servers {
    source: PostgresServer,
    gateway: Gateway,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let source = PostgresServer::start();
        tpch::load(&source, "shop", SCALE);
        let gateway = GatewayOptions::new()
            .catalog("shop", source.catalog("shop"))
            .catalog("tpch", "connector = \"tpch\"\n")
            .catalog(
                "lake",
                format!(
                    "connector = \"lake\"\nlocation = \"file://{}\"\n",
                    data::tpch(SCALE, "parquet").display()
                ),
            )
            .workers(2)
            // Plans are made for so many cores, whatever machine this is.
            .set("planner.target_partitions", "2")
            .start();
        Servers { source, gateway }
    })
}

/// Explains `queries` with `options` and compares with `plans/NAME.txt`. Estimates are left out: PostgreSQL's
/// own come from a sample.
fn check(name: &str, options: &str, queries: &[&str]) {
    let _alone = leaks::alone();
    let servers = servers();
    let mut session = servers.gateway.connect("sluice");
    session
        .query("SET sluice.workers = 2")
        .expect("the setting exists");
    let mut text = String::new();
    for query in queries {
        let plan = session
            .query(&format!("EXPLAIN {options} {query}"))
            .unwrap_or_else(|error| panic!("EXPLAIN {options} {query}: {error}"));
        writeln!(text, "{query}\n----\n{}\n", plan.lines()).expect("text grows");
    }
    golden::check(
        &paths::tests().join(format!("plans/{name}.txt")),
        &golden::scrub(&text),
    );
    leaks::assert_nothing_left(&servers.gateway, &[&servers.source]);
}

#[test]
fn filters_are_pushed_where_they_mean_the_same() {
    check(
        "filters",
        "(COSTS OFF)",
        &[
            "SELECT c_name FROM shop.public.customer WHERE c_custkey = 7",
            "SELECT c_name FROM shop.public.customer WHERE c_mktsegment = 'BUILDING' AND c_acctbal > 100.5",
            "SELECT c_name FROM shop.public.customer WHERE c_name LIKE 'Customer#00000000%'",
            "SELECT c_name FROM shop.public.customer WHERE c_name > 'M'",
            "SELECT c_name FROM shop.public.customer WHERE upper(c_name) = 'X' AND c_nationkey IN (1, 2)",
            "SELECT o_orderkey FROM shop.public.orders WHERE o_orderdate >= DATE '1995-01-01' LIMIT 10",
            "SELECT count(*) FROM shop.public.orders WHERE o_orderdate < DATE '1993-01-01'",
        ],
    );
}

#[test]
fn operations_are_pushed_where_they_mean_the_same() {
    check(
        "operations",
        "(COSTS OFF)",
        &[
            // One source entirely: one statement.
            "SELECT o_orderpriority, count(*), max(o_orderdate) FROM shop.public.orders \
             WHERE o_orderdate >= DATE '1995-01-01' GROUP BY o_orderpriority",
            "SELECT n_name, sum(o_totalprice) FROM shop.public.orders, shop.public.customer, shop.public.nation \
             WHERE o_custkey = c_custkey AND c_nationkey = n_nationkey GROUP BY n_name ORDER BY 2 DESC LIMIT 5",
            "SELECT o_orderkey, o_totalprice FROM shop.public.orders ORDER BY o_totalprice DESC, o_orderkey LIMIT 10",
            "SELECT avg(l_extendedprice * (1 - l_discount)) FROM shop.public.lineitem WHERE l_shipmode = 'AIR'",
            "SELECT count(DISTINCT c_nationkey) FROM shop.public.customer",
            "SELECT DISTINCT c_mktsegment FROM shop.public.customer",
            "SELECT count(*) FROM shop.public.orders o WHERE EXISTS (SELECT FROM shop.public.lineitem \
             WHERE l_orderkey = o.o_orderkey AND l_commitdate < l_receiptdate)",
            "SELECT o_custkey, count(*) FROM shop.public.orders GROUP BY o_custkey HAVING count(*) > 30",
            "SELECT sum(k) FROM (SELECT c_custkey k FROM shop.public.customer UNION ALL \
             SELECT o_custkey FROM shop.public.orders) u",
            // The engine's part, and why.
            "SELECT stddev(o_totalprice) FROM shop.public.orders",
            "SELECT upper(c_mktsegment), count(*) FROM shop.public.customer GROUP BY 1",
            "SELECT c_name, o_orderkey FROM shop.public.customer, shop.public.orders WHERE c_custkey = o_custkey",
            "SELECT count(*) FROM shop.public.orders WHERE o_custkey NOT IN (SELECT c_custkey FROM shop.public.customer)",
            "SELECT n_name, count(*) FROM shop.public.customer, tpch.sf0_1.nation WHERE c_nationkey = n_nationkey GROUP BY n_name",
        ],
    );
}

#[test]
fn files_are_pruned() {
    check(
        "files",
        "(COSTS OFF)",
        &[
            "SELECT l_orderkey FROM lake.sf0_1.lineitem WHERE l_shipdate < DATE '1993-01-01'",
            "SELECT count(*) FROM lake.sf0_1.orders",
        ],
    );
}

#[test]
fn joins_over_sources_have_exchanges() {
    check(
        "distributed",
        "(TYPE DISTRIBUTED, COSTS OFF)",
        &[
            "SELECT n_name, count(*) FROM shop.public.customer, lake.sf0_1.orders, tpch.sf0_1.nation \
             WHERE c_custkey = o_custkey AND c_nationkey = n_nationkey GROUP BY n_name ORDER BY n_name",
            "SELECT l_returnflag, sum(l_quantity) FROM lake.sf0_1.lineitem GROUP BY l_returnflag",
        ],
    );
}

#[test]
fn semi_joins_are_tested_where_they_leave_the_fewest_rows() {
    check(
        "reduction",
        "(COSTS OFF)",
        &[
            "SELECT c_name, sum(l_quantity) FROM lake.sf0_1.customer, lake.sf0_1.orders, lake.sf0_1.lineitem \
             WHERE o_orderkey IN (SELECT l_orderkey FROM lake.sf0_1.lineitem GROUP BY l_orderkey \
             HAVING sum(l_quantity) > 300) AND c_custkey = o_custkey AND o_orderkey = l_orderkey GROUP BY c_name",
            "SELECT sum(l_extendedprice) FROM lake.sf0_1.lineitem, lake.sf0_1.part WHERE p_partkey = l_partkey \
             AND p_brand = 'Brand#23' AND l_quantity < (SELECT avg(l_quantity) FROM lake.sf0_1.lineitem \
             WHERE l_partkey = p_partkey)",
            "SELECT c_name, o_orderkey FROM lake.sf0_1.orders, shop.public.customer \
             WHERE o_custkey = c_custkey AND o_orderkey = 7",
        ],
    );
}

/// JSON and YAML must be what they say, and ANALYZE must count what really came.
#[test]
fn other_formats_parse_and_analyze_counts() {
    let _alone = leaks::alone();
    let servers = servers();
    let mut session = servers.gateway.connect("sluice");
    let query = "SELECT c_custkey FROM shop.public.customer WHERE c_custkey <= 7";
    let json = session
        .query(&format!("EXPLAIN (FORMAT JSON) {query}"))
        .expect("JSON is a format");
    let parsed: serde_json::Value = serde_json::from_str(&json.lines()).expect("it is JSON");
    assert!(
        parsed.is_array(),
        "PostgreSQL's JSON plans are arrays: {parsed}"
    );
    let analyzed = session
        .query(&format!("EXPLAIN ANALYZE {query}"))
        .expect("ANALYZE runs");
    assert!(analyzed.lines().contains("rows=7"), "{}", analyzed.lines());
}
