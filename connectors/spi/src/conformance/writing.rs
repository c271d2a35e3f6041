//! Writing: whole at commit or not at all, and every literal comes back as it went in.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::rows::RowSet;
use super::source::{Options, Source};
use super::{Behaviour, Report, corpus};
use crate::{Error, InsertTarget, NewTable, SqlState, TableMetadata, WriteTarget, Writer};

/// Names that the fixture's schema must not hold.
const TABLE: &str = "conformance_table";
const SCHEMA: &str = "conformance_schema";

pub(super) async fn check(
    source: &Source<'_>,
    schema: &str,
    columns: &SchemaRef,
    report: &mut Report,
) {
    let Some(writer) = source.connector.writer() else {
        report.check(Behaviour::Writing, false, || {
            "the fixture is writable, the connector is not".into()
        });
        return;
    };
    let Some(batch) = report.expect(Behaviour::Writing, "literals", corpus::batch(columns)) else {
        return;
    };
    let target = Target {
        source,
        writer,
        schema,
        columns,
        batch,
    };
    // Left over by a run that was stopped.
    let _ = writer.drop_table(schema, TABLE, false).await;
    let _ = writer.drop_schema(SCHEMA, true).await;
    let steps = [
        ("a table appears at commit", target.creates().await),
        ("rows are added at commit", target.inserts().await),
        ("columns are told by their names", target.by_name().await),
        ("wrong targets are refused", target.refuses().await),
        ("a table is replaced whole", target.replaces().await),
        ("a table is dropped once", target.drops().await),
        ("schemas", target.schemas().await),
    ];
    for (what, outcome) in steps {
        report.expect(Behaviour::Writing, what, outcome);
    }
}

struct Target<'a> {
    source: &'a Source<'a>,
    writer: &'a dyn Writer,
    schema: &'a str,
    columns: &'a SchemaRef,
    batch: RecordBatch,
}

