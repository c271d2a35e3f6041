//! Who and where the session is: `current_user`, `current_setting`, `pg_backend_pid` and their kin.

use std::sync::Arc;

use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::{Error, SqlState};

use super::SessionFacts;
use super::udf::{Out, lenient, strict};
use crate::pg_catalog::VIRTUAL_SCHEMAS;

pub(super) fn functions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let mut all = identity(facts);
    all.extend(settings(facts));
    all.extend(server(facts));
    all
}

/// A function without arguments whose answer the facts hold.
fn fact(
    name: &'static str,
    returns: &'static str,
    facts: &Arc<SessionFacts>,
    answer: impl Fn(&SessionFacts) -> Out + Send + Sync + 'static,
) -> ScalarUDF {
    let facts = facts.clone();
    strict(name, &[""], returns, Volatility::Stable, move |_| {
        Ok(answer(&facts))
    })
}

fn identity(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    vec![
        fact("current_database", "name", facts, |f| {
            Out::Text(f.database.clone())
        }),
        fact("current_catalog", "name", facts, |f| {
            Out::Text(f.database.clone())
        }),
        fact("current_user", "name", facts, |f| Out::Text(f.user.clone())),
        fact("current_role", "name", facts, |f| Out::Text(f.user.clone())),
        fact("user", "name", facts, |f| Out::Text(f.user.clone())),
        fact("session_user", "name", facts, |f| {
            Out::Text(f.session_user.clone())
        }),
    ]
}

/// Where unqualified names are looked up: only what is there counts.
pub(super) fn path_functions(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let with = facts.clone();
    vec![
        fact("current_schema", "name", facts, |f| {
            Out::text(f.host.snapshot().current_schema())
        }),
        strict(
            "current_schemas",
            &["b"],
            "name[]",
            Volatility::Stable,
            move |row| {
                let snapshot = with.host.snapshot();
                let include_implicit = row.bool(0).unwrap_or(false);
                let explicit = |s: &str| {
                    !VIRTUAL_SCHEMAS.contains(&s) || snapshot.search_path.iter().any(|p| p == s)
                };
                let path = snapshot.effective_search_path();
                let shown = path.into_iter().filter(|s| include_implicit || explicit(s));
                Ok(Out::Texts(shown.map(|s| Some(s.to_owned())).collect()))
            },
        ),
    ]
}

fn settings(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let read = facts.clone();
    let write = facts.clone();
    vec![
        strict(
            "current_setting",
            &["t", "tb"],
            "text",
            Volatility::Stable,
            move |row| {
                let name = row.text(0).unwrap_or_default();
                match read.host.setting(name) {
                    Some(value) => Ok(Out::Text(value)),
                    None if row.bool(1) == Some(true) => Ok(Out::Null),
                    None => Err(Error::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("unrecognized configuration parameter \"{name}\""),
                    )
                    .into()),
                }
            },
        ),
        lenient(
            "set_config",
            &["ttb"],
            "text",
            Volatility::Volatile,
            move |row| {
                let Some(name) = row.text(0) else {
                    return Err(Error::new(
                        SqlState::from_source("22004"),
                        "SET requires parameter name",
                    )
                    .into());
                };
                let value = row.text(1).unwrap_or_default();
                Ok(Out::Text(write.host.set_setting(
                    name,
                    value,
                    row.bool(2).unwrap_or(false),
                )?))
            },
        ),
        fact("pg_client_encoding", "name", facts, |f| {
            Out::Text(
                f.host
                    .setting("client_encoding")
                    .unwrap_or_else(|| "UTF8".to_owned()),
            )
        }),
        fact("getdatabaseencoding", "name", facts, |_| {
            Out::Text("UTF8".to_owned())
        }),
    ]
}

fn server(facts: &Arc<SessionFacts>) -> Vec<ScalarUDF> {
    let signal = |name: &'static str, terminate: bool| {
        let facts = facts.clone();
        strict(
            name,
            &["i", "ii"],
            "boolean",
            Volatility::Volatile,
            move |row| {
                let Some(pid) = row.int(0).and_then(|pid| i32::try_from(pid).ok()) else {
                    return Ok(Out::Bool(false));
                };
                Ok(Out::Bool(facts.host.signal_backend(pid, terminate)?))
            },
        )
    };
    let never = |name, overloads| {
        strict(name, overloads, "boolean", Volatility::Stable, |_| {
            Ok(Out::Bool(false))
        })
    };
    // Advisory locks: Sluice takes none, so that there is none to release, and none can be had.
    let locks = |name: &'static str| {
        strict(
            name,
            &["i", "ii"],
            "boolean",
            Volatility::Volatile,
            move |_| {
                Err(Error::unsupported(format!("{name} is not supported"))
                    .with_hint("Sluice has no advisory locks. Take the lock at the source.")
                    .into())
            },
        )
    };
    vec![
        fact("version", "text", facts, |f| Out::Text(f.version.clone())),
        fact("pg_backend_pid", "integer", facts, |f| {
            Out::Int(i64::from(f.backend_pid))
        }),
        fact("inet_server_addr", "inet", facts, |f| {
            Out::text(f.server_addr.map(|a| a.ip().to_string()))
        }),
        fact("inet_server_port", "integer", facts, |f| {
            Out::int(f.server_addr.map(|a| i64::from(a.port())))
        }),
        fact("inet_client_addr", "inet", facts, |f| {
            Out::text(f.client_addr.map(|a| a.ip().to_string()))
        }),
        fact("inet_client_port", "integer", facts, |f| {
            Out::int(f.client_addr.map(|a| i64::from(a.port())))
        }),
        fact(
            "pg_postmaster_start_time",
            "timestamp with time zone",
            facts,
            |f| Out::Instant(f.started_at),
        ),
        fact(
            "pg_conf_load_time",
            "timestamp with time zone",
            facts,
            |f| Out::Instant(f.started_at),
        ),
        never("pg_is_in_recovery", &[""]),
        never("pg_is_wal_replay_paused", &[""]),
        never("pg_is_other_temp_schema", &["i"]),
        never("row_security_active", &["o"]),
        fact("pg_my_temp_schema", "oid", facts, |_| Out::Int(0)),
        // Statements have no transaction numbers here; clients only compare the answer with itself.
        fact("txid_current", "bigint", facts, |f| {
            Out::Int(i64::from(f.backend_pid))
        }),
        strict(
            "txid_current_if_assigned",
            &[""],
            "bigint",
            Volatility::Stable,
            |_| Ok(Out::Null),
        ),
        strict(
            "pg_advisory_unlock_all",
            &[""],
            "void",
            Volatility::Volatile,
            |_| Ok(Out::Text(String::new())),
        ),
        never("pg_advisory_unlock", &["i", "ii"]),
        never("pg_advisory_unlock_shared", &["i", "ii"]),
        locks("pg_advisory_lock"),
        locks("pg_advisory_xact_lock"),
        locks("pg_try_advisory_lock"),
        locks("pg_try_advisory_xact_lock"),
        signal("pg_cancel_backend", false),
        signal("pg_terminate_backend", true),
    ]
}
