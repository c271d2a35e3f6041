//! The random tables: one set of rows, loaded into every place that a query may read from.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What the generator knows of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Big,
    Num,
    Float,
    Text,
    Date,
    Time,
    Bool,
}

/// The columns of every table. Booleans are left to expressions: MySQL has none.
pub(crate) const COLUMNS: [(&str, Type); 8] = [
    ("k", Type::Int),
    ("i", Type::Int),
    ("j", Type::Big),
    ("n", Type::Num),
    ("f", Type::Float),
    ("t", Type::Text),
    ("d", Type::Date),
    ("s", Type::Time),
];

/// Tables and their rows: one that is empty, one of a few rows, and two that joins multiply.
pub(crate) const TABLES: [(&str, usize); 4] = [("t0", 0), ("t1", 7), ("t2", 60), ("t3", 250)];

/// Columns as PostgreSQL writes them, its text under `collation`.
pub(crate) fn postgresql_columns(collation: &str) -> String {
    format!(
        "k int PRIMARY KEY, i int, j bigint, n numeric(12,2), f float8, t text COLLATE \"{collation}\", \
         d date, s timestamp"
    )
}

/// Columns as MySQL writes them, its text under a collation that ignores case, accents and trailing blanks.
pub(crate) const MYSQL_COLUMNS: &str = "k int PRIMARY KEY, i int, j bigint, n decimal(12,2), f double, \
     t text CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, d date, s datetime(6)";

/// One value, as SQL's constants are written.
pub(crate) type Cell = Option<String>;

/// Texts that differ by case, accent, blanks, quotes, wildcards.
const TEXTS: [&str; 22] = [
    "", " ", "a", "A", "á", "Á", "a ", " a", "b", "B", "ab", "aB", "Ab ", "o'k", "x\\y", "100%",
    "_", "ß", "ss", "zz", "Zz", "é",
];

const EXTREMES: [i64; 4] = [2_147_483_647, -2_147_483_648, 2_147_483_646, 1_000_000_000];
const BIG_EXTREMES: [i64; 3] = [9_007_199_254_740_993, -9_007_199_254_740_993, 4_294_967_296];

/// A constant of `data_type`, NULL apart.
pub(crate) fn constant(rng: &mut StdRng, data_type: Type) -> String {
    match data_type {
        Type::Int if rng.random_ratio(1, 60) => EXTREMES.choose(rng).unwrap_or(&0).to_string(),
        Type::Int => rng.random_range(-12i32..13).to_string(),
        Type::Big if rng.random_ratio(1, 12) => BIG_EXTREMES.choose(rng).unwrap_or(&0).to_string(),
        Type::Big => rng.random_range(-9i64..10).to_string(),
        Type::Num => {
            let cents = rng.random_range(-900i32..900);
            format!(
                "{}{}.{:02}",
                if cents < 0 { "-" } else { "" },
                cents.abs() / 100,
                cents.abs() % 100
            )
        }
        Type::Float => format!("{:?}", f64::from(rng.random_range(-24i32..25)) / 4.0 + 0.0),
        Type::Text => (*TEXTS.choose(rng).unwrap_or(&"")).to_owned(),
        Type::Date => date(rng),
        Type::Time => {
            let micros = if rng.random_bool(0.5) {
                String::new()
            } else {
                format!(".{:06}", rng.random_range(0..1_000_000))
            };
            format!(
                "{} {:02}:{:02}:{:02}{micros}",
                date(rng),
                rng.random_range(0..24),
                rng.random_range(0..60),
                rng.random_range(0..60)
            )
        }
        Type::Bool => rng.random_bool(0.5).to_string(),
    }
}

fn date(rng: &mut StdRng) -> String {
    let year = *[1969, 1970, 1999, 2000, 2024].choose(rng).unwrap_or(&2000);
    format!(
        "{year}-{:02}-{:02}",
        rng.random_range(1..13),
        rng.random_range(1..29)
    )
}

/// A table's rows.
pub(crate) fn rows(rng: &mut StdRng, count: usize) -> Vec<Vec<Cell>> {
    (0..count)
        .map(|key| {
            COLUMNS
                .iter()
                .enumerate()
                .map(|(index, (_, data_type))| match index {
                    0 => Some(key.to_string()),
                    _ if rng.random_ratio(1, 8) => None,
                    _ => Some(constant(rng, *data_type)),
                })
                .collect()
        })
        .collect()
}

/// A statement that loads rows.
pub(crate) fn insert(table: &str, rows: &[Vec<Cell>]) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let tuples: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| match cell {
                    None => "NULL".to_owned(),
                    Some(text) => {
                        format!("'{}'", text.replace('\'', "''"))
                    }
                })
                .collect();
            format!("({})", cells.join(", "))
        })
        .collect();
    Some(format!("INSERT INTO {table} VALUES {}", tuples.join(", ")))
}
