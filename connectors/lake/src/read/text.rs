//! Text files as bytes: in large ranged reads, aligned to lines for parts of files, decompressed; and
//! the loop that feeds them to a decoder.

use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::{Buf, Bytes, BytesMut};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::DataFusionError;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};
use sluice_spi::{BatchStream, Error, Result};

use super::rows::{Origin, arrange};
use super::{SplitScan, csv, json};
use crate::config::{Compression, FileFormat};
use crate::error::{broken, store_error};
use crate::infer::without_mark;
use crate::location::Location;
use crate::payload::Piece;
use crate::store::Store;

/// Bytes of one request: long enough to make a store's latency small beside the transfer.
const CHUNK_BYTES: u64 = 2 << 20;
/// Requests under way per stream: one is decoded while the next arrives.
const CHUNKS_AHEAD: usize = 2;
/// Bytes of one request behind a part's end, where its last line ends.
const REST_BYTES: u64 = 64 << 10;
/// A header longer than this is no line.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// A stream of bytes.
pub(crate) type ByteStream = BoxStream<'static, Result<Bytes>>;

/// A decoder of rows: takes bytes until it has a batch.
pub(super) trait RowDecoder: Send {
    /// Takes bytes and says how many; none where a batch is full, or at the end of the input.
    fn decode(&mut self, bytes: &[u8]) -> Result<usize, ArrowError>;
    /// The rows taken so far.
    fn flush(&mut self) -> Result<Option<RecordBatch>, ArrowError>;
    /// An error with file and line.
    fn explain(&self, file: &str, first_byte: u64, error: &ArrowError) -> Error;
}

/// A decoder and where its columns go.
pub(super) struct Prepared {
    pub(super) decoder: Box<dyn RowDecoder>,
    pub(super) origins: Vec<Origin>,
}

/// The bytes of a file outside of a scan, for inference.
pub(crate) fn whole_file(store: &Arc<Store>, root: &Location, piece: &Piece) -> Result<ByteStream> {
    let file = root.at(&piece.meta()?.location).to_string();
    bytes_of(store.objects.clone(), file, piece)
}

/// The rows of a piece; the file is opened at the first poll.
pub(super) fn open(scan: Arc<SplitScan>, index: usize) -> BatchStream {
    stream::once(async move {
        let piece = scan.pieces[index].clone();
        let file = scan.file(&piece)?;
        let mut bytes = bytes_of(scan.pinned.clone(), file.clone(), &piece)?;
        let first_byte = piece.range.map_or(0, |(start, _)| start);
        let mut head = Bytes::new();
        let prepared = match scan.payload.format {
            FileFormat::Json => json::prepare(&scan, &piece, &file)?,
            _ => {
                head = first_line(&mut bytes).await?;
                let own;
                let naming = if first_byte == 0 {
                    &head
                } else {
                    own = file_head(&scan, &piece, &file).await?;
                    &own
                };
                match csv::prepare(&scan, &piece, &file, naming, first_byte == 0)? {
                    Some(prepared) => prepared,
                    None => return Ok(stream::empty().boxed()),
                }
            }
        };
        if first_byte == 0 {
            let mark = head.len() - without_mark(&head).len();
            head.advance(mark);
        }
        Ok(decoded(scan, file, first_byte, head, bytes, prepared))
    })
    .try_flatten()
    .boxed()
}

struct Decoding {
    scan: Arc<SplitScan>,
    file: String,
    first_byte: u64,
    pending: Bytes,
    bytes: ByteStream,
    ended: bool,
    prepared: Prepared,
}

/// Decodes bytes into batches of the output's columns.
fn decoded(
    scan: Arc<SplitScan>,
    file: String,
    first_byte: u64,
    head: Bytes,
    bytes: ByteStream,
    prepared: Prepared,
) -> BatchStream {
    let state = Decoding {
        scan,
        file,
        first_byte,
        pending: head,
        bytes,
        ended: false,
        prepared,
    };
    stream::try_unfold(state, |mut state| async move {
        loop {
            // An empty slice means the end of the input to a decoder, so chunks without bytes are skipped.
            while state.pending.is_empty() && !state.ended {
                match state.bytes.try_next().await? {
                    Some(chunk) => state.pending = chunk,
                    None => state.ended = true,
                }
            }
            let taken = state.prepared.decoder.decode(&state.pending).map_err(|e| {
                state
                    .prepared
                    .decoder
                    .explain(&state.file, state.first_byte, &e)
            })?;
            state.pending.advance(taken);
            if taken == 0 {
                break;
            }
        }
        let flushed = state.prepared.decoder.flush().map_err(|e| {
            state
                .prepared
                .decoder
                .explain(&state.file, state.first_byte, &e)
        })?;
        let Some(batch) = flushed else {
            return Ok(None);
        };
        let batch = arrange(
            &batch,
            &state.prepared.origins,
            &state.scan.output,
            &state.file,
        )?;
        Ok(Some((batch, state)))
    })
    .boxed()
}

