//! Functions that read the system catalogs: `to_regclass`, `pg_get_*`, comments, sizes, and the casts
//! between names and OIDs that `rewrite` turns into calls.

use std::sync::Arc;

use arrow::array::Array;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::types::pg_type;

use super::SessionFacts;
use super::udf::{Out, Row, lenient, strict, tag_of};
use crate::pg_catalog::names::{self, RegKind};
use crate::pg_catalog::pg_types::{format_type, pg_type_of};
use crate::pg_catalog::{BuiltinFunction, DatabaseSnapshot, RelationRef, function_by_oid};

pub(super) fn functions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let mut all = names_and_oids(facts);
    all.extend(definitions(facts));
    all.extend(comments(facts));
    all.extend(sizes(facts));
    all
}

/// The cast to text of an OID type (`regclass_text` …): what `bind` puts in the place of `oid::text`.
pub(crate) fn reg_text(facts: &Arc<SessionFacts>, kind: RegKind) -> ScalarUDF {
    let facts = facts.clone();
    let name = match kind {
        RegKind::Class => "regclass_text",
        RegKind::Type => "regtype_text",
        RegKind::Proc => "regproc_text",
        RegKind::Namespace => "regnamespace_text",
        RegKind::Role => "regrole_text",
    };
    strict(name, &["i"], "text", Volatility::Stable, move |row| {
        let oid = row.oid(0).unwrap_or_default();
        Ok(Out::Text(names::reg_name(
            &facts.host.snapshot(),
            kind,
            oid,
        )))
    })
}

const REG_KINDS: [RegKind; 5] = [
    RegKind::Class,
    RegKind::Type,
    RegKind::Proc,
    RegKind::Namespace,
    RegKind::Role,
];

fn names_and_oids(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    for kind in REG_KINDS {
        let cast = facts.clone();
        all.push(strict(
            kind.type_name(),
            &["o"],
            kind.type_name(),
            Volatility::Stable,
            move |row| {
                Ok(Out::Int(match row.text(0) {
                    Some(text) => i64::from(names::resolve_reg(&cast.host.snapshot(), kind, text)?),
                    None => row.int(0).unwrap_or_default(),
                }))
            },
        ));
        let find = facts.clone();
        let name = match kind {
            RegKind::Class => "to_regclass",
            RegKind::Type => "to_regtype",
            RegKind::Proc => "to_regproc",
            RegKind::Namespace => "to_regnamespace",
            RegKind::Role => "to_regrole",
        };
        all.push(strict(
            name,
            &["t"],
            kind.type_name(),
            Volatility::Stable,
            move |row| {
                let snapshot = find.host.snapshot();
                let found = names::find_reg(&snapshot, kind, row.text(0).unwrap_or_default())?;
                Ok(Out::int(found.map(i64::from)))
            },
        ));
        all.push(reg_text(facts, kind));
    }
    let users = facts.clone();
    all.push(strict(
        "pg_get_userbyid",
        &["i"],
        "name",
        Volatility::Stable,
        move |row| {
            let oid = row.oid(0).unwrap_or_default();
            let snapshot = users.host.snapshot();
            let name = snapshot.directory().role_name(oid).map(str::to_owned);
            Ok(Out::Text(
                name.unwrap_or_else(|| format!("unknown (OID={oid})")),
            ))
        },
    ));
    all.push(lenient(
        "format_type",
        &["ii"],
        "text",
        Volatility::Stable,
        |row| {
            let typmod = row.int(1).and_then(|m| i32::try_from(m).ok());
            Ok(Out::text(row.oid(0).map(|oid| format_type(oid, typmod))))
        },
    ));
    all.push(lenient(
        "pg_typeof",
        &["x"],
        "text",
        Volatility::Stable,
        |row| {
            let Some(field) = row.field(0) else {
                return Ok(Out::Null);
            };
            if field.data_type().is_null() {
                return Ok(Out::Text("unknown".to_owned()));
            }
            // An OID type's own tag is its name.
            Ok(Out::Text(
                match pg_type(field).filter(|t| t.starts_with("reg")) {
                    Some(tag) => tag.to_owned(),
                    None => pg_type_of(field).display(),
                },
            ))
        },
    ));
    all.push(lenient(
        "pg_subscripts",
        &["xi"],
        "integer[]",
        Volatility::Immutable,
        |row| {
            // generate_subscripts as an array: the two vector types count from 0, arrays from 1.
            let datafusion::common::ScalarValue::List(list) = row.any(0)? else {
                return Ok(Out::Null);
            };
            if row.int(1) != Some(1) || list.is_empty() || list.is_null(0) {
                return Ok(Out::Ints(Vec::new()));
            }
            let base = i64::from(!matches!(
                tag_of(row.field(0)),
                Some("int2vector" | "oidvector")
            ));
            let length = i64::from(list.value_length(0));
            Ok(Out::Ints((base..base + length).collect()))
        },
    ));
    all
}

