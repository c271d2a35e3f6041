//! The SQL corpus on two servers: the real PostgreSQL says what is right.
//!
//! Each file runs with the tables read through the `shop` catalog, by the coordinator alone and on two
//! worker processes, with pushdown on and off, and once more with the tables copied into the `memory`
//! catalog, where the engine does all the work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, corpus, leaks, paths};

/// How a session of the corpus is set up.
const VARIANTS: [(&str, &str, &[&str]); 5] = [
    ("in the coordinator", "shop", &["SET sluice.workers = 0"]),
    ("on two workers", "shop", &["SET sluice.workers = 2"]),
    (
        "with everything pushed",
        "shop",
        &[
            "SET sluice.workers = 0",
            "SET sluice.join_pushdown = always",
            "SET sluice.aggregation_pushdown = always",
        ],
    ),
    (
        "without pushdown",
        "shop",
        &["SET sluice.workers = 0", "SET sluice.pushdown = off"],
    ),
    ("in memory", "memory", &["SET sluice.workers = 0"]),
];

/// Tables of `setup.sql`.
const TABLES: [&str; 5] = ["people", "orders", "numbers", "times", "things"];

struct Servers {
    oracle: PostgresServer,
    gateway: Gateway,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let oracle = PostgresServer::start();
        oracle.create_database("shop");
        oracle.run_file("shop", &paths::tests().join("slt/setup.sql"));
        let gateway = GatewayOptions::new()
            .catalog("shop", oracle.catalog("shop"))
            .catalog("memory", "connector = \"memory\"\n")
            .workers(2)
            .start();
        let mut session = gateway.connect("sluice");
        for table in TABLES {
            let copy =
                format!("CREATE TABLE memory.public.{table} AS SELECT * FROM shop.public.{table}");
            if let Err(error) = session.query(&copy) {
                panic!("{copy}: {error}\n{}", gateway.logs());
            }
        }
        Servers { oracle, gateway }
    })
}

fn oracle_session() -> Connection {
    let mut session = servers().oracle.connect("shop");
    // A comparison without an explicit collation must order as the engine does.
    session
        .query("SET timezone = 'UTC'")
        .expect("PostgreSQL takes a time zone");
    session
}

fn corpus_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(paths::tests().join("slt"))
        .expect("the corpus is there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    files
}

fn check(name: &str) {
    let _alone = leaks::alone();
    let blocks = corpus::read(&paths::tests().join("slt").join(format!("{name}.slt")));
    let mut report = String::new();
    for (variant, database, settings) in VARIANTS {
        let mut subject = servers().gateway.connect(database);
        for setting in settings {
            subject
                .query(setting)
                .unwrap_or_else(|error| panic!("{setting}: {error}"));
        }
        let problems = corpus::run(&blocks, &mut oracle_session(), &mut subject, false);
        if !problems.is_empty() {
            report.push_str(&format!(
                "== {name}.slt {variant}: {} of {} blocks differ\n{}\n",
                problems.len(),
                blocks.len(),
                problems.join("\n")
            ));
        }
    }
    assert!(report.is_empty(), "\n{report}");
    leaks::assert_nothing_left(&servers().gateway, &[&servers().oracle]);
}

macro_rules! corpus_tests {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_file_has_a_test() {
            let tested = [$(stringify!($name)),*];
            for file in corpus_files() {
                let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
                assert!(tested.contains(&stem.as_str()), "{stem}.slt is not run");
            }
        }
    };
}

corpus_tests!(
    adversarial,
    aggregates,
    dates,
    errors,
    expressions,
    joins,
    select,
    strings,
    types,
    windows,
    zones
);

/// A corpus that PostgreSQL itself does not pass says nothing.
#[test]
fn the_corpus_is_right_about_postgresql() {
    let oracle = PostgresServer::start();
    oracle.create_database("shop");
    oracle.run_file("shop", &paths::tests().join("slt/setup.sql"));
    let session = || oracle.connect("shop");
    let mut blocks = 0;
    for file in corpus_files() {
        let read = corpus::read(&file);
        blocks += read.len();
        let problems = corpus::run(&read, &mut session(), &mut session(), true);
        assert!(
            problems.is_empty(),
            "{}:\n{}",
            name_of(&file),
            problems.join("\n")
        );
    }
    assert!(blocks > 200, "only {blocks} blocks");
}

fn name_of(file: &Path) -> String {
    file.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
