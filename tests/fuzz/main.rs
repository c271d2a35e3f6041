//! The differential fuzzer: random queries over random rows, in every place that a table can live in and
//! over several at once, against one PostgreSQL that holds the same rows.
//!
//! `SLUICE_FUZZ_SEED` chooses the rows and the queries, `SLUICE_FUZZ_QUERIES` how many. A query that
//! answers differently is made smaller for as long as it still does, and printed with its seed.
//!
//! Never forgiven: other rows, other columns, another type, an error of another kind. Counted, printed and
//! bounded: queries that Sluice refuses to plan. Counted and printed, since SQL leaves the order of evaluation
//! open: one side meets an overflow in a row that the other side had no need to compute.

mod data;
mod generate;
mod query;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_tests::compare::{self, Order};
use sluice_tests::{
    Connection, Gateway, GatewayOptions, MariaDbServer, PostgresServer, Rows, ServerError, leaks,
    wait,
};

use generate::Generator;
use query::{Query, Table};

/// Enough for a mistake in a common shape; `make test-all` runs fifty times as many on another seed each time.
const DEFAULT_QUERIES: u64 = 400;
const ALL_QUERIES: u64 = 20_000;
const DEFAULT_SEED: u64 = 20_261_121;

/// Where a table is read from, the pairs of catalog and schema.
const PLACES: [&str; 3] = ["memory.public", "shop.public", "store.shop"];

/// Session settings, one session each. A query runs in all of them in turn.
const VARIANTS: [&[&str]; 7] = [
    &["SET sluice.workers = 0"],
    &["SET sluice.workers = 0", "SET sluice.pushdown = off"],
    &["SET sluice.workers = 1"],
    &["SET sluice.workers = 2"],
    &["SET sluice.workers = 4"],
    &[
        "SET sluice.workers = 0",
        "SET sluice.join_pushdown = 'always'",
        "SET sluice.aggregation_pushdown = 'always'",
    ],
    &[
        "SET sluice.workers = 4",
        "SET sluice.join_pushdown = 'never'",
        "SET sluice.aggregation_pushdown = 'never'",
    ],
];

/// Differences that are looked into before the run ends.
const MAX_DIFFERENCES: usize = 12;
/// Of a hundred queries, how many Sluice may refuse to plan.
const MOST_REFUSED: u64 = 3;
/// Steps of making a query smaller.
const MAX_SHRINKS: usize = 400;
/// MariaDB hears of a dropped statement by a connection of its own.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

struct Servers {
    oracle: PostgresServer,
    store: MariaDbServer,
    gateway: Gateway,
}

