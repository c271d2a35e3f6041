//! From an accepted socket to a session: TLS, cancel requests, the startup packet, login, greetings.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use pgwire::messages::startup::Authentication;
use sluice_spi::{Error, SqlState};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::auth::{self, Auth};
use super::connection::Connection;
use super::frame::violation;
use super::message::{self, Severity};
use super::wire::{NoFrame, Wire};
use super::{Front, FrontConfig};
use crate::session::{NewSession, Session, SessionGuard, Settings};

/// PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP_BYTES: usize = 10_000;
/// TLS and GSS may be asked for once each before the startup packet.
const MAX_REQUESTS: usize = 2;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const PROTOCOL_3: u32 = 3 << 16;
const PROTOCOL_3_2: u32 = PROTOCOL_3 | 2;

/// What came of a connection's beginning.
pub(super) enum Started {
    /// A session; the guard keeps its place in the registry.
    Session(
        Box<Connection>,
        SessionGuard,
        tokio::sync::OwnedSemaphorePermit,
    ),
    /// Nothing more to do: a cancel request, or a client that left.
    Over,
    /// Refused: the client is told why.
    Refused(Wire, Error),
}

struct Request {
    version: u32,
    parameters: Vec<(String, String)>,
}

/// Begins a connection. The caller bounds the time.
pub(super) async fn start<S>(
    stream: S,
    address: Option<SocketAddr>,
    direct_tls: bool,
    front: &Arc<Front>,
    shutdown: &CancellationToken,
    kill: &CancellationToken,
) -> Started
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = &front.config;
    let (wire, tls) = match negotiate(stream, direct_tls, config).await {
        Ok(negotiated) => negotiated,
        Err(Some((wire, error))) => return Started::Refused(wire, error),
        Err(None) => return Started::Over,
    };
    let mut wire = wire;
    let packet = match wire.startup_packet(MAX_STARTUP_BYTES).await {
        Ok(packet) => packet,
        Err(NoFrame::Gone) => return Started::Over,
        Err(NoFrame::Garbage(error)) => return Started::Refused(wire, error),
    };
    let request = match read_request(packet, front) {
        Ok(Some(request)) => request,
        Ok(None) => return Started::Over,
        Err(error) => return Started::Refused(wire, error),
    };
    match log_in(&mut wire, request, address, tls, front, shutdown, kill).await {
        Ok((session, guard, permit)) => {
            let engine = Arc::clone(&front.engine);
            let connection = Connection::new(
                wire,
                session,
                engine,
                shutdown.clone(),
                config.max_message_bytes,
            );
            Started::Session(Box::new(connection), guard, permit)
        }
        Err(auth::Failed::Gone) => Started::Over,
        Err(auth::Failed::Refused(error)) => Started::Refused(wire, error),
    }
}

/// Answers SSLRequest and GSSENCRequest until something else comes.
async fn negotiate<S>(
    stream: S,
    direct_tls: bool,
    config: &FrontConfig,
) -> Result<(Wire, bool), Option<(Wire, Error)>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if direct_tls {
        let Some(tls) = &config.tls else {
            return Err(None);
        };
        let stream = tls.acceptor.accept(stream).await.map_err(|_| None)?;
        if stream.get_ref().1.alpn_protocol() != Some(b"postgresql") {
            return Err(None);
        }
        return Ok((plain(stream), true));
    }
    let mut stream = stream;
    for _ in 0..=MAX_REQUESTS {
        // Exactly eight bytes are read: whatever a client (or somebody in between) sends after a TLS
        // request belongs to the handshake, never to us as plain text.
        let mut head = [0u8; 8];
        let (size, rest) = head.split_at_mut(4);
        let read = tokio::io::AsyncReadExt::read_exact(&mut stream, size).await;
        // No packet is shorter than a request for encryption: this is no client of ours.
        if read.is_err() || (&*size).get_u32() < 8 {
            return Err(None);
        }
        if tokio::io::AsyncReadExt::read_exact(&mut stream, rest)
            .await
            .is_err()
        {
            return Err(None);
        }
        let (length, code) = ((&head[..4]).get_u32(), (&head[4..]).get_u32());
        let answer: u8 = match (length, code) {
            (8, SSL_REQUEST) if config.tls.is_some() => b'S',
            (8, SSL_REQUEST | GSS_REQUEST) => b'N',
            _ => {
                let mut wire = plain(stream);
                wire.unread(&head);
                return Ok((wire, false));
            }
        };
        if tokio::io::AsyncWriteExt::write_all(&mut stream, &[answer])
            .await
            .is_err()
        {
            return Err(None);
        }
        if answer == b'S'
            && let Some(tls) = &config.tls
        {
            let stream = tls.acceptor.accept(stream).await.map_err(|_| None)?;
            return Ok((plain(stream), true));
        }
    }
    Err(Some((
        plain(stream),
        violation("too many requests for encryption"),
    )))
}

fn plain<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Wire {
    let (reader, writer) = tokio::io::split(stream);
    Wire::new(Box::new(reader), Box::new(writer))
}

/// Reads a startup packet; a cancel request is done on the spot.
fn read_request(mut packet: BytesMut, front: &Front) -> Result<Option<Request>, Error> {
    let version = packet.get_u32();
    if version == CANCEL_REQUEST {
        if packet.len() >= 8 {
            let pid = packet.get_i32();
            front.sessions.cancel_request(pid, &packet);
        }
        return Ok(None);
    }
    if version >> 16 != 3 {
        return Err(Error::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!(
                "unsupported frontend protocol {}.{}: server supports 3.0 to 3.2",
                version >> 16,
                version & 0xffff
            ),
        ));
    }
    let invalid = || violation("invalid startup packet layout: expected terminator as last byte");
    let Some((0, body)) = packet.split_last() else {
        return Err(invalid());
    };
    let mut words = body.split(|byte| *byte == 0);
    let mut parameters = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| invalid());
    while let Some(name) = words.next() {
        if name.is_empty() {
            break;
        }
        let value = words.next().ok_or_else(invalid)?;
        parameters.push((text(name)?, text(value)?));
    }
    Ok(Some(Request {
        version,
        parameters,
    }))
}

