//! A private PostgreSQL server, and short ways to read through the connector.

#![allow(dead_code)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use sluice_connector_postgres::PostgresFactory;
use sluice_spi::{
    BatchStream, Connector, ConnectorContext, ConnectorFactory, Error, OpenSnapshot, ReadRequest,
    Result, ScanMetrics, SnapshotRead, SnapshotToken, Split, SplitRequest, TableHandle,
    TableMetadata,
};
use tokio_postgres::NoTls;

pub(crate) const PASSWORD: &str = "it's a \"secret\"";

/// A server with its own data folder and port, ended with this value.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    pub(crate) port: u16,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// The server that tests without harm to it share; it ends with the last of them.
    pub(crate) fn shared() -> Arc<Server> {
        let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Server::start());
        *shared = Arc::downgrade(&server);
        server
    }

    pub(crate) fn start() -> Server {
        Server::start_with("")
    }

    /// A server with more lines in its configuration.
    pub(crate) fn start_with(settings: &str) -> Server {
        let bin = binaries();
        let dir = tempfile::Builder::new()
            .prefix("sluice-pg-")
            .tempdir()
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let password_file = dir.path().join("password");
        std::fs::write(&password_file, PASSWORD).unwrap();
        if is_root() {
            run(Command::new("chown")
                .args(["-R", "postgres"])
                .arg(dir.path()));
        }
        let server = Server { dir, bin, port };
        run(server
            .as_postgres("initdb")
            .args([
                "-D",
                &server.data(),
                "-U",
                "postgres",
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .arg(format!("--pwfile={}", password_file.display())));
        let conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n\
             shared_buffers = 64MB\n{settings}\n"
        );
        append(&server.file("postgresql.conf"), &conf);
        server.up();
        server
    }

    pub(crate) fn data(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    pub(crate) fn up(&self) {
        run(self.as_postgres("pg_ctl").args([
            "start",
            "-w",
            "-s",
            "-D",
            &self.data(),
            "-l",
            &self.file("log").display().to_string(),
        ]));
    }

    /// `fast` tells sessions, `immediate` does not.
    pub(crate) fn down(&self, mode: &str) {
        run(self
            .as_postgres("pg_ctl")
            .args(["stop", "-w", "-s", "-D", &self.data(), "-m", mode]));
    }

    /// A program of the server's own, as a user that may run it.
    pub(crate) fn as_postgres(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command
            .current_dir("/")
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A plain client, beside the connector.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let config: tokio_postgres::Config = self.url().parse().unwrap();
        let (client, connection) = config
            .clone()
            .password(PASSWORD)
            .connect(NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs statements that return nothing.
    pub(crate) async fn sql(&self, text: &str) {
        self.client()
            .await
            .batch_execute(text)
            .await
            .unwrap_or_else(|e| panic!("{e:?}: {text}"));
    }

    pub(crate) fn catalog(&self) -> Arc<dyn Connector> {
        self.catalog_with("")
    }

    /// A catalog `shop` with more keys in its file.
    pub(crate) fn catalog_with(&self, keys: &str) -> Arc<dyn Connector> {
        let mut table: toml::Table = toml::from_str(keys).unwrap();
        table.entry("url").or_insert(self.url().into());
        table.entry("password").or_insert(PASSWORD.into());
        create(table).unwrap()
    }

    /// Waits until no statement of the connector runs.
    pub(crate) async fn wait_until_idle(&self, limit: Duration) {
        let client = self.client().await;
        let start = Instant::now();
        loop {
            let busy: i64 = client
                .query_one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice' AND state <> 'idle'", &[])
                .await
                .unwrap()
                .get(0);
            if busy == 0 {
                return;
            }
            assert!(
                start.elapsed() < limit,
                "{busy} statements still run after {limit:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Server {
    /// How many sessions the connector has.
    pub(crate) async fn sessions(&self, client: &tokio_postgres::Client) -> i64 {
        client
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice'",
                &[],
            )
            .await
            .unwrap()
            .get(0)
    }

    /// Waits until the connector has just this many sessions.
    pub(crate) async fn wait_for_sessions(&self, wanted: i64) {
        let client = self.client().await;
        let start = Instant::now();
        loop {
            let found = self.sessions(&client).await;
            if found == wanted {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{found} sessions, not {wanted}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self
            .as_postgres("pg_ctl")
            .args(["stop", "-w", "-s", "-D", &self.data(), "-m", "immediate"])
            .stderr(Stdio::null())
            .status();
    }
}

pub(crate) fn create(keys: toml::Table) -> Result<Arc<dyn Connector>> {
    PostgresFactory.create(ConnectorContext::local("shop", None), keys)
}

fn binaries() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    match (std::env::var_os("SLUICE_TEST_POSTGRES_BIN"), found.pop()) {
        (Some(bin), _) => bin.into(),
        (None, Some((_, bin))) => bin,
        (None, None) => panic!(
            "no PostgreSQL server was found: install it (Debian: apt install postgresql), or set \
             SLUICE_TEST_POSTGRES_BIN to the folder with initdb"
        ),
    }
}

fn is_root() -> bool {
    static ROOT: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ROOT.get_or_init(|| {
        Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|id| id.stdout.trim_ascii() == b"0")
    })
}

pub(crate) fn run(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}

pub(crate) fn append(path: &Path, text: &str) {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

struct NoMetrics;

impl ScanMetrics for NoMetrics {
    fn add_source_bytes(&self, _: usize) {}
    fn add_count(&self, _: &'static str, _: usize) {}
}

pub(crate) async fn table(catalog: &Arc<dyn Connector>, name: &str) -> TableMetadata {
    catalog
        .metadata()
        .table("public", name)
        .await
        .unwrap()
        .unwrap_or_else(|| panic!("no table {name}"))
}

/// What a read of all rows of `handle` is made of.
pub(crate) async fn splits(
    catalog: &Arc<dyn Connector>,
    handle: &TableHandle,
    parallelism: usize,
    limit: Option<usize>,
) -> Result<Vec<Split>> {
    let request = SplitRequest {
        query_id: "q".into(),
        parallelism,
        limit,
    };
    catalog.splits().splits(handle, &request).await
}

/// A read of one split.
pub(crate) fn open_split(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
    handle: &TableHandle,
    split: Split,
    projection: Vec<usize>,
    limit: Option<usize>,
    snapshot: Option<SnapshotToken>,
) -> Result<BatchStream> {
    catalog.reader().read(ReadRequest {
        query_id: "q".into(),
        handle: handle.clone(),
        split,
        schema: table.arrow_schema(),
        projection,
        limit,
        dynamic_filters: Vec::new(),
        snapshot,
        batch_rows: 8192,
        metrics: Arc::new(NoMetrics),
    })
}

/// A read of all rows of `handle` by one statement.
pub(crate) async fn open(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
    handle: &TableHandle,
    projection: Vec<usize>,
    limit: Option<usize>,
) -> Result<BatchStream> {
    let mut splits = splits(catalog, handle, 1, limit).await?;
    assert_eq!(splits.len(), 1);
    let split = splits.remove(0);
    open_split(catalog, table, handle, split, projection, limit, None)
}

pub(crate) async fn read(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
    handle: &TableHandle,
    projection: Vec<usize>,
    limit: Option<usize>,
) -> Result<Vec<RecordBatch>> {
    open(catalog, table, handle, projection, limit)
        .await?
        .try_collect()
        .await
}

/// A snapshot for those splits.
pub(crate) async fn snapshot(
    catalog: &Arc<dyn Connector>,
    handle: &TableHandle,
    splits: &[Split],
) -> Result<Option<OpenSnapshot>> {
    let reads = [SnapshotRead {
        handle,
        splits: splits.iter().collect(),
    }];
    catalog.snapshots().unwrap().open(&reads).await
}

/// Every column of every row.
pub(crate) async fn read_all(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
) -> Result<Vec<RecordBatch>> {
    read(
        catalog,
        table,
        &table.handle,
        (0..table.columns.len()).collect(),
        None,
    )
    .await
}

pub(crate) fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

pub(crate) fn fails<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error,
    }
}
