//! The keys of a `mysql` catalog file, and what they mean to the client library.
//!
//! Checks everything that can be checked without a network. Never connects, and never prints a password:
//! errors about the URL name the key, not its value.

use std::path::PathBuf;
use std::time::Duration;

use mysql_async::{ClientIdentity, OptsBuilder, SslOpts};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use sluice_spi::{ConnectorContext, Error, Result, Secret, SqlState};
use url::Url;

/// A MySQL or MariaDB server as a catalog. Each of its databases is a schema.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MySqlConfig {
    /// Where the server is: `mysql://user@host:port/database`. The database is the one that native queries
    /// start in and may be left out. `sslmode` is one of `disable`, `prefer` (the default), `require`,
    /// `verify-ca`, `verify-full`, with the meanings of PostgreSQL's.
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
    /// How long an unused connection stays open (`"5min"`).
    #[serde(default = "default_idle_timeout", deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
    /// What a byte costs on its way from the source, relative to the engine's own work on it: above 1 for
    /// slow links, below 1 for a source on the same machine. Decides whether joins and aggregates run at
    /// the source.
    #[serde(default = "default_transfer_cost")]
    pub transfer_cost: f64,
    /// How long a read waits for the keys of a join that are still being collected (`"10s"`), so that the
    /// source is asked for the rows with those keys alone. `"0s"` never waits. A session overrules it with
    /// `sluice.dynamic_filter_wait`.
    #[serde(
        default = "default_dynamic_filter_wait",
        deserialize_with = "duration_or_zero"
    )]
    #[schemars(with = "String")]
    pub dynamic_filter_wait: Duration,
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
    /// Server settings for each session, as in `"max_statement_time = 60"`.
    #[serde(default)]
    pub options: Option<String>,
    /// What dates that no calendar has (`0000-00-00`, `2024-02-00`) become: `"error"` (the default) ends
    /// the query, `"null"` reads them as NULL. They are never another date.
    #[serde(default)]
    pub zero_dates: ZeroDates,
    /// What `tinyint(1)` becomes: `"int"` (the default), or `"bool"`, where each number but 0 is true.
    #[serde(default)]
    pub tinyint1: TinyInt1,
    /// `"snapshot"` (the default) reads each table by one statement, and so as it was at one moment.
    /// `"relaxed"` cuts large tables with an integer primary key into ranges that are read in parallel:
    /// faster, but each range is read at a moment of its own, since MySQL has no snapshot that several
    /// connections share. A row that is written meanwhile may be missed, or an older state of it read.
    #[serde(default)]
    pub consistency: Consistency,
}

/// What dates that no calendar has become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ZeroDates {
    /// They end the query.
    #[default]
    Error,
    /// They are NULL.
    Null,
}

/// What `tinyint(1)` becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TinyInt1 {
    /// A number.
    #[default]
    Int,
    /// A truth value.
    Bool,
}

/// Whether a table is read at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// One statement for each table.
    #[default]
    Snapshot,
    /// Ranges of the primary key, in parallel.
    Relaxed,
}

/// Enough for a handful of parallel queries, and well below the server's default of 151.
fn default_max_connections() -> usize {
    16
}

/// A server on a slow link answers within this; a dead one should not hold a query longer.
fn default_connect_timeout() -> Duration {
    Duration::from_secs(10)
}

/// Longer than most queries run, shorter than a client's patience.
fn default_wait_timeout() -> Duration {
    Duration::from_secs(30)
}

/// Long enough for a person who thinks between queries, short enough to leave a source alone at night.
fn default_idle_timeout() -> Duration {
    Duration::from_secs(300)
}

/// A network that is neither slow nor the machine itself.
fn default_transfer_cost() -> f64 {
    1.0
}

/// The wait ends as soon as the other side of the join is read, so this only bounds a slow one. Reading a
/// whole table at once would seldom be done before.
fn default_dynamic_filter_wait() -> Duration {
    Duration::from_secs(10)
}

/// Connections that a catalog may be given: more would be a mistake in the file.
const MAX_CONNECTIONS_LIMIT: usize = 10_000;

/// Prepared statements that one connection keeps. The server counts them over all its clients
/// (`max_prepared_stmt_count`, 16382).
const STATEMENTS_PER_CONNECTION: usize = 64;

/// A peer that vanished without a word is noticed after some of these.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How a connection is secured: the meanings of PostgreSQL's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    fn parse(text: &str) -> Option<TlsMode> {
        Some(match text {
            "disable" => TlsMode::Disable,
            "allow" | "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-ca" => TlsMode::VerifyCa,
            "verify-full" => TlsMode::VerifyFull,
            _ => return None,
        })
    }
}

