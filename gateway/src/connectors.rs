//! The connectors of this build. A third party builds a binary of its own with one more line here.

use std::sync::Arc;

use sluice_catalogs::{Catalog, Catalogs};
use sluice_spi::{ConnectionBudgets, ConnectorContext, ConnectorFactory, Error};

/// Every connector.
pub fn factories() -> Vec<Box<dyn ConnectorFactory>> {
    vec![
        Box::new(sluice_connector_postgres::PostgresFactory),
        Box::new(sluice_connector_mysql::MySqlFactory),
        Box::new(sluice_connector_lake::LakeFactory),
        Box::new(sluice_connector_tpch::TpchFactory),
        Box::new(sluice_connector_memory::MemoryFactory),
    ]
}

/// Catalogs that need no server and no file: what a process without a configuration folder has.
const BUILT_IN: [&str; 2] = ["tpch", "memory"];

/// The catalogs of a configuration folder, or the built-in ones without a folder. `connections` says
/// how many connections each may open.
pub fn catalogs(
    dir: Option<&std::path::Path>,
    connections: &Arc<dyn ConnectionBudgets>,
) -> Result<Catalogs, Vec<Error>> {
    let factories = factories();
    let mut catalogs = Catalogs::new();
    match dir {
        Some(dir) => catalogs.load_dir(dir, &factories, connections)?,
        None => {
            for factory in factories.iter().filter(|f| BUILT_IN.contains(&f.name())) {
                let context = ConnectorContext {
                    catalog: factory.name().to_owned(),
                    config_dir: None,
                    connections: connections.clone(),
                };
                let connector = factory
                    .create(context, toml::Table::new())
                    .map_err(|error| vec![error])?;
                catalogs.add(Catalog::new(
                    factory.name().to_owned(),
                    factory.name(),
                    connector,
                ));
            }
        }
    }
    Ok(catalogs)
}

/// The names of the connectors.
pub fn names() -> Arc<[&'static str]> {
    factories().iter().map(|factory| factory.name()).collect()
}
