//! tokio-postgres: everything prepared, everything in binary.

use std::time::Duration;

use sluice_tests::leaks;
use tokio_postgres::{Client, NoTls};

use crate::servers;

async fn client(database: &str) -> Client {
    let address = servers().gateway.address();
    let config = format!(
        "host={} port={} user=tester dbname={database}",
        address.ip(),
        address.port()
    );
    let (client, connection) = tokio_postgres::connect(&config, NoTls)
        .await
        .expect("a session opens");
    // Ends when the client is dropped.
    tokio::spawn(connection);
    client
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(future);
}

#[test]
fn values_arrive_in_binary() {
    block_on(async {
        let client = client("shop").await;
        let row = client
            .query_one(
                "SELECT id, small, big, ratio, share, ok, name, code, bytes, list, words FROM kinds WHERE id = $1",
                &[&1_i32],
            )
            .await
            .expect("a row");
        assert_eq!(row.get::<_, i32>("id"), 1);
        assert_eq!(row.get::<_, Option<i16>>("small"), Some(-5));
        assert_eq!(row.get::<_, i64>("big"), 9_007_199_254_740_993);
        assert_eq!(row.get::<_, Option<f64>>("ratio"), Some(0.1));
        assert_eq!(row.get::<_, Option<f32>>("share"), Some(1.5));
        assert_eq!(row.get::<_, Option<bool>>("ok"), Some(true));
        assert_eq!(row.get::<_, Option<&str>>("name"), Some("héllo"));
        assert_eq!(row.get::<_, Option<&str>>("code"), Some("abc"));
        assert_eq!(
            row.get::<_, Option<Vec<u8>>>("bytes"),
            Some(vec![0, 255, 16])
        );
        assert_eq!(
            row.get::<_, Vec<Option<i32>>>("list"),
            [Some(1), None, Some(3)]
        );
        assert_eq!(row.get::<_, Vec<String>>("words"), ["a", "b c"]);
        let empty = client
            .query_one("SELECT * FROM kinds WHERE id = 2", &[])
            .await
            .expect("a row");
        assert_eq!(empty.get::<_, Option<f64>>("ratio"), None);
    });
}

#[test]
fn parameters_of_many_types() {
    block_on(async {
        let client = client("shop").await;
        let by_text = client
            .query("SELECT id FROM kinds WHERE name = $1", &[&"héllo"])
            .await
            .expect("rows");
        assert_eq!(by_text.len(), 1);
        let by_bool = client
            .query("SELECT id FROM kinds WHERE ok = $1", &[&true])
            .await
            .expect("rows");
        assert_eq!(by_bool.len(), 1);
        let by_float = client
            .query("SELECT id FROM kinds WHERE ratio < $1", &[&0.5_f64])
            .await
            .expect("rows");
        assert_eq!(by_float.len(), 1);
        let added = client
            .query_one("SELECT $1::bigint + 1", &[&41_i64])
            .await
            .expect("a row");
        assert_eq!(added.get::<_, i64>(0), 42);
        let limited = client
            .query(
                "SELECT number FROM lines ORDER BY number LIMIT $1",
                &[&3_i64],
            )
            .await
            .expect("rows");
        assert_eq!(limited.len(), 3);
    });
}

#[test]
fn a_transaction_with_portals() {
    block_on(async {
        let mut client = client("tpch").await;
        let transaction = client.transaction().await.expect("it begins");
        let statement = transaction
            .prepare("SELECT o_orderkey FROM tiny.orders ORDER BY o_orderkey")
            .await
            .expect("it is prepared");
        let portal = transaction
            .bind(&statement, &[])
            .await
            .expect("it is bound");
        let first = transaction.query_portal(&portal, 100).await.expect("rows");
        let second = transaction.query_portal(&portal, 100).await.expect("rows");
        assert_eq!((first.len(), second.len()), (100, 100));
        assert_ne!(first[0].get::<_, i64>(0), second[0].get::<_, i64>(0));
        transaction.rollback().await.expect("it ends");
    });
}

#[test]
fn errors_carry_their_parts() {
    block_on(async {
        let client = client("shop").await;
        let error = client
            .query("SELECT nothing FROM kinds", &[])
            .await
            .expect_err("no such column");
        let error = error.as_db_error().expect("the server said it");
        assert_eq!(error.code().code(), "42703");
        assert_eq!(
            client
                .query_one("SELECT 1", &[])
                .await
                .expect("the session goes on")
                .get::<_, i32>(0),
            1
        );
    });
}

#[test]
fn a_cancel_token_ends_a_statement() {
    block_on(async {
        let client = client("tpch").await;
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            token
                .cancel_query(NoTls)
                .await
                .expect("the request is sent");
        };
        let statement = client.batch_execute(
            "SELECT count(*) FROM sf10.lineitem a, tiny.nation b WHERE a.l_comment < b.n_comment",
        );
        let (outcome, ()) = tokio::join!(statement, cancel);
        let error = outcome.expect_err("it was cancelled");
        assert_eq!(
            error.code().map(tokio_postgres::error::SqlState::code),
            Some("57014"),
            "{error}"
        );
    });
    leaks::assert_nothing_left(&servers().gateway, &[&servers().source]);
}

#[test]
fn pipelined_queries_are_answered_in_order() {
    block_on(async {
        let client = client("tpch").await;
        let asked = (0..20_i64).map(|key| {
            let client = &client;
            async move {
                let name = client
                    .query_one(
                        "SELECT n_nationkey FROM tiny.nation WHERE n_nationkey = $1",
                        &[&key],
                    )
                    .await
                    .expect("a row");
                name.get::<_, i64>(0)
            }
        });
        let answered = futures::future::join_all(asked).await;
        assert_eq!(answered, (0..20).collect::<Vec<i64>>());
    });
}
