//! The command line: `serve`, `worker`, `check`, `user`, `docs`.
//!
//! Exit codes: 0 done or drained, 1 failed, 2 usage or configuration.

mod check;
mod docs;
mod process;
mod serve;
mod user;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sluice_spi::{Error, SqlState};
use tracing_subscriber::EnvFilter;

/// One PostgreSQL endpoint over all of a company's data.
#[derive(Parser)]
#[command(name = "sluice", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway: PostgreSQL port, coordinator, and a worker of its own.
    Serve(ProcessArgs),
    /// Run a worker that joins a gateway's fleet.
    Worker {
        /// The gateway's rpc address, http://HOST:9480.
        #[arg(long, value_name = "URL")]
        coordinator: url::Url,
        #[command(flatten)]
        process: ProcessArgs,
    },
    /// Check a configuration folder.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Open every catalog's source, too, and say what answered.
        #[arg(long)]
        connect: bool,
    },
    /// Manage the users that may log in.
    User {
        #[command(subcommand)]
        command: user::UserCommand,
    },
    /// Print generated documentation.
    #[command(hide = true)]
    Docs {
        /// Which: config.
        #[arg(value_parser = ["config"])]
        topic: String,
    },
}

/// Where the configuration is.
#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// The configuration folder. Without it: $SLUICE_CONFIG, /etc/sluice, or built-in defaults.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Set a key of sluice.toml, for example postgres.listen=127.0.0.1:0. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What every long-running process takes.
#[derive(Args)]
pub(crate) struct ProcessArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write a JSON object with the process's addresses to this file when it is ready.
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// How a command failed.
pub(crate) enum Failure {
    /// The configuration cannot be used: exit code 2.
    Configuration(Vec<Error>),
    /// Anything else: exit code 1.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.code == SqlState::CONFIG_FILE_ERROR {
            Failure::Configuration(vec![error])
        } else {
            Failure::Other(error)
        }
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(process) => serve::run(&process),
        Command::Worker {
            coordinator,
            process,
        } => worker::run(coordinator, &process),
        Command::Check { config, connect } => check::run(&config, connect),
        Command::User { command } => user::run(command),
        Command::Docs { .. } => docs::config().map_err(Failure::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Other(error)) => {
            report(&error);
            ExitCode::from(1)
        }
        Err(Failure::Configuration(errors)) => {
            errors.iter().for_each(report);
            ExitCode::from(2)
        }
    }
}

fn report(error: &Error) {
    eprintln!("sluice: {}", error.message);
    if let Some(detail) = &error.detail {
        eprintln!("  {detail}");
    }
    if let Some(hint) = &error.hint {
        eprintln!("  Hint: {hint}");
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start (in tests) keeps the first log.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
