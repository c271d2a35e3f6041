//! Who may log in: anyone on the loopback where nothing is configured, else SCRAM-SHA-256.

use std::sync::{Arc, LazyLock};

use bytes::{Buf, Bytes};
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth};
use pgwire::messages::startup::Authentication;
use ring::hmac;
use sluice_spi::{Error, Result, SqlState};

use super::frame::{Message, decode, violation};
use super::message;
use super::tls::Tls;
use super::wire::{NoFrame, Wire};
use crate::users::{Users, Verifier};

/// Messages before login are small; a larger one is no login.
const MAX_LOGIN_MESSAGE_BYTES: usize = 64 * 1024;

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// How clients prove who they are.
#[derive(Clone)]
pub enum Auth {
    /// Clients on this machine are believed; others are refused.
    TrustLoopback,
    /// Users and their verifiers.
    Scram(Arc<Users>),
}

/// Salts of users that don't exist: always the same per name, never known outside.
static MOCK_KEY: LazyLock<hmac::Key> =
    LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()));

fn failed(user: &str) -> Error {
    Error::new(
        SqlState::INVALID_PASSWORD,
        format!("password authentication failed for user \"{user}\""),
    )
}

/// Runs the SASL exchange; AuthenticationOk is not yet sent.
pub(super) async fn scram(
    wire: &mut Wire,
    user: &str,
    users: &Users,
    tls: Option<&Tls>,
) -> Result<(), Failed> {
    let binding = tls.and_then(|tls| tls.channel_binding.as_ref());
    let mut mechanisms = Vec::new();
    if binding.is_some() {
        mechanisms.push(SCRAM_PLUS.to_owned());
    }
    mechanisms.push(SCRAM.to_owned());
    message::authentication(&mut wire.out, &Authentication::SASL(mechanisms.clone()));
    wire.flush().await.map_err(|_| Failed::Gone)?;

    let mut body = password(wire).await?;
    let end = body
        .iter()
        .position(|b| *b == 0)
        .ok_or_else(|| violation("invalid SASL message"))?;
    let mechanism = body.split_to(end);
    body.advance(1);
    if !mechanisms
        .iter()
        .any(|offered| offered.as_bytes() == mechanism)
    {
        return Err(violation("client selected an invalid SASL authentication mechanism").into());
    }
    let length = body
        .try_get_i32()
        .map_err(|_| violation("invalid SASL message"))?;
    if usize::try_from(length).ok() != Some(body.len()) {
        return Err(violation("malformed SCRAM message").into());
    }
    let plus = mechanism == SCRAM_PLUS.as_bytes();
    let client_binds = body.starts_with(b"p");
    if plus != client_binds {
        return Err(violation("malformed SCRAM message").into());
    }

    let known = users.verifier(user);
    let verifier = known.clone().unwrap_or_else(|| mock(user));
    let secret = ScramSecret::Verifier {
        salt: verifier.salt,
        iterations: verifier.iterations as usize,
        stored_key: verifier.stored_key,
        server_key: verifier.server_key,
    };
    let server = binding.cloned().unwrap_or_else(ScramServerAuth::new);
    let broken = |error: pgwire::error::PgWireError| {
        violation("malformed SCRAM message").with_detail(error.to_string())
    };
    let (first, waiting) = server
        .on_client_first_message_with_secret(&body, secret)
        .map_err(broken)?;
    message::authentication(&mut wire.out, &Authentication::SASLContinue(first.into()));
    wire.flush().await.map_err(|_| Failed::Gone)?;

    let last = password(wire).await?;
    let proof = waiting.on_client_final_message(&last);
    match (proof, known) {
        (Ok(signature), Some(_)) => {
            message::authentication(&mut wire.out, &Authentication::SASLFinal(signature.into()));
            Ok(())
        }
        _ => Err(failed(user).into()),
    }
}

/// Why nobody logged in.
pub(super) enum Failed {
    /// The client left.
    Gone,
    /// It is told why.
    Refused(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Refused(error)
    }
}

fn mock(user: &str) -> Verifier {
    let salt = hmac::sign(&MOCK_KEY, user.as_bytes()).as_ref()[..16].to_vec();
    Verifier {
        iterations: 4096,
        salt,
        stored_key: vec![0; 32],
        server_key: vec![0; 32],
    }
}

async fn password(wire: &mut Wire) -> Result<Bytes, Failed> {
    let frame = wire
        .frame(MAX_LOGIN_MESSAGE_BYTES)
        .await
        .map_err(|no| match no {
            NoFrame::Gone => Failed::Gone,
            NoFrame::Garbage(error) => Failed::Refused(error),
        })?;
    match decode(frame)? {
        Message::Password(body) => Ok(body),
        _ => Err(violation("expected SASL response").into()),
    }
}
