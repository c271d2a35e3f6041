//! A private, real PostgreSQL with throw-away data: the source under test, and the oracle of the comparisons.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::{Connection, ServerError};
use crate::process::{Process, Scratch, Signal, free_port, is_root};
use crate::wait;

/// The superuser of every private server.
pub const SUPERUSER: &str = "postgres";

/// From start to the first answer; a server on a busy machine needs one or two seconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    port: u16,
    programs: PathBuf,
    folder: Scratch,
}

impl PostgresServer {
    /// Makes a data folder, starts a server over it and waits for its first answer.
    pub fn start() -> Self {
        let programs = programs();
        let folder = Scratch::new("postgres");
        let data = folder.path().join("data");
        if is_root() {
            run(Command::new("chown")
                .arg(format!("{SUPERUSER}:"))
                .arg(folder.path()));
        }
        let mut initdb = as_server_user(&programs.join("initdb"));
        initdb
            .current_dir(folder.path())
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]);
        run(&mut initdb);
        let port = free_port();
        let process = launch(&programs, folder.path(), port);
        let server = Self {
            process,
            port,
            programs,
            folder,
        };
        server.wait_until_ready();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The URL of a database, as a catalog file names it.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://{SUPERUSER}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// A catalog file over a database.
    pub fn catalog(&self, database: &str) -> String {
        format!(
            "connector = \"postgres\"\nurl = \"{}\"\n",
            self.url(database)
        )
    }

    /// A session as the superuser.
    #[track_caller]
    pub fn connect(&self, database: &str) -> Connection {
        Connection::open(self.address(), SUPERUSER, database)
            .unwrap_or_else(|error| panic!("no session in the private PostgreSQL: {error}"))
    }

    /// Makes a database.
    pub fn create_database(&self, name: &str) {
        self.connect("postgres")
            .query(&format!("CREATE DATABASE {name}"))
            .expect("a database can be created");
    }

    /// Runs a file of SQL with psql. Panics at the first error.
    pub fn run_file(&self, database: &str, file: &Path) {
        run(self
            .psql(database)
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(file));
    }

    /// Loads a CSV file with a header line.
    pub fn load_csv(&self, database: &str, table: &str, file: &Path) {
        let copy = format!(
            "\\copy {table} FROM '{}' WITH (FORMAT csv, HEADER true)",
            file.display()
        );
        run(self
            .psql(database)
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-c", &copy]));
    }

    /// psql towards this server, ready for more arguments.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.args([
            "-X",
            "-h",
            "127.0.0.1",
            "-U",
            SUPERUSER,
            "-d",
            database,
            "-p",
        ]);
        command.arg(self.port.to_string());
        command
    }

    /// Client sessions in a database, this question's own left out.
    pub fn sessions(&self, database: &str) -> u64 {
        self.count_sessions(&format!("datname = '{database}'"))
    }

    /// Sessions of Sluice that hold something: a running statement or an open transaction.
    pub fn busy_sessions(&self) -> u64 {
        self.count_sessions("application_name LIKE 'sluice%' AND state <> 'idle'")
    }

    /// What those sessions run, for a failure's message.
    pub fn busy_statements(&self) -> String {
        self.connect("postgres")
            .query(
                "SELECT state || ': ' || query FROM pg_stat_activity \
                 WHERE application_name LIKE 'sluice%' AND state <> 'idle'",
            )
            .map_or_else(|error| error.to_string(), |rows| rows.lines())
    }

    /// What the server has written to its log so far. `log_statement` decides whether statements are in it.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it at once, as a crash does; [`Self::restart`] brings it back.
    pub fn kill(&self) {
        self.process.signal(Signal::Kill);
        // The postmaster is gone, its children notice by themselves; the port must be free again.
        let _ = self.process.wait(Duration::from_secs(5));
        wait::for_condition(
            "the killed server's port is closed",
            Duration::from_secs(10),
            || std::net::TcpStream::connect(self.address()).is_err(),
        );
    }

    /// Starts it again over the same data and on the same port.
    pub fn restart(&mut self) {
        let _ = fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        self.process = launch(&self.programs, self.folder.path(), self.port);
        self.wait_until_ready();
    }

    fn count_sessions(&self, condition: &str) -> u64 {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {condition}"
        );
        self.connect("postgres")
            .query(&sql)
            .expect("pg_stat_activity answers")
            .single()
            .parse()
            .expect("a count is a number")
    }

    fn wait_until_ready(&self) {
        let ready = wait::until(START_LIMIT, || {
            assert!(
                self.process.is_running(),
                "the private PostgreSQL ended\n{}",
                self.process.log_tail()
            );
            let answer: Result<_, ServerError> =
                Connection::open(self.address(), SUPERUSER, "postgres")
                    .and_then(|mut c| c.query("SELECT 1"));
            answer.ok()
        });
        assert!(
            ready.is_some(),
            "the private PostgreSQL does not answer\n{}",
            self.process.log_tail()
        );
    }
}

fn launch(programs: &Path, folder: &Path, port: u16) -> Process {
    let mut command = as_server_user(&programs.join("postgres"));
    command
        .current_dir(folder)
        .arg("-D")
        .arg(folder.join("data"));
    command.args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        &format!("unix_socket_directories={}", folder.display()),
        // Throw-away data: speed before durability.
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "shared_buffers=128MB",
        "max_wal_size=2GB",
        "autovacuum=off",
        "max_connections=100",
        // The suites compare with UTC everywhere.
        "timezone=UTC",
    ] {
        command.args(["-c", setting]);
    }
    Process::start("postgres", command, folder)
}

/// A program under the user whom the server accepts: never root.
fn as_server_user(program: &Path) -> Command {
    if is_root() {
        // setpriv becomes the program, so its process id is the server's.
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                "--",
            ])
            .arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// The newest installed server's programs: `$SLUICE_POSTGRES_BIN`, or Debian's folders.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("SLUICE_POSTGRES_BIN") {
        return PathBuf::from(folder);
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, programs)| {
            programs.join("postgres").exists() && programs.join("initdb").exists()
        })
        .collect();
    versions.sort();
    versions
        .pop()
        .expect("a PostgreSQL server is installed (apt-get install postgresql; make test does it)")
        .1
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