/// What the file decides about how values are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) zero_dates: ZeroDates,
    pub(crate) tinyint1: TinyInt1,
    pub(crate) consistency: Consistency,
}

/// A checked configuration, ready for the pool.
pub(crate) struct Target {
    /// Without TLS; [`Target::tls`] is added where the mode wants it.
    pub(crate) client: OptsBuilder,
    pub(crate) tls_mode: TlsMode,
    pub(crate) tls: SslOpts,
    pub(crate) options: Option<String>,
    pub(crate) max_connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) transfer_cost: f64,
    pub(crate) reading: Reading,
    pub(crate) read_only: bool,
    pub(crate) allow_execute: bool,
}

impl MySqlConfig {
    /// Checks the keys against each other and makes the client's configuration of them.
    pub(crate) fn target(&self, context: &ConnectorContext) -> Result<Target> {
        let catalog = &context.catalog;
        let bad = |message: String| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("catalog \"{catalog}\": {message}"),
            )
        };
        let form = "\"url\" is not of the form mysql://user@host:port/database";
        let hint = "Write mysql://user@host:port/database; special characters are percent-encoded.";
        // The parser's own message may quote the URL, and with it a password: say only that it is wrong.
        let url = Url::parse(&self.url).map_err(|_| bad(form.into()).with_hint(hint))?;
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            return Err(bad(form.into()));
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("\"url\" names no host".into()))?;
        let decoded = |part: &str| {
            percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| {
                    bad("\"url\" has a part that is not understood".into()).with_hint(hint)
                })
        };

        let mut tls_mode = TlsMode::Prefer;
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "sslmode" => {
                    tls_mode = TlsMode::parse(&value).ok_or_else(|| {
                        bad(format!("sslmode \"{value}\" is unknown"))
                            .with_hint("Use disable, prefer, require, verify-ca or verify-full.")
                    })?;
                }
                other => {
                    return Err(bad(format!("\"url\" has an unknown parameter \"{other}\""))
                        .with_hint(
                            "The only one is sslmode; session settings go into \"options\".",
                        ));
                }
            }
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(bad("\"cert\" and \"key\" go together".into()));
        }
        if !(1..=MAX_CONNECTIONS_LIMIT).contains(&self.max_connections) {
            return Err(bad(format!(
                "\"max_connections\" must be between 1 and {MAX_CONNECTIONS_LIMIT}"
            )));
        }
        if !(self.transfer_cost.is_finite() && self.transfer_cost >= 0.0) {
            return Err(bad("\"transfer_cost\" must be a number from 0 on".into()));
        }
        let user = match (&self.user, url.username()) {
            (Some(user), _) => user.clone(),
            (None, "") => {
                return Err(
                    bad("no user is given".into()).with_hint("Write it in \"url\" or as \"user\".")
                );
            }
            (None, user) => decoded(user)?,
        };
        let password = match (&self.password, url.password()) {
            (Some(password), _) => Some(password.expose().clone()),
            (None, Some(password)) => Some(decoded(password)?),
            (None, None) => None,
        };
        let database = decoded(url.path().trim_start_matches('/'))?;

        let client = OptsBuilder::default()
            // An address in brackets is one to URLs only.
            .ip_or_hostname(host.trim_matches(['[', ']']))
            .tcp_port(url.port().unwrap_or(3306))
            .user(Some(user))
            .pass(password)
            .db_name(Some(database).filter(|name| !name.is_empty()))
            // The catalog's file says where to connect, and not to a socket that the server names.
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            // On links that are worth it, TLS and the network compress better than a source that is busy.
            .compression(None)
            .stmt_cache_size(STATEMENTS_PER_CONNECTION)
            .connect_attribute("program_name", "sluice");
        Ok(Target {
            client,
            tls_mode,
            tls: self.tls(tls_mode, context),
            options: self.options.clone(),
            max_connections: self.max_connections,
            connect_timeout: self.connect_timeout,
            wait_timeout: self.wait_timeout,
            idle_timeout: self.idle_timeout,
            transfer_cost: self.transfer_cost,
            reading: Reading {
                zero_dates: self.zero_dates,
                tinyint1: self.tinyint1,
                consistency: self.consistency,
            },
            read_only: self.read_only,
            allow_execute: self.allow_execute,
        })
    }

    fn tls(&self, mode: TlsMode, context: &ConnectorContext) -> SslOpts {
        let file = |path: &PathBuf| match &context.config_dir {
            Some(dir) => dir.join(path),
            None => path.clone(),
        };
        let identity = self
            .cert
            .as_ref()
            .zip(self.key.as_ref())
            .map(|(cert, key)| ClientIdentity::new(file(cert).into(), file(key).into()));
        let options = SslOpts::default().with_client_identity(identity);
        match mode {
            TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => options
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
            TlsMode::VerifyCa | TlsMode::VerifyFull => {
                let options = options.with_danger_skip_domain_validation(mode == TlsMode::VerifyCa);
                match &self.ca {
                    Some(ca) => options
                        .with_root_certs(vec![file(ca).into()])
                        .with_disable_built_in_roots(true),
                    None => options,
                }
            }
        }
    }
}

