//! How fast a table comes in, in one piece and in several, beside the server's own COPY to nowhere, and how long a key lookup takes.
//!
//! `cargo run --release -p sluice-connector-postgres --example scan_rate -- [ROWS [THREADS]]`

#![allow(clippy::unwrap_used)] // a failure here has nobody to report to

#[path = "../tests/source/support.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use datafusion::prelude::{col, lit};
use futures::StreamExt;
use support::{PASSWORD, Server, open_split, read, snapshot, splits, table};

const ROUNDS: usize = 5;

/// Pieces that the table is read in.
const PIECES: [usize; 3] = [1, 2, 4];

fn main() {
    // A second argument gives the number of threads.
    let threads = std::env::args()
        .nth(2)
        .and_then(|threads| threads.parse().ok());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    let rows: u64 = std::env::args()
        .nth(1)
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(1_000_000);
    let server = Server::start();
    server
        .sql(&format!(
            "CREATE TABLE orders AS SELECT g::bigint AS o_orderkey, (g % 150000)::bigint AS o_custkey, 'O' AS o_orderstatus,
                 (g % 1000000 / 7.0)::numeric(15,2) AS o_totalprice, '1992-01-01'::date + (g % 2400)::int AS o_orderdate,
                 '5-LOW' AS o_orderpriority, 'Clerk#' || lpad((g % 1000)::text, 9, '0') AS o_clerk, 0 AS o_shippriority,
                 'carefully final requests about the deposits ' || g AS o_comment FROM generate_series(1, {rows}) g;
             ALTER TABLE orders ADD PRIMARY KEY (o_orderkey); ANALYZE orders"
        ))
        .await;
    let catalog = server.catalog();
    let orders = table(&catalog, "orders").await;
    let all: Vec<usize> = (0..orders.columns.len()).collect();

    let (mut ours, mut raw) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new());
    for _ in 0..ROUNDS {
        for (times, pieces) in ours.iter_mut().zip(PIECES) {
            let start = Instant::now();
            let cut = splits(&catalog, &orders.handle, pieces, None)
                .await
                .unwrap();
            assert_eq!(
                cut.len(),
                pieces,
                "the table is too small for so many pieces"
            );
            let opened = match pieces {
                1 => None,
                _ => snapshot(&catalog, &orders.handle, &cut).await.unwrap(),
            };
            let reads = cut.into_iter().map(|split| {
                let token = opened.as_ref().map(|snapshot| snapshot.token.clone());
                let stream = open_split(
                    &catalog,
                    &orders,
                    &orders.handle,
                    split,
                    all.clone(),
                    None,
                    token,
                );
                tokio::spawn(async move {
                    let mut stream = stream.unwrap();
                    let mut count = 0;
                    while let Some(batch) = stream.next().await {
                        count += batch.unwrap().num_rows() as u64;
                    }
                    count
                })
            });
            let mut count = 0;
            for read in reads.collect::<Vec<_>>() {
                count += read.await.unwrap();
            }
            assert_eq!(count, rows);
            times.push(start.elapsed());
        }

        let start = Instant::now();
        let status = Command::new("psql")
            .args([
                &server.url(),
                "-qc",
                "COPY (SELECT * FROM orders) TO STDOUT (FORMAT binary)",
            ])
            .env("PGPASSWORD", PASSWORD)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        raw.push(start.elapsed());
    }
    let raw = median(raw);
    let rate = |time: Duration| rows as f64 / time.as_secs_f64();
    println!(
        "{rows} rows: {:.0} rows/s by psql's COPY to /dev/null ({raw:?})",
        rate(raw)
    );
    for (times, pieces) in ours.into_iter().zip(PIECES) {
        let time = median(times);
        println!(
            "{pieces} pieces: {:.0} rows/s ({time:?}): {:.2}x",
            rate(time),
            raw.as_secs_f64() / time.as_secs_f64()
        );
    }

    let pushdown = catalog.pushdown().unwrap();
    let client = server.client().await;
    let statement = client
        .prepare("SELECT * FROM orders WHERE o_orderkey = $1")
        .await
        .unwrap();
    let (mut ours, mut native) = (Vec::new(), Vec::new());
    for key in (1..=2000i64).map(|n| n * 37 % rows as i64 + 1) {
        let start = Instant::now();
        let handle = pushdown
            .apply_filter(&orders, &orders.handle, &[col("o_orderkey").eq(lit(key))])
            .handle;
        let batches = read(&catalog, &orders, &handle, all.clone(), None)
            .await
            .unwrap();
        assert_eq!(batches[0].num_rows(), 1);
        ours.push(start.elapsed());
        let start = Instant::now();
        client.query_one(&statement, &[&key]).await.unwrap();
        native.push(start.elapsed());
    }
    println!(
        "key lookup p50: {:?} here, {:?} by the client library alone",
        median(ours),
        median(native)
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
