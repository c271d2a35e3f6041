//! One snapshot for all statements of a query: a transaction that exports it, and does nothing else until
//! the query ends.
//!
//! The exporting transaction also holds a share lock on each table that is read in ranges, as `pg_dump` does:
//! VACUUM FULL, CLUSTER, TRUNCATE or ALTER TABLE between two ranges would move rows from one to the other.
//! The lock blocks no reader and no writer. A reader that has to wait for a lock all the same waits behind
//! somebody who waits for this transaction; it gives up soon, and the coordinator plans again.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use sluice_spi::{
    Error, OpenSnapshot, Result, SnapshotRead, SnapshotToken, Snapshots, SqlState, TableHandle,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::SimpleQueryMessage;

use crate::error::{is_connection_lost, statement_error};
use crate::facts::Facts;
use crate::layout::{LAYOUT, Layout};
use crate::literal::quote_identifier;
use crate::pool::{Session, Source};
use crate::share::Share;
use crate::source_plan;
use crate::splits::{stored_table, text_of};

/// Begins the exporting transaction. It idles while the query runs, however long that is: its end is bound to
/// the query's and to the connection's.
const EXPORT: &str = "\
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
SET LOCAL idle_in_transaction_session_timeout = 0; \
SELECT pg_catalog.pg_export_snapshot()";

/// How long a reader of ranges waits for a lock, in milliseconds. Its table is locked already, so that it can
/// only wait behind a statement that waits for this very query.
const RANGE_LOCK_TIMEOUT_MS: u32 = 1_000;

/// Opens snapshots at the catalog's server.
pub(crate) struct SharedSnapshots {
    pub(crate) source: Arc<Source>,
}

/// Ends the exporting transaction when it goes.
struct Exporter {
    _session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

/// What must still be true of a table that is read in ranges.
struct Checked {
    schema: String,
    table: String,
    layout: u64,
    relations: Vec<(String, String)>,
    /// To be asked again, where the server's planner left relations out.
    question: Option<String>,
}

#[async_trait]
impl Snapshots for SharedSnapshots {
    async fn open(&self, reads: &[SnapshotRead<'_>]) -> Result<Option<OpenSnapshot>> {
        let several = reads.iter().any(|read| read.splits.len() > 1);
        if !self.source.shares_snapshots() {
            return if several {
                Err(self.unshared())
            } else {
                Ok(None)
            };
        }
        let permit = self.source.exporter().await?;
        let checked = reads
            .iter()
            .map(checked)
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        let mut attempts = 2;
        loop {
            attempts -= 1;
            let session = self.source.session().await?;
            session.run();
            session.begin();
            match export(&session, &checked).await {
                Ok(token) => {
                    session.idle();
                    return Ok(Some(OpenSnapshot {
                        token: SnapshotToken::new(token),
                        guard: Box::new(Exporter {
                            _session: session,
                            _permit: permit,
                        }),
                    }));
                }
                Err(Failure::Refused(error)) => {
                    session.idle();
                    let lost = is_connection_lost(&error);
                    if lost {
                        self.source.lost(&session);
                    }
                    if lost && attempts > 0 {
                        continue;
                    }
                    if lost || !is_refusal(&error) {
                        return Err(statement_error(self.source.catalog(), &error));
                    }
                    tracing::warn!(
                        catalog = self.source.catalog(), %error,
                        "the source shares no snapshots: each statement sees a moment of its own"
                    );
                    self.source.refuse_snapshots();
                    return Err(self.unshared());
                }
                Err(Failure::Check(error)) => {
                    session.idle();
                    let out = statement_error(self.source.catalog(), &error);
                    return Err(if is_change(&out, true) {
                        out.with_stale_plan()
                    } else {
                        out
                    });
                }
                Err(Failure::Changed(table)) => {
                    session.idle();
                    let error = Error::new(
                        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                        format!("table \"{table}\" changed while its read was planned"),
                    );
                    return Err(error.with_source(self.source.catalog()).with_stale_plan());
                }
            }
        }
    }
}

impl SharedSnapshots {
    /// Every plan that counts on one moment is made again. The next one has one statement per table, and reads
    /// none of them twice but where the user wrote it so.
    fn unshared(&self) -> Error {
        let error = Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "the source of catalog \"{}\" shares no snapshots",
                self.source.catalog()
            ),
        );
        error.with_source(self.source.catalog()).with_stale_plan()
    }
}

