//! The values of one session's settings, under PostgreSQL's rules: `SET` lasts when the transaction
//! commits, `SET LOCAL` ends with it, a rollback undoes both, savepoints included.
//!
//! Relies on `catalog` for names and checks. Only values that differ from the default are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_spi::{Error, Result, SqlState};

use super::catalog::{self, Context, SETTINGS};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `SET` or `SET SESSION`.
    Session,
    /// `SET LOCAL`.
    Local,
}

#[derive(Debug, Clone, Default)]
struct Values {
    /// By lower-case name.
    session: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
}

/// One session's settings.
#[derive(Debug, Default)]
pub struct Settings {
    /// What `RESET` goes back to: startup parameters over the built-in defaults.
    defaults: BTreeMap<String, String>,
    values: Values,
    /// One per open transaction block and savepoint.
    saved: Vec<Values>,
    /// All values by lower-case name, built on demand.
    view: Option<Arc<BTreeMap<String, String>>>,
    /// What the client was last told of reported settings.
    told: BTreeMap<&'static str, String>,
    /// The view that `told` was taken from: where it is still the current one, nothing changed.
    told_view: Option<Arc<BTreeMap<String, String>>>,
}

impl Settings {
    /// The built-in defaults.
    pub fn new() -> Self {
        Settings::default()
    }

    /// Sets a session default: a startup parameter, or a fact of the session (`session_authorization`).
    /// A value that is not allowed is an error, except for facts, which pass `internal`.
    pub fn set_default(&mut self, name: &str, value: &str, internal: bool) -> Result<()> {
        let (key, value) = if internal {
            (name.to_lowercase(), value.to_owned())
        } else {
            checked(name, value, true)?
        };
        self.defaults.insert(key, value);
        self.view = None;
        Ok(())
    }

    /// `SET name = value`.
    pub fn set(&mut self, scope: Scope, name: &str, value: &str) -> Result<()> {
        let (key, value) = checked(name, value, false)?;
        match scope {
            Scope::Session => {
                self.values.local.remove(&key);
                self.values.session.insert(key, value);
            }
            Scope::Local => {
                self.values.local.insert(key, value);
            }
        }
        self.view = None;
        Ok(())
    }

    /// `RESET name` and `SET name TO DEFAULT`.
    pub fn reset(&mut self, scope: Scope, name: &str) -> Result<()> {
        let key = name.to_lowercase();
        match catalog::find(name) {
            Some(setting) if setting.context != Context::User => {
                return Err(cannot_change(setting.name));
            }
            None if !self.is_known(&key) && !is_custom(&key) => return Err(catalog::unknown(name)),
            _ => {}
        }
        match (scope, self.default_of(&key)) {
            (Scope::Local, Some(default)) => {
                self.values.local.insert(key, default);
            }
            _ => {
                self.values.local.remove(&key);
                self.values.session.remove(&key);
            }
        }
        self.view = None;
        Ok(())
    }

    /// `RESET ALL`. The role stays, as in PostgreSQL.
    pub fn reset_all(&mut self) {
        let role = self.values.session.remove_entry("role");
        self.values = Values::default();
        self.values.session.extend(role);
        self.view = None;
    }

    fn is_known(&self, key: &str) -> bool {
        [&self.values.local, &self.values.session, &self.defaults]
            .iter()
            .any(|values| values.contains_key(key))
    }

    fn default_of(&self, key: &str) -> Option<String> {
        let own = self.defaults.get(key).cloned();
        own.or_else(|| catalog::find(key).map(|setting| setting.default.to_owned()))
    }

