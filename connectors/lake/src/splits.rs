//! Cuts a table into splits: whole small files packed together, large ones by row groups or lines.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::ObjectMeta;
use parquet::file::metadata::ParquetMetaData;
use sluice_spi::{Result, ScalarValue, Split, SplitRequest, SplitSource, TableHandle};

use crate::LakeConnector;
use crate::config::{Compression, FileFormat};
use crate::location::Location;
use crate::metadata::read_footers;
use crate::partitions::matching;
use crate::payload::{Piece, SplitPayload, TablePayload};

/// Splits per lane: more than one so that a lane which draws a slow split does not hold up the rest.
const SPLITS_PER_LANE: u64 = 3;
/// Below this, opening a file again costs more than reading it in parallel gains.
const MIN_SPLIT_BYTES: u64 = 8 << 20;
/// No lane is left without work for the sake of [`MIN_SPLIT_BYTES`] in a table of more than this a lane: a
/// scan in fewer lanes than the engine has is spread over them again row by row, which costs more than
/// opening a small file.
const MIN_LANE_BYTES: u64 = 256 << 10;
/// Above this, a split is too coarse to be spread evenly, however few lanes there are.
const MAX_SPLIT_BYTES: u64 = 512 << 20;
/// Files up to this number are cut by their footers (cached since planning); with more, each is a piece
/// of its own anyway and only large ones are cut, by bytes.
const SPLIT_FOOTERS: usize = 256;
/// Pieces of one split, so that a split's description stays small.
const MAX_PIECES: usize = 1_000;

#[async_trait]
impl SplitSource for LakeConnector {
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let payload = TablePayload::of(handle)?;
        let location = payload.location()?;
        let format = payload.explicit_format.then_some(payload.format);
        let listing = self
            .layout
            .files_of_query(&location, format, &request.query_id)
            .await?;

        // Partition predicates choose files; they were promised to hold exactly.
        let predicates: Vec<_> = handle
            .relation
            .predicates()
            .iter()
            .filter(|p| payload.is_partition_predicate(p))
            .cloned()
            .collect();
        let positions: Vec<Option<usize>> = payload
            .partitions
            .iter()
            .map(|p| listing.keys.iter().position(|k| *k == p.name))
            .collect();
        let mut whole = Vec::with_capacity(listing.files.len());
        let mut values: Vec<Vec<ScalarValue>> = Vec::with_capacity(listing.files.len());
        for file in &listing.files {
            let partition: Vec<Option<String>> = positions
                .iter()
                .map(|at| at.and_then(|at| file.partition[at].clone()))
                .collect();
            let row = payload
                .partitions
                .iter()
                .zip(&partition)
                .map(|(p, text)| p.value(text.as_deref()));
            values.push(
                row.collect::<Result<_>>()
                    .map_err(|e| e.with_source(&self.catalog))?,
            );
            whole.push(Piece::whole(&file.meta, file.compression, partition));
        }
        let kept = matching(&payload.partitions, &values, &predicates)?;
        let whole: Vec<Piece> = whole
            .into_iter()
            .zip(kept)
            // An empty text file has no rows; an empty Parquet file is broken and says so when read.
            .filter(|(piece, kept)| {
                *kept && (piece.size > 0 || payload.format == FileFormat::Parquet)
            })
            .map(|(piece, _)| piece)
            .collect();

        let total: u64 = whole.iter().map(|p| p.size).sum();
        let lanes = request.parallelism.max(1) as u64;
        let coarse = (total / (lanes * SPLITS_PER_LANE)).clamp(MIN_SPLIT_BYTES, MAX_SPLIT_BYTES);
        let target = coarse.min((total / lanes).max(MIN_LANE_BYTES));
        let pieces = match payload.format {
            FileFormat::Parquet => self.cut_parquet(&location, whole, target).await?,
            format => {
                let lines = format == FileFormat::Json || !payload.text.newlines_in_values;
                whole
                    .into_iter()
                    .flat_map(|piece| cut_text(piece, coarse, lines))
                    .collect()
            }
        };
        pack(pieces, target)
    }
}

impl LakeConnector {
    async fn cut_parquet(
        &self,
        location: &Location,
        whole: Vec<Piece>,
        target: u64,
    ) -> Result<Vec<Piece>> {
        if whole.len() > SPLIT_FOOTERS {
            return Ok(whole
                .into_iter()
                .flat_map(|piece| cut_bytes(piece, target))
                .collect());
        }
        let store = self.stores.of(location)?;
        let metas: Vec<ObjectMeta> = whole.iter().map(Piece::meta).collect::<Result<_>>()?;
        let footers = read_footers(&store, location, &metas.iter().collect::<Vec<_>>())
            .await
            .inspect_err(|_| self.stores.note_change())
            .map_err(|e| e.with_source(&self.catalog))?;
        Ok(whole
            .into_iter()
            .zip(footers)
            .flat_map(|(piece, footer)| cut_groups(piece, &footer, target))
            .collect())
    }
}

