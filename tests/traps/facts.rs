//! What was measured on other engines, as behaviour that can be counted at the source: statements, connections,
//! rows. Times are the benchmark's business.

use sluice_tests::{Connection, PostgresServer, leaks};

use super::{must, servers};

/// Statements of Sluice's sessions since the log was `from` bytes long, with the process that ran each.
fn statements(source: &PostgresServer, from: usize) -> Vec<(String, String)> {
    source.log()[from..]
        .lines()
        .filter_map(|line| {
            let (process, rest) = line.strip_prefix("sluice|")?.split_once('|')?;
            let statement = rest.strip_prefix("LOG:  ")?;
            let text = statement.strip_prefix("statement: ").or_else(|| {
                statement
                    .strip_prefix("execute ")?
                    .split_once(": ")
                    .map(|s| s.1)
            })?;
            Some((process.to_owned(), text.to_owned()))
        })
        .collect()
}

fn statements_of(session: &mut Connection, sql: &str) -> Vec<(String, String)> {
    let source = &servers().source;
    let from = source.log().len();
    must(session, sql);
    statements(source, from)
}

/// A row by its key: one prepared statement on a connection that is there, and nothing else. The best of the
/// other engines needed 27 statements for it, or a new connection and the whole catalog each time.
#[test]
fn a_key_lookup_is_one_statement() {
    let _alone = leaks::alone();
    let mut session = servers().gateway.connect("shop");
    let lookup = |id: u32| format!("SELECT s FROM public.events WHERE id = {id}");
    let first = statements_of(&mut session, &lookup(1));
    assert!(!first.is_empty(), "the log shows nothing");
    let mut processes = Vec::new();
    for id in 700..720 {
        let ran = statements_of(&mut session, &lookup(id));
        assert_eq!(ran.len(), 1, "{ran:#?}");
        assert!(ran[0].1.starts_with("SELECT \"s\""), "{ran:#?}");
        processes.push(ran[0].0.clone());
    }
    processes.dedup();
    assert_eq!(
        processes.len(),
        1,
        "one connection serves all: {processes:?}"
    );
}

/// What is always cheaper there goes there, whatever is said of joins and aggregates.
#[test]
fn filters_columns_limits_and_tops_always_go() {
    let _alone = leaks::alone();
    let mut session = servers().gateway.connect("shop");
    must(&mut session, "SET sluice.join_pushdown = never");
    must(&mut session, "SET sluice.aggregation_pushdown = never");
    for (sql, words) in [
        (
            "SELECT s FROM public.events WHERE k = 3",
            "SELECT \"s\" FROM \"public\".\"events\" WHERE \"k\" = ",
        ),
        ("SELECT s FROM public.events LIMIT 3", "LIMIT 3"),
        (
            "SELECT id FROM public.events ORDER BY k, id LIMIT 3",
            "ORDER BY \"k\" NULLS LAST, \"id\" NULLS LAST LIMIT 3",
        ),
    ] {
        let plan = session
            .query(&format!("EXPLAIN {sql}"))
            .expect("it plans")
            .lines();
        assert!(plan.contains(words), "{sql}:\n{plan}");
    }
}

/// A join or an aggregate goes where it is cheaper, and EXPLAIN says why it does not; the session has the last
/// word.
#[test]
fn joins_and_aggregates_go_where_they_are_cheaper() {
    let _alone = leaks::alone();
    let mut session = servers().gateway.connect("shop");
    let wide = "SELECT a.s, b.s, a.filler FROM public.events a JOIN public.events b ON a.k = b.k";
    let narrow = "SELECT a.k, count(*) FROM public.events a JOIN public.events b ON a.id = b.id GROUP BY a.k";
    for (setting, sql, remote) in [
        ("automatic", wide, false),
        ("automatic", narrow, true),
        ("always", wide, true),
        ("always", narrow, true),
        ("never", wide, false),
        ("never", narrow, false),
    ] {
        must(
            &mut session,
            &format!("SET sluice.join_pushdown = {setting}"),
        );
        let plan = session
            .query(&format!("EXPLAIN {sql}"))
            .expect("it plans")
            .lines();
        let pushed = plan.contains("Pushed exactly: join on ");
        assert_eq!(pushed, remote, "{setting}: {sql}:\n{plan}");
        assert_eq!(
            plan.contains("Not pushed: join on "),
            !remote,
            "{setting}: {sql}:\n{plan}"
        );
    }
}
