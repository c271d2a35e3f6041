//! The protocol's order of messages, as scripts of frames over TCP.
//!
//! A script sends frames and expects the type bytes of the answer: `1` ParseComplete, `2` BindComplete,
//! `3` CloseComplete, `T` RowDescription, `t` ParameterDescription, `n` NoData, `D` DataRow, `s`
//! PortalSuspended, `I` EmptyQueryResponse, `C:TAG` CommandComplete, `E:CODE` error, `Z:STATUS`
//! ReadyForQuery.

mod errors;
mod extended;
mod repeated;
mod simple;
mod startup;
mod statistics;

use std::sync::OnceLock;

use sluice_tests::{Connection, Gateway, GatewayOptions, client, frames};

fn gateway() -> &'static Gateway {
    static GATEWAY: OnceLock<Gateway> = OnceLock::new();
    GATEWAY.get_or_init(|| {
        GatewayOptions::new()
            .catalog("tpch", "connector = \"tpch\"\n")
            .catalog("memory", "connector = \"memory\"\n")
            .start()
    })
}

fn session() -> Connection {
    gateway().connect("tpch")
}

/// Sends frames and compares the type bytes of everything up to ReadyForQuery.
#[track_caller]
fn script(session: &mut Connection, frames: &[Vec<u8>], expected: &str) {
    session
        .send_raw(&frames.concat())
        .expect("frames can be sent");
    expect(session, expected);
}

/// Compares the type bytes of everything up to the next ReadyForQuery.
#[track_caller]
fn expect(session: &mut Connection, expected: &str) {
    let messages = session
        .receive_all()
        .unwrap_or_else(|error| panic!("{error}\n{}", gateway().logs()));
    assert_eq!(client::tags(&messages), expected);
}

fn query(sql: &str) -> Vec<u8> {
    frames::frame(b'Q', &frames::cstring(sql))
}
