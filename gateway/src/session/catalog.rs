//! The list of settings: PostgreSQL's that clients touch, and Sluice's own.
//!
//! One list feeds `SHOW`, `SHOW ALL`, `pg_settings`, `current_setting`, ParameterStatus and the
//! documentation. Values are kept in a setting's base unit (milliseconds, kilobytes); `display` adds the
//! unit as PostgreSQL's `SHOW` does.

use sluice_spi::{Error, Result, SqlState, nearest};

use super::zone::Zone;

/// Who may change a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Nobody: it describes the server (`internal` in `pg_settings`).
    Internal,
    /// Only the startup message (`backend`).
    Backend,
    /// Anyone, at any time (`user`).
    User,
}

impl Context {
    /// As `pg_settings.context` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Context::Internal => "internal",
            Context::Backend => "backend",
            Context::User => "user",
        }
    }
}

/// The values that a setting takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `on` or `off`.
    Bool,
    /// A whole number within bounds, in a unit (`ms`, `kB`) or none (empty).
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
        /// Base unit; empty where it is a plain number.
        unit: &'static str,
    },
    /// A number within bounds.
    Real {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// One of a list of words.
    Enum(&'static [&'static str]),
    /// Any text.
    Text,
    /// A list of names, as `search_path`.
    Names,
    /// A time zone.
    TimeZone,
    /// `ISO` and an order of day, month and year.
    DateStyle,
    /// An encoding; only UTF-8 is spoken.
    Encoding,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// As `SHOW ALL` spells it.
    pub name: &'static str,
    /// Its value where nobody set it.
    pub default: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Who may change it.
    pub context: Context,
    /// Whether the client is told of each change (ParameterStatus).
    pub reported: bool,
    /// `pg_settings.category`.
    pub category: &'static str,
    /// `pg_settings.short_desc`: one sentence.
    pub description: &'static str,
}

impl Setting {
    /// `pg_settings.vartype`.
    pub fn vartype(&self) -> &'static str {
        match self.kind {
            Kind::Bool => "bool",
            Kind::Integer { .. } => "integer",
            Kind::Real { .. } => "real",
            Kind::Enum(_) => "enum",
            _ => "string",
        }
    }

    /// `pg_settings.unit`.
    pub fn unit(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Integer { unit, .. } if !unit.is_empty() => Some(unit),
            _ => None,
        }
    }

    /// Checks a value and gives its canonical spelling, in the base unit.
    pub fn canonical(&self, value: &str) -> Result<String> {
        let name = self.name;
        let invalid = || {
            Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"{name}\": \"{value}\""),
            )
        };
        match self.kind {
            Kind::Bool => parse_bool(value)
                .map(|on| if on { "on" } else { "off" }.to_owned())
                .ok_or_else(|| {
                    Error::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("parameter \"{name}\" requires a Boolean value"),
                    )
                }),
            Kind::Integer { min, max, unit } => {
                let number =
                    parse_with_unit(value, unit).ok_or_else(|| match valid_units(unit) {
                        Some(units) => invalid()
                            .with_hint(format!("Valid units for this parameter are {units}.")),
                        None => invalid(),
                    })?;
                if number < min || number > max {
                    let range = if unit.is_empty() {
                        format!(
                            "{number} is outside the valid range for parameter \"{name}\" ({min} .. {max})"
                        )
                    } else {
                        format!(
                            "{number} {unit} is outside the valid range for parameter \"{name}\" ({min} {unit} .. {max} {unit})"
                        )
                    };
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, range));
                }
                Ok(number.to_string())
            }
            Kind::Real { min, max } => {
                let number: f64 = value.trim().parse().map_err(|_| invalid())?;
                if !(min..=max).contains(&number) {
                    return Err(Error::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!(
                            "{number} is outside the valid range for parameter \"{name}\" ({min} .. {max})"
                        ),
                    ));
                }
                Ok(number.to_string())
            }
            Kind::Enum(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(value.trim()))
                .map(|word| (*word).to_owned())
                .ok_or_else(|| {
                    invalid().with_hint(format!("Available values: {}.", words.join(", ")))
                }),
            Kind::Text | Kind::Names => Ok(value.to_owned()),
            Kind::TimeZone => Zone::parse(value).map(|zone| zone.name().to_owned()),
            Kind::DateStyle => date_style(value).ok_or_else(|| {
                let lower = value.to_ascii_lowercase();
                if ["german", "sql", "postgres"]
                    .iter()
                    .any(|style| lower.contains(style))
                {
                    Error::unsupported(format!("DateStyle \"{value}\" is not supported"))
                        .with_hint("Only ISO is.")
                } else {
                    invalid()
                }
            }),
            Kind::Encoding => {
                let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
                match plain.to_ascii_lowercase().as_str() {
                    "utf8" | "unicode" => Ok("UTF8".to_owned()),
                    _ => Err(invalid().with_detail("Only UTF8 is supported.")),
                }
            }
        }
    }

    /// A value as `SHOW` prints it: with the largest unit that divides it.
    pub fn display(&self, value: &str) -> String {
        let Kind::Integer { unit, .. } = self.kind else {
            return value.to_owned();
        };
        let Ok(number) = value.parse::<i64>() else {
            return value.to_owned();
        };
        if unit.is_empty() || number <= 0 {
            return value.to_owned();
        }
        let mut best = (number, unit);
        for (name, factor) in units(unit) {
            if *factor >= 1.0 && number % (*factor as i64) == 0 {
                best = (number / *factor as i64, name);
            }
        }
        format!("{}{}", best.0, best.1)
    }
}

