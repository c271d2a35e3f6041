//! `has_*_privilege`, `pg_has_role` and the visibility functions.
//!
//! Truthful as far as Sluice knows: what it shows may be read; whether a write is allowed is decided by
//! the source when it is tried, so that a privilege that the source might grant is not denied here.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::{Error, SqlState, TableKind};

use super::SessionFacts;
use super::udf::{Out, Row, strict};
use crate::pg_catalog::names::{self, RegKind};
use crate::pg_catalog::{DatabaseSnapshot, RelationRef, function_by_oid, type_by_oid};

pub(super) fn functions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let mut all = privileges(facts);
    all.extend(visibility(facts));
    all
}

/// `(object, privilege)` and `(user, object, privilege)`, each by OID or by name.
const OBJECT: &[&str] = &["ot", "oot"];

/// What a privilege function was asked.
struct Asked<'r> {
    /// The object by OID …
    oid: Option<u32>,
    /// … or by name.
    name: Option<&'r str>,
    /// The privileges, any of which suffices, in upper case.
    any_of: Vec<String>,
}

impl<'r> Asked<'r> {
    fn of(row: &'r Row<'_>, object: usize, privilege: usize) -> Self {
        let list = row.text(privilege).unwrap_or_default();
        Asked {
            oid: row.oid(object),
            name: row.text(object),
            any_of: list
                .split(',')
                .map(|p| {
                    p.trim()
                        .to_uppercase()
                        .trim_end_matches(" WITH GRANT OPTION")
                        .to_owned()
                })
                .collect(),
        }
    }

    /// Whether any privilege asked for is one of `held`; one that is not `known` is an error.
    fn check(&self, known: &[&str], held: &[&str]) -> Result<Out> {
        if let Some(odd) = self.any_of.iter().find(|p| !known.contains(&p.as_str())) {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unrecognized privilege type: \"{}\"", odd.to_lowercase()),
            )
            .into());
        }
        Ok(Out::Bool(
            self.any_of.iter().any(|p| held.contains(&p.as_str())),
        ))
    }

    /// The OID of the object; an unknown name is an error, as in PostgreSQL.
    fn resolve(&self, snapshot: &DatabaseSnapshot, kind: RegKind) -> Result<Option<u32>> {
        Ok(match self.name {
            Some(name) => Some(names::resolve_reg(snapshot, kind, name)?),
            None => self.oid,
        })
    }
}

const TABLE_PRIVILEGES: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "MAINTAIN",
    "RULE",
];

