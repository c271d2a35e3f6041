//! The known traps of reading another database, each as a test by name: semantics in which servers and engines
//! differ, and on which other engines are known to answer wrongly. `docs/traps.md` lists them.
//!
//! One real PostgreSQL holds the same rows twice. The database `shop` has an ICU locale, nondeterministic
//! collations and awkward defaults, and is read through Sluice. The database `truth` orders text byte by byte, as
//! the engine does, and says what is right. Each query runs in the coordinator, on one, two and four workers,
//! with everything pushed that may be, and with nothing pushed; and EXPLAIN must say that what reached the
//! source is what may reach it.

mod facts;
mod list;
mod numbers;
mod shapes;
mod text;
mod times;
mod types;

use std::sync::OnceLock;

use sluice_tests::compare::{self, Order};
use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, leaks};

const WORKERS: usize = 4;

/// How the sessions are set up. The plan is looked at in the first one.
const VARIANTS: [&[&str]; 8] = [
    &[
        "SET sluice.workers = 0",
        "SET sluice.join_pushdown = always",
        "SET sluice.aggregation_pushdown = always",
    ],
    &["SET sluice.workers = 0"],
    &["SET sluice.workers = 1"],
    &["SET sluice.workers = 2"],
    &["SET sluice.workers = 4"],
    &[
        "SET sluice.workers = 2",
        "SET sluice.join_pushdown = always",
        "SET sluice.aggregation_pushdown = always",
    ],
    &["SET sluice.workers = 0", "SET sluice.pushdown = off"],
    &["SET sluice.workers = 2", "SET sluice.pushdown = off"],
];

/// What the database under test is given as defaults of its sessions: none of them may reach an answer.
const AWKWARD_DEFAULTS: [&str; 14] = [
    "standard_conforming_strings = off",
    "escape_string_warning = off",
    "backslash_quote = on",
    "transform_null_equals = on",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
    "array_nulls = off",
    "timezone = 'America/New_York'",
    "search_path = 'nowhere'",
    "client_encoding = 'LATIN1'",
    "xmloption = 'document'",
    "default_transaction_read_only = on",
];

/// What EXPLAIN must say of a query's way to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// All of it is done there, and nothing is refused.
    Exactly,
    /// Something is refused, with a reason.
    Kept,
    /// The rows alone are of interest.
    Any,
}

