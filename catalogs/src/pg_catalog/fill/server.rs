//! Databases, roles, settings, sessions: what a server has beside its tables.

use super::super::oids::{OWNER_NAME, OWNER_OID};
use super::super::rows::{Rows, Value};
use super::super::snapshot::DatabaseSnapshot;
use super::Filler;

/// `pg_tablespace.oid` of pg_default and pg_global.
const TABLESPACES: [(&str, u32); 2] = [("pg_default", 1663), ("pg_global", 1664)];
/// UTF-8, as `pg_encoding_to_char` reads it.
const UTF8: i64 = 6;

pub(super) fn filler(name: &str) -> Option<Filler> {
    Some(match name {
        "pg_database" => databases,
        "pg_roles" => roles,
        "pg_authid" => authid,
        "pg_user" => users,
        "pg_shadow" => shadow,
        "pg_tablespace" => tablespaces,
        "pg_settings" => settings,
        "pg_stat_activity" => activity,
        "pg_stat_database" => stat_database,
        "pg_prepared_statements" => prepared_statements,
        "pg_timezone_names" => timezone_names,
        "pg_shdescription" => shared_descriptions,
        _ => return None,
    })
}

fn databases(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, oid) in &snapshot.directory().databases {
        rows.push(&[
            ("oid", (*oid).into()),
            ("datname", name.as_str().into()),
            ("datdba", OWNER_OID.into()),
            ("encoding", UTF8.into()),
            ("datlocprovider", "c".into()),
            ("datistemplate", false.into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1i64).into()),
            ("datfrozenxid", 0u32.into()),
            ("datminmxid", 0u32.into()),
            ("dattablespace", TABLESPACES[0].1.into()),
            ("datcollate", "C".into()),
            ("datctype", "C".into()),
        ]);
    }
}

fn roles(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, oid) in &snapshot.directory().roles {
        rows.push(&[
            ("rolname", name.as_str().into()),
            ("rolsuper", (*oid == OWNER_OID).into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", false.into()),
            ("rolcreatedb", false.into()),
            ("rolcanlogin", (*oid != OWNER_OID).into()),
            ("rolreplication", false.into()),
            ("rolconnlimit", (-1i64).into()),
            ("rolpassword", "********".into()),
            ("rolbypassrls", (*oid == OWNER_OID).into()),
            ("oid", (*oid).into()),
        ]);
    }
}

fn authid(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, oid) in &snapshot.directory().roles {
        // Verifiers never leave the users file: the password is NULL.
        rows.push(&[
            ("oid", (*oid).into()),
            ("rolname", name.as_str().into()),
            ("rolsuper", (*oid == OWNER_OID).into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", false.into()),
            ("rolcreatedb", false.into()),
            ("rolcanlogin", (*oid != OWNER_OID).into()),
            ("rolreplication", false.into()),
            ("rolbypassrls", (*oid == OWNER_OID).into()),
            ("rolconnlimit", (-1i64).into()),
        ]);
    }
}

fn users(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    push_users(snapshot, rows, Value::Str("********"));
}

fn shadow(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    push_users(snapshot, rows, Value::Null);
}

fn push_users(snapshot: &DatabaseSnapshot, rows: &mut Rows, password: Value<'_>) {
    for (name, oid) in snapshot
        .directory()
        .roles
        .iter()
        .filter(|(_, oid)| *oid != OWNER_OID)
    {
        rows.push(&[
            ("usename", name.as_str().into()),
            ("usesysid", (*oid).into()),
            ("usecreatedb", false.into()),
            ("usesuper", false.into()),
            ("userepl", false.into()),
            ("usebypassrls", false.into()),
            ("passwd", password.clone()),
        ]);
    }
}

fn tablespaces(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, oid) in TABLESPACES {
        rows.push(&[
            ("oid", oid.into()),
            ("spcname", name.into()),
            ("spcowner", OWNER_OID.into()),
        ]);
    }
}

