//! Names in SQL text to OIDs and back: `regclass` and its kin, quoting, and definitions as text.
//!
//! Follows PostgreSQL's regproc.c and ruleutils.c. Pure over a snapshot.

use std::sync::LazyLock;

use sluice_spi::{Error, ReferentialAction, Result, SqlState};

use super::builtin::{FUNCTIONS, function_by_oid, type_by_name, type_by_oid};
use super::oids::{ConstraintRef, RelationRef};
use super::pg_types::format_type;
use super::snapshot::DatabaseSnapshot;

/// The kinds of OID that have a name of their own type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegKind {
    /// `regclass`: a relation.
    Class,
    /// `regtype`: a type.
    Type,
    /// `regproc`, `regprocedure`: a function.
    Proc,
    /// `regnamespace`: a schema.
    Namespace,
    /// `regrole`: a role.
    Role,
}

impl RegKind {
    /// The kind that a type's name means.
    pub fn from_type_name(name: &str) -> Option<Self> {
        Some(match name {
            "regclass" => RegKind::Class,
            "regtype" => RegKind::Type,
            "regproc" | "regprocedure" => RegKind::Proc,
            "regnamespace" => RegKind::Namespace,
            "regrole" => RegKind::Role,
            _ => return None,
        })
    }

    /// The type's name.
    pub fn type_name(self) -> &'static str {
        match self {
            RegKind::Class => "regclass",
            RegKind::Type => "regtype",
            RegKind::Proc => "regproc",
            RegKind::Namespace => "regnamespace",
            RegKind::Role => "regrole",
        }
    }
}

/// The OID that a name or number stands for (`'sales.orders'::regclass`), or PostgreSQL's error.
pub fn resolve_reg(snapshot: &DatabaseSnapshot, kind: RegKind, text: &str) -> Result<u32> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(oid) = text.trim().parse::<u32>() {
        return Ok(oid);
    }
    find_reg(snapshot, kind, text)?.ok_or_else(|| {
        let (code, what) = match kind {
            RegKind::Class => (SqlState::UNDEFINED_TABLE, "relation"),
            RegKind::Type => (SqlState::UNDEFINED_OBJECT, "type"),
            RegKind::Proc => (SqlState::UNDEFINED_FUNCTION, "function"),
            RegKind::Namespace => (SqlState::INVALID_SCHEMA_NAME, "schema"),
            RegKind::Role => (SqlState::UNDEFINED_OBJECT, "role"),
        };
        Error::new(code, format!("{what} \"{text}\" does not exist"))
    })
}

/// The OID that a name stands for, or `None` where nothing has it (`to_regclass` and its kin).
pub fn find_reg(snapshot: &DatabaseSnapshot, kind: RegKind, text: &str) -> Result<Option<u32>> {
    if kind == RegKind::Type {
        return find_type(text);
    }
    let bare = if kind == RegKind::Proc {
        text.split('(').next().unwrap_or(text)
    } else {
        text
    };
    let parts = split_name(bare)?;
    let (schema, name) = qualify(snapshot, &parts)?;
    let directory = snapshot.directory();
    Ok(match kind {
        RegKind::Namespace => directory.schema_oid(&parts.join(".")),
        RegKind::Role => directory.role_oid(name),
        RegKind::Proc => match schema.as_deref() {
            None | Some("pg_catalog") => FUNCTIONS.iter().find(|f| f.name == name).map(|f| f.oid),
            Some(_) => None,
        },
        RegKind::Class | RegKind::Type => match schema {
            Some(schema) => directory.relation_named(&schema, name).map(|r| r.oid()),
            None => snapshot
                .effective_search_path()
                .into_iter()
                .find_map(|schema| directory.relation_named(schema, name))
                .map(|r| r.oid()),
        },
    })
}

/// `'sales.orders'::regclass`.
pub fn resolve_regclass(snapshot: &DatabaseSnapshot, text: &str) -> Result<u32> {
    resolve_reg(snapshot, RegKind::Class, text)
}

