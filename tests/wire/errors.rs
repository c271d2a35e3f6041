//! What a client sends that no client should: the connection ends, the gateway stays.

use std::time::Duration;

use sluice_tests::Connection;
use sluice_tests::frames::{cstring, frame};

use crate::{gateway, script, session};

/// A clean close comes at once; a login timeout would take longer.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

#[track_caller]
fn still_serves() {
    let mut session = session();
    script(
        &mut session,
        &[crate::query("SELECT 1")],
        "T D C:SELECT_1 Z:I",
    );
}

#[test]
fn garbage_instead_of_a_startup_closes_the_connection() {
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0xff; 64][..],
        &[0, 0, 0, 4][..],
        &[0, 0, 0, 9, 0, 3, 0, 0, b'u'][..],
    ] {
        let mut connection = Connection::raw(gateway().address()).expect("the port is open");
        connection.send_raw(garbage).expect("bytes can be sent");
        assert!(
            connection.is_closed_within(CLOSE_LIMIT),
            "open after {garbage:?}"
        );
    }
    still_serves();
}

#[test]
fn an_unknown_message_ends_the_session() {
    let mut session = session();
    session.send(b'~', b"what").expect("a frame can be sent");
    assert!(session.is_closed_within(CLOSE_LIMIT));
    still_serves();
}

#[test]
fn an_oversized_message_is_refused_before_it_is_read() {
    let mut session = session();
    // A query that claims two gigabytes and sends none of them.
    session
        .send_raw(&[b'Q', 0x7f, 0xff, 0xff, 0xff])
        .expect("bytes can be sent");
    session.send_raw(b"SELECT").expect("bytes can be sent");
    assert!(session.is_closed_within(CLOSE_LIMIT));
    still_serves();
}

#[test]
fn a_length_below_its_own_size_ends_the_session() {
    let mut session = session();
    session
        .send_raw(&[b'Q', 0, 0, 0, 1])
        .expect("bytes can be sent");
    assert!(session.is_closed_within(CLOSE_LIMIT));
    still_serves();
}

#[test]
fn broken_frames_get_a_protocol_error() {
    let mut session = session();
    // Bind that ends in the middle of its counts.
    session
        .send_raw(
            &[
                frame(b'B', &[cstring(""), cstring(""), vec![0]].concat()),
                frame(b'S', &[]),
            ]
            .concat(),
        )
        .expect("frames can be sent");
    let answer = session.receive();
    assert!(
        answer.is_err() || answer.is_ok_and(|message| message.tag == b'E'),
        "a broken Bind is no success"
    );
    still_serves();
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let mut session = session();
    session
        .send(b'Q', b"SELECT '\xff\xfe'\0")
        .expect("a frame can be sent");
    let messages = session.receive_all();
    if let Ok(messages) = messages {
        assert!(
            messages.iter().any(|message| message.tag == b'E'),
            "invalid bytes are no text"
        );
    }
    still_serves();
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let mut session = session();
    for (open, close) in [
        ("(", ")"),
        ("NOT ", ""),
        ("- ", ""),
        ("CASE WHEN true THEN ", " END"),
    ] {
        let sql = format!("SELECT {}1{}", open.repeat(20_000), close.repeat(20_000));
        let error = session
            .query(&sql)
            .expect_err("twenty thousand levels are too deep");
        assert!(
            ["54001", "42601", "42804", "42883"].contains(&error.code()),
            "{open}: {error}"
        );
    }
    let many = vec!["n_nationkey = 1"; 5_000].join(" OR ");
    let outcome = session.query(&format!("SELECT count(*) FROM tiny.nation WHERE {many}"));
    assert!(
        outcome.as_ref().is_ok_and(|rows| rows.single() == "1")
            || outcome.as_ref().is_err_and(|error| error.code() == "54001"),
        "{outcome:?}"
    );
    still_serves();
}

#[test]
fn the_nearest_name_is_a_hint() {
    let mut session = session();
    let error = session
        .query("SELECT * FROM tiny.natoin")
        .expect_err("there is no such table");
    assert_eq!(error.code(), "42P01");
    assert!(error.field('H').contains("nation"), "{error}");
    let error = session
        .query("SELECT n_nane FROM tiny.nation")
        .expect_err("there is no such column");
    assert_eq!(error.code(), "42703");
    assert!(error.field('H').contains("n_name"), "{error}");
    let error = session.query("SELECT 1 +").expect_err("it is no SQL");
    assert!(
        !error.field('P').is_empty() || error.code() == "42601",
        "{error}"
    );
}
