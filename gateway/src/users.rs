//! The users file: names and SCRAM verifiers, in PostgreSQL's own spelling. Passwords are never stored.
//!
//! ```toml
//! [users.ann]
//! verifier = "SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY"
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use pgwire::api::auth::sasl::scram::{ScramSecret, gen_salted_password};
use serde::{Deserialize, Serialize};
use sluice_spi::{Error, Result, SqlState, nearest};

/// PostgreSQL's default (`scram_iterations`).
const ITERATIONS: u32 = 4096;
/// PostgreSQL's own (`SCRAM_DEFAULT_SALT_LEN`).
const SALT_BYTES: usize = 16;

/// What the server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Rounds of the key derivation.
    pub iterations: u32,
    /// The user's salt.
    pub salt: Vec<u8>,
    /// Checks the client's proof.
    pub stored_key: Vec<u8>,
    /// Proves the server to the client.
    pub server_key: Vec<u8>,
}

impl Verifier {
    /// Derives a verifier under a fresh salt.
    pub fn from_password(password: &str) -> Verifier {
        let salt = rand::random::<[u8; SALT_BYTES]>().to_vec();
        Verifier::derive(password, salt, ITERATIONS)
    }

    fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Verifier {
        let salted = gen_salted_password(password, &salt, iterations as usize);
        match ScramSecret::verifier_from_salted_password(salt, salted, iterations as usize) {
            ScramSecret::Verifier {
                salt,
                stored_key,
                server_key,
                ..
            } => Verifier {
                iterations,
                salt,
                stored_key,
                server_key,
            },
            ScramSecret::SaltedPassword { salt, .. } => Verifier {
                iterations,
                salt,
                stored_key: Vec::new(),
                server_key: Vec::new(),
            },
        }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$stored:server`, as `pg_authid.rolpassword` has it.
    pub fn parse(text: &str) -> Option<Verifier> {
        let (iterations, rest) = text
            .trim()
            .strip_prefix("SCRAM-SHA-256$")?
            .split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        let verifier = Verifier {
            iterations: iterations.parse().ok().filter(|n| *n > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored).ok()?,
            server_key: STANDARD.decode(server).ok()?,
        };
        (verifier.stored_key.len() == 32 && verifier.server_key.len() == 32).then_some(verifier)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key)
        )
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    verifier: String,
}

/// The users, as the file has them.
#[derive(Debug, Default)]
pub struct Users {
    verifiers: RwLock<BTreeMap<String, Verifier>>,
}

impl Users {
    /// Reads the file; a missing one has no users.
    pub fn load(path: &Path) -> Result<Users> {
        let broken = |cause: String| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("{}: {cause}", path.display()),
            )
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Users::default());
            }
            Err(error) => return Err(broken(error.to_string())),
        };
        let file: File =
            toml::from_str(&text).map_err(|error| broken(error.message().to_owned()))?;
        let mut verifiers = BTreeMap::new();
        for (name, entry) in file.users {
            let verifier = Verifier::parse(&entry.verifier).ok_or_else(|| {
                broken(format!(
                    "the verifier of user \"{name}\" is not a SCRAM-SHA-256 verifier"
                ))
            })?;
            verifiers.insert(name, verifier);
        }
        Ok(Users {
            verifiers: RwLock::new(verifiers),
        })
    }

    /// Writes the file in one step, readable by its owner alone.
    pub fn save(&self, path: &Path) -> Result<()> {
        let users = self.verifiers.read();
        let users = users
            .iter()
            .map(|(name, v)| {
                (
                    name.clone(),
                    Entry {
                        verifier: v.to_string(),
                    },
                )
            })
            .collect();
        let broken = |cause: String| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("{}: {cause}", path.display()),
            )
        };
        let text =
            toml::to_string_pretty(&File { users }).map_err(|error| broken(error.to_string()))?;
        let text = format!("# Written by `sluice user`. Verifiers, not passwords.\n\n{text}");
        let temporary = path.with_extension("toml.new");
        let write = || -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|error| broken(error.to_string()))
    }

    /// A user's verifier.
    pub fn verifier(&self, name: &str) -> Option<Verifier> {
        self.verifiers.read().get(name).cloned()
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        self.verifiers.read().keys().cloned().collect()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.verifiers.read().is_empty()
    }

    /// Adds a user.
    pub fn add(&self, name: &str, password: &str) -> Result<()> {
        let mut verifiers = self.verifiers.write();
        if verifiers.contains_key(name) {
            return Err(Error::new(
                SqlState::from_source("42710"),
                format!("user \"{name}\" already exists"),
            )
            .with_hint("Use `sluice user passwd` to change the password."));
        }
        if name.is_empty() || name.contains('\0') {
            return Err(Error::new(
                SqlState::from_source("42602"),
                "a user needs a name",
            ));
        }
        verifiers.insert(name.to_owned(), Verifier::from_password(password));
        Ok(())
    }

    /// Changes a password.
    pub fn change_password(&self, name: &str, password: &str) -> Result<()> {
        let mut verifiers = self.verifiers.write();
        if !verifiers.contains_key(name) {
            return Err(missing(name, verifiers.keys()));
        }
        verifiers.insert(name.to_owned(), Verifier::from_password(password));
        Ok(())
    }

    /// Drops a user.
    pub fn drop_user(&self, name: &str) -> Result<()> {
        let mut verifiers = self.verifiers.write();
        match verifiers.remove(name) {
            Some(_) => Ok(()),
            None => Err(missing(name, verifiers.keys())),
        }
    }
}

fn missing<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Error {
    let error = Error::new(
        SqlState::UNDEFINED_OBJECT,
        format!("user \"{name}\" does not exist"),
    );
    match nearest(name, names.map(String::as_str)) {
        Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_postgresqls_own() {
        // Made by PostgreSQL 15: create role … password 'pencil'.
        let verifier = Verifier::parse(PENCIL).unwrap();
        assert_eq!(verifier.to_string(), PENCIL);
        assert_eq!(
            Verifier::derive("pencil", verifier.salt.clone(), 4096),
            verifier
        );
        assert_ne!(
            Verifier::derive("Pencil", verifier.salt.clone(), 4096),
            verifier
        );
        assert!(Verifier::parse("SCRAM-SHA-256$0:AA==$AA==:AA==").is_none());
        assert!(Verifier::parse("md5abc").is_none());
    }

    const PENCIL: &str = "SCRAM-SHA-256$4096:FFV8JeKQIqMdRdbvgfsV+w==$F29KtrY3bfzVRwMeXoMmsM+On/E/niQxwWK/4hwjNkg=:XJSrF+c5u9io1SmKFe1ST2sadBPrH7RpMWyEOp0jEfc=";

    #[test]
    fn the_file_keeps_users_and_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        assert!(Users::load(&path).unwrap().is_empty());
        let users = Users::default();
        users.add("ann", "secret-word").unwrap();
        users.add("bob", "x").unwrap();
        assert!(users.add("ann", "y").is_err());
        users.drop_user("bob").unwrap();
        users.save(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("secret-word"));
        let again = Users::load(&path).unwrap();
        assert_eq!(again.names(), ["ann"]);
        assert_eq!(again.verifier("ann"), users.verifier("ann"));
        let error = again.change_password("amn", "z").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("Perhaps you meant \"ann\"."));
        fs::write(&path, "[users.eve]\nverifier = \"plain\"\n").unwrap();
        assert!(Users::load(&path).is_err());
    }
}
