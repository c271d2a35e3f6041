//! The keys of a `postgres` catalog file, and what they mean to the client library.
//!
//! Checks everything that can be checked without a network. Never connects, and never prints a password:
//! errors about the URL name the key, not its value.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use sluice_spi::{ByteSize, ConnectorContext, Error, Result, Secret, SqlState};
use tokio_postgres::config::SslMode;
use url::Url;

use crate::splits::SplitLimits;
use crate::tls::{TlsFiles, TlsMode};
use crate::types::TypeMapping;

/// A PostgreSQL database as a catalog.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Where the database is: `postgresql://user@host:port/database`. Several hosts, separated by commas,
    /// are tried in order. `sslmode` is one of `disable`, `prefer` (the default), `require`, `verify-ca`,
    /// `verify-full`. Further parameters are those of PostgreSQL's own connection URLs.
    pub url: String,
    /// The user, where the URL has none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password. Write `${ENV:NAME}` or `${FILE:path}` rather than the password itself.
    #[serde(default)]
    pub password: Option<Secret<String>>,
    /// Connections to the source at most, over the whole fleet.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Refuse every write to this catalog. When false, the source's own grants decide.
    #[serde(default)]
    pub read_only: bool,
    /// Allow `CALL CATALOG.system.execute('…')`, which runs any statement at the source under the catalog's
    /// own user. Whoever may use the catalog may then do there what that user may.
    #[serde(default)]
    pub allow_execute: bool,
    /// How long to wait for a connection to open (`"10s"`, `"500ms"`).
    #[serde(default = "default_connect_timeout", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How long to wait for one of `max_connections` to become free (`"30s"`).
    #[serde(default = "default_wait_timeout", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub wait_timeout: Duration,
    /// How long a connection may be idle before it is closed (`"5min"`). When another process of the fleet
    /// waits for one, idle connections are closed at once.
    #[serde(default = "default_idle_timeout", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
    /// Whether large tables are read in several pieces at once. `"auto"`: tables stored as heaps on servers
    /// since 14, and partitioned tables, by page ranges, when no index serves the query better. `"off"`: each
    /// table by one statement.
    #[serde(default)]
    pub splits: SplitMode,
    /// How large a piece is at least (`"16MB"`): smaller ones are not worth a statement.
    #[serde(default = "default_split_size")]
    pub split_size: ByteSize,
    /// What the statements of one query see. `"query"`: all of them the same moment, by a snapshot that one
    /// connection keeps while the query runs; it keeps the server from cleaning up rows that are younger.
    /// `"statement"`: each a moment of its own, and each table is read by one statement. That is also what
    /// happens when `url` names several hosts, `max_connections` is 1, or the server exports no snapshots.
    #[serde(default)]
    pub snapshot: SnapshotMode,
    /// How numerics without a precision arrive. `"decimal"`: as decimals of 76 digits, 20 of them after the
    /// point, and a value that does not fit is an error. `"text"`: as the server's own text, NaN, infinity and
    /// a thousand digits included, which is not calculated with.
    #[serde(default)]
    pub numeric: NumericMode,
    /// How arrays arrive. `"list"`: with as many dimensions as their column declares (`int[][]` has two), and
    /// a value of another shape is an error. `"text"`: as the server's own text.
    #[serde(default)]
    pub arrays: ArrayMode,
    /// What `infinity` and `-infinity` are as dates and timestamps. `"error"`: an error. `"keep"`: greater
    /// and smaller than every other value, printed as PostgreSQL prints them, but not to be calculated with.
    #[serde(default)]
    pub infinity: InfinityMode,
    /// A PEM file with the certificate authorities that `verify-ca` and `verify-full` trust. Without it
    /// they trust the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file with the client's certificate chain, for servers that ask for one. Needs `key`.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// A PEM file with the private key of `cert`.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// What it costs to move a byte from the source, relative to the engine's own work on it. Joins and
    /// aggregates run at the source where that saves more than it costs: raise this for a slow link, lower
    /// it for a source on the same machine whose tables are better read in parallel.
    #[serde(default = "default_transfer_cost")]
    pub transfer_cost: f64,
    /// How long a read waits for the keys of a join that are still being collected (`"10s"`), so that the
    /// source is asked for the rows with those keys alone. `"0s"` never waits. A session overrules it with
    /// `sluice.dynamic_filter_wait`.
    #[serde(default = "default_dynamic_filter_wait", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub dynamic_filter_wait: Duration,
    /// Server settings for each session, as in `"-c statement_timeout=60s"`.
    #[serde(default)]
    pub options: Option<String>,
}

/// How tables are cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SplitMode {
    /// Where it pays.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What the statements of a query see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotMode {
    /// All of them one moment.
    #[default]
    Query,
    /// Each its own.
    Statement,
}

/// How numerics without a precision arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumericMode {
    /// As decimals.
    #[default]
    Decimal,
    /// As text.
    Text,
}

