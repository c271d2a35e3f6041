//! The same tables through an S3 server (versitygw, over a folder). Skipped, and said so, where it is not
//! installed: in `PATH`, or in `bin` of the cache folder.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use common::*;
use datafusion::logical_expr::{col, lit};
use sluice_spi::SqlState;

/// Time in which the server starts; it takes a tenth of a second on an idle machine.
const START_MAX: Duration = Duration::from_secs(20);

fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .map(|cache| cache.join("sluice/bin"));
    std::env::split_paths(&std::env::var_os("PATH")?)
        .chain(cache)
        .map(|folder| folder.join("versitygw"))
        .find(|path| path.is_file())
}

/// A server that ends with the test.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(program: &Path, folder: &Path) -> Server {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let listen = format!("127.0.0.1:{port}");
        let process = Command::new(program)
            .args([
                "--access", "key", "--secret", "secret", "--port", &listen, "posix",
            ])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { process, port };
        let begin = Instant::now();
        while TcpStream::connect(&listen).is_err() {
            assert!(begin.elapsed() < START_MAX, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn lake(&self, location: &str, secret: &str) -> Arc<dyn sluice_spi::Connector> {
        let keys = format!(
            "location = '{location}'\nlisting_ttl_seconds = 0\n[s3]\nendpoint = 'http://127.0.0.1:{}'\n\
             access_key = 'key'\nsecret_key = '{secret}'",
            self.port
        );
        catalog(toml::from_str(&keys).unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_read_like_a_folder() {
    let Some(program) = program() else {
        eprintln!("skipped: no versitygw");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let bucket = dir.path().join("lakehouse");
    let ids: Int64Array = (0..10_000i64).collect();
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap();
    for day in ["2024-01-01", "2024-01-02"] {
        let path = format!("data/web/hits/day={day}/a.parquet");
        write_parquet(&bucket.join(path), std::slice::from_ref(&batch), 1_000);
    }
    write_text(
        &bucket.join("data/web/names.csv"),
        "id,name\n1,one\n2,two\n",
    );
    let server = Server::start(&program, dir.path());
    let lake = server.lake("s3://lakehouse/data", "secret");

    assert_eq!(lake.metadata().schemas().await.unwrap(), ["web"]);
    let names = table(&lake, "web", "names").await;
    assert_eq!(
        Scan::default().rows(&lake, &names).await,
        ["1,one", "2,two"]
    );
    let hits = table(&lake, "web", "hits").await;
    let scan = Scan {
        filters: vec![col("id").eq(lit(4_321i64))],
        ..Scan::default()
    };
    assert_eq!(
        scan.rows(&lake, &hits).await,
        ["4321,2024-01-01", "4321,2024-01-02"]
    );
    assert_eq!(
        scan.counts.get("row groups pruned"),
        18,
        "{:?}",
        scan.counts.named
    );
    assert!(*scan.counts.bytes.lock() > 0);

    // Planned, then replaced.
    let planned = splits(&lake, &hits.handle, 1).await.unwrap();
    let path = bucket.join("data/web/hits/day=2024-01-01/a.parquet");
    write_parquet(&path, &[batch.slice(0, 5_000)], 1_000);
    let mut failed = None;
    for split in planned {
        use futures::TryStreamExt;
        let request = Scan::default().request(&hits, &hits.handle, split);
        let read = lake.reader().read(request).unwrap();
        failed = read.try_collect::<Vec<_>>().await.err().or(failed);
    }
    let error = failed.unwrap();
    assert_eq!(
        error.code,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "{error:?}"
    );

    let error = server
        .lake("s3://lakehouse/data", "wrong")
        .metadata()
        .schemas()
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.code, SqlState::CONNECTION_REJECTED, "{error:?}");
    assert!(
        !format!("{error:?}").contains("wrong"),
        "no secret: {error:?}"
    );
    let error = server
        .lake("s3://elsewhere/data", "secret")
        .metadata()
        .schemas()
        .await;
    let error = error.unwrap_err();
    assert!(error.message.ends_with("does not exist"), "{error:?}");
    drop(server);
    let error = lake.metadata().schemas().await.unwrap_err();
    assert_eq!(error.code, SqlState::CONNECTION_FAILURE, "{error:?}");
}
