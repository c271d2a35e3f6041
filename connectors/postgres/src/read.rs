//! Reading: which way, and the stream.
//!
//! | what is asked | how |
//! | --- | --- |
//! | no column (`count(*)`) | the source counts, and only the number travels |
//! | a row by its unique key, a small LIMIT | a prepared statement that the connection keeps, constants as parameters |
//! | anything else | binary COPY, decoded in a task of its own |
//!
//! A stream asks the source at its first poll, and dropping it cancels what runs there.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use sluice_spi::{
    BatchStream, Error, ReadRequest, Reader, Relation, Result, TableHandle, stream_apart,
    stream_here, stream_of_counts,
};

use crate::facts::Facts;
use crate::pool::Source;
use crate::render::{Constants, RemoteSql, select_share};
use crate::scan::Scan;
use crate::share::Share;
use crate::types::ColumnType;

/// Rows up to which a prepared statement beats COPY: about what one round trip carries.
const SMALL_LIMIT: usize = 1_000;

/// Parameters that a prepared statement has at most: longer lists differ from each other, and a
/// statement for each length would push the others out of the connection's cache.
const MAX_PARAMETERS: usize = 64;

/// How a read goes to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// `SELECT count(*)`.
    Count,
    /// A prepared statement of the extended protocol.
    Prepared,
    /// Binary COPY.
    Copy,
}

/// What a read will do, before any I/O.
pub(crate) struct ReadPlan {
    pub(crate) access: Access,
    /// The SELECT; for COPY, what stands inside of it.
    pub(crate) sql: RemoteSql,
    /// Types of the projected columns.
    pub(crate) types: Vec<ColumnType>,
    /// Runs the user's own text.
    pub(crate) native: bool,
    /// Reads a share of its table.
    pub(crate) ranges: bool,
}

impl ReadPlan {
    /// Plans a read of `handle`: of all of it, or of a share.
    pub(crate) fn new(
        handle: &TableHandle,
        projection: &[usize],
        limit: Option<usize>,
        share: Option<&Share>,
    ) -> Result<ReadPlan> {
        let facts = Facts::of(handle)?;
        let relation = &handle.relation;
        let native = relation
            .leaves()
            .iter()
            .any(|leaf| matches!(leaf, Relation::Native { .. }));
        let types = projection
            .iter()
            .map(|index| facts.columns.get(*index).cloned())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal("a projection is outside of its table"))?;
        let written = |constants| {
            select_share(relation, &facts, projection, limit, constants, share).ok_or_else(|| {
                Error::internal("a table handle cannot be written in the source's SQL")
            })
        };
        let small = limit.is_some_and(|limit| limit <= SMALL_LIMIT)
            || facts.is_key_lookup(relation)
            || relation
                .max_rows()
                .is_some_and(|rows| rows <= SMALL_LIMIT as u64);
        let mut access = match (projection.is_empty(), small) {
            (true, _) => Access::Count,
            (false, true) => Access::Prepared,
            (false, false) => Access::Copy,
        };
        let mut sql = written(if access == Access::Copy {
            Constants::Inline
        } else {
            Constants::Parameters
        })?;
        if sql.parameters.len() > MAX_PARAMETERS {
            sql = written(Constants::Inline)?;
            if access == Access::Prepared {
                access = Access::Copy;
            }
        }
        Ok(ReadPlan {
            access,
            sql,
            types,
            native,
            ranges: share.is_some(),
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
        let share = Share::of(&request.split)?;
        let plan = ReadPlan::new(
            &request.handle,
            &request.projection,
            request.limit,
            share.as_ref(),
        )?;
        let source = self.source.clone();
        let access = plan.access;
        let start = async move {
            match access {
                Access::Count => {
                    let rows = Scan::count(&source, &plan, &request).await?;
                    Ok(stream_of_counts(schema, rows, request.batch_rows))
                }
                Access::Prepared => Ok(stream_here(
                    Scan::start(&source, plan, schema, &request).await?,
                )),
                Access::Copy => Ok(stream_apart(async move {
                    Scan::start(&source, plan, schema, &request).await
                })),
            }
        };
        Ok(stream::once(start).try_flatten().boxed())
    }
}
