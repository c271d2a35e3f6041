//! The simple protocol: batches, empty queries, implicit and explicit transactions.

use crate::{query, script, session};

#[test]
fn a_batch_delivers_what_came_before_its_error() {
    let mut session = session();
    let failing = "SELECT 1 / n_nationkey FROM tiny.nation WHERE n_nationkey = 0";
    let batch = format!("SELECT 1; {failing}; SELECT 2");
    script(
        &mut session,
        &[query(&batch)],
        "T D C:SELECT_1 T E:22012 Z:I",
    );
    script(&mut session, &[query("SELECT 3")], "T D C:SELECT_1 Z:I");
}

#[test]
fn a_batch_with_a_syntax_error_runs_nothing() {
    let mut session = session();
    script(&mut session, &[query("SELECT 1; SELEC 2")], "E:42601 Z:I");
}

#[test]
fn an_empty_query_has_its_own_answer() {
    let mut session = session();
    script(&mut session, &[query("")], "I Z:I");
    script(&mut session, &[query(" ; ")], "I Z:I");
    script(&mut session, &[query("-- nothing but a comment")], "I Z:I");
}

#[test]
fn a_failed_transaction_refuses_until_its_end() {
    let mut session = session();
    script(&mut session, &[query("BEGIN")], "C:BEGIN Z:T");
    script(
        &mut session,
        &[query("SELECT nothing FROM tiny.nation")],
        "E:42703 Z:E",
    );
    script(&mut session, &[query("SELECT 1")], "E:25P02 Z:E");
    script(&mut session, &[query("COMMIT")], "C:ROLLBACK Z:I");
    script(&mut session, &[query("SELECT 1")], "T D C:SELECT_1 Z:I");
}

#[test]
fn settings_roll_back_with_their_transaction() {
    let mut session = session();
    session
        .query("SET application_name = 'before'")
        .expect("a setting can be set");
    session
        .query("BEGIN; SET application_name = 'inside'; ROLLBACK")
        .expect("a batch runs");
    assert_eq!(
        session
            .query("SHOW application_name")
            .expect("it shows")
            .single(),
        "before"
    );
    session
        .query("BEGIN; SET LOCAL application_name = 'inside'")
        .expect("a batch runs");
    assert_eq!(
        session
            .query("SHOW application_name")
            .expect("it shows")
            .single(),
        "inside"
    );
    session.query("COMMIT").expect("it commits");
    assert_eq!(
        session
            .query("SHOW application_name")
            .expect("it shows")
            .single(),
        "before"
    );
}

#[test]
fn a_statement_without_rows_has_a_command_tag() {
    let mut session = session();
    script(
        &mut session,
        &[query(
            "SELECT n_name FROM tiny.nation WHERE n_nationkey < 0",
        )],
        "T C:SELECT_0 Z:I",
    );
    script(
        &mut session,
        &[query("SET statement_timeout = '5s'")],
        "C:SET Z:I",
    );
    script(&mut session, &[query("DISCARD ALL")], "C:DISCARD_ALL Z:I");
}

#[test]
fn cursors_live_in_their_transaction() {
    let mut session = session();
    session.query("BEGIN").expect("it begins");
    session
        .query("DECLARE c CURSOR FOR SELECT n_nationkey FROM tiny.nation ORDER BY 1")
        .expect("a cursor can be declared");
    script(
        &mut session,
        &[query("FETCH 2 FROM c")],
        "T D D C:FETCH_2 Z:T",
    );
    script(
        &mut session,
        &[query("FETCH ALL FROM c")],
        &format!("T {}C:FETCH_23 Z:T", "D ".repeat(23)),
    );
    session.query("CLOSE c").expect("it closes");
    script(&mut session, &[query("FETCH 1 FROM c")], "E:34000 Z:E");
    session.query("ROLLBACK").expect("it ends");
}

#[test]
fn many_statements_sent_at_once_are_all_answered() {
    let mut session = session();
    let frames: Vec<Vec<u8>> = (0..50)
        .map(|number| query(&format!("SELECT {number}")))
        .collect();
    session
        .send_raw(&frames.concat())
        .expect("frames can be sent");
    for _ in 0..50 {
        crate::expect(&mut session, "T D C:SELECT_1 Z:I");
    }
}