/// Cuts a Parquet file between row groups.
fn cut_groups(piece: Piece, footer: &Arc<ParquetMetaData>, target: u64) -> Vec<Piece> {
    let groups = footer.row_groups();
    let rows: u64 = groups.iter().map(|g| g.num_rows().max(0) as u64).sum();
    let mut piece = piece;
    piece.rows = Some(rows);
    // The reader takes the row groups whose first page begins in the range.
    let starts: Vec<u64> = groups
        .iter()
        .filter_map(|group| {
            let column = group.columns().first()?;
            u64::try_from(
                column
                    .dictionary_page_offset()
                    .unwrap_or(column.data_page_offset()),
            )
            .ok()
        })
        .collect();
    let ordered = starts.len() == groups.len() && starts.windows(2).all(|pair| pair[0] < pair[1]);
    if !ordered || groups.len() < 2 || piece.size <= target {
        return vec![piece];
    }
    let mut pieces = Vec::new();
    let (mut from, mut bytes, mut part_rows) = (0u64, 0u64, 0u64);
    for (i, group) in groups.iter().enumerate() {
        bytes += group.compressed_size().max(0) as u64;
        part_rows += group.num_rows().max(0) as u64;
        let to = starts.get(i + 1).copied().unwrap_or(piece.size);
        // Cut here if the next group would take the part further from the target than it is now.
        let next = groups
            .get(i + 1)
            .map_or(0, |g| g.compressed_size().max(0) as u64);
        if i + 1 == groups.len() || bytes + next / 2 >= target {
            pieces.push(piece.part(from, to, Some(part_rows)));
            (from, bytes, part_rows) = (to, 0, 0);
        }
    }
    pieces
}

/// Cuts a Parquet file by bytes alone; some parts may hold no row group.
fn cut_bytes(piece: Piece, target: u64) -> Vec<Piece> {
    let parts = piece.size.div_ceil(target.max(1)).max(1);
    if parts == 1 {
        return vec![piece];
    }
    let edge = |i: u64| (u128::from(piece.size) * u128::from(i) / u128::from(parts)) as u64;
    (0..parts)
        .map(|i| piece.part(edge(i), edge(i + 1), None))
        .collect()
}

/// Cuts a text file by lines, where a line break is always the end of a row.
fn cut_text(piece: Piece, target: u64, lines: bool) -> Vec<Piece> {
    if lines && piece.compression == Compression::None {
        cut_bytes(piece, target)
    } else {
        vec![piece]
    }
}

/// Packs pieces into splits of about `target` bytes, in the order of the files.
fn pack(pieces: Vec<Piece>, target: u64) -> Result<Vec<Split>> {
    let mut splits = Vec::new();
    let mut open: Vec<Piece> = Vec::new();
    let mut bytes = 0;
    for piece in pieces {
        let more = piece.bytes();
        // Half of the piece over the target is as near to it as half of the piece under it.
        if !open.is_empty() && (bytes + more / 2 > target || open.len() >= MAX_PIECES) {
            splits.push(split(std::mem::take(&mut open))?);
            bytes = 0;
        }
        bytes += more;
        open.push(piece);
    }
    if !open.is_empty() {
        splits.push(split(open)?);
    }
    Ok(splits)
}

fn split(pieces: Vec<Piece>) -> Result<Split> {
    let label = match pieces.as_slice() {
        [one] => match one.range {
            Some((start, end)) => format!("{} bytes {start}..{end}", one.file_name()),
            None => one.file_name().to_owned(),
        },
        [first, .., last] => format!(
            "{} … {} ({} files)",
            first.file_name(),
            last.file_name(),
            pieces.len()
        ),
        [] => String::new(),
    };
    Ok(Split {
        rows: pieces.iter().map(|p| p.rows).sum(),
        bytes: Some(pieces.iter().map(Piece::bytes).sum()),
        label,
        payload: SplitPayload { pieces }.encode()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, size: u64) -> Piece {
        Piece {
            path: name.to_owned(),
            size,
            modified: 0,
            e_tag: None,
            range: None,
            compression: Compression::None,
            partition: Vec::new(),
            rows: None,
        }
    }

    #[test]
    fn small_files_share_a_split_and_large_ones_are_cut() {
        let pieces: Vec<Piece> = (0..10).map(|i| piece(&format!("{i}"), 3)).collect();
        let splits = pack(pieces, 9).unwrap();
        assert_eq!(splits.iter().map(|s| s.bytes.unwrap()).sum::<u64>(), 30);
        assert!(splits.len() < 5 && splits.iter().all(|s| s.bytes.unwrap() <= 12));
        let parts = cut_bytes(piece("x", 100), 30);
        assert_eq!(
            parts.iter().map(|p| p.range.unwrap()).collect::<Vec<_>>(),
            [(0, 25), (25, 50), (50, 75), (75, 100)]
        );
    }
}
