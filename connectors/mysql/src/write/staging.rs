//! Tables that are not finished: their names, the locks that hold them, and the end of those that dead
//! processes left.

use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row};
use sluice_spi::{Error, Result};

use super::qualified;
use super::session::{ask_one, run};
use crate::catalog_sql::text;
use crate::error::statement_error;
use crate::pool::{Session, Source};

/// Begins the names of tables that are not finished; they are in no listing.
pub(crate) const STAGING_PREFIX: &str = "_sluice_staging_";

/// Ends the name of a table that was replaced.
pub(super) const REPLACED_SUFFIX: &str = "_old";

/// A name for an unfinished table, held for as long as the session lives.
pub(super) async fn reserve_name(source: &Source, session: &mut Session) -> Result<String> {
    let sql = "SELECT CONCAT(CONNECTION_ID(), '_', LEFT(REPLACE(UUID(), '-', ''), 12))";
    let unique = ask_one(source, session, sql).await?;
    let name = format!("{STAGING_PREFIX}{unique}");
    let held = ask_one(source, session, &format!("SELECT GET_LOCK('{name}', 0)")).await?;
    if held != "1" {
        return Err(Error::internal("a name for an unfinished table was taken"));
    }
    Ok(name)
}

/// Drops what dead processes left in the schema.
pub(super) async fn drop_orphans(
    source: &Source,
    session: &mut Session,
    schema: &str,
) -> Result<()> {
    let pattern = format!("{}%", STAGING_PREFIX.replace('_', "|_"));
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? \
         AND TABLE_NAME LIKE '{pattern}' ESCAPE '|' \
         AND IS_FREE_LOCK(REPLACE(TABLE_NAME, '{REPLACED_SUFFIX}', '')) = 1"
    );
    session.run();
    let rows: std::result::Result<Vec<Row>, _> =
        session.conn().exec(sql, Params::from((schema,))).await;
    session.idle();
    let rows = rows.map_err(|error| statement_error(source.catalog(), &error))?;
    for name in rows.iter().filter_map(|row| text(row, 0)) {
        let sql = format!("DROP TABLE IF EXISTS {}", qualified(schema, &name)?);
        run(source, session, &sql).await?;
        tracing::info!(
            catalog = source.catalog(),
            table = name,
            "dropped an unfinished table that a dead process had left"
        );
    }
    Ok(())
}