/// How arrays arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArrayMode {
    /// As lists.
    #[default]
    List,
    /// As text.
    Text,
}

/// What infinite dates and timestamps are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InfinityMode {
    /// An error.
    #[default]
    Error,
    /// The extremes of their types.
    Keep,
}

/// What one connection reads in some tens of milliseconds: well above the cost of a statement.
fn default_split_size() -> ByteSize {
    ByteSize(16 << 20)
}

/// Enough for a handful of parallel queries, and well below PostgreSQL's default of 100.
fn default_max_connections() -> usize {
    16
}

/// A source in the same data centre.
fn default_transfer_cost() -> f64 {
    1.0
}

/// A server on a slow link answers within this; a dead one should not hold a query longer.
fn default_connect_timeout() -> Duration {
    Duration::from_secs(10)
}

/// Longer than most queries run, shorter than a client's patience.
fn default_wait_timeout() -> Duration {
    Duration::from_secs(30)
}

/// The wait ends as soon as the other side of the join is read, so this only bounds a slow one. Reading a
/// whole table at once would seldom be done before.
fn default_dynamic_filter_wait() -> Duration {
    Duration::from_secs(10)
}

/// Opening one costs some milliseconds, keeping one some megabytes at the server.
fn default_idle_timeout() -> Duration {
    Duration::from_secs(300)
}

/// Connections that a catalog may be given: more would be a mistake in the file.
const MAX_CONNECTIONS_LIMIT: usize = 10_000;

/// A checked configuration, ready for the pool.
pub(crate) struct Target {
    pub(crate) client: tokio_postgres::Config,
    pub(crate) tls_mode: TlsMode,
    pub(crate) tls_files: TlsFiles,
    pub(crate) max_connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) share_snapshots: bool,
    pub(crate) splits: SplitLimits,
    pub(crate) mapping: TypeMapping,
}

impl PostgresConfig {
    /// Checks the keys against each other and makes the client's configuration of them.
    pub(crate) fn target(&self, context: &ConnectorContext) -> Result<Target> {
        let catalog = &context.catalog;
        let bad = |message: String| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("catalog \"{catalog}\": {message}"),
            )
        };

        let (url, mut parameters) = split_parameters(&self.url).ok_or_else(|| {
            bad("\"url\" is not of the form postgresql://user@host:port/database".into())
        })?;
        let tls_mode = match parameters.take("sslmode") {
            None => TlsMode::Prefer,
            Some(mode) => TlsMode::parse(&mode).ok_or_else(|| {
                bad(format!("sslmode \"{mode}\" is unknown"))
                    .with_hint("Use disable, prefer, require, verify-ca or verify-full.")
            })?,
        };
        let file = |key: &Option<PathBuf>, parameter: Option<String>| {
            key.clone()
                .or(parameter.map(PathBuf::from))
                .map(|path| match &context.config_dir {
                    Some(dir) => dir.join(path),
                    None => path,
                })
        };
        let tls_files = TlsFiles {
            ca: file(&self.ca, parameters.take("sslrootcert")),
            cert: file(&self.cert, parameters.take("sslcert")),
            key: file(&self.key, parameters.take("sslkey")),
        };
        if tls_files.cert.is_some() != tls_files.key.is_some() {
            return Err(bad("\"cert\" and \"key\" go together".into()));
        }
        if !(1..=MAX_CONNECTIONS_LIMIT).contains(&self.max_connections) {
            return Err(bad(format!(
                "\"max_connections\" must be between 1 and {MAX_CONNECTIONS_LIMIT}"
            )));
        }

        if !(self.transfer_cost.is_finite() && self.transfer_cost >= 0.0) {
            return Err(bad(
                "\"transfer_cost\" must be a number that is not negative".into(),
            ));
        }

        // The client's own message may quote the URL, and with it a password: say only that it is wrong.
        let mut client: tokio_postgres::Config = parameters
            .put_back(&url)
            .parse()
            .map_err(|_| bad("\"url\" has a part that is not understood".into()).with_hint(
                "Write postgresql://user@host:port/database; special characters are percent-encoded.",
            ))?;
        if client.get_hosts().is_empty() && client.get_hostaddrs().is_empty() {
            return Err(bad("\"url\" names no host".into()));
        }
        if let Some(user) = &self.user {
            client.user(user);
        }
        if let Some(password) = &self.password {
            client.password(password.expose());
        }
        if client.get_user().is_none() {
            return Err(
                bad("no user is given".into()).with_hint("Write it in \"url\" or as \"user\".")
            );
        }
        if let Some(options) = &self.options {
            client.options(options);
        }
        if client.get_application_name().is_none() {
            client.application_name("sluice");
        }
        client.connect_timeout(self.connect_timeout);
        client.ssl_mode(match tls_mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        // A snapshot belongs to one server.
        let one_host = client.get_hosts().len().max(client.get_hostaddrs().len()) == 1;
        Ok(Target {
            share_snapshots: self.snapshot == SnapshotMode::Query && one_host,
            mapping: TypeMapping {
                numeric_as_text: self.numeric == NumericMode::Text,
                arrays_as_text: self.arrays == ArrayMode::Text,
                keep_infinity: self.infinity == InfinityMode::Keep,
            },
            splits: SplitLimits {
                cut: self.splits == SplitMode::Auto,
                split_bytes: self.split_size.0,
            },
            client,
            tls_mode,
            tls_files,
            max_connections: self.max_connections,
            connect_timeout: self.connect_timeout,
            wait_timeout: self.wait_timeout,
            idle_timeout: self.idle_timeout,
        })
    }
}