async fn log_in(
    wire: &mut Wire,
    request: Request,
    address: Option<SocketAddr>,
    tls: bool,
    front: &Arc<Front>,
    shutdown: &CancellationToken,
    kill: &CancellationToken,
) -> Result<(Session, SessionGuard, tokio::sync::OwnedSemaphorePermit), auth::Failed> {
    let config = &front.config;
    let mut settings = Settings::new();
    let (mut user, mut database) = (String::new(), String::new());
    let mut unknown = Vec::new();
    let mut options = Vec::new();
    for (name, value) in request.parameters {
        match name.as_str() {
            "user" => user = value,
            "database" => database = value,
            "replication" => {
                if !matches!(value.as_str(), "false" | "off" | "no" | "0") {
                    return Err(
                        Error::unsupported("replication connections are not supported").into(),
                    );
                }
            }
            "options" => options.extend(parse_options(&value)?),
            _ if name.starts_with("_pq_.") => unknown.push(name),
            _ => options.push((name, value)),
        }
    }
    if user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(Error::new(SqlState::INVALID_AUTHORIZATION, message).into());
    }
    if database.is_empty() {
        database.clone_from(&user);
    }
    if request.version > PROTOCOL_3_2 || !unknown.is_empty() {
        message::negotiate(
            &mut wire.out,
            request.version.min(PROTOCOL_3_2) as i32,
            unknown,
        );
    }
    if shutdown.is_cancelled() {
        return Err(Error::new(
            SqlState::CANNOT_CONNECT_NOW,
            "the database system is shutting down",
        )
        .into());
    }
    // Places are counted after the startup packet, so that a cancel request always finds one.
    let permit = Arc::clone(&front.places).try_acquire_owned().map_err(|_| {
        auth::Failed::Refused(Error::new(
            SqlState::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        ))
    })?;
    match &config.auth {
        Auth::TrustLoopback => {
            if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
                let host = address.map(|a| a.ip().to_string()).unwrap_or_default();
                let encryption = if tls {
                    "SSL encryption"
                } else {
                    "no encryption"
                };
                let message = format!(
                    "no pg_hba.conf entry for host \"{host}\", user \"{user}\", database \"{database}\", {encryption}"
                );
                return Err(Error::new(SqlState::INVALID_AUTHORIZATION, message)
                    .with_hint("Only connections from this machine are trusted; `sluice user add` lets others log in.")
                    .into());
            }
        }
        Auth::Scram(users) => {
            let tls = if tls { config.tls.as_ref() } else { None };
            auth::scram(wire, &user, users, tls).await?;
        }
    }
    if !front.engine.databases().contains(&database) {
        return Err(Error::new(
            SqlState::INVALID_CATALOG_NAME,
            format!("database \"{database}\" does not exist"),
        )
        .into());
    }
    for (name, value) in options {
        settings.set_default(&name, &value, false)?;
    }
    settings.set_default("session_authorization", &user, true)?;
    if config.tls.is_some() {
        settings.set_default("ssl", "on", true)?;
    }

    message::authentication(&mut wire.out, &Authentication::Ok);
    // Protocol 3.2 has room for longer secrets.
    let secret_bytes = if request.version >= PROTOCOL_3_2 {
        32
    } else {
        4
    };
    let secret = rand::random::<[u8; 32]>()[..secret_bytes].to_vec();
    let guard = front.sessions.enter(NewSession {
        user: user.into(),
        database: database.into(),
        client_address: address,
        tls,
        secret: secret.clone(),
        settings,
        parent: kill.clone(),
    });
    for (name, value) in guard.entry().with_settings(Settings::take_unreported) {
        message::parameter_status(&mut wire.out, name, &value);
    }
    message::backend_key(&mut wire.out, guard.entry().pid, &secret);
    Ok((Session::new(Arc::clone(guard.entry())), guard, permit))
}

/// `options` of the startup packet: `-c name=value`, `-cname=value` or `--name=value`; a backslash keeps
/// the next character.
fn parse_options(text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars();
    let mut open = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                word.extend(characters.next());
                open = true;
            }
            c if c.is_whitespace() => {
                if std::mem::take(&mut open) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        words.push(word);
    }
    let mut found = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            words.next()
        } else {
            word.strip_prefix("--")
                .or_else(|| word.strip_prefix("-c"))
                .map(str::to_owned)
        };
        let invalid = || {
            violation(format!(
                "invalid command-line argument for server process: {word}"
            ))
        };
        let setting = setting.ok_or_else(invalid)?;
        let (name, value) = setting.split_once('=').ok_or_else(invalid)?;
        let name = if word.starts_with("--") {
            name.replace('-', "_")
        } else {
            name.to_owned()
        };
        found.push((name, value.to_owned()));
    }
    Ok(found)
}

/// Tells a client why it is refused.
pub(super) async fn refuse(mut wire: Wire, error: &Error, patience: std::time::Duration) {
    message::error(&mut wire.out, error, Severity::Fatal);
    wire.close(patience).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_postgresql_splits_them() {
        let options =
            parse_options("-c search_path=a,b\\ c  --statement-timeout=5s -cwork_mem=1MB").unwrap();
        let pairs: Vec<(&str, &str)> = options
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("search_path", "a,b c"),
                ("statement_timeout", "5s"),
                ("work_mem", "1MB")
            ]
        );
        assert!(parse_options("-x").is_err());
    }
}