/// Reads a duration that ends some time.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Duration, D::Error> {
    let found = duration_or_zero(deserializer)?;
    if found.is_zero() {
        Err(serde::de::Error::custom("a duration must not be zero"))
    } else {
        Ok(found)
    }
}

/// Reads `"10s"`, `"500ms"`, `"2min"` or a number of seconds.
fn duration_or_zero<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Seconds(u64),
        Text(String),
    }
    let wrong = |text: &str| {
        serde::de::Error::custom(format!("\"{text}\" is not a duration (write 10s or 500ms)"))
    };
    Ok(match Raw::deserialize(deserializer)? {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_async::Opts;

    fn target(keys: &str) -> Result<Target> {
        let config: MySqlConfig =
            sluice_spi::parse_section("catalogs/shop.toml", toml::from_str(keys).unwrap())?;
        config.target(&ConnectorContext::local("shop", Some("/etc/sluice".into())))
    }

    #[test]
    fn the_documented_keys_are_read() {
        let target = target(
            "url = 'mysql://re%40der@127.0.0.1:3307/shop?sslmode=verify-ca'\n\
             password = 'p&=ss'\nmax_connections = 4\nconnect_timeout = '500ms'\nca = 'ca.pem'\n\
             zero_dates = 'null'\ntinyint1 = 'bool'\nconsistency = 'relaxed'",
        )
        .unwrap();
        let opts = Opts::from(target.client);
        assert_eq!(opts.user(), Some("re@der"));
        assert_eq!(opts.pass(), Some("p&=ss"));
        assert_eq!(opts.db_name(), Some("shop"));
        assert_eq!(opts.ip_or_hostname(), "127.0.0.1");
        assert_eq!(opts.tcp_port(), 3307);
        assert!(opts.compression().is_none());
        assert_eq!(target.tls_mode, TlsMode::VerifyCa);
        assert!(target.tls.skip_domain_validation() && !target.tls.accept_invalid_certs());
        assert_eq!(target.connect_timeout, Duration::from_millis(500));
        assert_eq!(target.max_connections, 4);
        assert_eq!(
            target.reading,
            Reading {
                zero_dates: ZeroDates::Null,
                tinyint1: TinyInt1::Bool,
                consistency: Consistency::Relaxed
            }
        );
    }

    #[test]
    fn only_the_wait_for_keys_may_be_none() {
        let read = |keys: &str| {
            sluice_spi::parse_section::<MySqlConfig>("", toml::from_str(keys).unwrap())
        };
        let none = read("url = ''\ndynamic_filter_wait = '0s'").unwrap();
        assert_eq!(none.dynamic_filter_wait, Duration::ZERO);
        assert!(read("url = ''\nwait_timeout = '0s'").is_err());
    }

    #[test]
    fn mistakes_are_named_and_passwords_are_not() {
        for (keys, message) in [
            (
                "url = 'postgresql://a@b/c'",
                "catalog \"shop\": \"url\" is not of the form mysql://user@host:port/database",
            ),
            (
                "url = 'mysql://a:hunter2@b:port/c'",
                "catalog \"shop\": \"url\" is not of the form mysql://user@host:port/database",
            ),
            ("url = 'mysql://b/c'", "catalog \"shop\": no user is given"),
            (
                "url = 'mysql://a@b/c?sslmode=maybe'",
                "catalog \"shop\": sslmode \"maybe\" is unknown",
            ),
            (
                "url = 'mysql://a@b/c?compression=on'",
                "catalog \"shop\": \"url\" has an unknown parameter \"compression\"",
            ),
            (
                "url = 'mysql://a@b/c'\ncert = 'x'",
                "catalog \"shop\": \"cert\" and \"key\" go together",
            ),
            (
                "url = 'mysql://a@b/c'\nmax_connections = 0",
                "catalog \"shop\": \"max_connections\" must be between 1 and 10000",
            ),
            (
                "url = 'mysql://a@b/c'\npasword = 'x'",
                "catalogs/shop.toml: unknown key \"pasword\"",
            ),
        ] {
            let error = target(keys).map(|_| ()).unwrap_err();
            assert_eq!(error.message, message);
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
