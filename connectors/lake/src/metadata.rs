//! The lake's answers to "which schemas, tables, columns": from folders, footers and samples.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use sluice_spi::{
    ColumnMetadata, Error, Generated, Metadata, RelColumn, Relation, Result, TableHandle,
    TableKind, TableMetadata, TableStatistics, TableSummary,
};

use crate::LakeConnector;
use crate::config::FileFormat;
use crate::error::parquet_error;
use crate::infer;
use crate::layout::{Listing, TableSource};
use crate::location::Location;
use crate::partitions::{PartitionColumn, infer_kind};
use crate::payload::{Piece, TablePayload};
use crate::read::text::whole_file;
use crate::schema::{FileColumn, SchemaUnion, parquet_columns};
use crate::statistics;
use crate::store::Store;

/// Footers read to describe a table. More files than this are sampled evenly; a file outside of the
/// sample whose types differ is an error when it is read.
pub(crate) const SCHEMA_FOOTERS: usize = 64;
/// Footers read at once: enough to hide a store's latency, few enough to be no burst.
const FOOTER_CONCURRENCY: usize = 16;

#[async_trait]
impl Metadata for LakeConnector {
    async fn schemas(&self) -> Result<Vec<String>> {
        self.layout.schemas().await
    }

    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        let tables = self.layout.tables(schema).await?;
        Ok(tables
            .into_keys()
            .map(|name| TableSummary {
                name,
                kind: TableKind::Table,
                comment: None,
            })
            .collect())
    }

    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        let Some(source) = self.layout.find(schema, table).await? else {
            return Ok(None);
        };
        let described = self.describe_table(schema, table, &source).await;
        described
            .map(Some)
            .map_err(|e| e.with_source(&self.catalog))
    }

    async fn statistics(&self, table: &TableMetadata) -> Result<TableStatistics> {
        statistics::of_table(self, table)
            .await
            .map_err(|e| e.with_source(&self.catalog))
    }

    /// A table that cannot be described (a broken file) must not hide its neighbours from a catalog
    /// query; asked for by name, it says what is wrong.
    async fn describe_schema(&self, schema: &str) -> Result<Vec<Arc<TableMetadata>>> {
        let mut described = Vec::new();
        for (name, source) in self.layout.tables(schema).await? {
            match self.describe_table(schema, &name, &source).await {
                Ok(table) => described.push(Arc::new(table)),
                Err(error) => {
                    tracing::warn!(catalog = %self.catalog, schema, table = %name, %error, "left out of the schema's description")
                }
            }
        }
        Ok(described)
    }
}

impl LakeConnector {
    async fn describe_table(
        &self,
        schema: &str,
        table: &str,
        source: &TableSource,
    ) -> Result<TableMetadata> {
        let listing = self.layout.files(&source.location, source.format).await?;
        let partitions = partition_columns(&listing);
        let (mut columns, row_bytes) = match listing.format {
            FileFormat::Parquet => (self.parquet_schema(&source.location, &listing).await?, None),
            _ if !source.columns.is_empty() => (infer::declared(&source.columns)?, None),
            _ => self.text_schema(source, &listing).await?,
        };
        // The folder's name speaks for all of its rows, whatever a column of that name in them says.
        columns.retain(|column| !partitions.iter().any(|p| p.name == *column.field.name()));
        columns.extend(partitions.iter().map(|p| FileColumn {
            field: p.field(),
            native_type: format!("partition {}", p.data_type()),
        }));
        let relation = Relation::Scan {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns: columns
                .iter()
                .map(|c| RelColumn {
                    name: c.field.name().clone(),
                    native_type: c.native_type.clone(),
                    collation: None,
                    deterministic: true,
                    nullable: c.field.is_nullable(),
                })
                .collect(),
        };
        let payload = TablePayload {
            store: source.location.store.clone(),
            path: source.location.path.to_string(),
            format: listing.format,
            explicit_format: source.format.is_some(),
            text: source.text.clone(),
            partitions,
            files: listing.files.len() as u64,
            bytes: listing.bytes(),
            row_bytes,
        };
        Ok(TableMetadata {
            schema: schema.to_owned(),
            name: table.to_owned(),
            kind: TableKind::Table,
            comment: None,
            columns: columns
                .into_iter()
                .map(|c| ColumnMetadata {
                    field: c.field,
                    native_type: c.native_type,
                    comment: None,
                    default: None,
                    generated: Generated::No,
                })
                .collect(),
            primary_key: Vec::new(),
            handle: TableHandle::new(&self.catalog, relation, payload.encode()?),
        })
    }

