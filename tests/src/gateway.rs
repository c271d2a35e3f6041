//! A running Sluice: `sluice serve` and any number of `sluice worker` processes over one folder of catalogs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::client::{Connection, ServerError};
use crate::process::{Process, Scratch, Signal};
use crate::{paths, wait};

/// From exec to the announcement. The aim is below a second; a busy machine gets more.
const START_LIMIT: Duration = Duration::from_secs(20);
/// An idle gateway drains at once.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// The user of every session; the loopback is trusted.
const USER: &str = "tester";

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct GatewayOptions {
    /// Catalog names and the text of their files. `system` is always there.
    pub catalogs: Vec<(String, String)>,
    /// Worker processes beside the gateway.
    pub workers: usize,
    /// `--set` pairs for every process.
    pub settings: Vec<(String, String)>,
}

impl GatewayOptions {
    /// No catalog, no worker process.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a catalog.
    #[must_use]
    pub fn catalog(mut self, name: &str, file: impl Into<String>) -> Self {
        self.catalogs.push((name.to_owned(), file.into()));
        self
    }

    /// Sets the number of worker processes. The gateway then runs no tasks itself, so that a test over
    /// workers is one over separate processes.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets a key of `sluice.toml`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it all.
    pub fn start(self) -> Gateway {
        Gateway::start(self)
    }
}

/// What a process writes to its `--announce` file.
#[derive(Debug, Clone, Deserialize)]
struct Announcement {
    #[serde(default)]
    postgres: Option<String>,
    #[serde(default)]
    http: Option<String>,
    #[serde(default)]
    rpc: Option<String>,
}

/// A running gateway with its workers.
#[derive(Debug)]
pub struct Gateway {
    // Dropped in this order: workers first, then the gateway, then the folder with their logs.
    workers: Vec<Process>,
    process: Process,
    postgres: SocketAddr,
    http: String,
    rpc: String,
    start_time: Duration,
    options: GatewayOptions,
    folder: Scratch,
}

impl Gateway {
    /// Starts a gateway and its workers, and waits until the gateway lists all of them.
    pub fn start(options: GatewayOptions) -> Self {
        let folder = Scratch::new("gateway");
        let catalogs = folder.path().join("config/catalogs");
        fs::create_dir_all(&catalogs).expect("the configuration folder can be created");
        for (name, file) in &options.catalogs {
            fs::write(catalogs.join(format!("{name}.toml")), file)
                .expect("a catalog file can be written");
        }
        let spill = folder.path().join("spill");
        fs::create_dir_all(&spill).expect("the spill folder can be created");

        let mut command = Command::new(paths::program("sluice"));
        command.arg("serve");
        if options.workers > 0 {
            // The suites' tables are small: without this the coordinator would keep them to itself.
            command.args([
                "--set",
                "worker.embedded=false",
                "--set",
                "planner.distribute_above=0",
            ]);
        }
        for key in ["postgres", "http"] {
            command.args(["--set", &format!("{key}.listen=127.0.0.1:0")]);
        }
        let begin = Instant::now();
        let (process, announcement) = launch("gateway", command, &options, folder.path());
        let start_time = begin.elapsed();
        let listens = |address: Option<String>, what: &str| {
            address.unwrap_or_else(|| panic!("the gateway announces no {what} address"))
        };
        let mut gateway = Self {
            workers: Vec::new(),
            process,
            postgres: listens(announcement.postgres, "postgres")
                .parse()
                .expect("an announced address is HOST:PORT"),
            http: listens(announcement.http, "http"),
            rpc: listens(announcement.rpc, "rpc"),
            start_time,
            options,
            folder,
        };
        for _ in 0..gateway.options.workers {
            gateway.add_worker();
        }
        gateway
    }

