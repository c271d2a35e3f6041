//! `sample-data`: writes generated tables as files, for demos, tests and benches.
//!
//! TPC-H tables come out of the tpch connector through the public contract, split by split, so the files
//! hold the rows that the catalog `tpch` serves. `--demo` adds small web tables that join with them.
//! What is written depends on the arguments only: two runs give the same bytes.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use clap::{Parser, ValueEnum};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use sluice_connector_tpch::TpchFactory;
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, ReadRequest, ScanMetrics, Split, SplitRequest,
    TableMetadata,
};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rows of a Parquet row group: what DataFusion writes by default.
const ROW_GROUP_ROWS: usize = 1024 * 1024;

/// Pieces of a table that is large enough, whatever the machine: files must not depend on its cores.
const FILES: usize = 4;

/// Rows handed to a writer at once.
const BATCH_ROWS: usize = 8_192;

/// The tables that `--also-small` adds: joins need them and they cost nothing.
const SMALL_TABLES: [&str; 3] = ["region", "nation", "supplier"];

/// Writes generated tables as DIR/SCHEMA/TABLE/part-N.FORMAT, and skips tables that are there.
#[derive(Parser)]
struct Arguments {
    /// TPC-H scale factor; its schema is tiny (0.01), sf0_1, sf1 and so on.
    #[arg(long)]
    scale: Option<f64>,
    /// Where to write.
    #[arg(long)]
    out: PathBuf,
    /// The TPC-H tables to write. All eight by default.
    #[arg(long, value_delimiter = ',')]
    tables: Vec<String>,
    /// The files' format.
    #[arg(long, value_enum, default_value = "parquet")]
    format: Format,
    /// With --tables: region, nation and supplier too.
    #[arg(long)]
    also_small: bool,
    /// Web and reference tables that join with customers and segments of TPC-H: web.hits (Parquet, by
    /// day), web.visits (JSON), ref.segments (CSV).
    #[arg(long)]
    demo: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Parquet,
    Csv,
    Json,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if arguments.scale.is_none() && !arguments.demo {
        return Err("nothing to write: give --scale or --demo".into());
    }
    if let Some(scale) = arguments.scale {
        write_tpch(&arguments, scale).await?;
    }
    if arguments.demo {
        write_demo(&arguments.out)?;
    }
    Ok(())
}

/// The tpch connector's name for a scale factor.
fn schema_name(scale: f64) -> String {
    if scale == 0.01 {
        "tiny".into()
    } else {
        format!("sf{}", scale.to_string().replace('.', "_"))
    }
}

async fn write_tpch(arguments: &Arguments, scale: f64) -> Outcome<()> {
    let context = ConnectorContext::local("tpch", None);
    let connector = TpchFactory.create(context, toml::Table::new())?;
    let schema = schema_name(scale);
    let mut names = arguments.tables.clone();
    if names.is_empty() {
        names = connector
            .metadata()
            .tables(&schema)
            .await?
            .into_iter()
            .map(|table| table.name)
            .collect();
    } else if arguments.also_small {
        names.extend(SMALL_TABLES.map(str::to_owned));
        names.sort_unstable();
        names.dedup();
    }
    if names.is_empty() {
        return Err(format!("{scale} is not a scale factor that the generator knows").into());
    }
    for name in names {
        let table = connector
            .metadata()
            .table(&schema, &name)
            .await?
            .ok_or_else(|| format!("TPC-H has no table \"{name}\" in \"{schema}\""))?;
        appear(
            &arguments.out.join(&schema).join(&name),
            async |folder: PathBuf| {
                write_table(&connector, Arc::new(table), folder, arguments.format).await
            },
        )
        .await?;
    }
    Ok(())
}

/// Writes a folder under another name and renames it, so that a table is there whole or not at all.
async fn appear(folder: &Path, write: impl AsyncFnOnce(PathBuf) -> Outcome<u64>) -> Outcome<()> {
    if folder.exists() {
        println!("{} is there", folder.display());
        return Ok(());
    }
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(format!("{} is no place for a table", folder.display()).into());
    };
    // Readers of folders pass over names that begin with a point.
    let unfinished = parent.join(format!(".{}.unfinished", name.to_string_lossy()));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let rows = write(unfinished.clone()).await?;
    fs::rename(&unfinished, folder)?;
    println!("{}: {rows} rows", folder.display());
    Ok(())
}