/// PostgreSQL's words for on and off, and their unambiguous beginnings.
pub(crate) fn parse_bool(value: &str) -> Option<bool> {
    let word = value.trim().to_ascii_lowercase();
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Some(false)
    } else {
        None
    }
}

/// Units over a base unit, smallest first, as a factor of the base unit.
fn units(base: &str) -> &'static [(&'static str, f64)] {
    match base {
        "ms" => &[
            ("us", 0.001),
            ("ms", 1.0),
            ("s", 1000.0),
            ("min", 60_000.0),
            ("h", 3_600_000.0),
            ("d", 86_400_000.0),
        ],
        "s" => &[
            ("ms", 0.001),
            ("s", 1.0),
            ("min", 60.0),
            ("h", 3600.0),
            ("d", 86_400.0),
        ],
        "kB" => &[
            ("B", 1.0 / 1024.0),
            ("kB", 1.0),
            ("MB", 1024.0),
            ("GB", 1_048_576.0),
            ("TB", 1_073_741_824.0),
        ],
        _ => &[],
    }
}

fn valid_units(base: &str) -> Option<&'static str> {
    match base {
        "ms" | "s" => Some("\"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\""),
        "kB" => Some("\"B\", \"kB\", \"MB\", \"GB\", and \"TB\""),
        _ => None,
    }
}

fn parse_with_unit(value: &str, base: &str) -> Option<i64> {
    let trimmed = value.trim();
    let split = trimmed
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(trimmed.len());
    let (number, unit) = (trimmed[..split].trim(), trimmed[split..].trim());
    let number: f64 = number.parse().ok()?;
    let factor = if unit.is_empty() {
        1.0
    } else {
        units(base).iter().find(|(name, _)| *name == unit)?.1
    };
    let result = (number * factor).round_ties_even();
    (result.abs() < 9e15).then_some(result as i64)
}

