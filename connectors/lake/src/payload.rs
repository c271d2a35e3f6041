//! What a lake's handles and splits carry: serde values, without connections or secrets.

use chrono::{DateTime, Utc};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sluice_spi::{Error, Result, ScalarExpr, Split, TableHandle};

use crate::config::{Compression, FileFormat, TextOptions};
use crate::location::{Location, StoreKey};
use crate::partitions::PartitionColumn;

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TablePayload {
    /// The store of its folder or file.
    pub(crate) store: StoreKey,
    /// Its folder or file, as the store spells it.
    pub(crate) path: String,
    pub(crate) format: FileFormat,
    /// True where the catalog's file names the format, so that files' names need not.
    pub(crate) explicit_format: bool,
    /// How CSV files are written.
    pub(crate) text: TextOptions,
    /// The table's last columns.
    pub(crate) partitions: Vec<PartitionColumn>,
    /// Files and bytes when it was described, for EXPLAIN.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Bytes of a row in the files as stored, from the sample that gave the columns of a text table.
    pub(crate) row_bytes: Option<f64>,
}

impl TablePayload {
    pub(crate) fn of(handle: &TableHandle) -> Result<TablePayload> {
        serde_json::from_slice(&handle.payload)
            .map_err(|e| Error::internal(format!("a lake handle that cannot be read: {e}")))
    }

    /// Its folder or file.
    pub(crate) fn location(&self) -> Result<Location> {
        let path = Path::parse(&self.path)
            .map_err(|e| Error::internal(format!("a lake handle with a wrong path: {e}")))?;
        Ok(Location {
            store: self.store.clone(),
            path,
        })
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::internal(format!("a lake handle that cannot be written: {e}")))
    }

    /// True for a predicate over partition columns alone: it chooses files, so it holds exactly.
    pub(crate) fn is_partition_predicate(&self, predicate: &ScalarExpr) -> bool {
        let (mut any, mut all) = (false, true);
        predicate.visit_columns(&mut |name| {
            any = true;
            all &= self.partitions.iter().any(|p| p.name == name);
        });
        any && all
    }
}

/// A split: files, or parts of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SplitPayload {
    pub(crate) pieces: Vec<Piece>,
}

impl SplitPayload {
    pub(crate) fn of(split: &Split) -> Result<SplitPayload> {
        serde_json::from_slice(&split.payload)
            .map_err(|e| Error::internal(format!("a lake split that cannot be read: {e}")))
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::internal(format!("a lake split that cannot be written: {e}")))
    }
}

/// A file, or a part of one, at the version that the plan saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) path: String,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    pub(crate) e_tag: Option<String>,
    /// The half-open byte range: of a Parquet file, the row groups whose first page begins in it; of a
    /// text file, the lines that begin in it.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) compression: Compression,
    /// One value per partition column.
    pub(crate) partition: Vec<Option<String>>,
    pub(crate) rows: Option<u64>,
}

impl Piece {
    pub(crate) fn whole(
        file: &ObjectMeta,
        compression: Compression,
        partition: Vec<Option<String>>,
    ) -> Piece {
        Piece {
            path: file.location.to_string(),
            size: file.size,
            modified: file.last_modified.timestamp_nanos_opt().unwrap_or_default(),
            e_tag: file.e_tag.clone(),
            range: None,
            compression,
            partition,
            rows: None,
        }
    }

    pub(crate) fn part(&self, start: u64, end: u64, rows: Option<u64>) -> Piece {
        Piece {
            range: Some((start, end)),
            rows,
            ..self.clone()
        }
    }

    pub(crate) fn meta(&self) -> Result<ObjectMeta> {
        Ok(ObjectMeta {
            location: Path::parse(&self.path)
                .map_err(|e| Error::internal(format!("a split with a wrong path: {e}")))?,
            last_modified: DateTime::<Utc>::from_timestamp_nanos(self.modified),
            size: self.size,
            e_tag: self.e_tag.clone(),
            version: None,
        })
    }

    /// Bytes that will be read, at most.
    pub(crate) fn bytes(&self) -> u64 {
        self.range.map_or(self.size, |(start, end)| end - start)
    }

    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}