async fn write_table(
    connector: &Arc<dyn Connector>,
    table: Arc<TableMetadata>,
    folder: PathBuf,
    format: Format,
) -> Outcome<u64> {
    let request = SplitRequest {
        query_id: "sample-data".into(),
        parallelism: FILES,
        limit: None,
    };
    let splits = connector.splits().splits(&table.handle, &request).await?;
    let at_once = std::thread::available_parallelism()?.get();
    let mut rows = 0;
    let mut writers: JoinSet<Outcome<u64>> = JoinSet::new();
    for (number, split) in splits.into_iter().enumerate() {
        if writers.len() >= at_once
            && let Some(done) = writers.join_next().await
        {
            rows += done??;
        }
        let file = folder.join(format!("part-{number}.{}", format.extension()));
        writers.spawn(write_split(
            connector.clone(),
            table.clone(),
            split,
            file,
            format,
        ));
    }
    while let Some(done) = writers.join_next().await {
        rows += done??;
    }
    Ok(rows)
}

struct NoMetrics;

impl ScanMetrics for NoMetrics {
    fn add_source_bytes(&self, _bytes: usize) {}
    fn add_count(&self, _name: &'static str, _count: usize) {}
}

async fn write_split(
    connector: Arc<dyn Connector>,
    table: Arc<TableMetadata>,
    split: Split,
    path: PathBuf,
    format: Format,
) -> Outcome<u64> {
    let schema = table.arrow_schema();
    let request = ReadRequest {
        query_id: "sample-data".into(),
        handle: table.handle.clone(),
        split,
        projection: (0..schema.fields().len()).collect(),
        schema: schema.clone(),
        limit: None,
        dynamic_filters: Vec::new(),
        snapshot: None,
        batch_rows: BATCH_ROWS,
        metrics: Arc::new(NoMetrics),
    };
    let mut writer = TableWriter::create(&path, format, schema)?;
    let mut batches = connector.reader().read(request)?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(rows)
}

/// A file of one of the formats.
enum TableWriter {
    Parquet(ArrowWriter<BufWriter<File>>),
    Csv(arrow::csv::Writer<BufWriter<File>>),
    Json(arrow::json::LineDelimitedWriter<BufWriter<File>>),
}

impl TableWriter {
    fn create(path: &Path, format: Format, schema: SchemaRef) -> Outcome<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(match format {
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
                    .build();
                // Files as any other program writes them: no Arrow schema, no tags of ours.
                let options = ArrowWriterOptions::new()
                    .with_properties(properties)
                    .with_skip_arrow_metadata(true);
                TableWriter::Parquet(ArrowWriter::try_new_with_options(file, schema, options)?)
            }
            Format::Csv => TableWriter::Csv(
                arrow::csv::WriterBuilder::new()
                    .with_header(true)
                    .build(file),
            ),
            Format::Json => TableWriter::Json(arrow::json::LineDelimitedWriter::new(file)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Outcome<()> {
        match self {
            TableWriter::Parquet(writer) => writer.write(batch)?,
            TableWriter::Csv(writer) => writer.write(batch)?,
            TableWriter::Json(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> Outcome<()> {
        match self {
            TableWriter::Parquet(writer) => {
                writer.close()?;
            }
            TableWriter::Csv(writer) => writer.into_inner().flush()?,
            TableWriter::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
        }
        Ok(())
    }
}

/// Customers of the demo's tables: those of `tpch.tiny`.
const CUSTOMERS: u64 = 1_500;

/// Days of `web.hits`, one folder each.
const DAYS: i64 = 7;

/// Rows of each day.
const HITS_PER_DAY: u64 = 2_000;

/// Rows of `web.visits`.
const VISITS: u64 = 3_000;

/// 2024-01-01 00:00 UTC, in seconds.
const FIRST_DAY_SECONDS: i64 = 1_704_067_200;

/// The market segments of TPC-H, with facts of a company of its own.
const SEGMENTS: &str = "code,segment,discount,owner\n\
    AUTOMOBILE,Cars and trucks,0.05,Ines\n\
    BUILDING,Building trade,0.03,Tomasz\n\
    FURNITURE,\"Furniture, home\",0.04,Ines\n\
    HOUSEHOLD,Household goods,0.02,\n\
    MACHINERY,Machinery,0.07,Yuki\n";

/// Numbers that are the same in every run (SplitMix64).
fn draw(number: u64, below: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

fn write_demo(out: &Path) -> Outcome<()> {
    fs::create_dir_all(out.join("ref"))?;
    fs::create_dir_all(out.join("web"))?;
    fs::write(out.join("ref/segments.csv"), SEGMENTS)?;
    let mut visits = BufWriter::new(File::create(out.join("web/visits.json"))?);
    for id in 0..VISITS {
        let channel = ["search", "mail", "direct", "partner"][draw(id * 5, 4) as usize];
        // Some visitors are not customers, and some visits have no end.
        let customer = (draw(id * 5 + 1, 10) > 0).then(|| 1 + draw(id * 5 + 2, CUSTOMERS));
        let seconds = (draw(id * 5 + 3, 5) > 0).then(|| draw(id * 5 + 4, 1_800));
        let line = serde_json::json!({
            "visit_id": id + 1, "customer_key": customer, "channel": channel, "seconds": seconds,
        });
        writeln!(visits, "{line}")?;
    }
    visits.flush()?;
    let mut rows = 0;
    for day in 0..DAYS {
        let folder = out.join(format!("web/hits/day=2024-01-{:02}", day + 1));
        fs::create_dir_all(&folder)?;
        let batch = hits(day)?;
        rows += batch.num_rows();
        let mut writer = TableWriter::create(
            &folder.join("part-0.parquet"),
            Format::Parquet,
            batch.schema(),
        )?;
        writer.write(&batch)?;
        writer.finish()?;
    }
    println!(
        "{}: ref.segments 5, web.visits {VISITS}, web.hits {rows} rows",
        out.display()
    );
    Ok(())
}

/// The page views of a day.
fn hits(day: i64) -> Outcome<RecordBatch> {
    let ids = || (0..HITS_PER_DAY).map(move |row| day as u64 * HITS_PER_DAY + row);
    let utc: Arc<str> = "UTC".into();
    let schema = Schema::new(vec![
        Field::new("hit_id", DataType::Int64, false),
        Field::new(
            "at",
            DataType::Timestamp(TimeUnit::Microsecond, Some(utc.clone())),
            false,
        ),
        Field::new("customer_key", DataType::Int64, true),
        Field::new("path", DataType::Utf8, false),
        Field::new("status", DataType::Int32, false),
        Field::new("milliseconds", DataType::Float64, false),
    ]);
    let midnight = FIRST_DAY_SECONDS + day * 86_400;
    let at = ids().map(|id| {
        (midnight + (id % HITS_PER_DAY * 43) as i64) * 1_000_000 + draw(id * 7, 1_000_000) as i64
    });
    let paths = ["/", "/search", "/cart", "/orders", "/help", "/item"];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids().map(|id| id as i64 + 1))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone(utc)),
        Arc::new(Int64Array::from_iter(ids().map(|id| {
            (draw(id * 7 + 1, 5) > 0).then(|| 1 + draw(id * 7 + 2, CUSTOMERS) as i64)
        }))),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| paths[draw(id * 7 + 3, 6) as usize]),
        )),
        Arc::new(Int32Array::from_iter_values(ids().map(|id| {
            [200, 200, 200, 200, 304, 404, 500][draw(id * 7 + 4, 7) as usize]
        }))),
        Arc::new(Float64Array::from_iter_values(
            ids().map(|id| draw(id * 7 + 5, 100_000) as f64 / 100.0),
        )),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