fn privileges(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let on_table = |name: &'static str| {
        let facts = facts.clone();
        strict(name, OBJECT, "boolean", Volatility::Stable, move |row| {
            let snapshot = facts.host.snapshot();
            let asked = Asked::of(row, row.len() - 2, row.len() - 1);
            table_privilege(&snapshot, &asked)
        })
    };
    let columns = facts.clone();
    let schemas = facts.clone();
    let databases = facts.clone();
    let roles = facts.clone();
    let simple =
        |name: &'static str, known: &'static [&'static str], held: &'static [&'static str]| {
            strict(name, OBJECT, "boolean", Volatility::Stable, move |row| {
                Asked::of(row, row.len() - 2, row.len() - 1).check(known, held)
            })
        };
    vec![
        on_table("has_table_privilege"),
        on_table("has_any_column_privilege"),
        strict(
            "has_column_privilege",
            &["oot", "ooot"],
            "boolean",
            Volatility::Stable,
            move |row| {
                let snapshot = columns.host.snapshot();
                table_privilege(&snapshot, &Asked::of(row, row.len() - 3, row.len() - 1))
            },
        ),
        strict(
            "has_schema_privilege",
            OBJECT,
            "boolean",
            Volatility::Stable,
            move |row| {
                let snapshot = schemas.host.snapshot();
                let asked = Asked::of(row, row.len() - 2, row.len() - 1);
                let Some(oid) = asked.resolve(&snapshot, RegKind::Namespace)? else {
                    return Ok(Out::Null);
                };
                let Some(name) = snapshot.directory().schema_name(oid) else {
                    return Ok(Out::Null);
                };
                let held: &[&str] = if crate::pg_catalog::is_virtual_schema(name) {
                    &["USAGE"]
                } else {
                    &["USAGE", "CREATE"]
                };
                asked.check(&["USAGE", "CREATE"], held)
            },
        ),
        strict(
            "has_database_privilege",
            OBJECT,
            "boolean",
            Volatility::Stable,
            move |row| {
                let snapshot = databases.host.snapshot();
                let asked = Asked::of(row, row.len() - 2, row.len() - 1);
                let directory = snapshot.directory();
                if let Some(name) = asked.name
                    && directory.database_oid(name).is_none()
                {
                    let message = format!("database \"{name}\" does not exist");
                    return Err(Error::new(SqlState::INVALID_CATALOG_NAME, message).into());
                }
                if asked
                    .oid
                    .is_some_and(|oid| !directory.databases.iter().any(|(_, known)| *known == oid))
                {
                    return Ok(Out::Null);
                }
                asked.check(&["CREATE", "TEMPORARY", "TEMP", "CONNECT"], &["CONNECT"])
            },
        ),
        strict(
            "pg_has_role",
            OBJECT,
            "boolean",
            Volatility::Stable,
            move |row| {
                // Users are members of themselves and of nothing else.
                let snapshot = roles.host.snapshot();
                let asked = Asked::of(row, row.len() - 2, row.len() - 1);
                let role = asked.resolve(&snapshot, RegKind::Role)?;
                let member = match (row.len(), row.text(0), row.oid(0)) {
                    (3, Some(name), _) => Some(names::resolve_reg(&snapshot, RegKind::Role, name)?),
                    (3, None, oid) => oid,
                    _ => snapshot.directory().role_oid(&roles.user),
                };
                Ok(Out::Bool(role.is_some() && role == member))
            },
        ),
        simple("has_function_privilege", &["EXECUTE"], &["EXECUTE"]),
        simple("has_type_privilege", &["USAGE"], &["USAGE"]),
        simple("has_language_privilege", &["USAGE"], &["USAGE"]),
        simple(
            "has_sequence_privilege",
            &["USAGE", "SELECT", "UPDATE"],
            &[],
        ),
        simple("has_tablespace_privilege", &["CREATE"], &[]),
        simple("has_server_privilege", &["USAGE"], &[]),
        simple("has_foreign_data_wrapper_privilege", &["USAGE"], &[]),
        simple(
            "has_parameter_privilege",
            &["SET", "ALTER SYSTEM"],
            &["SET"],
        ),
    ]
}

fn table_privilege(snapshot: &DatabaseSnapshot, asked: &Asked<'_>) -> Result<Out> {
    let Some(oid) = asked.resolve(snapshot, RegKind::Class)? else {
        return Ok(Out::Null);
    };
    let held: &[&str] = match snapshot.directory().relation(oid) {
        None => return Ok(Out::Null),
        Some(RelationRef::Table(entry)) if entry.table.kind == TableKind::Table => {
            &["SELECT", "INSERT"]
        }
        Some(_) => &["SELECT"],
    };
    asked.check(TABLE_PRIVILEGES, held)
}

fn visibility(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let tables = facts.clone();
    let never = |name| {
        strict(name, &["i"], "boolean", Volatility::Stable, |_| {
            Ok(Out::Null)
        })
    };
    vec![
        strict(
            "pg_table_is_visible",
            &["i"],
            "boolean",
            Volatility::Stable,
            move |row| {
                let snapshot = tables.host.snapshot();
                let relation = row
                    .oid(0)
                    .and_then(|oid| snapshot.directory().relation(oid));
                Ok(Out::bool(relation.map(|r| names::is_visible(&snapshot, r))))
            },
        ),
        // Types, functions, operators and collations are all pg_catalog's, which is always on the path.
        strict(
            "pg_type_is_visible",
            &["i"],
            "boolean",
            Volatility::Stable,
            |row| Ok(Out::bool(row.oid(0).and_then(type_by_oid).map(|_| true))),
        ),
        strict(
            "pg_function_is_visible",
            &["i"],
            "boolean",
            Volatility::Stable,
            |row| {
                Ok(Out::bool(
                    row.oid(0).and_then(function_by_oid).map(|_| true),
                ))
            },
        ),
        strict(
            "pg_operator_is_visible",
            &["i"],
            "boolean",
            Volatility::Stable,
            |_| Ok(Out::Bool(true)),
        ),
        strict(
            "pg_collation_is_visible",
            &["i"],
            "boolean",
            Volatility::Stable,
            |_| Ok(Out::Bool(true)),
        ),
        never("pg_opclass_is_visible"),
        never("pg_opfamily_is_visible"),
        never("pg_conversion_is_visible"),
        never("pg_statistics_obj_is_visible"),
        never("pg_ts_config_is_visible"),
        never("pg_ts_dict_is_visible"),
        never("pg_ts_parser_is_visible"),
        never("pg_ts_template_is_visible"),
    ]
}
