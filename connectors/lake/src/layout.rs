//! Folders and files → schemas, tables and their data files.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use sluice_spi::{ConnectorContext, Error, Result, SqlState};

use crate::config::{ColumnConfig, Compression, FileFormat, LakeConfig, TextOptions, classify};
use crate::error::{listing_error, store_error};
use crate::location::Location;
use crate::partitions::folders;
use crate::store::Stores;

/// A table of more files is refused: its listing alone would take hundreds of megabytes.
const MAX_FILES: usize = 500_000;
/// Listings kept. Each holds some 200 bytes a file.
const MAX_LISTINGS: usize = 256;
/// Listings that running queries share between their scans; the oldest goes first. Most queries need one for each
/// of their tables, and only until they are planned.
const MAX_QUERY_LISTINGS: usize = 256;
/// S3 lists 1,000 keys a request and bills each; new files may wait this long.
const REMOTE_LISTING_TTL: Duration = Duration::from_secs(10);

/// Finds tables and their files.
pub(crate) struct Layout {
    catalog: String,
    root: Option<Location>,
    tables: BTreeMap<(String, String), TableSource>,
    csv: TextOptions,
    ttl: Option<Duration>,
    stores: Arc<Stores>,
    listings: Mutex<HashMap<String, KeptListing>>,
    query_listings: Mutex<VecDeque<QueryListing>>,
}

/// Where a table's files are, and how they are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableSource {
    pub(crate) location: Location,
    pub(crate) format: Option<FileFormat>,
    pub(crate) text: TextOptions,
    pub(crate) columns: Vec<ColumnConfig>,
}

/// A listing, when it was made, and [`Stores::changes`] at that time.
struct KeptListing {
    at: Instant,
    changes: u64,
    listing: Arc<Listing>,
}

/// The listing that all scans of a query read by, and [`Stores::changes`] when it was chosen.
struct QueryListing {
    query: Arc<str>,
    table: String,
    changes: u64,
    listing: Arc<Listing>,
}

/// A table's files.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) format: FileFormat,
    /// The partition columns' names.
    pub(crate) keys: Vec<String>,
    /// In the order of their paths.
    pub(crate) files: Vec<DataFile>,
}

/// A file with data.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) meta: ObjectMeta,
    pub(crate) compression: Compression,
    /// One value per key.
    pub(crate) partition: Vec<Option<String>>,
}

impl Listing {
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.meta.size).sum()
    }
}

impl Layout {
    pub(crate) fn new(
        context: &ConnectorContext,
        config: &LakeConfig,
        stores: Arc<Stores>,
    ) -> Result<Self> {
        let place = format!("catalogs/{}.toml", context.catalog);
        let refuse = |message: String| {
            Error::new(SqlState::CONFIG_FILE_ERROR, format!("{place}: {message}"))
        };
        let dir = context.config_dir.as_deref();
        let parse = |text: &str| {
            Location::parse(text, dir).map_err(|e| Error {
                message: format!("{place}: {}", e.message),
                ..e
            })
        };
        if config.location.is_none() && config.tables.is_empty() {
            return Err(refuse(
                "neither \"location\" nor [tables] is set".to_owned(),
            ));
        }
        let root = config.location.as_deref().map(parse).transpose()?;
        config.csv.check(&place)?;
        let mut tables = BTreeMap::new();
        for (name, table) in &config.tables {
            let (schema, short) = name
                .split_once('.')
                .filter(|(schema, table)| !schema.is_empty() && !table.is_empty())
                .ok_or_else(|| refuse(format!("[tables.\"{name}\"] is not \"SCHEMA.TABLE\"")))?;
            let location = match (&table.location, &root) {
                (Some(location), _) => parse(location)?,
                (None, Some(root)) => root.child(schema).child(short),
                (None, None) => {
                    return Err(refuse(format!("[tables.\"{name}\"] has no \"location\"")));
                }
            };
            let text = table.csv.clone().unwrap_or_else(|| config.csv.clone());
            text.check(&place)?;
            for column in &table.columns {
                crate::infer::column_type(&column.data_type).ok_or_else(|| {
                    refuse(format!(
                        "column \"{}\" of \"{name}\" has the unknown type \"{}\"",
                        column.name, column.data_type
                    ))
                })?;
            }
            let source = TableSource {
                location,
                format: table.format,
                text,
                columns: table.columns.clone(),
            };
            tables.insert((schema.to_owned(), short.to_owned()), source);
        }
        Ok(Layout {
            catalog: context.catalog.clone(),
            root,
            tables,
            csv: config.csv.clone(),
            ttl: config.listing_ttl_seconds.map(Duration::from_secs),
            stores,
            listings: Mutex::default(),
            query_listings: Mutex::default(),
        })
    }

