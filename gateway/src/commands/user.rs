//! `sluice user`: the users file, which holds verifiers and never passwords.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use sluice_spi::{Error, Result, SqlState};

use super::Failure;
use crate::config;
use crate::users::Users;

/// What to do with a user.
#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; the password is read from standard input.
    Add(Named),
    /// Change a user's password; it is read from standard input.
    Passwd(Named),
    /// Drop a user.
    Drop(Named),
    /// List the users.
    List {
        /// The configuration folder.
        #[arg(long, value_name = "DIR")]
        config: Option<PathBuf>,
    },
}

/// A user and a folder.
#[derive(clap::Args)]
pub(crate) struct Named {
    /// The user's name.
    name: String,
    /// The configuration folder.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
}

/// Works on `DIR/users.toml`.
pub(super) fn run(command: UserCommand) -> std::result::Result<(), Failure> {
    let done = match command {
        UserCommand::List { config } => {
            let users = Users::load(&file(config.as_deref())?)?;
            users.names().iter().for_each(|name| println!("{name}"));
            return Ok(());
        }
        UserCommand::Add(named) => change(&named, |users| users.add(&named.name, &password()?)),
        UserCommand::Passwd(named) => change(&named, |users| {
            users.change_password(&named.name, &password()?)
        }),
        UserCommand::Drop(named) => change(&named, |users| users.drop_user(&named.name)),
    };
    done.map_err(Failure::from)
}

fn change(named: &Named, work: impl FnOnce(&Users) -> Result<()>) -> Result<()> {
    let file = file(named.config.as_deref())?;
    let users = Users::load(&file)?;
    work(&users)?;
    users.save(&file)
}

fn file(dir: Option<&Path>) -> Result<PathBuf> {
    match config::config_dir(dir) {
        Some(dir) => Ok(dir.join("users.toml")),
        None => Err(Error::new(
            SqlState::CONFIG_FILE_ERROR,
            "there is no configuration folder",
        )
        .with_hint("Name one with --config DIR.")),
    }
}

/// One line of standard input. It is shown on a terminal: a pipe or a here-document hides it.
fn password() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("Password (it will be shown): ");
        let _ = std::io::stderr().flush();
    }
    let mut line = String::new();
    input.lock().read_line(&mut line).map_err(|e| {
        Error::new(
            SqlState::IO_ERROR,
            format!("could not read the password: {e}"),
        )
    })?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "the password is empty",
        ));
    }
    Ok(password.to_owned())
}