/// What an OID prints as under one of these types: a name, qualified where the search path would not
/// find it; the number where nothing has that OID; `-` for 0.
pub fn reg_name(snapshot: &DatabaseSnapshot, kind: RegKind, oid: u32) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let directory = snapshot.directory();
    let name = match kind {
        RegKind::Class => directory.relation(oid).map(|r| relation_name(snapshot, r)),
        RegKind::Type => type_by_oid(oid).map(|_| format_type(oid, None)),
        RegKind::Proc => function_by_oid(oid).map(|f| f.name.to_owned()),
        RegKind::Namespace => directory.schema_name(oid).map(quote_identifier),
        RegKind::Role => directory.role_name(oid).map(quote_identifier),
    };
    name.unwrap_or_else(|| oid.to_string())
}

/// Whether an unqualified name would find this very relation (`pg_table_is_visible`).
pub fn is_visible(snapshot: &DatabaseSnapshot, relation: RelationRef<'_>) -> bool {
    let directory = snapshot.directory();
    for schema in snapshot.effective_search_path() {
        if schema == relation.schema() {
            return true;
        }
        if directory.relation_named(schema, relation.name()).is_some() {
            return false;
        }
    }
    false
}

fn relation_name(snapshot: &DatabaseSnapshot, relation: RelationRef<'_>) -> String {
    let name = quote_identifier(relation.name());
    if is_visible(snapshot, relation) {
        name
    } else {
        format!("{}.{name}", quote_identifier(relation.schema()))
    }
}

/// The definition of a key's index, as `pg_get_indexdef` prints it.
pub fn index_definition(relation: RelationRef<'_>) -> Option<String> {
    let RelationRef::Index(entry, key) = relation else {
        return None;
    };
    Some(format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        quote_identifier(&key.name),
        quote_identifier(&entry.schema),
        quote_identifier(&entry.table.name),
        quoted_list(&key.columns),
    ))
}

/// The definition of a constraint, as `pg_get_constraintdef` prints it; `pretty` leaves out the schemas that
/// the search path finds.
pub fn constraint_definition(
    snapshot: &DatabaseSnapshot,
    oid: u32,
    pretty: bool,
) -> Option<String> {
    let directory = snapshot.directory();
    let foreign = match directory.constraint(oid)? {
        ConstraintRef::Key(key) => {
            let columns = quoted_list(&key.columns);
            return Some(format!("{} ({columns})", key.words()));
        }
        ConstraintRef::Foreign(foreign) => foreign,
    };
    let referenced = match directory.relation(foreign.referenced_oid) {
        Some(relation) if pretty => relation_name(snapshot, relation),
        _ => format!(
            "{}.{}",
            quote_identifier(&foreign.referenced_schema),
            quote_identifier(&foreign.key.table)
        ),
    };
    let mut text = format!(
        "FOREIGN KEY ({}) REFERENCES {referenced}({})",
        quoted_list(&foreign.key.columns),
        quoted_list(&foreign.key.referenced)
    );
    for (event, action) in [
        ("UPDATE", foreign.key.on_update),
        ("DELETE", foreign.key.on_delete),
    ] {
        if action != ReferentialAction::NoAction {
            text.push_str(&format!(" ON {event} {}", action.words()));
        }
    }
    Some(text)
}

fn quoted_list(names: &[String]) -> String {
    names
        .iter()
        .map(|n| quote_identifier(n))
        .collect::<Vec<_>>()
        .join(", ")
}