fn date_style(value: &str) -> Option<String> {
    let mut order = "MDY";
    for part in value.split(',') {
        match part.trim().to_ascii_uppercase().as_str() {
            "ISO" | "" | "DEFAULT" => {}
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" => order = "MDY",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "YMD" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
}

/// The version of PostgreSQL whose protocol and catalogs clients find here.
pub const SERVER_VERSION: &str = "16.9";

const ISOLATION: Kind = Kind::Enum(&[
    "serializable",
    "repeatable read",
    "read committed",
    "read uncommitted",
]);
const MILLIS: Kind = Kind::Integer {
    min: 0,
    max: i32::MAX as i64,
    unit: "ms",
};
const KILOBYTES: Kind = Kind::Integer {
    min: 64,
    max: i32::MAX as i64,
    unit: "kB",
};
const LEVELS: Kind = Kind::Enum(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning",
    "error",
]);

const PRESET: &str = "Preset Options";
const LOCALE: &str = "Client Connection Defaults / Locale and Formatting";
const STATEMENT: &str = "Client Connection Defaults / Statement Behavior";
const COMPATIBLE: &str = "Version and Platform Compatibility / Previous PostgreSQL Versions";
const REPORTING: &str = "Reporting and Logging / What to Log";
const RESOURCES: &str = "Resource Usage / Memory";
const PLANNER: &str = "Query Tuning / Planner Method Configuration";
const OWN: &str = "Sluice";

const fn user(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    category: &'static str,
    description: &'static str,
) -> Setting {
    Setting {
        name,
        default,
        kind,
        context: Context::User,
        reported: false,
        category,
        description,
    }
}

const fn reported(setting: Setting) -> Setting {
    Setting {
        reported: true,
        ..setting
    }
}

const fn internal(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    description: &'static str,
) -> Setting {
    Setting {
        name,
        default,
        kind,
        context: Context::Internal,
        reported: false,
        category: PRESET,
        description,
    }
}

/// Every setting, in the order of their names without regard to case.
pub const SETTINGS: &[Setting] = &[
    reported(user(
        "application_name",
        "",
        Kind::Text,
        REPORTING,
        "Sets the application name to be reported in statistics and logs.",
    )),
    internal(
        "block_size",
        "8192",
        Kind::Integer {
            min: 8192,
            max: 8192,
            unit: "",
        },
        "Shows the size of a disk block.",
    ),
    user(
        "bytea_output",
        "hex",
        Kind::Enum(&["escape", "hex"]),
        STATEMENT,
        "Sets the output format for bytea.",
    ),
    user(
        "check_function_bodies",
        "on",
        Kind::Bool,
        STATEMENT,
        "Accepted; there are no function bodies to check.",
    ),
    reported(user(
        "client_encoding",
        "UTF8",
        Kind::Encoding,
        LOCALE,
        "Sets the client's character set encoding.",
    )),
    user(
        "client_min_messages",
        "notice",
        LEVELS,
        STATEMENT,
        "Sets the message levels that are sent to the client.",
    ),
    internal(
        "data_checksums",
        "off",
        Kind::Bool,
        "Shows whether data checksums are turned on.",
    ),
    reported(user(
        "DateStyle",
        "ISO, MDY",
        Kind::DateStyle,
        LOCALE,
        "Sets the display format for date and time values.",
    )),
    user(
        "default_tablespace",
        "",
        Kind::Text,
        STATEMENT,
        "Accepted; there are no tablespaces.",
    ),
    user(
        "default_transaction_deferrable",
        "off",
        Kind::Bool,
        STATEMENT,
        "Sets the default deferrable status of new transactions.",
    ),
    user(
        "default_transaction_isolation",
        "read committed",
        ISOLATION,
        STATEMENT,
        "Sets the transaction isolation level of each new transaction.",
    ),
    reported(user(
        "default_transaction_read_only",
        "off",
        Kind::Bool,
        STATEMENT,
        "Sets the default read-only status of new transactions.",
    )),
    user(
        "enable_hashjoin",
        "on",
        Kind::Bool,
        PLANNER,
        "Accepted; the planner chooses joins by cost alone.",
    ),
    user(
        "enable_mergejoin",
        "on",
        Kind::Bool,
        PLANNER,
        "Accepted; the planner chooses joins by cost alone.",
    ),
    user(
        "enable_nestloop",
        "on",
        Kind::Bool,
        PLANNER,
        "Accepted; the planner chooses joins by cost alone.",
    ),
    user(
        "enable_seqscan",
        "on",
        Kind::Bool,
        PLANNER,
        "Accepted; access paths belong to the sources.",
    ),
    user(
        "escape_string_warning",
        "on",
        Kind::Bool,
        COMPATIBLE,
        "Accepted; backslashes are never special in ordinary strings.",
    ),
    user(
        "extra_float_digits",
        "1",
        Kind::Integer {
            min: -15,
            max: 3,
            unit: "",
        },
        LOCALE,
        "Sets the number of digits displayed for floating-point values.",
    ),
    user(
        "geqo",
        "on",
        Kind::Bool,
        PLANNER,
        "Accepted; there is no genetic optimizer.",
    ),
    user(
        "idle_in_transaction_session_timeout",
        "0",
        MILLIS,
        STATEMENT,
        "Sets the maximum allowed idle time between queries, when in a transaction.",
    ),
    user(
        "idle_session_timeout",
        "0",
        MILLIS,
        STATEMENT,
        "Sets the maximum allowed idle time between queries, when not in a transaction.",
    ),
    reported(internal(
        "in_hot_standby",
        "off",
        Kind::Bool,
        "Shows whether hot standby is currently active.",
    )),
    reported(internal(
        "integer_datetimes",
        "on",
        Kind::Bool,
        "Shows whether datetimes are integer based.",
    )),
    reported(user(
        "IntervalStyle",
        "postgres",
        Kind::Enum(&["postgres"]),
        LOCALE,
        "Sets the display format for interval values.",
    )),
    reported(internal(
        "is_superuser",
        "off",
        Kind::Bool,
        "Shows whether the current user is a superuser.",
    )),
    user(
        "jit",
        "off",
        Kind::Bool,
        PLANNER,
        "Accepted; there is no just-in-time compiler.",
    ),
    user(
        "lc_collate",
        "C",
        Kind::Text,
        LOCALE,
        "Shows the collation order locale.",
    ),
    user(
        "lc_ctype",
        "C",
        Kind::Text,
        LOCALE,
        "Shows the character classification and case conversion locale.",
    ),
    user(
        "lc_messages",
        "C",
        Kind::Text,
        LOCALE,
        "Sets the language in which messages are displayed.",
    ),
    user(
        "lc_monetary",
        "C",
        Kind::Text,
        LOCALE,
        "Sets the locale for formatting monetary amounts.",
    ),
    user(
        "lc_numeric",
        "C",
        Kind::Text,
        LOCALE,
        "Sets the locale for formatting numbers.",
    ),
    user(
        "lc_time",
        "C",
        Kind::Text,
        LOCALE,
        "Sets the locale for formatting date and time values.",
    ),
    user(
        "lock_timeout",
        "0",
        MILLIS,
        STATEMENT,
        "Accepted; Sluice takes no locks that a statement waits for.",
    ),
    internal(
        "max_function_args",
        "100",
        Kind::Integer {
            min: 100,
            max: 100,
            unit: "",
        },
        "Shows the maximum number of function arguments.",
    ),
    internal(
        "max_identifier_length",
        "63",
        Kind::Integer {
            min: 63,
            max: 63,
            unit: "",
        },
        "Shows the maximum identifier length.",
    ),
    internal(
        "max_index_keys",
        "32",
        Kind::Integer {
            min: 32,
            max: 32,
            unit: "",
        },
        "Shows the maximum number of index keys.",
    ),
    user(
        "max_parallel_workers_per_gather",
        "2",
        Kind::Integer {
            min: 0,
            max: 1024,
            unit: "",
        },
        RESOURCES,
        "Accepted; see sluice.target_partitions.",
    ),
    user(
        "quote_all_identifiers",
        "off",
        Kind::Bool,
        COMPATIBLE,
        "When generating SQL fragments, quote all identifiers.",
    ),
    user(
        "role",
        "none",
        Kind::Text,
        STATEMENT,
        "Sets the current role.",
    ),
    user(
        "row_security",
        "on",
        Kind::Bool,
        STATEMENT,
        "Accepted; row security belongs to the sources.",
    ),
    reported(user(
        "search_path",
        "\"$user\", public",
        Kind::Names,
        STATEMENT,
        "Sets the schema search order for names that are not schema-qualified.",
    )),
    user(
        "seq_page_cost",
        "1",
        Kind::Real {
            min: 0.0,
            max: f64::MAX,
        },
        PLANNER,
        "Accepted; costs come from the sources' statistics.",
    ),
    reported(internal(
        "server_encoding",
        "UTF8",
        Kind::Text,
        "Shows the server (database) character set encoding.",
    )),
    reported(internal(
        "server_version",
        SERVER_VERSION,
        Kind::Text,
        "Shows the server version.",
    )),
    internal(
        "server_version_num",
        "160009",
        Kind::Integer {
            min: 160_009,
            max: 160_009,
            unit: "",
        },
        "Shows the server version as an integer.",
    ),
    reported(internal(
        "session_authorization",
        "",
        Kind::Text,
        "Shows the session user name.",
    )),
    user(
        "sluice.aggregation_pushdown",
        "automatic",
        Kind::Enum(&["automatic", "always", "never"]),
        OWN,
        "Whether aggregates run in the source that has all of their rows: automatic decides by estimated cost.",
    ),
    user(
        "sluice.distribute_above",
        "-1",
        Kind::Integer {
            min: -1,
            max: i64::MAX,
            unit: "",
        },
        OWN,
        "Bytes of input from which on workers take part in a query; -1 takes planner.distribute_above of the configuration.",
    ),
    user(
        "sluice.dynamic_filter_wait",
        "-1",
        Kind::Integer {
            min: -1,
            max: 3_600_000,
            unit: "ms",
        },
        OWN,
        "How long a scan may wait for a join's keys before it reads without them; -1 takes dynamic_filter_wait of its catalog, 0 never waits.",
    ),
    user(
        "sluice.join_pushdown",
        "automatic",
        Kind::Enum(&["automatic", "always", "never"]),
        OWN,
        "Whether joins of tables in one source run there: automatic decides by estimated cost.",
    ),
    user(
        "sluice.pushdown",
        "on",
        Kind::Bool,
        OWN,
        "Whether work is pushed down into the sources; off reads whole tables.",
    ),
    user(
        "sluice.retry_policy",
        "none",
        Kind::Enum(&["none"]),
        OWN,
        "What is run again when a worker fails; none ends the query with an error.",
    ),
    user(
        "sluice.run_time_filters",
        "on",
        Kind::Bool,
        OWN,
        "Whether a join tells the scans of one side which keys the other side has.",
    ),
    user(
        "sluice.semi_join_reduction",
        "on",
        Kind::Bool,
        OWN,
        "Whether semi-joins are moved to where they leave the fewest rows, below joins and aggregates.",
    ),
    user(
        "sluice.target_partitions",
        "0",
        Kind::Integer {
            min: 0,
            max: 4096,
            unit: "",
        },
        OWN,
        "Partitions of each stage on one worker; 0 takes the number of its CPUs.",
    ),
    user(
        "sluice.workers",
        "-1",
        Kind::Integer {
            min: -1,
            max: 4096,
            unit: "",
        },
        OWN,
        "How many workers a query may use; -1 is all of them, 0 runs in the coordinator.",
    ),
    user(
        "sluice.writes_in_transactions",
        "refuse",
        Kind::Enum(&["refuse", "commit"]),
        OWN,
        "What a writing statement does between BEGIN and COMMIT: refuse it, or commit it on its own when it ends, whatever becomes of the transaction.",
    ),
    internal(
        "ssl",
        "off",
        Kind::Bool,
        "Shows whether connections may use TLS.",
    ),
    reported(user(
        "standard_conforming_strings",
        "on",
        Kind::Enum(&["on"]),
        COMPATIBLE,
        "Causes '...' strings to treat backslashes literally.",
    )),
    user(
        "statement_timeout",
        "0",
        MILLIS,
        STATEMENT,
        "Sets the maximum allowed duration of any statement.",
    ),
    user(
        "synchronize_seqscans",
        "on",
        Kind::Bool,
        COMPATIBLE,
        "Accepted; scans are split, not synchronized.",
    ),
    user(
        "synchronous_commit",
        "on",
        Kind::Enum(&["local", "remote_write", "remote_apply", "on", "off"]),
        STATEMENT,
        "Accepted; commits belong to the sources.",
    ),
    user(
        "temp_buffers",
        "8192",
        KILOBYTES,
        RESOURCES,
        "Accepted; temporary tables live within the memory catalog's limit.",
    ),
    reported(user(
        "TimeZone",
        "UTC",
        Kind::TimeZone,
        LOCALE,
        "Sets the time zone for displaying and interpreting time stamps.",
    )),
    user(
        "transaction_deferrable",
        "off",
        Kind::Bool,
        STATEMENT,
        "Whether the current transaction is deferrable.",
    ),
    user(
        "transaction_isolation",
        "read committed",
        ISOLATION,
        STATEMENT,
        "Sets the current transaction's isolation level.",
    ),
    user(
        "transaction_read_only",
        "off",
        Kind::Bool,
        STATEMENT,
        "Sets the current transaction's read-only status.",
    ),
    user(
        "work_mem",
        "4096",
        KILOBYTES,
        RESOURCES,
        "Accepted; memory is shared out by the memory broker.",
    ),
    user(
        "xmlbinary",
        "base64",
        Kind::Enum(&["base64", "hex"]),
        STATEMENT,
        "Sets how binary values are to be encoded in XML.",
    ),
    user(
        "xmloption",
        "content",
        Kind::Enum(&["content", "document"]),
        STATEMENT,
        "Sets whether XML data is to be considered as documents or content fragments.",
    ),
];

/// A setting by its name, in any case.
pub fn find(name: &str) -> Option<&'static Setting> {
    let name = match name.to_ascii_lowercase().as_str() {
        "timezone" => "TimeZone",
        _ => name,
    };
    SETTINGS
        .iter()
        .find(|setting| setting.name.eq_ignore_ascii_case(name))
}

