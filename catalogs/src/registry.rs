//! The catalogs of this process by name, and how they are made from their files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sluice_spi::{
    ConnectionBudgets, Connector, ConnectorContext, ConnectorFactory, Error, Result, SqlState,
    interpolate, nearest,
};

use crate::cache::{METADATA_TTL, MetadataCache};

/// One configured catalog with its cache.
pub struct Catalog {
    name: String,
    connector_name: &'static str,
    connector: Arc<dyn Connector>,
    cache: MetadataCache,
}

impl Catalog {
    /// A catalog of that name over `connector`.
    pub fn new(name: String, connector_name: &'static str, connector: Arc<dyn Connector>) -> Self {
        let cache = MetadataCache::new(connector.clone(), METADATA_TTL);
        Catalog {
            name,
            connector_name,
            connector,
            cache,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The connector's name, for people only: the engine never decides by it.
    pub fn connector_name(&self) -> &'static str {
        self.connector_name
    }

    /// The source.
    pub fn connector(&self) -> &Arc<dyn Connector> {
        &self.connector
    }

    /// Names and columns, cached.
    pub fn metadata(&self) -> &MetadataCache {
        &self.cache
    }
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalog({}: {})", self.name, self.connector_name)
    }
}

/// Every catalog of this process. Fixed after start.
#[derive(Debug, Default)]
pub struct Catalogs {
    by_name: BTreeMap<String, Arc<Catalog>>,
}

impl Catalogs {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a catalog; a second one of the same name takes the first one's place.
    pub fn add(&mut self, catalog: Catalog) {
        self.by_name.insert(catalog.name.clone(), Arc::new(catalog));
    }

    /// The catalog of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Catalog>> {
        self.by_name.get(name)
    }

    /// The catalog of that name, or an error with the nearest one as a hint.
    pub fn require(&self, name: &str) -> Result<&Arc<Catalog>> {
        self.get(name).ok_or_else(|| {
            let error = Error::new(
                SqlState::INVALID_CATALOG_NAME,
                format!("catalog \"{name}\" does not exist"),
            );
            match nearest(name, self.names()) {
                Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                None => error.with_hint(format!(
                    "Catalogs: {}.",
                    self.names().collect::<Vec<_>>().join(", ")
                )),
            }
        })
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Catalogs in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Catalog>> {
        self.by_name.values()
    }

    /// Reads `DIR/catalogs/*.toml`. Every file is checked, so that all errors come at once.
    pub fn load_dir(
        &mut self,
        dir: &Path,
        factories: &[Box<dyn ConnectorFactory>],
        connections: &Arc<dyn ConnectionBudgets>,
    ) -> std::result::Result<(), Vec<Error>> {
        let folder = dir.join("catalogs");
        if !folder.exists() {
            return Ok(());
        }
        let unreadable = |e: std::io::Error| {
            vec![config_error(format!(
                "could not read {}: {e}",
                folder.display()
            ))]
        };
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .map_err(unreadable)?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect();
        files.sort();
        let mut errors = Vec::new();
        for path in files {
            match load_file(&path, dir, factories, connections) {
                Ok(catalog) => self.add(catalog),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

fn load_file(
    path: &Path,
    dir: &Path,
    factories: &[Box<dyn ConnectorFactory>],
    connections: &Arc<dyn ConnectionBudgets>,
) -> Result<Catalog> {
    let place = format!(
        "catalogs/{}",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    check_name(&place, &name)?;
    let text = std::fs::read_to_string(path)
        .map_err(|e| config_error(format!("could not read {}: {e}", path.display())))?;
    let mut keys = text
        .parse::<toml::Table>()
        .map_err(|e| config_error(format!("{place}: {}", e.message())))?;
    for (_, value) in keys.iter_mut() {
        interpolate(value, Some(dir)).map_err(|e| e.prefixed(&place))?;
    }
    let connector_name = match keys.remove("connector") {
        Some(toml::Value::String(name)) => name,
        _ => {
            return Err(
                config_error(format!("{place}: the key \"connector\" is missing")).with_hint(
                    format!("Write connector = \"…\", one of: {}.", known(factories)),
                ),
            );
        }
    };
    let Some(factory) = factories.iter().find(|f| f.name() == connector_name) else {
        let error = config_error(format!("{place}: unknown connector \"{connector_name}\""));
        return Err(
            match nearest(&connector_name, factories.iter().map(|f| f.name())) {
                Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                None => error.with_hint(format!("Known connectors: {}.", known(factories))),
            },
        );
    };
    let context = ConnectorContext {
        catalog: name.clone(),
        config_dir: Some(dir.to_path_buf()),
        connections: connections.clone(),
    };
    let connector = factory
        .create(context, keys)
        .map_err(|e| e.prefixed(&place))?;
    Ok(Catalog::new(name, factory.name(), connector))
}

/// `sluice` is the database that shows every catalog, and `system` the built-in one.
fn check_name(place: &str, name: &str) -> Result<()> {
    if matches!(
        name,
        "sluice" | "system" | "pg_catalog" | "information_schema"
    ) {
        return Err(
            config_error(format!("{place}: the name \"{name}\" is reserved"))
                .with_hint("Rename the file."),
        );
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(
            config_error(format!("{place}: \"{name}\" cannot be a catalog's name"))
                .with_hint("Use lower-case letters, digits, \"_\" and \"-\"."),
        );
    }
    Ok(())
}

fn known(factories: &[Box<dyn ConnectorFactory>]) -> String {
    factories
        .iter()
        .map(|f| f.name())
        .collect::<Vec<_>>()
        .join(", ")
}

fn config_error(message: String) -> Error {
    Error::new(SqlState::CONFIG_FILE_ERROR, message)
}
