//! Writing through Sluice, compared with PostgreSQL running the same statements natively: command tags,
//! rows, SQLSTATEs, and nothing left after a failure, a cancel or a crash.

mod differential;
mod faults;

use sluice_tests::PostgresServer;

/// A server with one database for each side of the comparison.
fn source() -> PostgresServer {
    let source = PostgresServer::start();
    source.create_database("native");
    source.create_database("shop");
    source
}
