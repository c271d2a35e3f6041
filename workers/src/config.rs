//! The `[rpc]`, `[memory]` and `[worker]` sections of `sluice.toml`.
//!
//! The doc comments are the reference (`docs/config.md`). Nothing here opens a socket or a file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_spi::{ByteSize, Secret};

/// How the processes of one fleet reach each other.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RpcConfig {
    /// Address and port that other processes of the fleet connect to. Port 0 takes a free one. An
    /// address that is not loopback needs `secret`.
    pub listen: String,
    /// The `HOST:PORT` that other processes should use for this one, where that is not `listen` (for
    /// example behind port mapping). Without it, a wildcard `listen` announces the address of the
    /// machine's default route.
    pub advertise: Option<String>,
    /// The secret that every process of the fleet knows. Whoever has it can run any plan, so treat it
    /// like a superuser's password.
    pub secret: Option<Secret<String>>,
}

impl Default for RpcConfig {
    fn default() -> Self {
        RpcConfig {
            listen: "127.0.0.1:9480".to_owned(),
            advertise: None,
            secret: None,
        }
    }
}

/// How much memory and disk the process may use for queries.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Memory of the process. Four fifths of it are handed to queries; the rest is for what no query
    /// accounts for: protocol buffers, metadata, the program itself.
    pub limit: ByteSize,
    /// Where operators write what does not fit.
    pub spill: SpillConfig,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig {
            limit: ByteSize(2 << 30),
            spill: SpillConfig::default(),
        }
    }
}

/// Where and how much operators may write when memory runs out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpillConfig {
    /// Folder for spill files; the system's temporary folder when absent. It is created if it does not
    /// exist, and the files in it end with the process.
    pub path: Option<PathBuf>,
    /// Most bytes of spill files at any time; 0 forbids spilling.
    pub limit: ByteSize,
}

impl Default for SpillConfig {
    fn default() -> Self {
        SpillConfig {
            path: None,
            limit: ByteSize(32 << 30),
        }
    }
}

/// The task pool of the process.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Whether the gateway runs tasks itself, next to the workers that joined. It is asked last when a
    /// query uses fewer workers than there are.
    pub embedded: bool,
    /// Name of the worker in `system.runtime.workers`; a random one when absent. Two workers of one
    /// fleet must not share a name.
    pub id: Option<String>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig {
            embedded: true,
            id: None,
        }
    }
}

impl WorkerConfig {
    /// The configured name, or a random one.
    pub fn id_or_random(&self) -> String {
        self.id.clone().unwrap_or_else(|| {
            let random = uuid::Uuid::new_v4().simple().to_string();
            format!("worker-{}", &random[..8])
        })
    }
}