    /// Starts one more worker and waits until the gateway lists it. Its number is the position in start order.
    pub fn add_worker(&mut self) -> usize {
        let number = self.workers.len();
        let mut command = Command::new(paths::program("sluice"));
        command.args(["worker", "--coordinator", &format!("http://{}", self.rpc)]);
        let (process, _) = launch(
            &format!("worker-{number}"),
            command,
            &self.options,
            self.folder.path(),
        );
        self.workers.push(process);
        let expected = self
            .workers
            .iter()
            .filter(|worker| worker.is_running())
            .count();
        let listed = wait::until(START_LIMIT, || {
            (self.active_workers() >= expected).then_some(())
        });
        assert!(
            listed.is_some(),
            "the gateway lists {} of {expected} workers\n{}",
            self.active_workers(),
            self.logs()
        );
        number
    }

    /// The address of the PostgreSQL protocol.
    pub fn address(&self) -> SocketAddr {
        self.postgres
    }

    /// The address of HTTP.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// From exec to the announcement.
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// A session in a database.
    #[track_caller]
    pub fn connect(&self, database: &str) -> Connection {
        match self.try_connect(database) {
            Ok(connection) => connection,
            Err(error) => panic!("no session in {database}: {error}\n{}", self.logs()),
        }
    }

    /// A session, or why there is none.
    pub fn try_connect(&self, database: &str) -> Result<Connection, ServerError> {
        Connection::open(self.postgres, USER, database)
    }

    /// psql towards this gateway, ready for more arguments.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-h", "127.0.0.1", "-U", USER, "-d", database, "-p"]);
        command.arg(self.postgres.port().to_string());
        command
    }

    /// How many workers `system.runtime.workers` calls active.
    pub fn active_workers(&self) -> usize {
        let Ok(mut connection) = self.try_connect("sluice") else {
            return 0;
        };
        connection
            .query("SELECT * FROM system.runtime.workers WHERE state = 'active'")
            .map_or(0, |rows| rows.rows.len())
    }

    /// The gateway's process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A worker's process.
    pub fn worker(&self, number: usize) -> &Process {
        &self.workers[number]
    }

    /// Files that operators have spilled and not removed.
    pub fn spill_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("spill")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    found.push(path)
                }
            }
        }
        found
    }

    /// Ends the workers and then the gateway in order, and gives their exit statuses, the gateway's first.
    /// `None` is a process that did not end in time.
    pub fn stop(&self) -> Vec<Option<ExitStatus>> {
        for worker in &self.workers {
            worker.signal(Signal::Continue);
            worker.signal(Signal::Terminate);
        }
        let workers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.wait(STOP_LIMIT))
            .collect();
        self.process.signal(Signal::Terminate);
        let mut statuses = vec![self.process.wait(STOP_LIMIT)];
        statuses.extend(workers);
        statuses
    }

    /// The ends of all logs, for a failure's message.
    pub fn logs(&self) -> String {
        let mut logs = self.process.log_tail();
        for worker in &self.workers {
            logs.push_str(&worker.log_tail());
        }
        logs
    }
}

fn launch(
    name: &str,
    mut command: Command,
    options: &GatewayOptions,
    folder: &Path,
) -> (Process, Announcement) {
    let announce = folder.join(format!("{name}.json"));
    command
        .arg("--config")
        .arg(folder.join("config"))
        .arg("--announce")
        .arg(&announce)
        .args(["--set", "rpc.listen=127.0.0.1:0"])
        .args([
            "--set",
            &format!("memory.spill.path={}", folder.join("spill").display()),
        ]);
    for (key, value) in &options.settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
    // A suite's servers must not pick up the settings of the person who runs it.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLUICE_")) {
        command.env_remove(name);
    }
    let process = Process::start(name, command, folder);
    let announcement = wait::until(START_LIMIT, || {
        assert!(
            process.is_running(),
            "{name} ended at start\n{}",
            process.log_tail()
        );
        let text = fs::read_to_string(&announce).ok()?;
        serde_json::from_str(&text).ok()
    });
    let Some(announcement) = announcement else {
        panic!("{name} does not announce itself\n{}", process.log_tail());
    };
    (process, announcement)
}
