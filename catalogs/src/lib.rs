//! Names → things: catalogs and their files, the metadata cache, the scan node and its codec, functions,
//! `pg_catalog`, `information_schema` and the `system` catalog.
//!
//! What planner and workers both need lives here, so that they never import each other. Relies on the
//! connector contract and on the engine. Never plans, never opens a port.

mod cache;
mod codec;
pub mod functions;
pub mod keys;
mod options;
pub mod pg_catalog;
mod registry;
mod scan;
mod statistics;
mod system;
mod table;

pub use cache::{METADATA_TTL, MetadataCache};
pub use codec::SluiceCodec;
pub use options::SluiceOptions;
pub use registry::{Catalog, Catalogs};
pub use scan::{ConnectorScanExec, PushdownNote, ScanTarget, as_scan};
pub use system::{SYSTEM_CATALOG, SystemConnector, SystemTable};
pub use table::CatalogTable;
