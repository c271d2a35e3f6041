//! Sessions that write: how they begin, run one statement, and end. Nobody gets them afterwards, and they
//! never take all of a catalog's connections: what is written may be read from there.

use mysql_async::prelude::Queryable;
use sluice_spi::{Error, Result, SqlState};

use crate::error::{is_connection_lost, statement_error};
use crate::pool::{Session, Source};

/// A session that may write, and that nobody gets after it.
pub(super) async fn writing_session(source: &Source) -> Result<Session> {
    let permit = source.writer().await?;
    let mut session = source.session().await?;
    session.make_private();
    session.keep(permit);
    if session.connection().version.has_read_only() {
        run(source, &mut session, "SET SESSION TRANSACTION READ WRITE").await?;
    }
    Ok(session)
}

/// Runs a statement that returns no rows, and gives the number of rows that it found.
pub(super) async fn run(source: &Source, session: &mut Session, sql: &str) -> Result<u64> {
    session.run();
    let outcome = session.conn().query_drop(sql).await;
    session.idle();
    match outcome {
        Ok(()) => Ok(session.conn().affected_rows()),
        Err(error) => Err(statement_error(source.catalog(), &error)),
    }
}

/// Makes everything since START TRANSACTION visible.
pub(super) async fn commit(source: &Source, session: &mut Session) -> Result<()> {
    session.run();
    let outcome = session.conn().query_drop("COMMIT").await;
    session.idle();
    outcome.map_err(|error| match is_connection_lost(&error) {
        false => statement_error(source.catalog(), &error),
        true => Error::new(
            SqlState::from_source("08007"),
            format!(
                "lost the connection to the source of catalog \"{}\" while it committed",
                source.catalog()
            ),
        )
        .with_detail("Whether the statement took effect is not known.")
        .with_source(source.catalog()),
    })
}

/// Runs one statement on a session of its own: whole, or not at all.
pub(super) async fn run_alone(source: &Source, sql: &str) -> Result<u64> {
    let mut session = writing_session(source).await?;
    run(source, &mut session, sql).await
}

/// The one value of a statement, as text.
pub(super) async fn ask_one(source: &Source, session: &mut Session, sql: &str) -> Result<String> {
    session.run();
    let outcome: std::result::Result<Option<Option<String>>, _> =
        session.conn().query_first(sql).await;
    session.idle();
    outcome
        .map(|value| value.flatten().unwrap_or_default())
        .map_err(|error| statement_error(source.catalog(), &error))
}
