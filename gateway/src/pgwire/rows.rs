//! A big result on its way out: reading, encoding and sending at the same time.
//!
//! ```text
//! RowSource ──batches──▶ pieces ──▶ encoder task ┐  in order   bounded   ┌─▶ socket
//!                               └──▶ encoder task ┴───────────▶ channel ──┘
//! ```
//!
//! Every arrow is bounded: a client that stops reading stops the channel, then the encoders, then the
//! source. Tasks end with the [`Pump`] that owns them.

use std::sync::Arc;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::stream;
use sluice_spi::{Error, Result};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::encode::RowEncoder;
use crate::session::RowSource;

/// Encoders at once: with one, a fast source waits for the encoder; more than two outrun the socket.
const ENCODERS: usize = 2;
/// Encoded pieces that wait for the socket.
const QUEUED_PIECES: usize = 2;
/// Bytes of Arrow data in a piece: large enough to make tasks and system calls cheap, small enough that
/// all pieces in flight stay within a few megabytes.
const PIECE_BYTES: usize = 384 * 1024;
/// A piece's most rows, whatever their size.
const PIECE_ROWS: usize = 8192;

/// Encoded rows, and how many they are.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
}

/// The running pipeline.
pub(super) struct Pump {
    pieces: mpsc::Receiver<Result<Piece>>,
    _task: AbortOnDropHandle<()>,
}

impl Pump {
    /// Starts to read, to encode and to queue.
    pub(super) fn start(source: RowSource, encoder: Arc<RowEncoder>) -> Pump {
        let (sender, pieces) = mpsc::channel(QUEUED_PIECES);
        let task = tokio::spawn(async move {
            let parts = stream::unfold(source, |mut source| async move {
                let batch = source.next(PIECE_ROWS).await?;
                let batch = batch.map(|batch| {
                    let rows = piece_rows(&batch);
                    if rows < batch.num_rows() {
                        // The rest goes first the next time; the size is a matter of this batch alone.
                        put_back(&mut source, &batch, rows);
                        return batch.slice(0, rows);
                    }
                    batch
                });
                Some((batch, source))
            });
            let encoded = parts
                .map(|part| {
                    let encoder = Arc::clone(&encoder);
                    async move {
                        let batch = part?;
                        let task = AbortOnDropHandle::new(tokio::spawn(async move {
                            encode(&encoder, &batch)
                        }));
                        task.await.map_err(|error| {
                            Error::internal(format!("an encoder failed: {error}"))
                        })?
                    }
                })
                .buffered(ENCODERS);
            let mut encoded = std::pin::pin!(encoded);
            while let Some(piece) = encoded.next().await {
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    break;
                }
            }
        });
        Pump {
            pieces,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Piece>> {
        self.pieces.recv().await
    }
}

fn put_back(source: &mut RowSource, batch: &RecordBatch, from: usize) {
    let rest = batch.slice(from, batch.num_rows() - from);
    source.give_back(rest);
}

fn encode(encoder: &RowEncoder, batch: &RecordBatch) -> Result<Piece> {
    let mut bytes = Vec::with_capacity(batch_bytes(batch).saturating_mul(2).min(4 * PIECE_BYTES));
    encoder.encode(batch, &mut bytes)?;
    Ok(Piece {
        bytes,
        rows: batch.num_rows() as u64,
    })
}

fn batch_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
        .sum()
}

/// How many of a batch's rows make a piece.
pub(super) fn piece_rows(batch: &RecordBatch) -> usize {
    let rows = batch.num_rows().max(1);
    let per_row = (batch_bytes(batch) / rows).max(1);
    (PIECE_BYTES / per_row).clamp(1, PIECE_ROWS)
}