/// The error for a name that is no setting.
pub fn unknown(name: &str) -> Error {
    let error = Error::new(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    );
    // What other databases show this way.
    let shown = match name.to_ascii_lowercase().as_str() {
        "tables" => Some("information_schema.tables, or use \\dt in psql"),
        "columns" => Some("information_schema.columns, or use \\d in psql"),
        "schemas" => Some("information_schema.schemata, or use \\dn in psql"),
        "catalogs" | "databases" => Some("system.metadata.catalogs, or use \\l in psql"),
        "views" => Some("information_schema.views, or use \\dv in psql"),
        "functions" => Some("pg_catalog.pg_proc, or use \\df in psql"),
        "processlist" => Some("pg_catalog.pg_stat_activity"),
        _ => None,
    };
    if let Some(shown) = shown {
        return error.with_hint(format!("SELECT * FROM {shown}."));
    }
    match nearest(name, SETTINGS.iter().map(|setting| setting.name)) {
        Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
        None => error,
    }
}

/// A value as `SHOW` and `current_setting` print it.
pub fn display(name: &str, value: &str) -> String {
    find(name).map_or_else(|| value.to_owned(), |setting| setting.display(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_canonical_and_names_are_sorted() {
        for setting in SETTINGS {
            assert_eq!(
                setting.canonical(setting.default).expect(setting.name),
                setting.default,
                "{}",
                setting.name
            );
        }
        let names: Vec<String> = SETTINGS
            .iter()
            .map(|s| s.name.to_ascii_lowercase())
            .collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
    }

    #[test]
    fn units_are_read_and_shown_as_postgresql_does() {
        let timeout = find("STATEMENT_TIMEOUT").unwrap();
        assert_eq!(timeout.canonical("5s").unwrap(), "5000");
        assert_eq!(timeout.display("5000"), "5s");
        assert_eq!(timeout.display("90000"), "90s");
        assert_eq!(timeout.display("1500"), "1500ms");
        assert_eq!(timeout.display("0"), "0");
        assert_eq!(timeout.canonical("1.5 min").unwrap(), "90000");
        assert!(timeout.canonical("5 parsecs").unwrap_err().hint.is_some());
        assert!(timeout.canonical("-1").is_err());
        assert_eq!(
            find("work_mem").unwrap().canonical("64MB").unwrap(),
            "65536"
        );
        assert_eq!(
            find("datestyle").unwrap().canonical("iso, dmy").unwrap(),
            "ISO, DMY"
        );
        assert_eq!(
            find("datestyle")
                .unwrap()
                .canonical("German")
                .unwrap_err()
                .code,
            SqlState::FEATURE_NOT_SUPPORTED
        );
    }
}
