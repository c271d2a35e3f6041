//! Server processes that never outlive the suite, and scratch folders that go with them.
//!
//! Each process has a process group of its own and writes to a log file. It is killed when its value is
//! dropped. Values in statics are never dropped and a crash drops nothing, so a watchdog (a shell that
//! reads from a pipe) knows every group and folder, and removes what is left when the pipe closes.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::wait;

/// How long a process may take to end after `SIGKILL`; the kernel needs milliseconds.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// What the suites send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End in order: drain first.
    Terminate,
    /// What Ctrl-C sends.
    Interrupt,
    /// End at once.
    Kill,
    /// Freeze: connections stay open and nothing answers.
    Stop,
    /// Thaw.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `FOLDER/NAME.log`.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).expect("the log file can be created");
        let errors = output.try_clone().expect("a file handle can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error} ({command:?})"));
        watchdog(&format!("group {}", child.id()));
        Self {
            name: name.to_owned(),
            pid: child.id(),
            child: Mutex::new(child),
            log,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        if self.is_running() && !kill(signal, &self.pid.to_string()) {
            eprintln!("{signal:?} did not reach {} ({})", self.name, self.pid);
        }
    }

    /// Whether it still runs (a stopped process does).
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Waits for its end; `None` when it still runs after `limit`.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        wait::until(limit, || self.child().try_wait().ok().flatten())
    }

    /// Resident memory in bytes, as the kernel counts it now.
    pub fn resident_bytes(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// The most resident memory in bytes that it ever had.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.status_kib("VmHWM:") * 1024
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log under its name, for a failure's message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!("--- log of {} ---\n{}\n", self.name, tail.join("\n"))
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group and not the process: its children may outlive it.
        kill(Signal::Kill, &format!("-{}", self.pid));
        let _ = self.wait(KILL_LIMIT);
        watchdog(&format!("gone {}", self.pid));
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// A folder of its own, readable by other users (a database server runs as one), removed with the value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new, empty folder.
    pub fn new(name: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(&format!("sluice-{name}-"))
            .tempdir()
            .expect("a temporary folder can be created")
            .keep();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("permissions of an own folder can be set");
        watchdog(&format!("folder {}", path.display()));
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A TCP port of the loopback that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("the loopback has a free port")
        .port()
}

/// Whether this is root, whom PostgreSQL refuses to serve.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Whether the signal reached somebody.
fn kill(signal: Signal, target: &str) -> bool {
    // Both `-s NAME` and `--`: without them, dash takes a group's negative number for an option.
    Command::new("/bin/sh")
        .args(["-c", &format!("kill -s {} -- {target}", signal.name())])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What outlives this process for a moment: reads names of groups and folders, and ends them at end of input.
const WATCHDOG: &str = r#"
groups= folders=
while read -r verb what; do
  case $verb in
    group) groups="$groups $what" ;;
    gone) rest=; for group in $groups; do [ "$group" = "$what" ] || rest="$rest $group"; done; groups=$rest ;;
    folder) folders="$folders $what" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
for folder in $folders; do rm -rf "$folder"; done
"#;

#[expect(
    clippy::zombie_processes,
    reason = "it outlives this process, so nobody can wait for it"
)]
fn watchdog(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", WATCHDOG])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("/bin/sh starts");
        Mutex::new(shell.stdin.take().expect("its input is a pipe"))
    });
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(pipe, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Scratch) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 60 & wait"]);
        Process::start("sleeper", command, folder.path())
    }

    #[test]
    fn a_dropped_process_is_gone_with_its_children() {
        let folder = Scratch::new("process");
        let process = sleeper(&folder);
        let group = process.pid().to_string();
        assert!(group_exists(&group));
        drop(process);
        wait::for_condition("the group is empty", KILL_LIMIT, || !group_exists(&group));
    }

    #[test]
    fn signals_arrive() {
        let folder = Scratch::new("process");
        let process = sleeper(&folder);
        process.signal(Signal::Stop);
        assert!(process.is_running());
        process.signal(Signal::Continue);
        process.signal(Signal::Terminate);
        assert!(process.wait(KILL_LIMIT).is_some());
        // Only the leader was asked to end; its child goes with the value.
        let group = process.pid().to_string();
        assert!(group_exists(&group));
        drop(process);
        wait::for_condition("the group is empty", KILL_LIMIT, || !group_exists(&group));
    }

    /// Asks the kernel and not `kill`, which is what is under test.
    fn group_exists(group: &str) -> bool {
        fs::read_dir("/proc")
            .expect("/proc is there")
            .flatten()
            .any(|entry| {
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                // PID (NAME) STATE PARENT GROUP …; a name may hold blanks and parentheses.
                let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
                fields.split_whitespace().nth(2) == Some(group)
            })
    }
}