    /// A value in its base unit; `None` for a name that is no setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        let key = name.to_lowercase();
        for values in [&self.values.local, &self.values.session, &self.defaults] {
            if let Some(value) = values.get(&key) {
                return Some(value);
            }
        }
        catalog::find(name).map(|setting| setting.default)
    }

    /// A value as `SHOW` prints it.
    pub fn show(&self, name: &str) -> Result<String> {
        let value = self.get(name).ok_or_else(|| catalog::unknown(name))?;
        Ok(catalog::display(name, value))
    }

    /// `SHOW ALL`: name, value, description.
    pub fn show_all(&self) -> Vec<(&'static str, String, &'static str)> {
        SETTINGS
            .iter()
            .map(|setting| {
                let value = self.get(setting.name).unwrap_or(setting.default);
                (setting.name, setting.display(value), setting.description)
            })
            .collect()
    }

    /// All values by lower-case name, in base units; shared until something changes.
    pub fn view(&mut self) -> Arc<BTreeMap<String, String>> {
        if let Some(view) = &self.view {
            return Arc::clone(view);
        }
        let mut all: BTreeMap<String, String> = SETTINGS
            .iter()
            .map(|setting| (setting.name.to_lowercase(), setting.default.to_owned()))
            .collect();
        for values in [&self.defaults, &self.values.session, &self.values.local] {
            all.extend(
                values
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        let view = Arc::new(all);
        self.view = Some(Arc::clone(&view));
        view
    }

    /// Reported settings whose value the client doesn't know yet.
    pub fn take_unreported(&mut self) -> Vec<(&'static str, String)> {
        if self.view_is_told() {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for setting in SETTINGS.iter().filter(|setting| setting.reported) {
            let value = self.show(setting.name).unwrap_or_default();
            if self.told.get(setting.name) != Some(&value) {
                self.told.insert(setting.name, value.clone());
                changed.push((setting.name, value));
            }
        }
        let _ = self.view();
        self.told_view = self.view.clone();
        changed
    }

    fn view_is_told(&self) -> bool {
        match (&self.view, &self.told_view) {
            (Some(view), Some(told)) => Arc::ptr_eq(view, told),
            _ => false,
        }
    }

    /// A transaction block or savepoint begins.
    pub fn begin(&mut self) {
        self.saved.push(self.values.clone());
    }

    /// How many transaction blocks and savepoints are open.
    pub fn depth(&self) -> usize {
        self.saved.len()
    }

    /// The transaction commits: `SET LOCAL` ends.
    pub fn commit(&mut self) {
        self.saved.clear();
        if !self.values.local.is_empty() {
            self.values.local.clear();
            self.view = None;
        }
    }

    /// Back to what was when block number `depth` (0 is the transaction) began; deeper ones end, it stays.
    pub fn roll_back_to(&mut self, depth: usize) {
        if let Some(values) = self.saved.get(depth).cloned() {
            self.saved.truncate(depth + 1);
            self.values = values;
            self.view = None;
        }
    }

    /// Savepoints from number `depth` on end; what they set stays.
    pub fn release(&mut self, depth: usize) {
        self.saved.truncate(depth);
    }

    /// The transaction rolls back.
    pub fn roll_back(&mut self) {
        self.roll_back_to(0);
        self.commit();
    }
}

/// Names with a dot are anyone's, but for ours.
fn is_custom(key: &str) -> bool {
    key.contains('.') && !key.starts_with("sluice.")
}

fn cannot_change(name: &str) -> Error {
    Error::new(
        SqlState::from_source("55P02"),
        format!("parameter \"{name}\" cannot be changed"),
    )
}

fn checked(name: &str, value: &str, at_startup: bool) -> Result<(String, String)> {
    let key = name.to_lowercase();
    match catalog::find(name) {
        Some(setting) => match setting.context {
            Context::Internal => Err(cannot_change(setting.name)),
            Context::Backend if !at_startup => Err(Error::new(
                SqlState::from_source("55P02"),
                format!(
                    "parameter \"{}\" cannot be set after connection start",
                    setting.name
                ),
            )),
            _ => Ok((key, setting.canonical(value)?)),
        },
        None if is_custom(&key) => Ok((key, value.to_owned())),
        None => Err(catalog::unknown(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_undo_what_they_set() {
        let mut settings = Settings::new();
        settings
            .set(Scope::Session, "statement_timeout", "1s")
            .unwrap();
        settings.begin();
        settings
            .set(Scope::Session, "statement_timeout", "2s")
            .unwrap();
        settings.begin();
        settings
            .set(Scope::Local, "statement_timeout", "3s")
            .unwrap();
        assert_eq!(settings.show("statement_timeout").unwrap(), "3s");
        settings.roll_back_to(1);
        assert_eq!(settings.show("statement_timeout").unwrap(), "2s");
        settings
            .set(Scope::Local, "statement_timeout", "4s")
            .unwrap();
        settings.commit();
        assert_eq!(settings.show("statement_timeout").unwrap(), "2s");
        settings.begin();
        settings.reset(Scope::Session, "statement_timeout").unwrap();
        settings.roll_back();
        assert_eq!(settings.show("Statement_Timeout").unwrap(), "2s");
    }

    #[test]
    fn names_are_checked() {
        let mut settings = Settings::new();
        let unknown = settings
            .set(Scope::Session, "sluice.worker", "1")
            .unwrap_err();
        assert_eq!(unknown.code, SqlState::UNDEFINED_OBJECT);
        assert_eq!(
            unknown.hint.as_deref(),
            Some("Perhaps you meant \"sluice.workers\".")
        );
        settings.set(Scope::Session, "myapp.user", "x").unwrap();
        assert_eq!(settings.show("myapp.user").unwrap(), "x");
        assert_eq!(
            settings
                .set(Scope::Session, "server_version", "1")
                .unwrap_err()
                .code
                .code(),
            "55P02"
        );
        assert!(settings.show("nothing").is_err());
    }

    #[test]
    fn the_client_is_told_once_of_each_change() {
        let mut settings = Settings::new();
        assert!(
            settings
                .take_unreported()
                .iter()
                .any(|(name, _)| *name == "TimeZone")
        );
        assert!(settings.take_unreported().is_empty());
        settings
            .set(Scope::Session, "timezone", "Europe/Berlin")
            .unwrap();
        assert_eq!(
            settings.take_unreported(),
            vec![("TimeZone", "Europe/Berlin".to_owned())]
        );
        settings.set(Scope::Session, "work_mem", "1GB").unwrap();
        assert!(settings.take_unreported().is_empty());
    }
}
