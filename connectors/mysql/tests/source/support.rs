//! Short ways to read through the connector.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use sluice_connector_mysql::MySqlFactory;
use sluice_spi::{
    BatchStream, Connector, ConnectorContext, ConnectorFactory, Error, Expr, Pushed, ReadRequest,
    Result, ScanMetrics, SplitRequest, TableHandle, TableMetadata,
};

use crate::mariadb::{MariaDbServer, PASSWORD};

static SHARED: Mutex<Weak<MariaDbServer>> = Mutex::new(Weak::new());

/// The server that tests without harm to it share; it ends with the last of them.
pub(crate) fn shared() -> Arc<MariaDbServer> {
    let mut shared = SHARED.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(MariaDbServer::start());
    *shared = Arc::downgrade(&server);
    server
}

pub(crate) fn catalog(server: &MariaDbServer) -> Arc<dyn Connector> {
    catalog_with(server, "")
}

/// A catalog `shop` with more keys in its file.
pub(crate) fn catalog_with(server: &MariaDbServer, keys: &str) -> Arc<dyn Connector> {
    let mut table: toml::Table = toml::from_str(keys).unwrap();
    table.entry("url").or_insert(server.url().into());
    table.entry("password").or_insert(PASSWORD.into());
    create(table).unwrap()
}

pub(crate) fn create(keys: toml::Table) -> Result<Arc<dyn Connector>> {
    MySqlFactory.create(ConnectorContext::local("shop", None), keys)
}

/// Waits until nothing of the connector runs and no transaction is open.
pub(crate) async fn wait_until_idle(server: &MariaDbServer, limit: Duration) {
    let start = Instant::now();
    loop {
        let busy = server.busy_statements();
        if busy.is_empty() && server.open_transactions() == 0 {
            return;
        }
        assert!(start.elapsed() < limit, "after {limit:?} still: {busy}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct NoMetrics;

impl ScanMetrics for NoMetrics {
    fn add_source_bytes(&self, _: usize) {}
    fn add_count(&self, _: &'static str, _: usize) {}
}

pub(crate) async fn table(catalog: &Arc<dyn Connector>, name: &str) -> TableMetadata {
    catalog
        .metadata()
        .table("shop", name)
        .await
        .unwrap()
        .unwrap_or_else(|| panic!("no table {name}"))
}

/// A read of all rows of `handle`, whose columns are those of `schema`.
pub(crate) async fn open(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
    handle: &TableHandle,
    projection: Vec<usize>,
    limit: Option<usize>,
) -> Result<BatchStream> {
    read_of(catalog, handle, table.arrow_schema(), projection, limit).await
}

pub(crate) async fn read_of(
    catalog: &Arc<dyn Connector>,
    handle: &TableHandle,
    schema: arrow::datatypes::SchemaRef,
    projection: Vec<usize>,
    limit: Option<usize>,
) -> Result<BatchStream> {
    let request = SplitRequest {
        query_id: "q".into(),
        parallelism: 4,
        limit,
    };
    let splits = catalog.splits().splits(handle, &request).await?;
    let streams = splits
        .into_iter()
        .map(|split| {
            catalog.reader().read(ReadRequest {
                query_id: "q".into(),
                handle: handle.clone(),
                split,
                schema: schema.clone(),
                projection: projection.clone(),
                limit,
                dynamic_filters: Vec::new(),
                snapshot: None,
                batch_rows: 8192,
                metrics: Arc::new(NoMetrics),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Box::pin(futures::stream::select_all(streams)))
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

/// Every column of every row.
pub(crate) async fn read_all(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
) -> Result<Vec<RecordBatch>> {
    let all = (0..table.columns.len()).collect();
    read(catalog, table, &table.handle, all, None).await
}

pub(crate) fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// The rows as text, in order: columns between bars.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            lines.push(values.join("|"));
        }
    }
    lines.sort();
    lines
}

/// What the connector says of a filter, and the first column of the rows that it then returns.
pub(crate) async fn filtered(
    catalog: &Arc<dyn Connector>,
    table: &TableMetadata,
    filter: Expr,
) -> (Pushed, Vec<String>) {
    let answer = catalog
        .pushdown()
        .unwrap()
        .apply_filter(table, &table.handle, &[filter]);
    let found = read(catalog, table, &answer.handle, vec![0], None)
        .await
        .unwrap();
    (answer.outcome[0].clone(), lines(&found))
}

pub(crate) fn fails<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error,
    }
}