/// What must come of a query.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The rows, names and types of `truth`'s answer to this query, or to the same one.
    Rows(Option<&'static str>),
    /// Both refuse it, with this SQLSTATE.
    Error(&'static str),
    /// Sluice alone refuses it, with this SQLSTATE and a message that has these words in it.
    Refused(&'static str, &'static str),
}

/// A query of a trap.
#[derive(Debug, Clone, Copy)]
struct Case {
    sql: &'static str,
    sent: Sent,
    outcome: Outcome,
    /// Words that the plan must have.
    says: &'static str,
    /// It is known to answer otherwise, as `docs/differences.md` says. The day it does not, the mark must go.
    differs: bool,
    /// With nothing pushed, it may be refused with this SQLSTATE: it then has to read a value that it has no
    /// place for.
    unless_read: &'static str,
}

const fn case(sql: &'static str, sent: Sent) -> Case {
    Case {
        sql,
        sent,
        outcome: Outcome::Rows(None),
        says: "",
        differs: false,
        unless_read: "",
    }
}

/// The source does all of it.
const fn exactly(sql: &'static str) -> Case {
    case(sql, Sent::Exactly)
}

/// The engine does it, and EXPLAIN says why.
const fn kept(sql: &'static str) -> Case {
    case(sql, Sent::Kept)
}

/// Whoever does it, the rows are right.
const fn same(sql: &'static str) -> Case {
    case(sql, Sent::Any)
}

/// Refused everywhere, with one SQLSTATE.
const fn fails(sql: &'static str, code: &'static str) -> Case {
    Case {
        outcome: Outcome::Error(code),
        ..case(sql, Sent::Any)
    }
}

/// Refused by Sluice: it has no place for the value.
const fn refused(sql: &'static str, code: &'static str, words: &'static str) -> Case {
    Case {
        outcome: Outcome::Refused(code, words),
        ..case(sql, Sent::Any)
    }
}

impl Case {
    /// `truth` is asked this instead: a documented difference from PostgreSQL, in PostgreSQL's words.
    const fn means(self, truth: &'static str) -> Self {
        Self {
            outcome: Outcome::Rows(Some(truth)),
            ..self
        }
    }

    /// The same rows; a type that has no other place is text.
    const fn as_text(self) -> Self {
        self.means(self.sql)
    }

    /// See the field.
    const fn differs(self) -> Self {
        Self {
            differs: true,
            ..self
        }
    }

    /// See the field.
    const fn unless_read(self, code: &'static str) -> Self {
        Self {
            unless_read: code,
            ..self
        }
    }

    /// EXPLAIN must have these words.
    const fn says(self, words: &'static str) -> Self {
        Self {
            says: words,
            ..self
        }
    }
}

struct Servers {
    source: PostgresServer,
    gateway: Gateway,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let source = PostgresServer::start();
        let mut admin = source.connect("postgres");
        must(
            &mut admin,
            "CREATE DATABASE truth TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
        );
        must(
            &mut admin,
            "CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
        );
        let setup = include_str!("setup.sql");
        let mut shop = source.connect("shop");
        must(&mut shop, "CREATE EXTENSION citext");
        must(
            &mut shop,
            "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        );
        // Where text is bytes, there are no other kinds of it.
        let plain = setup
            .replace("cit citext", "cit text")
            .replace(" COLLATE anycase", "")
            .replace(" COLLATE \"de-x-icu\"", "");
        let mut truth = source.connect("truth");
        for (session, text) in [(&mut shop, setup), (&mut truth, &plain)] {
            must(session, "CREATE EXTENSION hstore");
            for outcome in session.batch(text).expect("the server answers") {
                outcome.unwrap_or_else(|error| panic!("setup.sql: {error}"));
            }
            must(session, "ANALYZE");
        }
        for setting in AWKWARD_DEFAULTS {
            must(&mut admin, &format!("ALTER DATABASE shop SET {setting}"));
        }
        for setting in ["log_statement = 'all'", "log_line_prefix = '%a|%p|'"] {
            must(&mut admin, &format!("ALTER SYSTEM SET {setting}"));
        }
        must(&mut admin, "SELECT pg_reload_conf()");
        let shop = format!("{}split_size = \"64KiB\"\n", source.catalog("shop"));
        let gateway = GatewayOptions::new()
            .catalog("shop", &shop)
            .catalog("other", &shop)
            .catalog(
                "lenient",
                format!("{shop}numeric = \"text\"\narrays = \"text\"\ninfinity = \"keep\"\n"),
            )
            .catalog("memory", "connector = \"memory\"\n")
            .workers(WORKERS)
            .start();
        Servers { source, gateway }
    })
}

fn must(session: &mut Connection, sql: &str) {
    if let Err(error) = session.query(sql) {
        panic!("{error}: {sql}");
    }
}

/// The same query where all catalogs are one database.
fn in_truth(sql: &str) -> String {
    ["shop.public.", "other.public.", "lenient.public."]
        .into_iter()
        .fold(sql.to_owned(), |sql, prefix| sql.replace(prefix, ""))
}

/// Whether the whole query is ordered, and not only a part of it.
fn order_of(sql: &str) -> Order {
    let mut depth = 0;
    for (position, character) in sql.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            'O' if depth == 0 && sql[position..].starts_with("ORDER BY") => return Order::Given,
            _ => {}
        }
    }
    Order::Any
}

