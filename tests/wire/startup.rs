//! The start of a connection: encryption requests, versions, databases, parameters, cancel keys.

use std::time::Duration;

use sluice_tests::Connection;
use sluice_tests::frames::startup;

use crate::{gateway, script, session};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

#[test]
fn encryption_is_declined_and_the_startup_goes_on() {
    let mut connection = Connection::raw(gateway().address()).expect("the port is open");
    connection
        .send_raw(&GSSENC_REQUEST)
        .expect("bytes can be sent");
    assert_eq!(connection.receive_byte().expect("an answer"), b'N');
    connection
        .send_raw(&SSL_REQUEST)
        .expect("bytes can be sent");
    assert_eq!(connection.receive_byte().expect("an answer"), b'N');
    connection
        .send_raw(&startup(
            196_608,
            &[("user", "tester"), ("database", "tpch")],
        ))
        .expect("bytes can be sent");
    connection.finish_startup().expect("the session opens");
    script(
        &mut connection,
        &[crate::query("SELECT 1")],
        "T D C:SELECT_1 Z:I",
    );
}

#[test]
fn an_unknown_database_is_refused_in_postgresqls_words() {
    let error = gateway()
        .try_connect("nowhere")
        .expect_err("there is no such database");
    assert_eq!(error.code(), "3D000", "{error}");
    assert_eq!(error.message(), "database \"nowhere\" does not exist");
    assert_eq!(error.field('S'), "FATAL");
}

#[test]
fn parameters_are_reported() {
    let session = session();
    for name in [
        "server_version",
        "server_encoding",
        "client_encoding",
        "DateStyle",
        "TimeZone",
        "integer_datetimes",
        "standard_conforming_strings",
    ] {
        assert!(
            session.parameters.contains_key(name),
            "{name} is not reported: {:?}",
            session.parameters
        );
    }
    assert_eq!(session.parameters["standard_conforming_strings"], "on");
    assert!(
        session.backend_key.len() >= 8,
        "a cancel key has a process id and a secret"
    );
}

#[test]
fn startup_options_set_the_session() {
    let mut session = Connection::open_with(
        gateway().address(),
        &[
            ("user", "tester"),
            ("database", "tpch"),
            ("application_name", "my tool"),
            ("options", "-c search_path=tiny -c statement_timeout=12s"),
        ],
    )
    .expect("the session opens");
    assert_eq!(
        session
            .query("SHOW application_name")
            .expect("it shows")
            .single(),
        "my tool"
    );
    assert_eq!(
        session
            .query("SHOW statement_timeout")
            .expect("it shows")
            .single(),
        "12s"
    );
    assert_eq!(
        session
            .query("SELECT count(*) FROM nation")
            .expect("the search path finds it")
            .single(),
        "25"
    );
}

#[test]
fn a_newer_minor_version_is_negotiated() {
    let mut connection = Connection::raw(gateway().address()).expect("the port is open");
    connection
        .send_raw(&startup(
            196_608 + 99,
            &[
                ("user", "tester"),
                ("database", "tpch"),
                ("_pq_.unknown", "1"),
            ],
        ))
        .expect("bytes can be sent");
    let first = connection.receive().expect("an answer");
    assert_eq!(first.tag, b'v', "NegotiateProtocolVersion comes first");
    connection.finish_startup().expect("the session opens");
}

#[test]
fn an_old_protocol_is_refused() {
    let mut connection = Connection::raw(gateway().address()).expect("the port is open");
    connection
        .send_raw(&startup(131_072, &[("user", "tester")]))
        .expect("bytes can be sent");
    assert!(connection.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn a_cancel_request_with_a_wrong_key_does_nothing() {
    let session = session();
    let mut stranger = session.backend_key.clone();
    let last = stranger.len() - 1;
    stranger[last] ^= 0xff;
    let mut connection = Connection::raw(gateway().address()).expect("the port is open");
    let mut request = ((stranger.len() + 8) as u32).to_be_bytes().to_vec();
    request.extend(80_877_102_u32.to_be_bytes());
    request.extend(stranger);
    connection.send_raw(&request).expect("bytes can be sent");
    assert!(connection.is_closed_within(Duration::from_secs(5)));
    let mut session = session;
    script(
        &mut session,
        &[crate::query("SELECT 1")],
        "T D C:SELECT_1 Z:I",
    );
}