    /// Where the catalog begins, for messages.
    pub(crate) fn place(&self) -> String {
        self.root
            .as_ref()
            .map_or_else(|| "its tables' own places".to_owned(), Location::to_string)
    }

    /// Every schema.
    pub(crate) async fn schemas(&self) -> Result<Vec<String>> {
        let mut names: BTreeSet<String> = self
            .tables
            .keys()
            .map(|(schema, _)| schema.clone())
            .collect();
        if let Some(root) = &self.root {
            if let Some(path) = root.local_path() {
                // A folder that is not there lists as empty; the user means a folder that is.
                tokio::fs::metadata(&path).await.map_err(|e| {
                    self.own(
                        Error::new(SqlState::IO_ERROR, format!("could not open \"{root}\""))
                            .with_detail(e.to_string()),
                    )
                })?;
            }
            let (folders, _) = self.children(root).await?;
            names.extend(folders.into_iter().map(|(name, _)| name));
        }
        Ok(names.into_iter().collect())
    }

    /// Every table of a schema.
    pub(crate) async fn tables(&self, schema: &str) -> Result<BTreeMap<String, TableSource>> {
        let mut found = BTreeMap::new();
        if let Some(root) = &self.root {
            let (schemas, _) = self.children(root).await?;
            if let Some((_, path)) = schemas.into_iter().find(|(name, _)| name == schema) {
                let (folders, files) = self.children(&root.at(&path)).await?;
                // Folders last: where a folder and a file have one name, the folder is the table.
                for (name, path) in files.into_iter().chain(folders) {
                    // Spark names folders like files.
                    let (_, _, stem) = classify(&name);
                    let source = TableSource {
                        location: root.at(&path),
                        format: None,
                        text: self.csv.clone(),
                        columns: Vec::new(),
                    };
                    found.insert(stem.to_owned(), source);
                }
            }
        }
        for ((_, name), source) in self.tables.iter().filter(|((s, _), _)| s == schema) {
            found.insert(name.clone(), source.clone());
        }
        Ok(found)
    }

    /// One table.
    pub(crate) async fn find(&self, schema: &str, table: &str) -> Result<Option<TableSource>> {
        if let Some(source) = self.tables.get(&(schema.to_owned(), table.to_owned())) {
            return Ok(Some(source.clone()));
        }
        Ok(self.tables(schema).await?.remove(table))
    }

    /// Names and paths of the folders, and of the data files, right below a place.
    async fn children(
        &self,
        place: &Location,
    ) -> Result<(Vec<(String, Path)>, Vec<(String, Path)>)> {
        let store = self.stores.of(place)?;
        let listed = store
            .objects
            .list_with_delimiter(Some(&place.path))
            .await
            .map_err(|e| self.own(listing_error(&place.to_string(), &e)))?;
        let named = |path: Path| {
            let name = path.filename()?.to_owned();
            (!is_hidden(&name)).then_some((name, path))
        };
        let folders = listed
            .common_prefixes
            .into_iter()
            .filter_map(named)
            .collect();
        let files = listed
            .objects
            .into_iter()
            .filter_map(|meta| named(meta.location))
            .filter(|(name, _)| classify(name).0.is_some())
            .collect();
        Ok((folders, files))
    }

