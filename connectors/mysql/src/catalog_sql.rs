//! The questions to the source's information_schema, and their answers as rows.
//!
//! Names are compared again here, byte by byte: information_schema's own collation ignores case.

use std::collections::HashMap;

use mysql_async::{Row, Value};

use crate::types::NativeType;
use crate::version::Version;

/// Schemas that are the server's own.
const OWN_SCHEMAS: &str = "'information_schema', 'mysql', 'performance_schema', 'sys'";

/// Characters of a name at most.
const NAME_CHARACTERS: usize = 64;

/// True for a schema that is the server's own.
pub(crate) fn is_own(schema: &str) -> bool {
    matches!(
        schema.to_ascii_lowercase().as_str(),
        "information_schema" | "mysql" | "performance_schema" | "sys"
    )
}

/// True for a name that a table or schema can have. The server refuses questions about others.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.ends_with(' ')
        && name.chars().count() <= NAME_CHARACTERS
        && name.chars().all(|c| c != '\0' && u32::from(c) <= 0xFFFF)
}

/// Every schema that is the user's own.
pub(crate) fn schemas() -> String {
    format!(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA
         WHERE lower(SCHEMA_NAME) NOT IN ({OWN_SCHEMAS}) ORDER BY 1"
    )
}

/// What answers: tables of all schemas that are the user's own.
pub(crate) fn table_count() -> String {
    format!(
        "SELECT count(*) FROM information_schema.TABLES
         WHERE lower(TABLE_SCHEMA) NOT IN ({OWN_SCHEMAS})"
    )
}

/// Tables and views of a schema: name, type, comment, options.
pub(crate) const TABLES: &str = "\
SELECT TABLE_NAME, TABLE_TYPE, TABLE_COMMENT, CREATE_OPTIONS FROM information_schema.TABLES
WHERE TABLE_SCHEMA = ? ORDER BY 1";

/// One of them.
pub(crate) const TABLE: &str = "\
SELECT TABLE_NAME, TABLE_TYPE, TABLE_COMMENT, CREATE_OPTIONS FROM information_schema.TABLES
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";

/// Unique keys, column by column, the primary key under its own name.
pub(crate) fn keys(of_one: bool) -> String {
    format!(
        "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
         WHERE TABLE_SCHEMA = ?{} AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        and_table(of_one)
    )
}

/// Columns that a check of their own makes JSON (MariaDB).
pub(crate) fn json_checks(of_one: bool) -> String {
    format!(
        "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
         WHERE CONSTRAINT_SCHEMA = ?{} AND CHECK_CLAUSE LIKE 'json_valid(%'",
        and_table(of_one)
    )
}

/// Every column, in order.
pub(crate) fn columns(version: Version, of_one: bool) -> String {
    let fraction = if version.has_fractions() {
        "DATETIME_PRECISION"
    } else {
        "NULL"
    };
    format!(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_MAXIMUM_LENGTH,
                CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, {fraction},
                CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_DEFAULT, COLUMN_COMMENT, EXTRA
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ?{}
         ORDER BY TABLE_NAME, ORDINAL_POSITION",
        and_table(of_one)
    )
}

fn and_table(of_one: bool) -> &'static str {
    if of_one { " AND TABLE_NAME = ?" } else { "" }
}

/// A text of a row. MySQL 8 hands some of them out as bytes.
pub(crate) fn text(row: &Row, index: usize) -> Option<String> {
    match row.as_ref(index)? {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// A number of a row.
pub(crate) fn number(row: &Row, index: usize) -> Option<u64> {
    match row.as_ref(index)? {
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::UInt(value) => Some(*value),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// A column of [`columns`].
pub(crate) struct ColumnRow {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) native: NativeType,
    pub(crate) nullable: bool,
    pub(crate) default: Option<String>,
    pub(crate) comment: Option<String>,
    /// `auto_increment`, `STORED GENERATED`, …
    pub(crate) extra: String,
}

impl ColumnRow {
    pub(crate) fn of(row: &Row) -> Option<ColumnRow> {
        Some(ColumnRow {
            table: text(row, 0)?,
            name: text(row, 1)?,
            native: NativeType {
                name: text(row, 2)?.to_ascii_lowercase(),
                declared: text(row, 3)?,
                characters: number(row, 5),
                octets: number(row, 6),
                precision: number(row, 7),
                scale: number(row, 8),
                fraction: number(row, 9),
                charset: text(row, 10),
                collation: text(row, 11),
                is_checked_json: false,
            },
            nullable: text(row, 4).is_none_or(|answer| answer != "NO"),
            // MariaDB writes the expression NULL for "no default".
            default: text(row, 12).filter(|default| default != "NULL"),
            comment: text(row, 13).filter(|comment| !comment.is_empty()),
            extra: text(row, 14).unwrap_or_default(),
        })
    }
}

/// Unique keys of a table.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) primary: Vec<String>,
    /// All of them, the primary key first.
    pub(crate) unique: Vec<Vec<String>>,
}

/// Keys by table, from rows of [`keys`].
pub(crate) fn keys_by_table(rows: &[Row]) -> HashMap<String, Keys> {
    let parts: Vec<(String, String, Option<String>)> = rows
        .iter()
        .filter_map(|row| {
            // A part of a column, or an expression: not a key of the columns.
            let whole = number(row, 3).is_none();
            Some((text(row, 0)?, text(row, 1)?, text(row, 2).filter(|_| whole)))
        })
        .collect();
    let mut found: HashMap<String, Keys> = HashMap::new();
    for index in parts.chunk_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1)) {
        let (table, name, _) = &index[0];
        let Some(columns) = index
            .iter()
            .map(|(_, _, column)| column.clone())
            .collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let keys = found.entry(table.clone()).or_default();
        if name == "PRIMARY" {
            keys.primary.clone_from(&columns);
            keys.unique.insert(0, columns);
        } else {
            keys.unique.push(columns);
        }
    }
    found
}
