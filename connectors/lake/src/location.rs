//! Places as users write them: a path, `file://…` or `s3://bucket/prefix`.

use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};
use sluice_spi::{Error, Result, SqlState};
use url::Url;

/// Which store a place is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum StoreKey {
    /// This machine's file system.
    Local,
    /// A bucket.
    S3(String),
}

/// A folder or file in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) store: StoreKey,
    pub(crate) path: ObjectPath,
}

impl Location {
    /// Reads a place; relative paths start at `config_dir`, else at the working directory.
    pub(crate) fn parse(text: &str, config_dir: Option<&Path>) -> Result<Location> {
        let refuse = |why: &str| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("location \"{text}\" {why}"),
            )
            .with_hint("Write a path, file:///path or s3://bucket/prefix.")
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            let path = config_dir.map_or_else(|| PathBuf::from(text), |dir| dir.join(text));
            return Self::local(&path).map_err(|e| refuse(&format!("is not a path: {e}")));
        };
        match scheme {
            "file" => {
                let path = Url::parse(text)
                    .ok()
                    .and_then(|url| url.to_file_path().ok())
                    .ok_or_else(|| refuse("is not a file URL"))?;
                Self::local(&path).map_err(|e| refuse(&format!("is not a path: {e}")))
            }
            "s3" | "s3a" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(refuse("names no bucket"));
                }
                let path = ObjectPath::parse(prefix.trim_end_matches('/'))
                    .map_err(|e| refuse(&format!("is not an object's name: {e}")))?;
                Ok(Location {
                    store: StoreKey::S3(bucket.to_owned()),
                    path,
                })
            }
            _ => Err(refuse("has an unknown scheme")),
        }
    }

    fn local(path: &Path) -> Result<Location, String> {
        let absolute = std::path::absolute(path).map_err(|e| e.to_string())?;
        // `object_store` knows no `..`; the folder need not exist yet, so it is resolved by text.
        let mut clean = PathBuf::new();
        for part in absolute.components() {
            match part {
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                other => clean.push(other),
            }
        }
        let path = ObjectPath::from_absolute_path(&clean).map_err(|e| e.to_string())?;
        Ok(Location {
            store: StoreKey::Local,
            path,
        })
    }

    /// The place below this one.
    pub(crate) fn child(&self, name: &str) -> Location {
        Location {
            store: self.store.clone(),
            path: self.path.clone().join(name),
        }
    }

    /// Another object of the same store.
    pub(crate) fn at(&self, path: &ObjectPath) -> Location {
        Location {
            store: self.store.clone(),
            path: path.clone(),
        }
    }

    /// The place on this machine, where it is on one.
    pub(crate) fn local_path(&self) -> Option<PathBuf> {
        (self.store == StoreKey::Local).then(|| Path::new("/").join(self.path.as_ref()))
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.store {
            StoreKey::Local => write!(f, "/{}", self.path),
            StoreKey::S3(bucket) => write!(f, "s3://{bucket}/{}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let check = |text: &str, expected: &str| {
            let dir = Path::new("/etc/sluice");
            assert_eq!(
                Location::parse(text, Some(dir)).unwrap().to_string(),
                expected,
                "{text}"
            );
        };
        check("/data/lake", "/data/lake");
        check("file:///data/lake/", "/data/lake");
        check("../lake", "/etc/lake");
        check("lake", "/etc/sluice/lake");
        check("s3://logs", "s3://logs/");
        check("s3://logs/a/b/", "s3://logs/a/b");
        let error = Location::parse("ftp://x/y", None).unwrap_err();
        assert_eq!(
            error.message,
            "location \"ftp://x/y\" has an unknown scheme"
        );
        assert!(Location::parse("s3:///x", None).is_err());
    }
}