/// The tables of a read that must not change; none where it is one statement.
fn checked(read: &SnapshotRead<'_>) -> Result<Option<Checked>> {
    let shares = read
        .splits
        .iter()
        .map(|split| Share::of(split))
        .collect::<Result<Vec<_>>>()?;
    let mut shares = shares.into_iter().flatten().peekable();
    let (Some(first), Some((schema, table))) =
        (shares.peek().cloned(), stored_table(&read.handle.relation))
    else {
        return Ok(None);
    };
    let mut relations: Vec<(String, String)> = shares
        .flat_map(|share| share.ranges)
        .map(|range| (range.schema, range.relation))
        .collect();
    relations.sort();
    relations.dedup();
    Ok(Some(Checked {
        schema: schema.to_owned(),
        table: table.to_owned(),
        layout: first.layout,
        relations,
        question: match first.pruned {
            true => question(read.handle)?,
            false => None,
        },
    }))
}

fn question(handle: &TableHandle) -> Result<Option<String>> {
    Ok(source_plan::question(handle, Facts::of(handle)?.as_ref()))
}

enum Failure {
    /// The server exported nothing.
    Refused(tokio_postgres::Error),
    /// A table could not be looked at.
    Check(tokio_postgres::Error),
    /// A table is not what the splits were cut from.
    Changed(String),
}

/// Exports, locks and checks in one round trip. The transaction's snapshot is there before the locks: what
/// was rewritten in between is read as the server itself would under that snapshot.
async fn export(
    session: &Arc<Session>,
    checked: &[Checked],
) -> std::result::Result<String, Failure> {
    let mut locks = String::new();
    let mut locked = BTreeMap::new();
    for (schema, relation) in checked.iter().flat_map(|table| &table.relations) {
        locked.insert((schema, relation), ());
    }
    for (schema, relation) in locked.keys() {
        if let (Some(schema), Some(relation)) =
            (quote_identifier(schema), quote_identifier(relation))
        {
            // Locks whatever the server can select from, with no more than the right to select.
            locks.push_str(&format!("SELECT FROM ONLY {schema}.{relation} LIMIT 0; "));
        }
    }
    let layout = match checked {
        [] => None,
        _ => Some(
            session
                .prepare_cached(LAYOUT)
                .await
                .map_err(Failure::Refused)?,
        ),
    };
    // Polled in this order, so that the server takes them in this order.
    let layouts = async {
        let Some(statement) = &layout else {
            return Ok(Vec::new());
        };
        try_join_all(checked.iter().map(|table| async move {
            session
                .query(statement, &[&table.schema, &table.table])
                .await
        }))
        .await
    };
    let plans = join_all(checked.iter().map(|table| async move {
        match &table.question {
            Some(question) => session.simple_query(question).await.map(Some),
            None => Ok(None),
        }
    }));
    let locking = async {
        match locks.is_empty() {
            true => Ok(()),
            false => session.batch_execute(&locks).await,
        }
    };
    let (exported, locking, layouts, plans) =
        futures::join!(session.simple_query(EXPORT), locking, layouts, plans);
    let token = exported.map_err(Failure::Refused)?;
    locking.map_err(Failure::Check)?;
    let layouts = layouts.map_err(Failure::Check)?;
    for ((table, rows), plan) in checked.iter().zip(&layouts).zip(plans) {
        let now = Layout::of(rows).map_err(Failure::Check)?;
        let mut same = now.is_some_and(|now| now.can_be_cut && now.fingerprint == table.layout);
        if let Some(messages) = plan.map_err(Failure::Check)? {
            same &= reads_no_more(&messages, &table.relations);
        }
        if !same {
            return Err(Failure::Changed(table.table.clone()));
        }
    }
    Ok(text_of(&token))
}

/// The server's plan reads none but these relations.
fn reads_no_more(plan: &[SimpleQueryMessage], relations: &[(String, String)]) -> bool {
    source_plan::answer(&text_of(plan)).is_some_and(|plan| {
        plan.relations
            .iter()
            .all(|relation| relations.contains(relation))
    })
}

/// The server, or what stands before it, has no exported snapshots: features, state and rights, but no
/// shortage that passes.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| matches!(code.code().get(..2), Some("0A" | "25" | "42" | "55")))
}

/// The error of a table that is no more what it was. `locked` says that the query holds a lock on it already.
pub(crate) fn is_change(error: &Error, locked: bool) -> bool {
    match error.code.code() {
        "42501" => false,
        // Deadlock, and a lock that did not come although it is shared with one that we have: somebody waits
        // to change the table.
        "40P01" | "55P03" => locked,
        // An object that was dropped while the server planned has no name any more.
        "XX000" => {
            error.message.starts_with("could not open relation")
                || error.message.starts_with("cache lookup failed")
        }
        code => code.starts_with("42") || code.starts_with("3F"),
    }
}

/// What a reader begins with; `None` where the token is not a snapshot's.
pub(crate) fn begin_text(token: &SnapshotToken, ranges: bool) -> Option<String> {
    let token = token.as_str();
    let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let timeout = match ranges {
        true => format!("; SET LOCAL lock_timeout = {RANGE_LOCK_TIMEOUT_MS}"),
        false => String::new(),
    };
    plain.then(|| {
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{token}'{timeout}"
        )
    })
}
