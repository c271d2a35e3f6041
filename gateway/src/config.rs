//! `sluice.toml`: every key with its default; the doc comments are the reference.
//!
//! Three places set the same keys, the later ones over the earlier: the file, the environment
//! (`SLUICE_POSTGRES__LISTEN`), the command line (`--set postgres.listen=…`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use sluice_spi::{Error, Result, SqlState, interpolate, parse_section};
use sluice_workers::{MemoryConfig, RpcConfig, WorkerConfig};

/// The whole configuration of a process.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The PostgreSQL port.
    pub postgres: PostgresConfig,
    /// The HTTP port: page, API, metrics, health.
    pub http: HttpConfig,
    /// The port between processes of the fleet.
    pub rpc: RpcConfig,
    /// Memory and spill.
    pub memory: MemoryConfig,
    /// The task pool of the process.
    pub worker: WorkerConfig,
    /// How queries are planned.
    pub planner: PlannerSection,
    /// How the process ends.
    pub shutdown: ShutdownConfig,
}

/// The PostgreSQL port.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// Address and port. Port 0 takes a free one. An address that is not loopback needs users
    /// (`sluice user add`).
    pub listen: String,
    /// Sessions at once; more are refused with 53300.
    pub max_connections: usize,
    /// TLS. Without it connections are not encrypted.
    pub tls: Option<TlsConfig>,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        PostgresConfig {
            listen: "127.0.0.1:5480".to_owned(),
            max_connections: 200,
            tls: None,
        }
    }
}

/// Certificates of a port.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the certificate chain, PEM.
    pub cert: PathBuf,
    /// File with the private key, PEM.
    pub key: PathBuf,
    /// File with the certificates that may sign clients', PEM. With it, clients must show one.
    pub client_ca: Option<PathBuf>,
}

/// The HTTP port.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port. Port 0 takes a free one. It has no users of its own and shows the text of
    /// queries: keep it on the loopback or behind a proxy.
    pub listen: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: "127.0.0.1:8480".to_owned(),
        }
    }
}

/// How queries are planned.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlannerSection {
    /// Partitions of a task; 0 takes the number of the machine's CPUs.
    pub target_partitions: usize,
    /// Bytes of input from which on workers take part in a query; smaller queries stay in the
    /// coordinator, where they are faster. 1 MiB when absent.
    pub distribute_above: Option<sluice_spi::ByteSize>,
}

/// How the process ends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownConfig {
    /// How long running statements may go on after SIGTERM or SIGINT, in seconds. A second signal ends
    /// the process at once.
    pub grace: u64,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        ShutdownConfig { grace: 30 }
    }
}

impl ShutdownConfig {
    /// The grace.
    pub fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

/// Where the configuration lies: `--config`, `$SLUICE_CONFIG`, `/etc/sluice`, or nowhere.
pub fn config_dir(argument: Option<&Path>) -> Option<PathBuf> {
    if let Some(dir) = argument {
        return Some(dir.to_path_buf());
    }
    if let Some(dir) = std::env::var_os("SLUICE_CONFIG").filter(|dir| !dir.is_empty()) {
        return Some(dir.into());
    }
    let system = PathBuf::from("/etc/sluice");
    system.is_dir().then_some(system)
}

/// Reads `DIR/sluice.toml`, the environment and the `--set` arguments.
pub fn load(dir: Option<&Path>, overrides: &[String]) -> Result<Config> {
    let mut keys = toml::Table::new();
    if let Some(dir) = dir {
        if !dir.is_dir() {
            return Err(config_error(format!("{} is not a folder", dir.display())));
        }
        let path = dir.join("sluice.toml");
        if path.exists() {
            let text = std::fs::read_to_string(&path)
                .map_err(|e| config_error(format!("could not read {}: {e}", path.display())))?;
            keys = text.parse().map_err(|e: toml::de::Error| {
                config_error(format!("sluice.toml: {}", e.message()))
            })?;
        }
    }
    for (name, value) in std::env::vars() {
        // SLUICE_CONFIG names the folder itself; a key always has a section.
        if let Some(key) = name
            .strip_prefix("SLUICE_")
            .filter(|key| key.contains("__"))
        {
            set(&mut keys, &key.to_lowercase().replace("__", "."), &value)?;
        }
    }
    for assignment in overrides {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| config_error(format!("--set {assignment}: write KEY=VALUE")))?;
        set(&mut keys, key.trim(), value.trim())?;
    }
    for (_, value) in keys.iter_mut() {
        interpolate(value, dir).map_err(|e| e.prefixed("sluice.toml"))?;
    }
    // Section by section first, so that an error names its section.
    check_section::<PostgresConfig>("postgres", &keys)?;
    check_section::<HttpConfig>("http", &keys)?;
    check_section::<RpcConfig>("rpc", &keys)?;
    check_section::<MemoryConfig>("memory", &keys)?;
    check_section::<WorkerConfig>("worker", &keys)?;
    check_section::<PlannerSection>("planner", &keys)?;
    check_section::<ShutdownConfig>("shutdown", &keys)?;
    parse_section("sluice.toml", keys)
}

fn check_section<T: serde::de::DeserializeOwned>(section: &str, keys: &toml::Table) -> Result<()> {
    match keys.get(section) {
        Some(toml::Value::Table(table)) => {
            parse_section::<T>(&format!("sluice.toml, section [{section}]"), table.clone())
                .map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Sets `section.key` to a TOML value, or to a text where it is none.
fn set(keys: &mut toml::Table, path: &str, value: &str) -> Result<()> {
    let parsed = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut parts: Vec<&str> = path.split('.').collect();
    let Some(last) = parts.pop().filter(|last| !last.is_empty()) else {
        return Err(config_error(format!("\"{path}\" is not a key")));
    };
    let mut table = keys;
    for part in parts {
        let entry = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let toml::Value::Table(inner) = entry else {
            return Err(config_error(format!("\"{path}\" is not a key")));
        };
        table = inner;
    }
    table.insert(last.to_owned(), parsed);
    Ok(())
}

fn config_error(message: String) -> Error {
    Error::new(SqlState::CONFIG_FILE_ERROR, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_nested_keys_and_unknown_ones_are_refused() {
        let config = load(
            None,
            &[
                "postgres.listen=127.0.0.1:0".into(),
                "memory.spill.limit=1GiB".into(),
            ],
        )
        .unwrap();
        assert_eq!(config.postgres.listen, "127.0.0.1:0");
        assert_eq!(config.memory.spill.limit.0, 1 << 30);
        let error = load(None, &["postgres.lisen=x".into()]).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("Perhaps you meant \"listen\"."));
    }
}
