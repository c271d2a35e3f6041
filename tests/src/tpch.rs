//! TPC-H: the 22 queries, the eight tables in PostgreSQL, and names of tables in several catalogs.

use std::fs;

use crate::data;
use crate::paths;
use crate::postgres::PostgresServer;

/// The eight tables.
pub const TABLES: [&str; 8] = [
    "region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem",
];

/// A query's number and text.
#[derive(Debug, Clone)]
pub struct Query {
    /// From 1.
    pub number: usize,
    /// SQL that PostgreSQL and Sluice both take.
    pub sql: String,
}

/// All 22, with the validation parameters of the specification. Where its ORDER BY leaves ties, key
/// columns are added to it.
pub fn queries() -> Vec<Query> {
    (1..=22)
        .map(|number| {
            let file = paths::tests().join(format!("tpch/q{number:02}.sql"));
            let sql = fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            Query { number, sql }
        })
        .collect()
}

/// Makes `database` on the server and fills all tables, with keys, indexes and statistics.
pub fn load(server: &PostgresServer, database: &str, scale: &str) {
    server.create_database(database);
    server.run_file(database, &paths::tests().join("tpch/schema.sql"));
    let root = data::tpch(scale, "csv");
    for table in TABLES {
        for file in data::files(&root, table, "csv") {
            server.load_csv(database, table, &file);
        }
    }
    server.run_file(database, &paths::tests().join("tpch/indexes.sql"));
    server
        .connect(database)
        .query("ANALYZE")
        .expect("ANALYZE runs");
}

/// Puts another name in the place of every table name. Text in quotes is left alone.
pub fn rename_tables(sql: &str, name: impl Fn(&str) -> String) -> String {
    let mut renamed = String::with_capacity(sql.len() * 2);
    for (index, part) in sql.split('\'').enumerate() {
        if index > 0 {
            renamed.push('\'');
        }
        if index % 2 == 1 {
            renamed.push_str(part);
            continue;
        }
        let mut word = String::new();
        for letter in part.chars().chain(['\0']) {
            if letter.is_alphanumeric() || letter == '_' {
                word.push(letter);
                continue;
            }
            if TABLES.contains(&word.as_str()) {
                renamed.push_str(&name(&word));
            } else {
                renamed.push_str(&word);
            }
            word.clear();
            if letter != '\0' {
                renamed.push(letter);
            }
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_table_names_are_renamed() {
        assert_eq!(
            rename_tables(
                "SELECT c_name, 'part' FROM customer, part p",
                |table| format!("x.{table}")
            ),
            "SELECT c_name, 'part' FROM x.customer, x.part p"
        );
        assert_eq!(queries().len(), 22);
    }
}
