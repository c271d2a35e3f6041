//! Which server answered, and what it can do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The family of a server: the two have gone different ways since MySQL 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Family {
    MySql,
    MariaDb,
}

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) family: Family,
    /// Major, minor, patch.
    pub(crate) number: (u16, u16, u16),
}

impl Version {
    /// Reads `@@version`: "8.0.36", "10.11.6-MariaDB-0+deb12u1", "5.5.5-10.4.32-MariaDB".
    pub(crate) fn parse(text: &str) -> Version {
        let family = if text.to_ascii_lowercase().contains("mariadb") {
            Family::MariaDb
        } else {
            Family::MySql
        };
        // MariaDB 10 says that it is MySQL 5.5.5 to clients that would not believe a 10.
        let text = match family {
            Family::MariaDb => text.strip_prefix("5.5.5-").unwrap_or(text),
            Family::MySql => text,
        };
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Version {
            family,
            number: (next(), next(), next()),
        }
    }

    /// True for MySQL from `mysql` and MariaDB from `mariadb`; `None` is "never".
    pub(crate) fn has(
        self,
        mysql: Option<(u16, u16, u16)>,
        mariadb: Option<(u16, u16, u16)>,
    ) -> bool {
        let since = match self.family {
            Family::MySql => mysql,
            Family::MariaDb => mariadb,
        };
        since.is_some_and(|since| self.number >= since)
    }

    /// `SET SESSION TRANSACTION READ ONLY`.
    pub(crate) fn has_read_only(self) -> bool {
        self.has(Some((5, 6, 5)), Some((10, 0, 0)))
    }

    /// `information_schema.columns.datetime_precision`.
    pub(crate) fn has_fractions(self) -> bool {
        self.has(Some((5, 6, 4)), Some((10, 0, 0)))
    }

    /// JSON columns are marked by a check of their own (MariaDB), which can be looked up.
    pub(crate) fn has_json_checks(self) -> bool {
        self.has(None, Some((10, 4, 3)))
    }

    /// Defaults in parentheses, of any type.
    pub(crate) fn has_default_expressions(self) -> bool {
        self.has(Some((8, 0, 13)), Some((10, 2, 1)))
    }

    /// `ALTER TABLE … RENAME COLUMN`.
    pub(crate) fn has_rename_column(self) -> bool {
        self.has(Some((8, 0, 0)), Some((10, 5, 2)))
    }

    /// `mysql.column_stats`.
    pub(crate) fn has_column_stats(self) -> bool {
        self.has(None, Some((10, 0, 1)))
    }

    /// `information_schema.column_statistics`.
    pub(crate) fn has_histograms(self) -> bool {
        self.has(Some((8, 0, 3)), None)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        let family = match self.family {
            Family::MySql => "MySQL",
            Family::MariaDb => "MariaDB",
        };
        write!(f, "{family} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_print_them() {
        for (text, shown, read_only, checks) in [
            ("8.0.36", "MySQL 8.0.36", true, false),
            ("8.4.0-commercial", "MySQL 8.4.0", true, false),
            ("5.5.9-log", "MySQL 5.5.9", false, false),
            ("10.11.19-MariaDB-0+deb12u1", "MariaDB 10.11.19", true, true),
            ("5.5.5-10.4.2-MariaDB", "MariaDB 10.4.2", true, false),
            ("11.4.1-mariadb-log", "MariaDB 11.4.1", true, true),
        ] {
            let version = Version::parse(text);
            assert_eq!(version.to_string(), shown);
            assert_eq!(version.has_read_only(), read_only, "{text}");
            assert_eq!(version.has_json_checks(), checks, "{text}");
        }
    }
}