/// Reads on until a line is whole, or the file ends.
async fn first_line(bytes: &mut ByteStream) -> Result<Bytes> {
    let mut head = BytesMut::new();
    while !head.contains(&b'\n') && (head.len() as u64) < MAX_LINE_BYTES {
        match bytes.try_next().await? {
            Some(chunk) if head.is_empty() && chunk.contains(&b'\n') => return Ok(chunk),
            Some(chunk) => head.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(head.freeze())
}

/// The first bytes of a file of which a part is read: the header is there.
async fn file_head(scan: &Arc<SplitScan>, piece: &Piece, file: &str) -> Result<Bytes> {
    let whole = Piece {
        range: None,
        ..piece.clone()
    };
    first_line(&mut bytes_of(scan.pinned.clone(), file.to_owned(), &whole)?).await
}

fn bytes_of(store: Arc<dyn ObjectStore>, file: String, piece: &Piece) -> Result<ByteStream> {
    let (start, end) = piece.range.unwrap_or((0, piece.size));
    let raw = if piece.range.is_some() {
        lines(store, file.clone(), piece, (start, end))?
    } else {
        chunks(store, file.clone(), piece, (start, end), CHUNK_BYTES)?
    };
    let kind = match piece.compression {
        Compression::None => return Ok(raw),
        Compression::Gzip => FileCompressionType::GZIP,
        Compression::Bzip2 => FileCompressionType::BZIP2,
        Compression::Xz => FileCompressionType::XZ,
        Compression::Zstd => FileCompressionType::ZSTD,
    };
    let unpacked = kind
        .convert_stream(raw.map_err(DataFusionError::from).boxed())
        .map_err(|e| broken(&file, "compressed", &e.to_string()))?;
    Ok(unpacked
        .map_err(move |e| {
            let text = e.to_string();
            Error::from_marked(&text).unwrap_or_else(|| broken(&file, "compressed", &text))
        })
        .boxed())
}

/// The bytes `start..end` of a file, `step` bytes a request.
fn chunks(
    store: Arc<dyn ObjectStore>,
    file: String,
    piece: &Piece,
    (start, end): (u64, u64),
    step: u64,
) -> Result<ByteStream> {
    let path = piece.meta()?.location;
    let ranges = (start..end)
        .step_by(step as usize)
        .map(move |at| at..(at + step).min(end));
    Ok(stream::iter(ranges)
        .map(move |range| {
            let (store, path, file) = (store.clone(), path.clone(), file.clone());
            async move {
                store
                    .get_range(&path, range)
                    .await
                    .map_err(|e| store_error(&file, &e))
            }
        })
        .buffered(CHUNKS_AHEAD)
        .boxed())
}

/// The lines that begin in `start..end`: after the first line break at or after `start - 1`, up to the
/// first one at or after `end - 1`.
fn lines(
    store: Arc<dyn ObjectStore>,
    file: String,
    piece: &Piece,
    (start, end): (u64, u64),
) -> Result<ByteStream> {
    let from = start.saturating_sub(1);
    let body = chunks(store.clone(), file.clone(), piece, (from, end), CHUNK_BYTES)?;
    // The last line ends somewhere beyond; asked for only when the body did not end it.
    let rest = chunks(store, file, piece, (end, piece.size), REST_BYTES)?;
    let state = (body.chain(rest).boxed(), from, start == 0, false);
    Ok(stream::try_unfold(
        state,
        move |(mut bytes, mut at, mut aligned, done)| async move {
            while !done && let Some(mut chunk) = bytes.try_next().await? {
                let mut base = at;
                at += chunk.len() as u64;
                if !aligned {
                    match chunk.iter().position(|b| *b == b'\n') {
                        Some(newline) => {
                            chunk.advance(newline + 1);
                            base += newline as u64 + 1;
                            aligned = true;
                        }
                        // A line from before that goes on.
                        None if at < end => continue,
                        None => return Ok(None),
                    }
                    if base >= end {
                        return Ok(None);
                    }
                }
                if chunk.is_empty() {
                    continue;
                }
                let skip = usize::try_from((end - 1).saturating_sub(base)).unwrap_or(usize::MAX);
                let last = chunk
                    .get(skip..)
                    .and_then(|tail| tail.iter().position(|b| *b == b'\n'));
                return Ok(Some(match last {
                    Some(newline) => (chunk.slice(..=skip + newline), (bytes, at, aligned, true)),
                    None => (chunk, (bytes, at, aligned, false)),
                }));
            }
            Ok::<_, Error>(None)
        },
    )
    .boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    /// However a file is cut, each line is in just one part.
    #[tokio::test]
    async fn parts_share_no_line_and_lose_none() {
        for content in [
            "a\nbb\n\nccc\nd",
            "a\nbb\n\nccc\nd\n",
            "\n",
            "no line break",
            "\n\nx\n",
        ] {
            let store = Arc::new(InMemory::new());
            let path = object_store::path::Path::from("f");
            store.put(&path, content.into()).await.unwrap();
            let meta = store.head(&path).await.unwrap();
            let piece = Piece::whole(&meta, Compression::None, Vec::new());
            let size = content.len() as u64;
            for cut in 1..size {
                let mut all = Vec::new();
                for range in [(0, cut), (cut, size)] {
                    let part: Vec<Bytes> = lines(store.clone(), "f".into(), &piece, range)
                        .unwrap()
                        .try_collect()
                        .await
                        .unwrap();
                    all.extend(part.concat());
                }
                assert_eq!(String::from_utf8(all).unwrap(), content, "cut at {cut}");
            }
        }
    }
}
