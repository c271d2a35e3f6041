//! What Sluice asks and shows of a source beside its rows: statements in the source's own language, and
//! statistics.

mod look_ups;
mod native;
mod statistics;

use std::sync::OnceLock;

use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer};

const TABLES: &str = "
    CREATE TABLE goods (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2), made date, share real)
        WITH (autovacuum_enabled = off);
    INSERT INTO goods SELECT i, 'good ' || i % 50, CASE WHEN i % 4 = 0 THEN NULL ELSE i / 4.0 END,
        date '2024-01-01' + i % 100, i FROM generate_series(1, 1000) AS i;
    CREATE VIEW dear AS SELECT id, price FROM goods WHERE price > 200;
    CREATE ROLE reader LOGIN;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";

struct Servers {
    source: PostgresServer,
    /// Without workers, and with two.
    gateways: [Gateway; 2],
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let source = PostgresServer::start();
        source.create_database("shop");
        source
            .connect("shop")
            .query(TABLES)
            .expect("the tables can be made");
        let file = source.catalog("shop");
        let gateways = [0, 2].map(|workers| {
            GatewayOptions::new()
                .catalog("shop", &file)
                .catalog("sealed", format!("{file}read_only = true\n"))
                .catalog("lent", file.replace("postgres@", "reader@"))
                .catalog("tpch", "connector = \"tpch\"\n")
                .workers(workers)
                .start()
        });
        Servers { source, gateways }
    })
}

/// A session of each gateway.
fn sessions() -> [Connection; 2] {
    servers()
        .gateways
        .each_ref()
        .map(|gateway| gateway.connect("shop"))
}
