//! Names and descriptions.

use sluice_spi::{Estimate, Generated, TableKind};

use crate::mariadb::MariaDbServer;
use crate::support::{catalog, table};

#[tokio::test]
async fn names_keys_comments_and_defaults() {
    let server = MariaDbServer::start();
    server.query(
        "CREATE DATABASE `odd name`; CREATE TABLE `odd name`.`T``1` (`a``b` int);
         CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY COMMENT 'the number', code varchar(9) NOT NULL UNIQUE,
           at datetime(6) DEFAULT CURRENT_TIMESTAMP(6), twice int AS (length(code) * 2) STORED, note text NULL) COMMENT 'all of them';
         CREATE TABLE parts (a int) PARTITION BY HASH (a) PARTITIONS 2;
         CREATE VIEW latest AS SELECT * FROM orders; CREATE SEQUENCE counter;
         INSERT INTO orders (code) SELECT concat('c', seq) FROM seq_1_to_1000; ANALYZE TABLE orders PERSISTENT FOR ALL;",
    );
    let catalog = catalog(&server);
    let metadata = catalog.metadata();
    assert_eq!(metadata.schemas().await.unwrap(), ["odd name", "shop"]);
    let listed = metadata.tables("shop").await.unwrap();
    let kinds: Vec<_> = listed.iter().map(|t| (t.name.as_str(), t.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("latest", TableKind::View),
            ("orders", TableKind::Table),
            ("parts", TableKind::PartitionedTable)
        ]
    );
    let odd = metadata.table("odd name", "T`1").await.unwrap().unwrap();
    assert_eq!(odd.columns[0].field.name(), "a`b");
    assert!(metadata.table("shop", "ORDERS").await.unwrap().is_none());
    assert!(metadata.table("mysql", "user").await.unwrap().is_none());
    assert!(metadata.tables("no such schema").await.unwrap().is_empty());

    let orders = table(&catalog, "orders").await;
    assert_eq!(orders.primary_key, ["id"]);
    assert_eq!(orders.comment.as_deref(), Some("all of them"));
    let column = |name: &str| {
        orders
            .columns
            .iter()
            .find(|c| c.field.name() == name)
            .unwrap()
    };
    assert_eq!(column("id").comment.as_deref(), Some("the number"));
    assert_eq!(column("id").generated, Generated::IdentityByDefault);
    assert_eq!(column("twice").generated, Generated::Expression);
    assert!(column("at").default.is_some() && column("note").default.is_none());
    assert!(!column("code").field.is_nullable() && column("note").field.is_nullable());

    let statistics = metadata.statistics(&orders).await.unwrap();
    assert!(
        matches!(statistics.rows, Estimate::About(rows) if (500..2000).contains(&rows)),
        "{statistics:?}"
    );
    assert!(matches!(statistics.columns[0].distinct, Estimate::About(n) if n > 400));
    assert_eq!(
        statistics.columns[0].max,
        Estimate::About(sluice_spi::ScalarValue::Int32(Some(1000)))
    );
}
