//! `sluice check`: says everything that is wrong with a configuration folder, or what is in it.

use std::sync::Arc;
use std::time::Duration;

use sluice_spi::{ConnectionBudgets, Error, LocalConnections, SqlState};

use super::process::runtime;
use super::{ConfigArgs, Failure, report};
use crate::{config, connectors};

/// How long a source may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks the folder; with `connect`, every source too.
pub(super) fn run(args: &ConfigArgs, connect: bool) -> Result<(), Failure> {
    let dir = config::config_dir(args.config.as_deref());
    config::load(dir.as_deref(), &args.set)?;
    let connections: Arc<dyn ConnectionBudgets> = LocalConnections::new();
    let catalogs =
        connectors::catalogs(dir.as_deref(), &connections).map_err(Failure::Configuration)?;
    match &dir {
        Some(dir) => println!("{}: configuration is valid", dir.display()),
        None => println!("no configuration folder: built-in defaults"),
    }
    if !connect {
        for catalog in catalogs.iter() {
            println!("  {} ({})", catalog.name(), catalog.connector_name());
        }
        return Ok(());
    }
    let mut failed = 0;
    runtime()?.block_on(async {
        for catalog in catalogs.iter() {
            let answer = tokio::time::timeout(PATIENCE, catalog.connector().ping()).await;
            let answer = answer.unwrap_or_else(|_| {
                let message = format!("no answer within {} s", PATIENCE.as_secs());
                Err(Error::new(SqlState::CONNECTION_FAILURE, message))
            });
            match answer {
                Ok(found) => println!(
                    "  {} ({}): {found}",
                    catalog.name(),
                    catalog.connector_name()
                ),
                Err(error) => {
                    failed += 1;
                    println!(
                        "  {} ({}): FAILED",
                        catalog.name(),
                        catalog.connector_name()
                    );
                    report(&error);
                }
            }
        }
    });
    if failed > 0 {
        let message = format!(
            "{failed} of {} catalogs do not answer",
            catalogs.names().count()
        );
        return Err(Failure::Other(Error::new(
            SqlState::CONNECTION_FAILURE,
            message,
        )));
    }
    Ok(())
}