impl Target<'_> {
    fn create(&self, schema: &str, replace: bool) -> WriteTarget {
        WriteTarget::Create(NewTable::plain(schema, TABLE, self.columns, replace))
    }

    fn insert(&self, table: &str) -> WriteTarget {
        let columns = self.columns.fields().iter();
        WriteTarget::Insert(InsertTarget {
            schema: self.schema.to_owned(),
            table: table.to_owned(),
            columns: columns.map(|field| field.name().clone()).collect(),
            on_conflict: None,
        })
    }

    async fn write(&self, target: WriteTarget, times: usize, commit: bool) -> Result<u64, String> {
        let mut sink = self.writer.begin(target).await.map_err(|e| e.to_string())?;
        for _ in 0..times {
            sink.write(self.batch.clone())
                .await
                .map_err(|e| e.to_string())?;
        }
        // A sink that is dropped here leaves nothing behind.
        sink.finish().await.map_err(|e| e.to_string())?;
        if commit {
            sink.commit().await.map_err(|e| e.to_string())
        } else {
            Ok(0)
        }
    }

    async fn table(&self) -> Result<Option<TableMetadata>, String> {
        self.source
            .connector
            .metadata()
            .table(self.schema, TABLE)
            .await
            .map_err(|e| e.to_string())
    }

    /// The table holds the batch so many times.
    async fn holds(&self, times: usize) -> Result<(), String> {
        let table = self.table().await?.ok_or("the table is not there")?;
        let schema = table.arrow_schema();
        if schema.fields() != self.columns.fields() {
            return Err(format!(
                "columns {:?} became {:?}",
                self.columns.fields(),
                schema.fields()
            ));
        }
        let found = self
            .source
            .read(&table.handle, &schema, Options::all(&schema))
            .await?;
        let expected = RowSet::of(&schema, &vec![self.batch.clone(); times])?;
        match expected.difference(&RowSet::of(&schema, &found)?) {
            Some(difference) => Err(difference),
            None => Ok(()),
        }
    }

    async fn creates(&self) -> Result<(), String> {
        self.write(self.create(self.schema, false), 2, false)
            .await?;
        if self.table().await?.is_some() {
            return Err("an abandoned sink left a table".into());
        }
        let rows = self.write(self.create(self.schema, false), 2, true).await?;
        if rows != 2 * self.batch.num_rows() as u64 {
            return Err(format!("commit counted {rows} rows"));
        }
        self.holds(2).await
    }

    async fn inserts(&self) -> Result<(), String> {
        self.write(self.insert(TABLE), 1, false).await?;
        self.holds(2).await?;
        self.write(self.insert(TABLE), 1, true).await?;
        self.holds(3).await?;
        self.write(self.insert(TABLE), 0, true).await?;
        self.holds(3).await
    }

    /// Rows whose columns come in another order, added to the three that are there, and taken away again
    /// with the table.
    async fn by_name(&self) -> Result<(), String> {
        let order: Vec<usize> = (0..self.columns.fields().len()).rev().collect();
        let batch = self.batch.project(&order).map_err(|e| e.to_string())?;
        let WriteTarget::Insert(mut target) = self.insert(TABLE) else {
            return Err("not an insert".into());
        };
        target.columns.reverse();
        let mut sink = self
            .writer
            .begin(WriteTarget::Insert(target))
            .await
            .map_err(|e| e.to_string())?;
        sink.write(batch).await.map_err(|e| e.to_string())?;
        sink.commit().await.map_err(|e| e.to_string())?;
        self.holds(4).await
    }

    async fn refuses(&self) -> Result<(), String> {
        refused(
            self.writer.begin(self.create(self.schema, false)).await,
            &SqlState::DUPLICATE_TABLE,
        )?;
        refused(
            self.writer
                .begin(self.create("no_such_schema", false))
                .await,
            &SqlState::INVALID_SCHEMA_NAME,
        )?;
        refused(
            self.writer.begin(self.insert("no_such_table")).await,
            &SqlState::UNDEFINED_TABLE,
        )?;
        self.holds(4).await
    }

    async fn replaces(&self) -> Result<(), String> {
        self.write(self.create(self.schema, true), 1, false).await?;
        self.holds(4).await?;
        self.write(self.create(self.schema, true), 1, true).await?;
        self.holds(1).await
    }

    async fn drops(&self) -> Result<(), String> {
        for expected in [true, false] {
            let dropped = self
                .writer
                .drop_table(self.schema, TABLE, false)
                .await
                .map_err(|e| e.to_string())?;
            if dropped != expected || self.table().await?.is_some() {
                return Err(format!("drop_table said {dropped}"));
            }
        }
        Ok(())
    }

    async fn schemas(&self) -> Result<(), String> {
        let text = |e: Error| e.to_string();
        let first = self.writer.create_schema(SCHEMA).await.map_err(text)?;
        let second = self.writer.create_schema(SCHEMA).await.map_err(text)?;
        if !first || second {
            return Err(format!("create_schema said {first}, then {second}"));
        }
        let listed = self
            .source
            .connector
            .metadata()
            .schemas()
            .await
            .map_err(text)?;
        if !listed.iter().any(|name| name == SCHEMA) {
            return Err("schemas() lacks a new schema".into());
        }
        self.write(self.create(SCHEMA, false), 1, true).await?;
        if self.writer.drop_schema(SCHEMA, false).await.is_ok() {
            return Err("a schema with tables was dropped without CASCADE".into());
        }
        let cascaded = self.writer.drop_schema(SCHEMA, true).await.map_err(text)?;
        let again = self.writer.drop_schema(SCHEMA, true).await.map_err(text)?;
        if cascaded && !again {
            Ok(())
        } else {
            Err(format!("drop_schema said {cascaded}, then {again}"))
        }
    }
}

fn refused<T>(outcome: crate::Result<T>, code: &SqlState) -> Result<(), String> {
    match outcome {
        Err(error) if error.code == *code => Ok(()),
        Err(error) => Err(format!(
            "{} instead of {}: {error}",
            error.code.code(),
            code.code()
        )),
        Ok(_) => Err(format!("accepted, where {} was due", code.code())),
    }
}