/// Runs the cases in every variant. Each query must have a total order, or be compared in any.
fn check(cases: &[Case]) {
    let _alone = leaks::alone();
    let servers = servers();
    let mut truth = servers.source.connect("truth");
    let mut report = String::new();
    let mut differing = vec![0; cases.len()];
    for (number, settings) in VARIANTS.iter().enumerate() {
        let mut session = servers.gateway.connect("shop");
        settings.iter().for_each(|s| must(&mut session, s));
        for (case, differing) in cases.iter().zip(&mut differing) {
            let mut problems = Vec::new();
            if number == 0 {
                problems.extend(plan_problem(&mut session, case));
            }
            if let Some(problem) = outcome_problem(&mut session, &mut truth, case) {
                *differing += 1;
                let may_be = case.differs || is_refusal_of_a_read(settings, case, &problem);
                problems.extend((!may_be).then_some(problem));
            }
            for problem in problems {
                report.push_str(&format!("{settings:?}: {}\n    {problem}\n", case.sql));
            }
        }
    }
    for (case, times) in cases.iter().zip(differing) {
        if case.differs && times == 0 {
            report.push_str(&format!("no longer differs: {}\n", case.sql));
        }
    }
    assert!(report.is_empty(), "\n{report}");
    leaks::assert_nothing_left(&servers.gateway, &[&servers.source]);
}

fn is_refusal_of_a_read(settings: &[&str], case: &Case, problem: &str) -> bool {
    !case.unless_read.is_empty()
        && settings.contains(&"SET sluice.pushdown = off")
        && problem.starts_with(&format!("refused: {}", case.unless_read))
}

fn outcome_problem(
    session: &mut Connection,
    truth: &mut Connection,
    case: &Case,
) -> Option<String> {
    let have = session.query(case.sql);
    match case.outcome {
        Outcome::Rows(other) => {
            let sql = in_truth(other.unwrap_or(case.sql));
            let want = match truth.query(&sql) {
                Ok(want) => want,
                Err(error) => return Some(format!("PostgreSQL refuses it: {error}")),
            };
            let have = match have {
                Ok(have) => have,
                Err(error) => return Some(format!("refused: {error}")),
            };
            compare::rows(&want, &have, order_of(case.sql))
                .and_then(|()| match other {
                    None => compare::columns(&want, &have),
                    Some(_) => Ok(()),
                })
                .err()
        }
        Outcome::Error(code) => {
            let want = truth.query(&in_truth(case.sql)).err();
            let want = want.as_ref().map_or("rows", |error| error.code());
            if want != code {
                return Some(format!("the case says {code}, PostgreSQL says {want}"));
            }
            match have {
                Err(error) if error.code() == code => None,
                Err(error) => Some(format!("{code} expected, given: {error}")),
                Ok(rows) => Some(format!("{code} expected, given: {:?}", rows.rows)),
            }
        }
        Outcome::Refused(code, words) => match have {
            Err(error) if error.code() == code && error.to_string().contains(words) => None,
            Err(error) => Some(format!("{code} with {words:?} expected, given: {error}")),
            Ok(rows) => Some(format!("{code} expected, given: {:?}", rows.rows)),
        },
    }
}

fn plan_problem(session: &mut Connection, case: &Case) -> Option<String> {
    if case.sent == Sent::Any && case.says.is_empty() {
        return None;
    }
    let plan = match session.query(&format!("EXPLAIN (COSTS OFF) {}", case.sql)) {
        Ok(plan) => plan.lines(),
        Err(error) => return Some(format!("EXPLAIN: {error}")),
    };
    let (kept, superset) = (
        plan.contains("Not pushed: "),
        plan.contains("Pushed as a superset: "),
    );
    let ok = match case.sent {
        Sent::Exactly => !kept && !superset && plan.contains("Pushed exactly: "),
        Sent::Kept => kept,
        Sent::Any => true,
    };
    if !ok {
        return Some(format!("{:?} expected:\n{plan}", case.sent));
    }
    (!plan.contains(case.says)).then(|| format!("{:?} is missing:\n{plan}", case.says))
}