fn servers(rng: &mut StdRng) -> Servers {
    let oracle = PostgresServer::start();
    let store = MariaDbServer::start();
    let mut admin = oracle.connect("postgres");
    // Its text is ordered byte by byte, as the engine orders text; the source's is not.
    must(
        &mut admin,
        "CREATE DATABASE oracle TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    must(
        &mut admin,
        "CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let (mut truth, mut shop) = (oracle.connect("oracle"), oracle.connect("shop"));
    for (table, count) in data::TABLES {
        let rows = data::rows(rng, count);
        for (session, collation) in [(&mut truth, "C"), (&mut shop, "en-x-icu")] {
            must(
                session,
                &format!(
                    "CREATE TABLE {table} ({})",
                    data::postgresql_columns(collation)
                ),
            );
            if let Some(insert) = data::insert(table, &rows) {
                must(session, &insert);
            }
            must(session, &format!("ANALYZE {table}"));
        }
        store.query(&format!("CREATE TABLE {table} ({})", data::MYSQL_COLUMNS));
        if let Some(insert) = data::insert(table, &rows) {
            // A backslash takes the meaning from the next character there.
            store.query(&insert.replace('\\', r"\\"));
        }
        store.query(&format!("ANALYZE TABLE {table}"));
    }
    let gateway = GatewayOptions::new()
        .catalog("memory", "connector = \"memory\"\n")
        .catalog("shop", oracle.catalog("shop"))
        .catalog("store", store.catalog())
        .workers(4)
        .start();
    let mut session = gateway.connect("sluice");
    for (table, _) in data::TABLES {
        must(
            &mut session,
            &format!("CREATE TABLE memory.public.{table} AS SELECT * FROM shop.public.{table}"),
        );
    }
    Servers {
        oracle,
        store,
        gateway,
    }
}

fn must(session: &mut Connection, sql: &str) {
    if let Err(error) = session.query(sql) {
        panic!("{error}: {sql}");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What came of one query on both sides.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    BothRefuse,
    /// PostgreSQL itself does not support it.
    Invalid,
    /// Only PostgreSQL met the overflow or the bad value.
    Lazier,
    /// Only Sluice did.
    Stricter,
    /// Sluice says that it cannot plan it, and why: bounded by [`MOST_REFUSED`].
    Unsupported(String),
    Different(String),
}

fn judge(
    want: &Result<Rows, ServerError>,
    have: &Result<Rows, ServerError>,
    order: Order,
) -> Verdict {
    // Values that no row of the answer needs: data exceptions.
    let is_value = |error: &ServerError| error.code().starts_with("22");
    match (want, have) {
        (Ok(want), Ok(have)) => {
            let (want, have) = (&without_minus_zero(want), &without_minus_zero(have));
            match compare::rows(want, have, order).and_then(|()| compare::columns(want, have)) {
                Ok(()) => Verdict::Same,
                Err(problem) => Verdict::Different(problem),
            }
        }
        (Err(want), Err(have))
            if want.code() == have.code() || is_value(want) && is_value(have) =>
        {
            Verdict::BothRefuse
        }
        (Err(want), _) if want.code() == "0A000" => Verdict::Invalid,
        (_, Err(have)) if have.code() == "0A000" => Verdict::Unsupported(have.message().to_owned()),
        (Err(want), Ok(_)) if is_value(want) => Verdict::Lazier,
        (Ok(_), Err(have)) if is_value(have) => Verdict::Stricter,
        (Err(want), Ok(_)) => Verdict::Different(format!("PostgreSQL refuses it: {want}")),
        (Ok(_), Err(have)) => Verdict::Different(format!("refused: {have}")),
        (Err(want), Err(have)) => {
            Verdict::Different(format!("PostgreSQL says {want}\nSluice says {have}"))
        }
    }
}

/// SQL leaves open which of two equal zeros a group shows.
fn without_minus_zero(rows: &Rows) -> Rows {
    let mut rows = rows.clone();
    for cell in rows.rows.iter_mut().flatten() {
        if cell.as_deref() == Some("-0") {
            *cell = Some("0".to_owned());
        }
    }
    rows
}

struct Fuzzer {
    truth: Connection,
    subjects: Vec<Connection>,
}

impl Fuzzer {
    fn check(&mut self, query: &Query, variant: usize) -> Verdict {
        let want = self.truth.query(&native(query));
        let have = self.subjects[variant].query(&federated(query));
        let order = if query.descending.is_some() {
            Order::Given
        } else {
            Order::Any
        };
        judge(&want, &have, order)
    }

    /// The smallest query found that still answers differently.
    fn shrink(&mut self, query: Query, variant: usize) -> Query {
        let mut smallest = query;
        let mut steps = 0;
        'again: loop {
            for less in smallest.smaller() {
                steps += 1;
                if steps > MAX_SHRINKS {
                    return smallest;
                }
                if matches!(self.check(&less, variant), Verdict::Different(_)) && self.is_sql(&less)
                {
                    smallest = less;
                    continue 'again;
                }
            }
            return smallest;
        }
    }

    /// Parts that are taken out may leave types that do not fit together.
    fn is_sql(&mut self, query: &Query) -> bool {
        let explain = format!("EXPLAIN {}", native(query));
        !matches!(self.truth.query(&explain), Err(error) if error.code().starts_with("42"))
    }

    fn plan(&mut self, query: &Query, variant: usize) -> String {
        match self.subjects[variant].query(&format!("EXPLAIN {}", federated(query))) {
            Ok(plan) => {
                plan.rows
                    .iter()
                    .flatten()
                    .flatten()
                    .fold(String::new(), |mut text, line| {
                        text.push_str("  ");
                        text.push_str(line);
                        text.push('\n');
                        text
                    })
            }
            Err(error) => format!("  no plan: {error}\n"),
        }
    }
}

/// As PostgreSQL is asked, whose tables have no other place.
fn native(query: &Query) -> String {
    query.write(&|table: &Table| table.name.to_owned())
}

fn federated(query: &Query) -> String {
    query.write(&|table: &Table| format!("{}.{}", PLACES[table.place], table.name))
}

#[test]
fn random_queries_answer_as_in_postgresql() {
    let seed = number("SLUICE_FUZZ_SEED").unwrap_or_else(|| {
        if sluice_tests::all() {
            rand::random::<u32>().into()
        } else {
            DEFAULT_SEED
        }
    });
    let count = number("SLUICE_FUZZ_QUERIES").unwrap_or(if sluice_tests::all() {
        ALL_QUERIES
    } else {
        DEFAULT_QUERIES
    });
    println!("SLUICE_FUZZ_SEED={seed} SLUICE_FUZZ_QUERIES={count}");
    let mut rng = StdRng::seed_from_u64(seed);
    let servers = servers(&mut rng);
    let subjects = VARIANTS
        .iter()
        .map(|settings| {
            let mut session = servers.gateway.connect("sluice");
            settings
                .iter()
                .for_each(|setting| must(&mut session, setting));
            session
        })
        .collect();
    let mut fuzzer = Fuzzer {
        truth: servers.oracle.connect("oracle"),
        subjects,
    };
    let (mut same, mut both_refuse, mut lazier, mut stricter) = (0u64, 0u64, 0u64, 0u64);
    let mut unsupported: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut differences = Vec::new();
    for number in 0..count {
        let query = Generator::new(&mut rng, PLACES.len()).query();
        let variant = usize::try_from(number).unwrap_or(0) % VARIANTS.len();
        match fuzzer.check(&query, variant) {
            Verdict::Same => same += 1,
            Verdict::BothRefuse | Verdict::Invalid => both_refuse += 1,
            Verdict::Lazier => lazier += 1,
            Verdict::Stricter => stricter += 1,
            Verdict::Unsupported(message) => {
                unsupported
                    .entry(message)
                    .or_insert_with(|| (0, federated(&query)))
                    .0 += 1;
            }
            Verdict::Different(_) => {
                let smallest = fuzzer.shrink(query, variant);
                let problem = match fuzzer.check(&smallest, variant) {
                    Verdict::Different(problem) => problem,
                    other => format!("it comes and goes: now {other:?}"),
                };
                differences.push(format!(
                    "seed {seed}, query {number}, {:?}:\n  {}\n{problem}\n{}",
                    VARIANTS[variant],
                    federated(&smallest),
                    fuzzer.plan(&smallest, variant)
                ));
                if differences.len() == MAX_DIFFERENCES {
                    break;
                }
            }
        }
    }
    println!(
        "{same} equal, {both_refuse} refused by both, {lazier} where only PostgreSQL and {stricter} where only \
         Sluice met a bad value, {} not supported, {} different",
        unsupported.values().map(|(times, _)| times).sum::<u64>(),
        differences.len()
    );
    for (message, (times, example)) in &unsupported {
        println!("  {times} x {message}\n    {example}");
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    let refused: u64 = unsupported.values().map(|(times, _)| times).sum();
    assert!(
        refused * 100 <= count * MOST_REFUSED,
        "{refused} of {count} refused"
    );
    assert!(same * 4 > count * 3, "most queries must say something");
    drop(fuzzer);
    leaks::assert_nothing_left(&servers.gateway, &[&servers.oracle]);
    wait::for_condition("MariaDB runs no statement", SETTLE_LIMIT, || {
        servers.store.busy_statements().is_empty() && servers.store.open_transactions() == 0
    });
}