    async fn parquet_schema(
        &self,
        location: &Location,
        listing: &Listing,
    ) -> Result<Vec<FileColumn>> {
        let store = self.stores.of(location)?;
        let chosen = evenly(listing.files.len(), SCHEMA_FOOTERS);
        let complete = chosen.len() == listing.files.len();
        let metas: Vec<&ObjectMeta> = chosen.into_iter().map(|i| &listing.files[i].meta).collect();
        let footers = read_footers(&store, location, &metas).await?;
        let mut union = SchemaUnion::default();
        for (meta, footer) in metas.iter().zip(&footers) {
            let file = location.at(&meta.location).to_string();
            union.add(&file, parquet_columns(&file, footer)?)?;
        }
        Ok(union.finish(complete))
    }

    async fn text_schema(
        &self,
        source: &TableSource,
        listing: &Listing,
    ) -> Result<(Vec<FileColumn>, Option<f64>)> {
        let store = self.stores.of(&source.location)?;
        let mut samples = Vec::new();
        // Stored bytes of a row, over the sampled files.
        let (mut stored, mut rows) = (0.0, 0.0);
        for file in listing
            .files
            .iter()
            .filter(|f| f.meta.size > 0)
            .take(infer::SAMPLE_FILES)
        {
            let name = source.location.at(&file.meta.location).to_string();
            let piece = Piece::whole(&file.meta, file.compression, Vec::new());
            let bytes = whole_file(&store, &source.location, &piece)?;
            let sample = infer::sample(&name, listing.format, &source.text, bytes).await?;
            // Text compresses to about a quarter.
            let ratio = if file.compression == crate::config::Compression::None {
                1.0
            } else {
                0.25
            };
            stored += sample.bytes as f64 * ratio;
            rows += sample.rows as f64;
            samples.push(sample);
        }
        let columns = infer::unite(&samples);
        if columns.is_empty() {
            return Err(Error::new(
                sluice_spi::SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "the files of \"{}\" are empty, so their columns are unknown",
                    source.location
                ),
            )
            .with_hint("Declare the table's columns in the catalog's file."));
        }
        Ok((columns, (rows > 0.0).then(|| stored / rows)))
    }
}

/// The partition columns of a listing, with the types that all of its folders allow.
fn partition_columns(listing: &Listing) -> Vec<PartitionColumn> {
    listing
        .keys
        .iter()
        .enumerate()
        .map(|(i, name)| PartitionColumn {
            name: name.clone(),
            kind: infer_kind(listing.files.iter().map(|f| f.partition[i].as_deref())),
        })
        .collect()
}

/// `count` indices at most out of `0..of`, spread evenly, first and last among them.
pub(crate) fn evenly(of: usize, count: usize) -> Vec<usize> {
    if of <= count {
        return (0..of).collect();
    }
    (0..count).map(|i| i * (of - 1) / (count - 1)).collect()
}

/// Footers of files (without page indexes), through the store's cache.
pub(crate) async fn read_footers(
    store: &Arc<Store>,
    root: &Location,
    files: &[&ObjectMeta],
) -> Result<Vec<Arc<ParquetMetaData>>> {
    let reads: Vec<_> = files
        .iter()
        .map(|meta| read_footer(store, root, meta).boxed())
        .collect();
    futures::stream::iter(reads)
        .buffered(FOOTER_CONCURRENCY)
        .try_collect()
        .await
}

async fn read_footer(
    store: &Store,
    root: &Location,
    meta: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>> {
    DFParquetMetadata::new(store.objects.as_ref(), meta)
        .with_file_metadata_cache(Some(store.runtime.cache_manager.get_file_metadata_cache()))
        .with_metadata_size_hint(Some(footer_guess(meta.size)))
        .with_page_index_policy(Some(PageIndexPolicy::Skip))
        .fetch_metadata()
        .await
        .map_err(|e| parquet_error(&root.at(&meta.location).to_string(), &e))
}

/// Bytes at a file's end that are read at once in the hope that they hold the footer.
pub(crate) fn footer_guess(size: u64) -> usize {
    /// Holds the footer of most files; one request fetches it as fast as eight bytes.
    const FOOTER_BYTES: u64 = 64 << 10;
    FOOTER_BYTES.min(size) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_even() {
        assert_eq!(evenly(3, 8), [0, 1, 2]);
        assert_eq!(evenly(100, 4), [0, 33, 66, 99]);
    }
}
