//! `plain-datafusion DATA QUERIES RUNS`: the 22 queries on DataFusion alone, over the files that Sluice reads.
//!
//! The peer of `make bench`: the same engine version and number of threads, without catalogs, protocol or
//! workers. Prints one line for each query: its number and the best time in seconds.

use std::path::{Path, PathBuf};
use std::time::Instant;

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use sluice_tests::tpch;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: plain-datafusion DATA QUERIES RUNS";
    let data = PathBuf::from(arguments.next().ok_or(usage)?);
    let queries = PathBuf::from(arguments.next().ok_or(usage)?);
    let runs: usize = arguments.next().ok_or(usage)?.parse()?;

    let context = context(&data).await?;
    for number in 1..=22 {
        let sql = std::fs::read_to_string(queries.join(format!("q{number:02}.sql")))?;
        let mut best = f64::INFINITY;
        for _ in 0..runs.max(1) {
            let begin = Instant::now();
            context.sql(&sql).await?.collect().await?;
            best = best.min(begin.elapsed().as_secs_f64());
        }
        println!("{number} {best}");
    }
    Ok(())
}

/// A session with every table's folder as a table, and as many partitions as the machine has cores.
async fn context(data: &Path) -> Outcome<SessionContext> {
    let threads = std::thread::available_parallelism()?.get();
    let config = SessionConfig::new().with_target_partitions(threads);
    let context = SessionContext::new_with_config(config);
    for table in tpch::TABLES {
        let folder = data.join(table);
        let path = folder.to_str().ok_or("the path is not UTF-8")?;
        context
            .register_parquet(table, path, ParquetReadOptions::default())
            .await?;
    }
    Ok(context)
}