    /// A table's files, from a recent listing where one is kept. `format` is the one its catalog file
    /// names; without it the files' names decide.
    pub(crate) async fn files(
        &self,
        location: &Location,
        format: Option<FileFormat>,
    ) -> Result<Arc<Listing>> {
        let store = self.stores.of(location)?;
        let ttl = self.ttl.unwrap_or(if store.local {
            Duration::ZERO
        } else {
            REMOTE_LISTING_TTL
        });
        let key = table_key(location, format);
        let changes = self.stores.changes();
        if let Some(kept) = self.listings.lock().get(&key)
            && kept.at.elapsed() < ttl
            && kept.changes == changes
        {
            return Ok(kept.listing.clone());
        }
        let listing = Arc::new(
            self.list(store.objects.as_ref(), location, format)
                .await
                .map_err(|e| self.own(e))?,
        );
        if !ttl.is_zero() {
            let mut kept = self.listings.lock();
            if kept.len() >= MAX_LISTINGS {
                kept.retain(|_, entry| entry.at.elapsed() < ttl);
                if kept.len() >= MAX_LISTINGS {
                    kept.clear();
                }
            }
            kept.insert(
                key,
                KeptListing {
                    at: Instant::now(),
                    changes,
                    listing: listing.clone(),
                },
            );
        }
        Ok(listing)
    }

    /// The same, and for each scan of one query the same files.
    pub(crate) async fn files_of_query(
        &self,
        location: &Location,
        format: Option<FileFormat>,
        query: &Arc<str>,
    ) -> Result<Arc<Listing>> {
        let table = table_key(location, format);
        let changes = self.stores.changes();
        let chosen = |chosen: &VecDeque<QueryListing>| {
            chosen
                .iter()
                .find(|c| c.query == *query && c.table == table && c.changes == changes)
                .map(|c| c.listing.clone())
        };
        if let Some(listing) = chosen(&self.query_listings.lock()) {
            return Ok(listing);
        }
        let listing = self.files(location, format).await?;
        let mut listings = self.query_listings.lock();
        // Another scan of the query may have been faster.
        if let Some(listing) = chosen(&listings) {
            return Ok(listing);
        }
        if listings.len() >= MAX_QUERY_LISTINGS {
            listings.pop_front();
        }
        listings.push_back(QueryListing {
            query: query.clone(),
            table,
            changes,
            listing: listing.clone(),
        });
        Ok(listing)
    }

    async fn list(
        &self,
        objects: &dyn ObjectStore,
        location: &Location,
        format: Option<FileFormat>,
    ) -> Result<Listing> {
        let root = &location.path;
        let mut metas: Vec<ObjectMeta> = Vec::new();
        let mut stream = objects.list(Some(root));
        while let Some(meta) = stream
            .try_next()
            .await
            .map_err(|e| listing_error(&location.to_string(), &e))?
        {
            if is_data_file(root, &meta) {
                metas.push(meta);
            }
            if metas.len() > MAX_FILES {
                return Err(Error::new(
                    SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                    format!("\"{location}\" holds more than {MAX_FILES} files"),
                ));
            }
        }
        if metas.is_empty() {
            // Not a folder: a single file, or nothing.
            match objects.head(root).await {
                Ok(meta) => metas.push(meta),
                Err(object_store::Error::NotFound { .. }) => return Err(empty(location)),
                // What a local folder answers.
                Err(_) if location.local_path().is_some_and(|path| path.is_dir()) => {
                    return Err(empty(location));
                }
                Err(e) => return Err(store_error(&location.to_string(), &e)),
            }
        }
        metas.sort_by(|a, b| a.location.cmp(&b.location));
        arrange(location, format, metas)
    }

    fn own(&self, error: Error) -> Error {
        error.with_source(&self.catalog)
    }
}

fn empty(location: &Location) -> Error {
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("\"{location}\" holds no data files"),
    )
    .with_hint("Files and folders whose names begin with \"_\" or \".\" are ignored.")
}

/// What other engines write beside data: `_SUCCESS`, `.crc`, `_temporary/…`. A partition folder may
/// begin so all the same.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

fn is_data_file(root: &Path, meta: &ObjectMeta) -> bool {
    let Some(parts) = meta.location.prefix_match(root) else {
        return false;
    };
    let mut depth = 0;
    for part in parts {
        if is_hidden(part.as_ref()) {
            return false;
        }
        depth += 1;
    }
    // The root itself is a single file, or S3's marker of an empty folder.
    depth > 0
}