/// A function over an OID of `pg_class`, with PostgreSQL's further arguments ignored.
fn of_relation(
    facts: &Arc<SessionFacts>,
    name: &'static str,
    overloads: &'static [&'static str],
    returns: &'static str,
    answer: impl Fn(&DatabaseSnapshot, RelationRef<'_>, &Row<'_>) -> Out + Send + Sync + 'static,
) -> ScalarUDF {
    let facts = facts.clone();
    strict(name, overloads, returns, Volatility::Stable, move |row| {
        let snapshot = facts.host.snapshot();
        let oid = match row.text(0) {
            Some(text) => Some(names::resolve_regclass(&snapshot, text)?),
            None => row.oid(0),
        };
        let relation = oid.and_then(|oid| snapshot.directory().relation(oid));
        Ok(relation.map_or(Out::Null, |relation| answer(&snapshot, relation, row)))
    })
}

fn definitions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let constraints = facts.clone();
    let unknown = |name, overloads| {
        strict(name, overloads, "text", Volatility::Stable, |_| {
            Ok(Out::Null)
        })
    };
    let of_function = |name: &'static str, answer: fn(&BuiltinFunction) -> String| {
        strict(name, &["i"], "text", Volatility::Stable, move |row| {
            Ok(Out::text(row.oid(0).and_then(function_by_oid).map(answer)))
        })
    };
    vec![
        // Defaults and expressions are kept as text, so that there is nothing to deparse.
        strict(
            "pg_get_expr",
            &["ti", "tib"],
            "text",
            Volatility::Stable,
            |row| Ok(Out::text(row.text(0))),
        ),
        of_relation(
            facts,
            "pg_get_indexdef",
            &["i", "iib"],
            "text",
            |_, relation, row| {
                let RelationRef::Index(_, key) = relation else {
                    return Out::Null;
                };
                match row.int(1).unwrap_or(0) {
                    0 => Out::text(names::index_definition(relation)),
                    n => Out::text(
                        usize::try_from(n - 1)
                            .ok()
                            .and_then(|at| key.columns.get(at))
                            .map(|c| names::quote_identifier(c)),
                    ),
                }
            },
        ),
        strict(
            "pg_get_constraintdef",
            &["i", "ib"],
            "text",
            Volatility::Stable,
            move |row| {
                let snapshot = constraints.host.snapshot();
                let pretty = row.bool(1).unwrap_or(false);
                Ok(Out::text(row.oid(0).and_then(|oid| {
                    names::constraint_definition(&snapshot, oid, pretty)
                })))
            },
        ),
        of_relation(
            facts,
            "pg_get_viewdef",
            &["o", "ob", "oi"],
            "text",
            |_, relation, _| match relation {
                RelationRef::Table(entry) => Out::text(entry.view_query.clone()),
                _ => Out::Null,
            },
        ),
        // No partition is shown with its parent. A set in PostgreSQL; here one NULL, which equals nothing.
        of_relation(
            facts,
            "pg_partition_ancestors",
            &["o"],
            "regclass",
            |_, _, _| Out::Null,
        ),
        unknown("pg_get_ruledef", &["i", "ib"]),
        unknown("pg_get_triggerdef", &["i", "ib"]),
        unknown("pg_get_partkeydef", &["i"]),
        unknown("pg_get_partition_constraintdef", &["i"]),
        unknown("pg_get_statisticsobjdef", &["i"]),
        unknown("pg_get_statisticsobjdef_columns", &["i"]),
        unknown("pg_get_statisticsobjdef_expressions", &["i"]),
        unknown("pg_get_functiondef", &["i"]),
        unknown("pg_get_function_sqlbody", &["i"]),
        unknown("pg_get_function_arg_default", &["ii"]),
        unknown("pg_get_serial_sequence", &["tt"]),
        unknown("pg_tablespace_location", &["i"]),
        of_function("pg_get_function_result", |f| {
            let result = format_type(f.result, None);
            if f.returns_set {
                format!("SETOF {result}")
            } else {
                result
            }
        }),
        of_function("pg_get_function_arguments", arguments),
        of_function("pg_get_function_identity_arguments", arguments),
        of_relation(
            facts,
            "pg_relation_is_publishable",
            &["o"],
            "boolean",
            |_, _, _| Out::Bool(false),
        ),
        of_relation(facts, "pg_relation_filenode", &["o"], "oid", |_, _, _| {
            Out::Null
        }),
        strict(
            "pg_index_has_property",
            &["it"],
            "boolean",
            Volatility::Stable,
            |_| Ok(Out::Null),
        ),
        strict(
            "pg_index_column_has_property",
            &["iit"],
            "boolean",
            Volatility::Stable,
            |_| Ok(Out::Null),
        ),
        strict(
            "pg_indexam_has_property",
            &["it"],
            "boolean",
            Volatility::Stable,
            |_| Ok(Out::Null),
        ),
    ]
}