fn settings(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for setting in &snapshot.settings {
        let enumvals = match setting.enumvals.is_empty() {
            true => Value::Null,
            false => Value::Strs(setting.enumvals.clone()),
        };
        rows.push(&[
            ("name", setting.name.as_str().into()),
            ("setting", setting.value.as_str().into()),
            ("unit", Value::text(setting.unit.as_deref())),
            ("category", setting.category.as_str().into()),
            ("short_desc", setting.description.as_str().into()),
            (
                "context",
                if setting.context.is_empty() {
                    "user"
                } else {
                    &setting.context
                }
                .into(),
            ),
            ("vartype", setting.vartype.as_str().into()),
            (
                "source",
                if setting.value == setting.default {
                    "default"
                } else {
                    "session"
                }
                .into(),
            ),
            ("min_val", Value::text(setting.min.as_deref())),
            ("max_val", Value::text(setting.max.as_deref())),
            ("enumvals", enumvals),
            ("boot_val", setting.default.as_str().into()),
            ("reset_val", setting.default.as_str().into()),
            ("pending_restart", false.into()),
        ]);
    }
}

fn activity(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    let directory = snapshot.directory();
    let instant = |at: Option<i64>| at.map_or(Value::Null, Value::Instant);
    for session in &snapshot.sessions {
        rows.push(&[
            (
                "datid",
                Value::int(directory.database_oid(&session.database).map(i64::from)),
            ),
            ("datname", session.database.as_str().into()),
            ("pid", i64::from(session.pid).into()),
            (
                "usesysid",
                Value::int(directory.role_oid(&session.user).map(i64::from)),
            ),
            ("usename", session.user.as_str().into()),
            ("application_name", session.application_name.as_str().into()),
            ("client_addr", Value::text(session.client_addr.as_deref())),
            (
                "client_port",
                Value::int(session.client_port.map(i64::from)),
            ),
            ("backend_start", instant(session.backend_start)),
            ("xact_start", instant(session.xact_start)),
            ("query_start", instant(session.query_start)),
            ("state_change", instant(session.state_change)),
            (
                "wait_event_type",
                if session.state == "active" {
                    Value::Null
                } else {
                    Value::Str("Client")
                },
            ),
            (
                "wait_event",
                if session.state == "active" {
                    Value::Null
                } else {
                    Value::Str("ClientRead")
                },
            ),
            ("state", session.state.as_str().into()),
            ("query", session.query.as_str().into()),
            ("backend_type", "client backend".into()),
        ]);
    }
}

fn stat_database(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, oid) in &snapshot.directory().databases {
        let sessions = snapshot
            .sessions
            .iter()
            .filter(|s| s.database == *name)
            .count();
        rows.push(&[
            ("datid", (*oid).into()),
            ("datname", name.as_str().into()),
            ("numbackends", (sessions as i64).into()),
        ]);
    }
}

fn prepared_statements(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (name, statement) in &snapshot.prepared_statements {
        rows.push(&[
            ("name", name.as_str().into()),
            ("statement", statement.as_str().into()),
            ("from_sql", false.into()),
        ]);
    }
}

fn timezone_names(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    use chrono::{Offset, TimeZone};
    use chrono_tz::OffsetName;
    let now = chrono::Utc::now().naive_utc();
    for zone in chrono_tz::TZ_VARIANTS {
        let offset = zone.offset_from_utc_datetime(&now);
        let seconds = i64::from(offset.fix().local_minus_utc());
        let abbreviation = offset
            .abbreviation()
            .map_or_else(|| zone.name().to_owned(), str::to_owned);
        let dst = chrono_tz::OffsetComponents::dst_offset(&offset) != chrono::TimeDelta::zero();
        rows.push(&[
            ("name", zone.name().into()),
            ("abbrev", Value::Text(abbreviation)),
            ("utc_offset", Value::Seconds(seconds)),
            ("is_dst", dst.into()),
        ]);
    }
}

fn shared_descriptions(snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    /// `pg_class.oid` of pg_database.
    const PG_DATABASE_OID: u32 = 1262;
    if let Some(oid) = snapshot.directory().database_oid(OWNER_NAME) {
        rows.push(&[
            ("objoid", oid.into()),
            ("classoid", PG_DATABASE_OID.into()),
            (
                "description",
                "every catalog, with its schemas as catalog.schema".into(),
            ),
        ]);
    }
}
