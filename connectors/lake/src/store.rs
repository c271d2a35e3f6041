//! Object stores: opened once per bucket, with a footer cache each; and the pinned view of one that a
//! read goes through, which counts bytes and refuses files that changed since planning.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RetryConfig, coalesce_ranges,
};
use parking_lot::Mutex;
use sluice_spi::{Error, Result, ScanMetrics, SqlState};

use crate::config::S3Config;
use crate::error::{file_changed, store_error};
use crate::location::{Location, StoreKey};

/// Footers kept per store. A footer with page index takes some 100 KiB for a 1 GiB file.
const FOOTER_CACHE_BYTES: usize = 128 << 20;
/// A store that does not answer a connection attempt by then is down.
const S3_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No single request (one range of one object) takes longer on a working store.
const S3_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts after the first; S3 answers 503 under load and wants to be asked again.
const S3_RETRIES: usize = 4;
/// All attempts of one request together, so that a dead store is an error and no hang.
const S3_RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// An open store.
pub(crate) struct Store {
    /// The files.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// True for this machine's own disks.
    pub(crate) local: bool,
    /// Holds the footer cache: one per store, since it is keyed by path alone.
    pub(crate) runtime: Arc<RuntimeEnv>,
}

/// Every store of a catalog, opened at first use.
pub(crate) struct Stores {
    s3: S3Config,
    catalog: String,
    open: Mutex<HashMap<StoreKey, Arc<Store>>>,
    /// Counts the reads that found a listing to be old.
    changes: AtomicU64,
}

impl Stores {
    pub(crate) fn new(s3: S3Config, catalog: &str) -> Self {
        Stores {
            s3,
            catalog: catalog.to_owned(),
            open: Mutex::default(),
            changes: AtomicU64::new(0),
        }
    }

    /// Called where a read found files other than the listing said, so that the next one looks again.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that happened: a listing from before the last time is not used any more.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The catalog's name, for errors.
    pub(crate) fn catalog(&self) -> &str {
        &self.catalog
    }

    /// The store of a place. Does no I/O.
    pub(crate) fn of(&self, location: &Location) -> Result<Arc<Store>> {
        let mut open = self.open.lock();
        if let Some(store) = open.get(&location.store) {
            return Ok(store.clone());
        }
        let objects: Arc<dyn ObjectStore> = match &location.store {
            StoreKey::Local => Arc::new(LocalFileSystem::new()),
            StoreKey::S3(bucket) => self.open_bucket(bucket)?,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
            .build_arc()
            .map_err(|e| Error::internal(format!("could not set up the reader: {e}")))?;
        let store = Arc::new(Store {
            objects,
            local: location.store == StoreKey::Local,
            runtime,
        });
        open.insert(location.store.clone(), store.clone());
        Ok(store)
    }

    fn open_bucket(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let s3 = &self.s3;
        // Keys in the file win; only without them does the environment decide.
        let mut builder = if s3.access_key.is_some() {
            AmazonS3Builder::new()
        } else {
            AmazonS3Builder::from_env()
        };
        builder = builder
            .with_bucket_name(bucket)
            .with_region(s3.region.as_deref().unwrap_or("us-east-1"));
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(key) = &s3.access_key {
            builder = builder.with_access_key_id(key);
        }
        if let Some(secret) = &s3.secret_key {
            builder = builder.with_secret_access_key(secret.expose());
        }
        if let Some(token) = &s3.session_token {
            builder = builder.with_token(token.expose());
        }
        let plain_http = s3
            .endpoint
            .as_deref()
            .is_some_and(|e| e.starts_with("http://"));
        let allow_http = s3.allow_http.unwrap_or(plain_http);
        let path_style = s3.path_style.unwrap_or(s3.endpoint.is_some());
        let store = builder
            .with_virtual_hosted_style_request(!path_style)
            .with_skip_signature(s3.anonymous)
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(allow_http)
                    .with_connect_timeout(S3_CONNECT_TIMEOUT)
                    .with_timeout(S3_REQUEST_TIMEOUT),
            )
            .with_retry(RetryConfig {
                max_retries: S3_RETRIES,
                retry_timeout: S3_RETRY_TIMEOUT,
                ..RetryConfig::default()
            })
            .build()
            .map_err(|e| {
                Error::new(
                    SqlState::CONFIG_FILE_ERROR,
                    format!("[s3] of catalog \"{}\": {e}", self.catalog),
                )
            })?;
        Ok(Arc::new(store))
    }
}

