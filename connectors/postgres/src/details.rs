//! Keys, foreign keys and the texts of views, for catalog queries. No plan relies on them.

use std::collections::BTreeMap;

use sluice_spi::{ForeignKey, KeyDetails, ReferentialAction, Result, TableDetails};

use tokio_postgres::types::ToSql;

use crate::catalog_sql::first_char;
use crate::error::statement_error;
use crate::metadata::ask;
use crate::pool::Source;

/// Unique keys over whole columns of the tables of schema $1, with whether a constraint declares them.
const KEYS: &str = "\
SELECT c.relname::text, ic.relname::text, i.indisprimary, k.oid IS NOT NULL,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS u(attnum, ord)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
             WHERE u.ord <= i.indnkeyatts ORDER BY u.ord)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
WHERE n.nspname = $1::text AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY 1, i.indisprimary DESC, 2";

/// Foreign keys of the tables of schema $1.
const FOREIGN_KEYS: &str = "\
SELECT c.relname::text, k.conname::text, fn.nspname::text, f.relname::text,
       k.confupdtype::text, k.confdeltype::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(attnum, ord)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum ORDER BY u.ord),
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u(attnum, ord)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = f.oid AND a.attnum = u.attnum ORDER BY u.ord)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND n.nspname = $1::text
ORDER BY 1, 2";

/// The queries of the views of schema $1, as psql shows them.
const VIEWS: &str = "\
SELECT c.relname::text, pg_catalog.pg_get_viewdef(c.oid, true)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relkind IN ('v', 'm')";

/// What is known of the tables of a schema beside their columns.
pub(crate) async fn of(source: &Source, schema: &str) -> Result<Vec<TableDetails>> {
    let (keys, foreign_keys, views) = ask(source, |client| async move {
        let (keys, foreign_keys, views) = futures::try_join!(
            client.prepare_cached(KEYS),
            client.prepare_cached(FOREIGN_KEYS),
            client.prepare_cached(VIEWS)
        )?;
        let schema: &[&(dyn ToSql + Sync)] = &[&schema];
        futures::try_join!(
            client.query(&keys, schema),
            client.query(&foreign_keys, schema),
            client.query(&views, schema)
        )
    })
    .await?;
    let broken = |e: tokio_postgres::Error| statement_error(source.catalog(), &e);
    let mut tables: BTreeMap<String, TableDetails> = BTreeMap::new();
    for row in &keys {
        let key = KeyDetails {
            name: row.try_get(1).map_err(broken)?,
            primary: row.try_get(2).map_err(broken)?,
            constraint: row.try_get(3).map_err(broken)?,
            columns: row.try_get(4).map_err(broken)?,
        };
        let table = row.try_get(0).map_err(broken)?;
        tables.entry(table).or_default().keys.push(key);
    }
    for row in &foreign_keys {
        let key = ForeignKey {
            name: row.try_get(1).map_err(broken)?,
            schema: row.try_get(2).map_err(broken)?,
            table: row.try_get(3).map_err(broken)?,
            on_update: action(row.try_get(4).map_err(broken)?),
            on_delete: action(row.try_get(5).map_err(broken)?),
            columns: row.try_get(6).map_err(broken)?,
            referenced: row.try_get(7).map_err(broken)?,
        };
        let table = row.try_get(0).map_err(broken)?;
        tables.entry(table).or_default().foreign_keys.push(key);
    }
    for row in &views {
        let table = row.try_get(0).map_err(broken)?;
        tables.entry(table).or_default().view_query = row.try_get(1).map_err(broken)?;
    }
    Ok(tables
        .into_iter()
        .map(|(table, details)| TableDetails { table, ..details })
        .collect())
}

/// pg_constraint.confupdtype and confdeltype.
fn action(letter: &str) -> ReferentialAction {
    match first_char(letter) {
        'r' => ReferentialAction::Restrict,
        'c' => ReferentialAction::Cascade,
        'n' => ReferentialAction::SetNull,
        'd' => ReferentialAction::SetDefault,
        _ => ReferentialAction::NoAction,
    }
}
