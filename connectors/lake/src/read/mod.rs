//! Reads one split: pins its files' versions, picks the format's reader, joins the pieces' streams.

mod csv;
mod json;
mod parquet;
mod rows;
mod sample;
pub(crate) mod text;

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use sluice_spi::{BatchStream, Error, ReadRequest, Reader, Result, SqlState};

use crate::config::FileFormat;
use crate::location::Location;
use crate::payload::{Piece, SplitPayload, TablePayload};
use crate::store::{PinnedStore, Store, Stores};

/// Pieces of one split read at once from a remote store, to hide the latency of many small files. Local
/// disks have none worth hiding.
const REMOTE_PIECES: usize = 4;

/// The reader of a catalog.
pub(crate) struct LakeReader {
    stores: Arc<Stores>,
}

impl LakeReader {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        LakeReader { stores }
    }
}

impl Reader for LakeReader {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let stores = self.stores.clone();
        let limit = request.limit;
        let catalog = stores.catalog().to_owned();
        let opened = async move {
            let scan = Arc::new(SplitScan::new(&stores, request)?);
            scan.start()
                .await
                .map(|batches| note_changes(batches, stores))
        };
        let batches = stream::once(opened)
            .try_flatten()
            .map_err(move |e| e.with_source(&catalog));
        Ok(match limit {
            Some(limit) => take_rows(batches.boxed(), limit),
            None => batches.boxed(),
        })
    }
}

/// A split and all that its pieces' readers share.
pub(crate) struct SplitScan {
    pub(crate) request: ReadRequest,
    pub(crate) payload: TablePayload,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) location: Location,
    pub(crate) store: Arc<Store>,
    pub(crate) pinned: Arc<PinnedStore>,
    pub(crate) output: arrow::datatypes::SchemaRef,
}

impl SplitScan {
    fn new(stores: &Stores, request: ReadRequest) -> Result<Self> {
        let payload = TablePayload::of(&request.handle)?;
        let pieces = SplitPayload::of(&request.split)?.pieces;
        let location = payload.location()?;
        let store = stores.of(&location)?;
        let metas = pieces.iter().map(Piece::meta).collect::<Result<Vec<_>>>()?;
        let pinned = Arc::new(PinnedStore::new(
            store.clone(),
            &location,
            metas,
            request.metrics.clone(),
        ));
        let output = request.projected_schema()?;
        Ok(SplitScan {
            payload,
            pieces,
            location,
            store,
            pinned,
            output,
            request,
        })
    }

    /// A piece's file, as users know it.
    pub(crate) fn file(&self, piece: &Piece) -> Result<String> {
        Ok(self.location.at(&piece.meta()?.location).to_string())
    }

    /// Columns that are in the files; the others are partition columns.
    pub(crate) fn file_columns(&self) -> usize {
        self.request
            .schema
            .fields()
            .len()
            .saturating_sub(self.payload.partitions.len())
    }

    async fn start(self: Arc<Self>) -> Result<BatchStream> {
        self.request.metrics.add_count("files", self.pieces.len());
        let at_once = if self.store.local { 1 } else { REMOTE_PIECES };
        let pieces = stream::iter(0..self.pieces.len());
        // Each piece opens at its stream's first poll.
        let streams: futures::stream::BoxStream<'static, BatchStream> = match self.payload.format {
            FileFormat::Parquet => {
                let reader = parquet::ParquetReader::prepare(self.clone()).await?;
                pieces.map(move |i| or_error(reader.open(i))).boxed()
            }
            _ => pieces.map(move |i| text::open(self.clone(), i)).boxed(),
        };
        // Interleaving changes nothing for one piece, and rows of several files have no order.
        Ok(if at_once == 1 {
            streams.flatten().boxed()
        } else {
            streams.flatten_unordered(at_once).boxed()
        })
    }
}

fn or_error(opened: Result<BatchStream>) -> BatchStream {
    opened.unwrap_or_else(|error| stream::once(async { Err(error) }).boxed())
}

/// Makes the catalog list again after a read that found a file changed or gone.
fn note_changes(batches: BatchStream, stores: Arc<Stores>) -> BatchStream {
    batches
        .inspect_err(move |error: &Error| {
            if error.code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE {
                stores.note_change();
            }
        })
        .boxed()
}

/// Ends the stream, and with it the reading, after `limit` rows.
fn take_rows(batches: BatchStream, limit: usize) -> BatchStream {
    stream::try_unfold((batches, limit), |(mut batches, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = batches.try_next().await? else {
            return Ok::<_, Error>(None);
        };
        let batch: RecordBatch = if batch.num_rows() > left {
            batch.slice(0, left)
        } else {
            batch
        };
        let left = left - batch.num_rows();
        Ok(Some((batch, (batches, left))))
    })
    .boxed()
}
