//! Configuration pieces that every room shares: secrets, sizes, references to the environment and to
//! files, and errors that name the nearest key.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result, SqlState, nearest};

/// A configuration struct: serde reads it, its doc comments are the reference (`docs/config.md`).
pub trait ConfigReference: DeserializeOwned + JsonSchema {}
impl<T: DeserializeOwned + JsonSchema> ConfigReference for T {}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A number of bytes, written `"256MiB"`, `"2GiB"`, `"64kB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `"256MiB"` and the like.
    pub fn parse(text: &str) -> Option<ByteSize> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" | "kiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(ByteSize);
        }
        let bytes = number.parse::<f64>().ok()? * factor as f64;
        (bytes.is_finite() && (0.0..1e18).contains(&bytes)).then_some(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [
            ("TiB", 1u64 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(bytes) => Ok(ByteSize(bytes)),
            Raw::Text(text) => ByteSize::parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "\"{text}\" is not a size (write 256MiB, 2GiB or a number of bytes)"
                ))
            }),
        }
    }
}

/// Replaces every `${ENV:NAME}` and `${FILE:path}` in the strings of a configuration. A file's last line
/// break is not part of the secret. Relative paths start at `dir`.
pub fn interpolate(value: &mut toml::Value, dir: Option<&Path>) -> Result<()> {
    match value {
        toml::Value::String(text) => *text = interpolate_text(text, dir)?,
        toml::Value::Array(items) => {
            for item in items {
                interpolate(item, dir)?;
            }
        }
        toml::Value::Table(table) => {
            for (_, item) in table.iter_mut() {
                interpolate(item, dir)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn interpolate_text(text: &str, dir: Option<&Path>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let tail = &rest[start + 2..];
        let Some(end) = tail.find('}') else {
            return Err(config_error(format!(
                "\"${{\" without \"}}\" in \"{text}\""
            )));
        };
        let reference = &tail[..end];
        out.push_str(&match reference.split_once(':') {
            Some(("ENV", name)) => std::env::var(name)
                .map_err(|_| config_error(format!("environment variable {name} is not set")))?,
            Some(("FILE", path)) => {
                let path = dir.map_or_else(|| path.into(), |dir| dir.join(path));
                let content = std::fs::read_to_string(&path)
                    .map_err(|e| config_error(format!("could not read {}: {e}", path.display())))?;
                content
                    .strip_suffix('\n')
                    .map(str::to_owned)
                    .unwrap_or(content)
            }
            _ => {
                return Err(
                    config_error(format!("unknown reference \"${{{reference}}}\""))
                        .with_hint("Use ${ENV:NAME} or ${FILE:path}."),
                );
            }
        });
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Reads a configuration struct (with `deny_unknown_fields`) from its keys. `place` names the file or
/// section in errors; an unknown key gets the nearest one as a hint.
pub fn parse_section<T: DeserializeOwned>(place: &str, keys: toml::Table) -> Result<T> {
    toml::Value::Table(keys)
        .try_into()
        .map_err(|error: toml::de::Error| explain(place, error.message()))
}

/// An error of a configuration's reader, with the nearest key where one was unknown.
fn explain(place: &str, message: &str) -> Error {
    // serde says: unknown field `urll`, expected one of `url`, `password`
    let first_line = message.lines().next().unwrap_or(message);
    if let Some(rest) = first_line.strip_prefix("unknown field `") {
        let mut names = rest.split('`').step_by(2);
        let unknown = names.next().unwrap_or_default();
        let known: Vec<&str> = names.collect();
        let error = config_error(format!("{place}: unknown key \"{unknown}\""));
        return match nearest(unknown, known.iter().copied()) {
            Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
            None => error.with_hint(format!("Known keys: {}.", known.join(", "))),
        };
    }
    config_error(format!("{place}: {first_line}"))
}

fn config_error(message: String) -> Error {
    Error::new(SqlState::CONFIG_FILE_ERROR, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Shop {
        url: String,
        password: Option<String>,
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let keys = toml::from_str("url = 'x'\npasword = 'y'").unwrap();
        let error = parse_section::<Shop>("catalogs/shop.toml", keys).unwrap_err();
        assert_eq!(error.message, "catalogs/shop.toml: unknown key \"pasword\"");
        assert_eq!(
            error.hint.as_deref(),
            Some("Perhaps you meant \"password\".")
        );
    }

    #[test]
    fn sizes_read_and_print() {
        assert_eq!(ByteSize::parse("256MiB"), Some(ByteSize(256 << 20)));
        assert_eq!(ByteSize::parse("1.5GiB"), Some(ByteSize(3 << 29)));
        assert_eq!(ByteSize::parse("12 parsecs"), None);
        assert_eq!(ByteSize(256 << 20).to_string(), "256MiB");
    }

    #[test]
    fn references_are_filled_in() {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("sluice-secret-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let mut value = toml::Value::String(format!("a${{FILE:{}}}b", path.display()));
        interpolate(&mut value, Some(&dir)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(value.as_str(), Some("as3cretb"));
        assert!(
            interpolate(
                &mut toml::Value::String("${ENV:SLUICE_NOT_SET}".into()),
                None
            )
            .is_err()
        );
    }
}
