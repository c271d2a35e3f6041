//! The contract's own kit, over tables with a column of each type and values chosen to trip.

use sluice_spi::conformance::{Fixture, check};

use crate::pushdown::CORPUS;
use crate::support::Server;

const MORE: &str = "
CREATE TABLE keyed AS SELECT g::int AS id, g % 7 AS seven, 'name ' || g % 100 AS name FROM generate_series(1, 3000) g;
ALTER TABLE keyed ADD PRIMARY KEY (id); ANALYZE keyed;
CREATE TABLE empty (a int, b text);
CREATE VIEW shown AS SELECT * FROM keyed WHERE seven = 3;";

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_conforms() {
    let server = Server::start();
    server.sql(CORPUS).await;
    server.sql(MORE).await;
    let fixture = Fixture::new("public", ["corpus", "keyed", "empty", "shown"]);
    check(&*server.catalog(), &fixture).await;
    server
        .wait_until_idle(std::time::Duration::from_secs(2))
        .await;
}