/// The parameters of a connection URL, after its `?`.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    fn put_back(self, url: &str) -> String {
        if self.0.is_empty() {
            return url.to_owned();
        }
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.0)
            .finish();
        // The client decodes percent signs only.
        format!("{url}?{}", query.replace('+', "%20"))
    }
}

/// Takes the parameters off a URL. The rest stays as it was: the `url` crate does not know lists of
/// hosts, so only a probe with the first host is parsed by it.
fn split_parameters(text: &str) -> Option<(String, Parameters)> {
    if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
        return None;
    }
    let (url, query) = match text.split_once('?') {
        Some((url, query)) => (url, query),
        None => (text, ""),
    };
    let probe = Url::parse(&format!("postgresql://probe/?{query}")).ok()?;
    let pairs = probe
        .query_pairs()
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    Some((url.to_owned(), Parameters(pairs)))
}

/// Reads `"10s"`, `"500ms"`, `"2min"` or a number of seconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Seconds(u64),
        Text(String),
    }
    let wrong = |text: &str| {
        serde::de::Error::custom(format!("\"{text}\" is not a duration (write 10s or 500ms)"))
    };
    let found = match Raw::deserialize(deserializer)? {
        Raw::Seconds(seconds) => Duration::from_secs(seconds),
        Raw::Text(text) => {
            let digits = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let number: u64 = text[..digits].parse().map_err(|_| wrong(&text))?;
            match text[digits..].trim() {
                "ms" => Duration::from_millis(number),
                "s" | "" => Duration::from_secs(number),
                "min" | "m" => Duration::from_secs(number.saturating_mul(60)),
                _ => return Err(wrong(&text)),
            }
        }
    };
    if found.is_zero() {
        Err(serde::de::Error::custom("a duration must not be zero"))
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(keys: &str) -> Result<Target> {
        let config: PostgresConfig =
            sluice_spi::parse_section("catalogs/shop.toml", toml::from_str(keys).unwrap())?;
        config.target(&ConnectorContext::local("shop", Some("/etc/sluice".into())))
    }

    #[test]
    fn the_documented_keys_are_read() {
        let target = target(
            "url = 'postgresql://reader@127.0.0.1:5433/shop?sslmode=verify-ca&application_name=a%20b'\n\
             password = 'p&=ss'\nmax_connections = 4\nconnect_timeout = '500ms'\nca = 'ca.pem'",
        )
        .unwrap();
        assert_eq!(target.client.get_user(), Some("reader"));
        assert_eq!(target.client.get_dbname(), Some("shop"));
        assert_eq!(target.client.get_ports(), [5433]);
        assert_eq!(target.client.get_application_name(), Some("a b"));
        assert_eq!(target.client.get_password(), Some(&b"p&=ss"[..]));
        assert_eq!(target.tls_mode, TlsMode::VerifyCa);
        assert_eq!(target.tls_files.ca, Some("/etc/sluice/ca.pem".into()));
        assert_eq!(target.connect_timeout, Duration::from_millis(500));
        assert_eq!(target.max_connections, 4);
    }

    #[test]
    fn mistakes_are_named_and_passwords_are_not() {
        for (keys, message) in [
            (
                "url = 'mysql://a@b/c'",
                "catalog \"shop\": \"url\" is not of the form postgresql://user@host:port/database",
            ),
            (
                "url = 'postgresql://a:hunter2@b:port/c'",
                "catalog \"shop\": \"url\" has a part that is not understood",
            ),
            (
                "url = 'postgresql://b/c'",
                "catalog \"shop\": no user is given",
            ),
            (
                "url = 'postgresql://a@b/c?sslmode=maybe'",
                "catalog \"shop\": sslmode \"maybe\" is unknown",
            ),
            (
                "url = 'postgresql://a@b/c'\ncert = 'x'",
                "catalog \"shop\": \"cert\" and \"key\" go together",
            ),
            (
                "url = 'postgresql://a@b/c'\nmax_connections = 0",
                "catalog \"shop\": \"max_connections\" must be between 1 and 10000",
            ),
            (
                "url = 'postgresql://a@b/c'\npasword = 'x'",
                "catalogs/shop.toml: unknown key \"pasword\"",
            ),
        ] {
            let error = target(keys).map(|_| ()).unwrap_err();
            assert_eq!(error.message, message);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
