//! The extended protocol: parse, bind, describe, execute, suspension, errors up to Sync.

use sluice_tests::frames::{bind, close, describe, execute, frame, parse, sync};

use crate::{expect, script, session};

#[test]
fn a_prepared_statement_runs_many_times() {
    let mut session = session();
    script(
        &mut session,
        &[
            parse(
                "q",
                "SELECT n_name FROM tiny.nation WHERE n_nationkey = $1",
                &[20],
            ),
            describe(b'S', "q"),
            sync(),
        ],
        "1 t T Z:I",
    );
    for key in ["0", "24"] {
        script(
            &mut session,
            &[bind("", "q", &[Some(key)], 0), execute("", 0), sync()],
            "2 D C:SELECT_1 Z:I",
        );
    }
    script(
        &mut session,
        &[bind("", "q", &[None], 0), execute("", 0), sync()],
        "2 C:SELECT_0 Z:I",
    );
    script(&mut session, &[close(b'S', "q"), sync()], "3 Z:I");
    script(
        &mut session,
        &[bind("", "q", &[Some("1")], 0), sync()],
        "E:26000 Z:I",
    );
}

#[test]
fn after_an_error_everything_up_to_sync_is_skipped() {
    let mut session = session();
    script(
        &mut session,
        &[
            parse("", "SELECT nothing FROM tiny.nation", &[]),
            bind("", "", &[], 0),
            execute("", 0),
            parse("", "SELECT 1", &[]),
            sync(),
        ],
        "E:42703 Z:I",
    );
    script(
        &mut session,
        &[
            parse("", "SELECT 1", &[]),
            bind("", "", &[], 0),
            execute("", 0),
            sync(),
        ],
        "1 2 D C:SELECT_1 Z:I",
    );
}

#[test]
fn a_portal_suspends_and_goes_on() {
    let mut session = session();
    let sql = "SELECT n_nationkey FROM tiny.nation ORDER BY 1";
    script(&mut session, &[crate::query("BEGIN")], "C:BEGIN Z:T");
    script(
        &mut session,
        &[
            parse("", sql, &[]),
            bind("p", "", &[], 0),
            describe(b'P', "p"),
            execute("p", 10),
            sync(),
        ],
        &format!("1 2 T {}s Z:T", "D ".repeat(10)),
    );
    script(
        &mut session,
        &[execute("p", 10), sync()],
        &format!("{}s Z:T", "D ".repeat(10)),
    );
    script(
        &mut session,
        &[execute("p", 10), sync()],
        &format!("{}C:SELECT_5 Z:T", "D ".repeat(5)),
    );
    script(&mut session, &[crate::query("COMMIT")], "C:COMMIT Z:I");
    script(&mut session, &[execute("p", 10), sync()], "E:34000 Z:I");
}

#[test]
fn statements_without_rows_describe_as_no_data() {
    let mut session = session();
    script(
        &mut session,
        &[
            parse("", "SET application_name = 'x'", &[]),
            describe(b'S', ""),
            sync(),
        ],
        "1 t n Z:I",
    );
    script(
        &mut session,
        &[
            parse("", "", &[]),
            bind("", "", &[], 0),
            execute("", 0),
            sync(),
        ],
        "1 2 I Z:I",
    );
}

#[test]
fn names_must_be_new_and_known() {
    let mut session = session();
    script(
        &mut session,
        &[parse("same", "SELECT 1", &[]), sync()],
        "1 Z:I",
    );
    script(
        &mut session,
        &[parse("same", "SELECT 2", &[]), sync()],
        "E:42P05 Z:I",
    );
    script(
        &mut session,
        &[bind("", "unknown", &[], 0), sync()],
        "E:26000 Z:I",
    );
    script(
        &mut session,
        &[execute("unknown", 0), sync()],
        "E:34000 Z:I",
    );
    script(
        &mut session,
        &[describe(b'P', "unknown"), sync()],
        "E:34000 Z:I",
    );
    // Closing what is not there is no error.
    script(
        &mut session,
        &[close(b'S', "unknown"), close(b'P', "unknown"), sync()],
        "3 3 Z:I",
    );
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let mut session = session();
    let sql = "SELECT n_name FROM tiny.nation WHERE n_nationkey = $1";
    script(
        &mut session,
        &[
            parse("", sql, &[20]),
            bind("", "", &[Some("abc")], 0),
            sync(),
        ],
        "1 E:22P02 Z:I",
    );
    script(
        &mut session,
        &[parse("", sql, &[20]), bind("", "", &[], 0), sync()],
        "1 E:08P01 Z:I",
    );
    script(
        &mut session,
        &[parse("", "SELECT 1; SELECT 2", &[]), sync()],
        "E:42601 Z:I",
    );
}

#[test]
fn results_come_in_binary_when_asked() {
    let mut session = session();
    session
        .send_raw(
            &[
                parse(
                    "",
                    "SELECT 258::int4, 'ab'::text, true, 1.5::float8, NULL::int8",
                    &[],
                ),
                bind("", "", &[], 1),
                execute("", 0),
                sync(),
            ]
            .concat(),
        )
        .expect("frames can be sent");
    let messages = session.receive_all().expect("an answer");
    let row = messages
        .iter()
        .find(|message| message.tag == b'D')
        .expect("a row");
    let mut expected = vec![
        0, 5, 0, 0, 0, 4, 0, 0, 1, 2, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, 1, 0, 0, 0, 8,
    ];
    expected.extend(1.5_f64.to_be_bytes());
    expected.extend((-1_i32).to_be_bytes());
    assert_eq!(row.body, expected);
}

#[test]
fn flush_sends_without_ending_the_transaction() {
    let mut session = session();
    session
        .send_raw(&[parse("", "SELECT 1", &[]), frame(b'H', &[])].concat())
        .expect("frames can be sent");
    assert_eq!(session.receive().expect("ParseComplete").tag, b'1');
    script(
        &mut session,
        &[bind("", "", &[], 0), execute("", 0), sync()],
        "2 D C:SELECT_1 Z:I",
    );
}

#[test]
fn a_pipeline_of_syncs_is_answered_in_order() {
    let mut session = session();
    let mut frames = Vec::new();
    for number in 0..20 {
        frames.extend([
            parse("", &format!("SELECT {number} / {}", number % 2), &[]),
            bind("", "", &[], 0),
            execute("", 0),
            sync(),
        ]);
    }
    session
        .send_raw(&frames.concat())
        .expect("frames can be sent");
    for number in 0..20 {
        let messages = session.receive_all().expect("an answer");
        let tags = sluice_tests::client::tags(&messages);
        if number % 2 == 1 {
            assert_eq!(tags, "1 2 D C:SELECT_1 Z:I", "statement {number}");
        } else {
            // A constant division by zero may show when it is planned or when it runs.
            assert!(tags.ends_with("E:22012 Z:I"), "statement {number}: {tags}");
        }
    }
    script(&mut session, &[sync()], "Z:I");
    session.send_raw(&sync()).expect("a frame can be sent");
    expect(&mut session, "Z:I");
}
