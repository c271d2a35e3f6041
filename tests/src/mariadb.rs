//! A private, real MariaDB with throw-away data: a source beside PostgreSQL.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Process, Scratch, Signal, free_port, is_root};
use crate::wait;

/// The administrator of every private server, who may log in over TCP.
pub const ADMINISTRATOR: &str = "reader";

/// The administrator's password.
pub const PASSWORD: &str = "it's a \"secret\"";

/// From start to the first answer; a server on a busy machine needs a few seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct MariaDbServer {
    process: Process,
    port: u16,
    folder: Scratch,
    settings: Vec<String>,
}

impl MariaDbServer {
    /// Makes a data folder, starts a server over it and waits for its first answer.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with more options (`max_connections=5`).
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = Scratch::new("mariadb");
        if is_root() {
            run(Command::new("chown").arg("mysql:").arg(folder.path()));
        }
        let data = folder.path().join("data");
        let mut install = as_server_user(Path::new("/usr/bin/mariadb-install-db"));
        install
            .current_dir("/")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", folder.path().display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        run(&mut install);
        let port = free_port();
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        // Runs before the first connection is taken.
        let user = PASSWORD.replace('\\', "\\\\").replace('\'', "''");
        let init = folder.path().join("init.sql");
        std::fs::write(
            &init,
            format!(
                "CREATE USER IF NOT EXISTS {ADMINISTRATOR}@'127.0.0.1' IDENTIFIED BY '{user}';\n\
                 GRANT ALL ON *.* TO {ADMINISTRATOR}@'127.0.0.1' WITH GRANT OPTION;\n\
                 CREATE DATABASE IF NOT EXISTS shop;\n"
            ),
        )
        .expect("the file of first statements can be written");
        let process = launch(folder.path(), port, &settings);
        let server = Self {
            process,
            port,
            folder,
            settings,
        };
        server.wait_until_ready();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its URL, as a catalog file names it. The password is [`PASSWORD`].
    pub fn url(&self) -> String {
        format!("mysql://{ADMINISTRATOR}@127.0.0.1:{}/shop", self.port)
    }

    /// A catalog file over the server.
    pub fn catalog(&self) -> String {
        format!(
            "connector = \"mysql\"\nurl = \"{}\"\npassword = '''{PASSWORD}'''\n",
            self.url()
        )
    }

    /// Runs statements with the server's own client and gives what it prints: rows in lines, columns
    /// between tabs, no header. Panics at the first error.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        let output = self.client().args(["-e", sql]).output().expect(
            "the mariadb client starts (apt-get install mariadb-server; make test does it)",
        );
        assert!(
            output.status.success(),
            "{sql}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Loads a CSV file with a header line.
    pub fn load_csv(&self, table: &str, file: &Path) {
        self.query(&format!(
            "LOAD DATA LOCAL INFILE '{}' INTO TABLE {table} CHARACTER SET utf8mb4 \
             FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' IGNORE 1 LINES",
            file.display()
        ));
    }

    /// The server's own client, ready for more arguments.
    pub fn client(&self) -> Command {
        let mut command = Command::new("mariadb");
        command
            .args([
                "--no-defaults",
                "--batch",
                "--skip-column-names",
                "--local-infile",
            ])
            .args(["--default-character-set=utf8mb4", "-h", "127.0.0.1"])
            .args(["-u", ADMINISTRATOR, "-D", "shop"])
            .arg(format!("-P{}", self.port))
            .env("MYSQL_PWD", PASSWORD)
            .stdin(Stdio::null());
        command
    }

    /// Statements that run now, this question's own left out.
    pub fn busy_statements(&self) -> String {
        self.query(
            "SELECT CONCAT(STATE, ': ', INFO) FROM information_schema.PROCESSLIST \
             WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID()",
        )
    }

    /// Transactions that are open now.
    pub fn open_transactions(&self) -> u64 {
        self.query("SELECT count(*) FROM information_schema.INNODB_TRX")
            .parse()
            .expect("a count is a number")
    }

    /// Sessions of users, this question's own left out.
    pub fn sessions(&self) -> u64 {
        self.query(
            "SELECT count(*) FROM information_schema.PROCESSLIST \
             WHERE USER = 'reader' AND ID <> CONNECTION_ID()",
        )
        .parse()
        .expect("a count is a number")
    }

    /// Ends it at once, as a crash does; [`Self::restart`] brings it back.
    pub fn kill(&self) {
        self.process.signal(Signal::Kill);
        let _ = self.process.wait(Duration::from_secs(5));
        wait::for_condition(
            "the killed server's port is closed",
            Duration::from_secs(10),
            || TcpStream::connect(self.address()).is_err(),
        );
    }

    /// Starts it again over the same data and on the same port.
    pub fn restart(&mut self) {
        self.process = launch(self.folder.path(), self.port, &self.settings);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let ready = wait::until(START_LIMIT, || {
            assert!(
                self.process.is_running(),
                "the private MariaDB ended\n{}",
                self.process.log_tail()
            );
            let answer = self.client().args(["-e", "SELECT 1"]).output().ok()?;
            answer.status.success().then_some(())
        });
        assert!(
            ready.is_some(),
            "the private MariaDB does not answer\n{}",
            self.process.log_tail()
        );
    }
}

fn launch(folder: &Path, port: u16, settings: &[String]) -> Process {
    let mut command = as_server_user(Path::new("/usr/sbin/mariadbd"));
    command
        .current_dir("/")
        .arg("--no-defaults")
        .arg(format!("--datadir={}", folder.join("data").display()))
        .arg(format!("--socket={}", folder.join("socket").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .arg(format!("--init-file={}", folder.join("init.sql").display()))
        .arg(format!("--tmpdir={}", folder.display()))
        .arg(format!("--port={port}"));
    for setting in [
        "bind-address=127.0.0.1",
        "local-infile=ON",
        // Throw-away data: speed before durability.
        "innodb-flush-log-at-trx-commit=0",
        "innodb-doublewrite=OFF",
        "innodb-buffer-pool-size=128M",
        "sync-binlog=0",
        "skip-log-bin",
    ]
    .into_iter()
    .chain(settings.iter().map(String::as_str))
    {
        command.arg(format!("--{setting}"));
    }
    Process::start("mariadb", command, folder)
}

/// A program under the user whom the server accepts: never root.
fn as_server_user(program: &Path) -> Command {
    if is_root() {
        // setpriv becomes the program, so its process id is the server's.
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=mysql", "--regid=mysql", "--init-groups", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    }
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
