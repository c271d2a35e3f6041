//! What `serve` and `worker` share: the runtime, signals, the announcement, the build's id.

use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;

use ring::digest;
use serde_json::json;
use sluice_spi::{Error, Result, SqlState};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Bytes at each end of the program that tell one build from another: headers and section tables.
const BUILD_SAMPLE_BYTES: u64 = 1 << 20;

/// Stack of a thread that plans: 128 levels of nesting, or 2,000 operators in a chain, fit several times.
const STACK_BYTES: usize = 8 << 20;

/// The runtime of the process.
pub(super) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sluice")
        .on_thread_park(sluice_workers::hand_over_garbage)
        // Deeply nested statements recurse in parser, planner and optimizer. Only touched pages count.
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|e| Error::new(SqlState::IO_ERROR, format!("could not start threads: {e}")))
}

/// Names the build: plans cross between processes of one build only.
pub(super) fn build_id() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match sample() {
        Ok(sample) => {
            let hash = digest::digest(&digest::SHA256, &sample);
            let short: String = hash
                .as_ref()
                .iter()
                .take(6)
                .map(|b| format!("{b:02x}"))
                .collect();
            format!("{version}+{short}")
        }
        Err(_) => version.to_owned(),
    }
}

fn sample() -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(std::env::current_exe()?)?;
    let length = file.metadata()?.len();
    let mut sample = length.to_le_bytes().to_vec();
    file.by_ref()
        .take(BUILD_SAMPLE_BYTES)
        .read_to_end(&mut sample)?;
    file.seek(SeekFrom::Start(length.saturating_sub(BUILD_SAMPLE_BYTES)))?;
    file.take(BUILD_SAMPLE_BYTES).read_to_end(&mut sample)?;
    Ok(sample)
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT and ends the process at the second.
pub(super) fn watch_signals(shutdown: CancellationToken) -> Result<()> {
    let listen = |kind| {
        signal(kind)
            .map_err(|e| Error::new(SqlState::IO_ERROR, format!("could not watch signals: {e}")))
    };
    let (mut term, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        let mut first = true;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                tracing::warn!("second signal: ending at once");
                std::process::exit(1);
            }
            first = false;
            tracing::info!("draining; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// The addresses of a ready process.
pub(super) struct Addresses {
    pub(super) postgres: Option<SocketAddr>,
    pub(super) http: Option<SocketAddr>,
    pub(super) rpc: SocketAddr,
}

/// Says that the process is ready, in the log and in the announcement file.
pub(super) fn announce(file: Option<&Path>, addresses: &Addresses) -> Result<()> {
    let text = |address: Option<SocketAddr>| address.map(|a| a.to_string());
    let announcement = json!({
        "pid": std::process::id(),
        "postgres": text(addresses.postgres),
        "http": text(addresses.http),
        "rpc": addresses.rpc.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    tracing::info!("ready {announcement}");
    let Some(file) = file else { return Ok(()) };
    // Written beside and renamed, so that a reader never sees half of it.
    let part = file.with_extension("part");
    std::fs::write(&part, announcement.to_string())
        .and_then(|()| std::fs::rename(&part, file))
        .map_err(|e| {
            Error::new(
                SqlState::IO_ERROR,
                format!("could not write {}: {e}", file.display()),
            )
        })
}