fn find_type(text: &str) -> Result<Option<u32>> {
    let trimmed = text.trim();
    let trimmed = trimmed.strip_prefix("pg_catalog.").unwrap_or(trimmed);
    if let Some(item) = trimmed.strip_suffix("[]") {
        return Ok(find_type(item)?
            .and_then(type_by_oid)
            .map(|t| t.array)
            .filter(|oid| *oid != 0));
    }
    if trimmed.starts_with('"') {
        let parts = split_name(trimmed)?;
        return Ok(parts
            .last()
            .and_then(|name| type_by_name(if name == "char" { "\"char\"" } else { name }))
            .map(|t| t.oid));
    }
    let name = trimmed.to_lowercase();
    // Arguments do not change which type it is: `numeric(10,2)`, `timestamp(3) with time zone`.
    let bare = match (name.find('('), name.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", name[..open].trim_end(), &name[close + 1..])
        }
        _ => name,
    };
    let alias = match bare.as_str() {
        "timestamp" => "timestamp without time zone",
        "time" => "time without time zone",
        other => other,
    };
    Ok(type_by_name(alias).map(|t| t.oid))
}

/// Splits a possibly quoted, possibly qualified name; unquoted parts fold to lower case.
pub fn split_name(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::new(SqlState::from_source("42602"), "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    Some((at, '"')) => break at,
                    Some((_, c)) => name.push(c),
                    None => return Err(invalid()),
                }
            };
            rest = quoted[end + 1..].trim_start();
            part = name;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest[..end].trim().to_lowercase();
            rest = &rest[end..];
        }
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(part);
        if rest.is_empty() {
            return Ok(parts);
        }
        rest = rest.strip_prefix('.').ok_or_else(invalid)?.trim_start();
    }
}

/// Schema and name of a split name. Three parts name the database too, which must be this one; in the
/// virtual database `sluice` the first two are the schema's name.
fn qualify<'a>(
    snapshot: &DatabaseSnapshot,
    parts: &'a [String],
) -> Result<(Option<String>, &'a str)> {
    match parts {
        [name] => Ok((None, name)),
        [schema, name] => Ok((Some(schema.clone()), name)),
        [database, schema, name] if *database == snapshot.database => {
            Ok((Some(schema.clone()), name))
        }
        [catalog, schema, name] => Ok((Some(format!("{catalog}.{schema}")), name)),
        _ => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            format!(
                "improper qualified name (too many dotted names): {}",
                parts.join(".")
            ),
        )),
    }
}

/// Quotes a name where SQL needs it (`quote_ident`).
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(name);
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Quotes a text as an SQL literal (`quote_literal`).
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// Words that PostgreSQL quotes: every keyword but the unreserved ones (kwlist.h of version 16).
fn is_reserved(word: &str) -> bool {
    KEYWORDS.binary_search(&word).is_ok()
}

/// Keywords that are not unreserved, sorted.
pub(crate) static KEYWORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("data/keywords.txt").lines().collect());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_like_postgresql() {
        let check = |text: &str, parts: &[&str]| assert_eq!(split_name(text).unwrap(), parts);
        check("Orders", &["orders"]);
        check("sales.\"Big \"\"One\"\"\"", &["sales", "Big \"One\""]);
        check(" a . b ", &["a", "b"]);
        assert!(split_name("a..b").is_err());
        assert!(split_name("\"open").is_err());
    }

    #[test]
    fn identifiers_are_quoted_only_where_needed() {
        assert!(KEYWORDS.is_sorted());
        assert_eq!(quote_identifier("orders"), "orders");
        assert_eq!(quote_identifier("Order"), "\"Order\"");
        assert_eq!(quote_identifier("user"), "\"user\"");
        assert_eq!(quote_identifier("a$b"), "\"a$b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn types_by_any_spelling() {
        let check =
            |text: &str, oid: u32| assert_eq!(find_type(text).unwrap(), Some(oid), "{text}");
        check("int4", 23);
        check("integer", 23);
        check("pg_catalog.int8", 20);
        check("timestamp(3) with time zone", 1184);
        check("timestamp", 1114);
        check("text[]", 1009);
        check("\"char\"", 18);
        check("character varying", 1043);
    }
}
