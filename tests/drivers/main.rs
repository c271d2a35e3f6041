//! Drivers and tools that people really use, as they come from their registries: nothing of theirs is adapted.

mod psql;
mod psycopg;
mod rust;

use std::sync::OnceLock;

use sluice_tests::{Gateway, GatewayOptions, PostgresServer};

struct Servers {
    source: PostgresServer,
    gateway: Gateway,
}

/// A gateway over a real PostgreSQL with one table of every common type, and generated TPC-H tables.
fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let source = PostgresServer::start();
        source.create_database("shop");
        source.run_file(
            "shop",
            &sluice_tests::paths::tests().join("drivers/setup.sql"),
        );
        let gateway = GatewayOptions::new()
            .catalog("shop", source.catalog("shop"))
            .catalog("tpch", "connector = \"tpch\"\n")
            .catalog("memory", "connector = \"memory\"\n")
            .start();
        Servers { source, gateway }
    })
}