/// A store as one read sees it: just the files of its split, at the versions the plan saw.
pub(crate) struct PinnedStore {
    inner: Arc<Store>,
    pinned: HashMap<Path, ObjectMeta>,
    /// Prints before a path in errors (`/` or `s3://bucket/`).
    prefix: String,
    metrics: Arc<dyn ScanMetrics>,
}

impl PinnedStore {
    pub(crate) fn new(
        inner: Arc<Store>,
        root: &Location,
        files: impl IntoIterator<Item = ObjectMeta>,
        metrics: Arc<dyn ScanMetrics>,
    ) -> Self {
        let pinned = files
            .into_iter()
            .map(|meta| (meta.location.clone(), meta))
            .collect();
        PinnedStore {
            inner,
            pinned,
            prefix: root.at(&Path::default()).to_string(),
            metrics,
        }
    }

    /// An error that keeps its code and file on the way through the engine.
    fn mark(&self, path: &Path, error: &object_store::Error) -> object_store::Error {
        self.marked(store_error(&format!("{}{path}", self.prefix), error))
    }

    fn marked(&self, error: Error) -> object_store::Error {
        object_store::Error::Generic {
            store: "lake",
            source: Box::new(DataFusionError::from(error)),
        }
    }

    /// Compares what a request found with what the plan saw.
    fn check(&self, path: &Path, found: &ObjectMeta) -> object_store::Result<()> {
        let Some(pinned) = self.pinned.get(path) else {
            return Ok(());
        };
        let same_tag = match (&pinned.e_tag, &found.e_tag) {
            (Some(planned), Some(now)) => planned == now,
            _ => pinned.last_modified == found.last_modified,
        };
        if same_tag && pinned.size == found.size {
            return Ok(());
        }
        Err(self.marked(file_changed(&format!("{}{path}", self.prefix))))
    }
}

#[async_trait]
impl ObjectStore for PinnedStore {
    async fn get_opts(
        &self,
        location: &Path,
        mut options: GetOptions,
    ) -> object_store::Result<GetResult> {
        if let Some(tag) = self
            .pinned
            .get(location)
            .and_then(|meta| meta.e_tag.clone())
        {
            options.if_match = Some(tag);
        }
        let result = self
            .inner
            .objects
            .get_opts(location, options)
            .await
            .map_err(|e| self.mark(location, &e))?;
        self.check(location, &result.meta)?;
        self.metrics
            .add_source_bytes((result.range.end - result.range.start) as usize);
        Ok(result)
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        if !self.inner.local {
            // Each request carries `If-Match`, and is counted, in `get_opts`.
            return coalesce_ranges(
                ranges,
                |range| self.get_range(location, range),
                OBJECT_STORE_COALESCE_DEFAULT,
            )
            .await;
        }
        let bytes = self
            .inner
            .objects
            .get_ranges(location, ranges)
            .await
            .map_err(|e| self.mark(location, &e))?;
        // Looked at after the read: had the file been replaced before, this would see the new one.
        let found = self
            .inner
            .objects
            .head(location)
            .await
            .map_err(|e| self.mark(location, &e))?;
        self.check(location, &found)?;
        self.metrics
            .add_source_bytes(bytes.iter().map(Bytes::len).sum());
        Ok(bytes)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.objects.list_with_delimiter(prefix).await
    }

    // A scan never writes.

    async fn put_opts(
        &self,
        _: &Path,
        _: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        Err(read_only("put"))
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(read_only("put"))
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        Box::pin(futures::stream::once(async { Err(read_only("delete")) }))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(read_only("copy"))
    }
}

fn read_only(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "lake scan".to_owned(),
    }
}

impl fmt::Display for PinnedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pinned {}", self.inner.objects)
    }
}

impl fmt::Debug for PinnedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
