//! Statistics from Parquet footers; for text files an estimate from their size.

use arrow::datatypes::{DataType, Schema};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use object_store::ObjectMeta;
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::metadata::ParquetMetaData;
use sluice_spi::{ColumnStatistics, Estimate, Result, ScalarValue, TableMetadata, TableStatistics};
use std::sync::Arc;

use crate::LakeConnector;
use crate::config::FileFormat;
use crate::layout::Listing;
use crate::metadata::{SCHEMA_FOOTERS, evenly, read_footers};
use crate::payload::TablePayload;
use crate::pushdown::is_float_type;

/// Bytes of a text row where no sample tells: a dozen short fields.
const TEXT_ROW_BYTES: f64 = 100.0;

/// What is known of a table.
pub(crate) async fn of_table(
    lake: &LakeConnector,
    table: &TableMetadata,
) -> Result<TableStatistics> {
    let payload = TablePayload::of(&table.handle)?;
    let location = payload.location()?;
    let listing = lake
        .layout
        .files(&location, payload.explicit_format.then_some(payload.format))
        .await?;
    let bytes = listing.bytes();
    if payload.format != FileFormat::Parquet {
        let rows = bytes as f64 / payload.row_bytes.unwrap_or(TEXT_ROW_BYTES).max(1.0);
        return Ok(TableStatistics {
            rows: Estimate::About(rows as u64),
            bytes: Estimate::About(bytes),
            columns: with_partitions(Vec::new(), table, &payload, &listing),
        });
    }
    let store = lake.stores.of(&location)?;
    let chosen = evenly(listing.files.len(), SCHEMA_FOOTERS);
    let metas: Vec<&ObjectMeta> = chosen.iter().map(|i| &listing.files[*i].meta).collect();
    let complete = metas.len() == listing.files.len();
    let footers = read_footers(&store, &location, &metas).await?;
    let file_columns = table.columns.len() - payload.partitions.len();
    let fields: Vec<_> = table.columns[..file_columns]
        .iter()
        .map(|c| c.field.clone())
        .collect();
    let schema = Arc::new(Schema::new(fields));

    let (mut rows, mut memory) = (0u64, 0u64);
    let mut columns: Vec<Summary> = vec![Summary::default(); file_columns];
    for footer in &footers {
        rows += footer
            .row_groups()
            .iter()
            .map(|g| g.num_rows().max(0) as u64)
            .sum::<u64>();
        memory += footer
            .row_groups()
            .iter()
            .map(|g| g.total_byte_size().max(0) as u64)
            .sum::<u64>();
        let Some(known) = file_statistics(footer, &schema) else {
            columns.iter_mut().for_each(|c| *c = Summary::unknown());
            continue;
        };
        for ((summary, known), field) in columns
            .iter_mut()
            .zip(&known.column_statistics)
            .zip(schema.fields())
        {
            summary.add(known, field.data_type());
        }
    }
    // Files outside of the sample are taken to be like the others, byte for byte.
    let sampled: u64 = metas.iter().map(|m| m.size).sum();
    let scale = if complete || sampled == 0 {
        1.0
    } else {
        bytes as f64 / sampled as f64
    };
    let estimate = |n: u64| {
        if complete {
            Estimate::Exact(n)
        } else {
            Estimate::About((n as f64 * scale) as u64)
        }
    };
    let columns = columns
        .into_iter()
        .map(|c| c.finish(complete, scale))
        .collect();
    Ok(TableStatistics {
        rows: estimate(rows),
        bytes: Estimate::About((memory as f64 * scale) as u64),
        columns: with_partitions(columns, table, &payload, &listing),
    })
}

/// The statistics of one file, a column of the table each.
fn file_statistics(footer: &ParquetMetaData, table: &Schema) -> Option<Statistics> {
    let file = footer.file_metadata();
    let own = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).ok()?;
    // In the file's own types: the engine finds nothing in a column whose type is not the one it asks for
    // (milliseconds, say, in a column of microseconds).
    let fields: Vec<_> = table
        .fields()
        .iter()
        .map(|field| match own.column_with_name(field.name()) {
            Some((at, _)) => own.fields()[at].clone(),
            None => field.clone(),
        })
        .collect();
    DFParquetMetadata::statistics_from_parquet_metadata(footer, &Arc::new(Schema::new(fields))).ok()
}