fn arguments(f: &BuiltinFunction) -> String {
    let mut shown: Vec<String> = f.arguments.iter().map(|a| format_type(*a, None)).collect();
    if f.variadic != 0
        && let Some(last) = shown.last_mut()
    {
        *last = format!("VARIADIC {last}");
    }
    shown.join(", ")
}

fn comments(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let objects = facts.clone();
    let shared = facts.clone();
    vec![
        strict(
            "obj_description",
            &["i", "it"],
            "text",
            Volatility::Stable,
            move |row| {
                let snapshot = objects.host.snapshot();
                let oid = row.oid(0).unwrap_or_default();
                Ok(match row.text(1).unwrap_or("pg_class") {
                    "pg_class" => match snapshot.directory().relation(oid) {
                        Some(RelationRef::Table(entry)) => Out::text(entry.table.comment.clone()),
                        _ => Out::Null,
                    },
                    "pg_namespace"
                        if snapshot.directory().schema_oid("pg_catalog") == Some(oid) =>
                    {
                        Out::Text("system catalog schema".to_owned())
                    }
                    _ => Out::Null,
                })
            },
        ),
        of_relation(
            facts,
            "col_description",
            &["oi"],
            "text",
            |_, relation, row| {
                let RelationRef::Table(entry) = relation else {
                    return Out::Null;
                };
                let column = row.int(1).and_then(|n| usize::try_from(n - 1).ok());
                Out::text(
                    column
                        .and_then(|at| entry.table.columns.get(at))
                        .and_then(|c| c.comment.clone()),
                )
            },
        ),
        strict(
            "shobj_description",
            &["it"],
            "text",
            Volatility::Stable,
            move |row| {
                let snapshot = shared.host.snapshot();
                let directory = snapshot.directory();
                let is_virtual =
                    row.oid(0).is_some() && directory.database_oid("sluice") == row.oid(0);
                Ok(match (row.text(1), is_virtual) {
                    (Some("pg_database"), true) => {
                        Out::Text("every catalog, with its schemas as catalog.schema".to_owned())
                    }
                    _ => Out::Null,
                })
            },
        ),
    ]
}

fn sizes(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    // Sluice stores nothing: a relation takes no space here, whatever it takes at its source.
    let nothing = |name| of_relation(facts, name, &["o", "ot"], "bigint", |_, _, _| Out::Int(0));
    let zero = |name| {
        strict(name, &["o"], "bigint", Volatility::Stable, |_| {
            Ok(Out::Int(0))
        })
    };
    vec![
        nothing("pg_relation_size"),
        nothing("pg_total_relation_size"),
        nothing("pg_table_size"),
        nothing("pg_indexes_size"),
        zero("pg_database_size"),
        zero("pg_tablespace_size"),
        zero("pg_stat_get_numscans"),
    ]
}
