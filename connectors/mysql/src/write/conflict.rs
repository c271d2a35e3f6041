//! `ON CONFLICT`. MySQL's own clause takes a conflict of any unique key for the one that is meant, so a key
//! is only named where the table has no other.

use mysql_async::Params;
use sluice_spi::{
    ColumnMetadata, ConflictValue, Error, Generated, InsertTarget, Result, SqlState, TableMetadata,
};

use super::session::run;
use super::sink::Conflict;
use super::target::Target;
use super::{identifier, qualified};
use crate::catalog_sql::number;
use crate::facts::Facts;
use crate::pool::{Session, Source};

/// Rows before they meet what is there.
const COLLECTED: &str = "`_sluice_rows`";

/// Every unique index, those over a part of a column too.
const UNIQUE_INDEXES: &str = "\
SELECT count(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0";

/// Where the rows go first, and what becomes of those whose key is there already. Makes the temporary table
/// that this needs.
pub(super) async fn prepare(
    source: &Source,
    session: &mut Session,
    target: &InsertTarget,
    table: &TableMetadata,
) -> Result<(String, Conflict)> {
    let place = qualified(&target.schema, &target.table)?;
    let Some(conflict) = &target.on_conflict else {
        return Ok((place, Conflict::Fail));
    };
    if conflict.assignments.is_empty() {
        // One that may be assigned: what the server computes may not.
        let assignable = |column: &&ColumnMetadata| column.generated != Generated::Expression;
        let Some(column) = table.columns.iter().find(assignable) else {
            return Ok((place, Conflict::Fail));
        };
        // Changes nothing, so that the row is not counted.
        let name = identifier(column.field.name())?;
        let tail = format!(" ON DUPLICATE KEY UPDATE {name} = {place}.{name}");
        return Ok((place, Conflict::Skip(tail)));
    }
    run(
        source,
        session,
        &format!("CREATE TEMPORARY TABLE {} LIKE {place}", collected(target)?),
    )
    .await?;
    let columns = target
        .columns
        .iter()
        .map(|name| identifier(name))
        .collect::<Result<Vec<_>>>()?
        .join(", ");
    let assignments = conflict
        .assignments
        .iter()
        .map(|(name, value)| {
            let column = Target::of(table, name)?;
            Ok(format!(
                "{place}.{} = {}",
                identifier(name)?,
                value_of(&place, &column, value)?
            ))
        })
        .collect::<Result<Vec<_>>>()?
        .join(", ");
    let insert = format!(
        "INSERT INTO {place} ({columns}) SELECT {columns} FROM {} AS `r` \
         ON DUPLICATE KEY UPDATE {assignments}",
        collected(target)?
    );
    Ok((collected(target)?, Conflict::Update(insert)))
}

/// The temporary table, in the schema of the one that the rows are for.
fn collected(target: &InsertTarget) -> Result<String> {
    Ok(format!("{}.{COLLECTED}", identifier(&target.schema)?))
}

fn value_of(place: &str, column: &Target, value: &ConflictValue) -> Result<String> {
    Ok(match value {
        ConflictValue::Excluded(name) => format!("`r`.{}", identifier(name)?),
        ConflictValue::Null => "NULL".to_owned(),
        ConflictValue::Default => format!("DEFAULT({place}.{})", identifier(&column.name)?),
        ConflictValue::Constant(literal) => column.literal(literal)?,
    })
}

/// Fails unless a conflict there is the one that is meant.
pub(super) async fn check(
    source: &Source,
    target: &InsertTarget,
    table: &TableMetadata,
) -> Result<()> {
    let Some(conflict) = &target.on_conflict else {
        return Ok(());
    };
    // Any conflict is meant; DO UPDATE needs a key.
    if conflict.key.is_empty() && conflict.assignments.is_empty() {
        return Ok(());
    }
    let is_key = Facts::of(&table.handle)?.unique.iter().any(|key| {
        key.len() == conflict.key.len() && key.iter().all(|column| conflict.key.contains(column))
    });
    if !is_key {
        return Err(Error::new(
            SqlState::from_source("42P10"),
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        )
        .with_source(source.catalog()));
    }
    let names: Params = (table.schema.as_str(), table.name.as_str()).into();
    let answers = source.ask(&[(UNIQUE_INDEXES, names)]).await?;
    let indexes = answers
        .rows
        .first()
        .and_then(|rows| number(rows.first()?, 0));
    if indexes != Some(1) {
        return Err(Error::unsupported(
            "ON CONFLICT with a key needs a table without another unique key at this source",
        )
        .with_detail("MySQL takes a conflict of any unique key for the one that is meant.")
        .with_source(source.catalog()));
    }
    Ok(())
}
