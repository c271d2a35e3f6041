//! Reading: which way, and the stream.
//!
//! | what is asked | how |
//! | --- | --- |
//! | no column (`count(*)`) | the source counts, and only the number travels |
//! | a row by its unique key, a small LIMIT | a prepared statement that the connection keeps, constants as parameters |
//! | anything else | a prepared statement with its constants inside, decoded in a task of its own |
//!
//! All of them use the binary protocol: a float in the text protocol has lost digits. A stream asks the
//! source at its first poll, and dropping it kills what runs there.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use sluice_spi::{
    BatchStream, Error, ReadRequest, Reader, Result, TableHandle, stream_apart, stream_here,
    stream_of_counts,
};

use crate::config::ZeroDates;
use crate::facts::Facts;
use crate::pool::Source;
use crate::render::{Constants, Query, RemoteSql, select};
use crate::scan::Scan;
use crate::splits::KeyRange;
use crate::types::ColumnType;

/// Rows up to which the answer is read where it is asked for: about what one round trip carries.
const SMALL_LIMIT: usize = 1_000;

/// Parameters that a prepared statement has at most: longer lists differ from each other, and a
/// statement for each length would push the others out of the connection's cache.
const MAX_PARAMETERS: usize = 64;

/// How a read goes to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `SELECT count(*)`.
    Count,
    /// Few rows, read where they are asked for.
    Few,
    /// Any number of rows, decoded apart.
    Rows,
}

/// What a read will do, before any I/O.
pub(crate) struct ReadPlan {
    pub(crate) access: Access,
    /// The SELECT.
    pub(crate) sql: RemoteSql,
    /// Types of the projected columns.
    pub(crate) types: Vec<ColumnType>,
    pub(crate) zero_dates: ZeroDates,
    /// Runs the user's own text.
    pub(crate) native: bool,
}

impl ReadPlan {
    /// Plans a read of `handle`.
    pub(crate) fn new(
        handle: &TableHandle,
        projection: &[usize],
        limit: Option<usize>,
        range: Option<&KeyRange>,
    ) -> Result<ReadPlan> {
        let facts = Facts::of(handle)?;
        let relation = &handle.relation;
        let types = projection
            .iter()
            .map(|index| facts.columns.get(*index).cloned())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a projection is outside of its table"))?;
        let query = Query {
            relation,
            facts: &facts,
            projection,
            limit,
            range,
        };
        let written = |constants| {
            select(&query, constants).ok_or_else(|| {
                Error::internal("a table handle cannot be written in the source's SQL")
            })
        };
        let small = limit.is_some_and(|limit| limit <= SMALL_LIMIT)
            || facts.is_key_lookup(relation)
            || relation
                .max_rows()
                .is_some_and(|rows| rows <= SMALL_LIMIT as u64);
        let access = match (projection.is_empty(), small) {
            (true, _) => Access::Count,
            (false, true) => Access::Few,
            (false, false) => Access::Rows,
        };
        let mut sql = written(match access {
            Access::Rows => Constants::Inline,
            _ => Constants::Parameters,
        })?;
        if sql.parameters.len() > MAX_PARAMETERS {
            sql = written(Constants::Inline)?;
        }
        Ok(ReadPlan {
            access,
            sql,
            types,
            zero_dates: facts.zero_dates,
            native: relation
                .leaves()
                .iter()
                .any(|leaf| matches!(leaf, sluice_spi::Relation::Native { .. })),
        })
    }
}

/// Reads the catalog's tables.
pub(crate) struct TableReader {
    pub(crate) source: Arc<Source>,
}

impl Reader for TableReader {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let schema = request.projected_schema()?;
        let range = KeyRange::of(&request.split)?;
        let plan = ReadPlan::new(
            &request.handle,
            &request.projection,
            request.limit,
            range.as_ref(),
        )?;
        let source = self.source.clone();
        let access = plan.access;
        let start = async move {
            match access {
                Access::Count => {
                    let rows = Scan::count(&source, &plan).await?;
                    Ok(stream_of_counts(schema, rows, request.batch_rows))
                }
                Access::Few => Ok(stream_here(
                    Scan::start(&source, &plan, schema, &request).await?,
                )),
                Access::Rows => Ok(stream_apart(async move {
                    Scan::start(&source, &plan, schema, &request).await
                })),
            }
        };
        Ok(stream::once(start).try_flatten().boxed())
    }
}