/// Adds the partition columns: their values are in the listing.
fn with_partitions(
    mut columns: Vec<ColumnStatistics>,
    table: &TableMetadata,
    payload: &TablePayload,
    listing: &Listing,
) -> Vec<ColumnStatistics> {
    let file_columns = table.columns.len() - payload.partitions.len();
    columns.resize(file_columns, ColumnStatistics::unknown());
    for (i, partition) in payload.partitions.iter().enumerate() {
        let mut values: Vec<&str> = listing
            .files
            .iter()
            .filter_map(|f| f.partition.get(i)?.as_deref())
            .collect();
        values.sort_unstable();
        values.dedup();
        let scalars: Vec<ScalarValue> = values
            .iter()
            .filter_map(|v| partition.value(Some(v)).ok())
            .collect();
        let edge = |best: Option<&ScalarValue>| {
            best.map_or(Estimate::Unknown, |v| Estimate::About(v.clone()))
        };
        let order = |a: &&ScalarValue, b: &&ScalarValue| {
            a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)
        };
        columns.push(ColumnStatistics {
            nulls: Estimate::Unknown,
            distinct: Estimate::About(values.len() as u64),
            min: edge(scalars.iter().min_by(order)),
            max: edge(scalars.iter().max_by(order)),
        });
    }
    columns
}

/// A column over several files.
#[derive(Clone, Default)]
struct Summary {
    nulls: Option<u64>,
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    exact: bool,
    started: bool,
    unknown: bool,
}

impl Summary {
    fn unknown() -> Self {
        Summary {
            unknown: true,
            ..Summary::default()
        }
    }

    fn add(&mut self, file: &datafusion::common::ColumnStatistics, data_type: &DataType) {
        let edge = |value: &Precision<ScalarValue>| {
            let value = value.get_value()?;
            // The footer's unit may differ from the column's.
            value.cast_to(data_type).ok()
        };
        let (min, max) = (edge(&file.min_value), edge(&file.max_value));
        let nulls = file.null_count.get_value().map(|n| *n as u64);
        let exact = matches!(file.min_value, Precision::Exact(_))
            && matches!(file.max_value, Precision::Exact(_))
            // Statistics leave NaN out.
            && !is_float_type(data_type);
        if !self.started {
            *self = Summary {
                nulls,
                min,
                max,
                exact,
                started: true,
                unknown: self.unknown,
            };
            return;
        }
        self.nulls = self.nulls.zip(nulls).map(|(a, b)| a + b);
        self.exact &= exact;
        self.min = combine(self.min.take(), min, |a, b| if b < a { b } else { a });
        self.max = combine(self.max.take(), max, |a, b| if b > a { b } else { a });
    }

    fn finish(self, complete: bool, scale: f64) -> ColumnStatistics {
        if self.unknown || !self.started {
            return ColumnStatistics::unknown();
        }
        let edge = |value: Option<ScalarValue>| match value {
            Some(value) if !value.is_null() && complete && self.exact => Estimate::Exact(value),
            Some(value) if !value.is_null() => Estimate::About(value),
            _ => Estimate::Unknown,
        };
        ColumnStatistics {
            nulls: self.nulls.map_or(Estimate::Unknown, |n| {
                Estimate::About((n as f64 * scale) as u64)
            }),
            distinct: Estimate::Unknown,
            min: edge(self.min),
            max: edge(self.max),
        }
    }
}

/// Of two files' edges: a file with nothing but NULL has none, a file without statistics spoils both.
fn combine(
    a: Option<ScalarValue>,
    b: Option<ScalarValue>,
    pick: impl Fn(ScalarValue, ScalarValue) -> ScalarValue,
) -> Option<ScalarValue> {
    let (a, b) = (a?, b?);
    Some(match (a.is_null(), b.is_null()) {
        (true, _) => b,
        (_, true) => a,
        _ => pick(a, b),
    })
}