/// Gives every file its format, compression and partition, and checks that they agree.
fn arrange(
    location: &Location,
    format: Option<FileFormat>,
    metas: Vec<ObjectMeta>,
) -> Result<Listing> {
    let mut found: Option<(FileFormat, String)> = None;
    let mut keys: Option<(Vec<String>, String)> = None;
    let mut files = Vec::with_capacity(metas.len());
    for meta in metas {
        let name = meta.location.filename().unwrap_or_default().to_owned();
        let (own_format, compression, _) = classify(&name);
        let Some(file_format) = format.or(own_format) else {
            continue;
        };
        match &found {
            Some((first, other)) if *first != file_format => {
                return Err(Error::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!(
                        "\"{location}\" mixes formats: \"{other}\" is {first}, \"{}\" is {file_format}",
                        location.at(&meta.location)
                    ),
                )
                .with_hint("Give each format a folder of its own, or name the format in the catalog's file."));
            }
            Some(_) => {}
            None => found = Some((file_format, location.at(&meta.location).to_string())),
        }
        let (own_keys, partition): (Vec<_>, Vec<_>) =
            folders(&location.path, &meta.location).into_iter().unzip();
        match &keys {
            Some((first, other)) if *first != own_keys => {
                return Err(Error::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!(
                        "\"{location}\" is partitioned in two ways: by ({}) at \"{other}\", by ({}) at \"{}\"",
                        first.join(", "),
                        own_keys.join(", "),
                        meta.location
                    ),
                ));
            }
            Some(_) => {}
            None => keys = Some((own_keys, meta.location.to_string())),
        }
        files.push(DataFile {
            meta,
            compression,
            partition,
        });
    }
    let Some((format, _)) = found else {
        return Err(empty(location));
    };
    Ok(Listing {
        format,
        keys: keys.map(|(keys, _)| keys).unwrap_or_default(),
        files,
    })
}

fn table_key(location: &Location, format: Option<FileFormat>) -> String {
    format!("{location}|{format:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(path: &str) -> ObjectMeta {
        ObjectMeta {
            location: Path::parse(path).unwrap(),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: 1,
            e_tag: None,
            version: None,
        }
    }

    #[test]
    fn files_that_other_engines_leave_are_ignored() {
        let root = Path::parse("s/t").unwrap();
        let check =
            |path: &str, data: bool| assert_eq!(is_data_file(&root, &meta(path)), data, "{path}");
        check("s/t/a.parquet", true);
        check("s/t/k=1/a.parquet", true);
        check("s/t/_k=1/a.parquet", true);
        check("s/t/_SUCCESS", false);
        check("s/t/.a.parquet.crc", false);
        check("s/t/_temporary/0/a.parquet", false);
        check("s/t", false);
        check("s/tt/a.parquet", false);
    }

    #[test]
    fn files_must_agree() {
        let place = Location::parse("/s/t", None).unwrap();
        let arranged =
            |paths: &[&str]| arrange(&place, None, paths.iter().map(|p| meta(p)).collect());
        let listing = arranged(&[
            "s/t/a=1/x.parquet",
            "s/t/a=2/y.parquet",
            "s/t/a=2/README.md",
        ])
        .unwrap();
        assert_eq!(
            (listing.files.len(), listing.keys),
            (2, vec!["a".to_owned()])
        );
        let mixed = arranged(&["s/t/x.csv", "s/t/x.json"]).unwrap_err();
        assert_eq!(
            mixed.message,
            "\"/s/t\" mixes formats: \"/s/t/x.csv\" is csv, \"/s/t/x.json\" is json"
        );
        let crooked = arranged(&["s/t/a=1/x.csv", "s/t/b=1/x.csv"]).unwrap_err();
        assert!(
            crooked.message.contains("partitioned in two ways"),
            "{crooked}"
        );
        assert_eq!(
            arranged(&["s/t/x.txt"]).unwrap_err().message,
            "\"/s/t\" holds no data files"
        );
    }
}
