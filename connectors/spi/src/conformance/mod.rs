//! The conformance kit: one call from a connector's tests checks the whole contract.
//!
//! ```ignore
//! // Cargo.toml: [dev-dependencies] sluice-spi = { workspace = true, features = ["conformance"] }
//! #[tokio::test(flavor = "multi_thread")]
//! async fn the_connector_conforms() {
//!     let connector = ShopFactory.create(context, keys).unwrap();
//!     let fixture = Fixture::new("public", ["orders", "everything"])
//!         .without(Behaviour::Statistics, "the source counts rows only after ANALYZE");
//!     sluice_spi::conformance::check(&*connector, &fixture).await;
//! }
//! ```
//!
//! Every behaviour is on by default, so that gaps are visible: a connector opts out of one by naming it
//! with a reason, and the summary prints it. Tables should be small (some thousand rows: each predicate
//! reads one again) and hold values as awkward as the kit's own literals (see `corpus.rs`): NULL, NaN,
//! -0.0, infinities, empty strings, trailing blanks, quotes, backslashes, accents, case pairs, dates
//! before 1970, decimals of 38 digits.
//!
//! The truth is what a full read without any pushdown returns, filtered by the engine's own expressions.
//! Whether that full read is right is for the connector's own tests.
//!
//! Relies on the contract and on DataFusion's expressions. Never knows a connector.

mod corpus;
mod names;
mod operations;
mod predicates;
mod pushing;
mod reading;
mod rows;
mod source;
mod statistics;
mod writing;

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::{Connector, TableMetadata};

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    /// Listings and descriptions agree; unknown names are absent, not errors.
    Names,
    /// The primary key is unique in the data.
    Keys,
    /// Any columns in any order, none included, with exactly the asked schema.
    Projections,
    /// Splits cover each row once, however many are asked for.
    Splits,
    /// A limited read returns no fewer rows than it can.
    Limits,
    /// Batches are about as long as asked.
    BatchSizes,
    /// Each filter pushed returns the rows that the engine would keep.
    Predicates,
    /// Each operation taken returns the rows that the engine would compute.
    Operations,
    /// A dynamic filter never loses a row that passes it.
    DynamicFilters,
    /// Handles and splits survive the wire.
    Serialization,
    /// Streams that are dropped early leave the source usable.
    EarlyDrop,
    /// Exact figures are exact.
    Statistics,
    /// Tables appear whole, at commit, or not at all.
    Writing,
}

/// What the kit reads, and what it leaves out.
#[derive(Debug, Clone)]
pub struct Fixture {
    schema: String,
    tables: Vec<String>,
    writable: Option<(String, SchemaRef)>,
    waived: Vec<(Behaviour, String)>,
    predicates_max: usize,
    seed: u64,
}

/// Predicates per table. A source that answers in two milliseconds takes eight seconds for them.
const PREDICATES_MAX: usize = 4_000;

impl Fixture {
    /// Small tables of one schema.
    pub fn new(
        schema: impl Into<String>,
        tables: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Fixture {
            schema: schema.into(),
            tables: tables.into_iter().map(Into::into).collect(),
            writable: None,
            waived: Vec::new(),
            predicates_max: PREDICATES_MAX,
            seed: 1,
        }
    }

    /// Checks writing too: in `schema`, with tables of these columns, filled with the kit's literals.
    #[must_use]
    pub fn writable(mut self, schema: impl Into<String>, columns: SchemaRef) -> Self {
        self.writable = Some((schema.into(), columns));
        self
    }

    /// Leaves a behaviour out, for a reason that the summary prints.
    #[must_use]
    pub fn without(mut self, behaviour: Behaviour, reason: impl Into<String>) -> Self {
        self.waived.push((behaviour, reason.into()));
        self
    }

    /// Tries at most so many predicates on each table, drawn evenly from all of them.
    #[must_use]
    pub fn predicates_max(mut self, most: usize) -> Self {
        self.predicates_max = most;
        self
    }

    /// Combines predicates in another way. The summary prints the seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn wants(&self, behaviour: Behaviour) -> bool {
        !self.waived.iter().any(|(waived, _)| *waived == behaviour)
    }
}

/// How many checks ran, and what failed.
#[derive(Debug, Clone, Default)]
pub struct Report {
    checks: BTreeMap<Behaviour, usize>,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    /// Checks that ran.
    pub fn checks(&self) -> usize {
        self.checks.values().sum()
    }

    /// Checks of one behaviour that ran.
    pub fn checks_of(&self, behaviour: Behaviour) -> usize {
        self.checks.get(&behaviour).copied().unwrap_or(0)
    }

    /// What failed, one line each.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Counts a check, and notes it where it failed.
    fn check(&mut self, behaviour: Behaviour, holds: bool, message: impl FnOnce() -> String) {
        *self.checks.entry(behaviour).or_default() += 1;
        if !holds {
            self.failures.push(format!("{behaviour:?}: {}", message()));
        }
    }

    /// Counts a check that returns what it found.
    fn expect<T>(
        &mut self,
        behaviour: Behaviour,
        what: &str,
        outcome: Result<T, String>,
    ) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.check(behaviour, true, String::new);
                Some(value)
            }
            Err(error) => {
                self.check(behaviour, false, || format!("{what}: {error}"));
                None
            }
        }
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "conformance: {} checks, {} failed",
            self.checks(),
            self.failures.len()
        )?;
        for (behaviour, count) in &self.checks {
            writeln!(f, "  {behaviour:?}: {count}")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        /// More than a screen of failures is noise.
        const SHOWN: usize = 30;
        for failure in self.failures.iter().take(SHOWN) {
            writeln!(f, "FAILED {failure}")?;
        }
        if self.failures.len() > SHOWN {
            writeln!(f, "… and {} more", self.failures.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// A batch of the kit's own literals: a table that holds them makes a good fixture. Columns without
/// literals (nested types, intervals) hold NULL.
pub fn awkward_rows(schema: &SchemaRef) -> Result<RecordBatch, String> {
    corpus::batch(schema)
}

/// Runs the kit, prints its summary, and panics where a check failed or none ran.
///
/// # Panics
/// Panics with all failures.
pub async fn check(connector: &dyn Connector, fixture: &Fixture) {
    let report = run(connector, fixture).await;
    println!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.checks() > 0, "no check ran");
}

/// Runs the kit and returns what it found.
pub async fn run(connector: &dyn Connector, fixture: &Fixture) -> Report {
    let mut report = Report::default();
    report.note(format!("seed {}", fixture.seed));
    for (behaviour, reason) in &fixture.waived {
        report.note(format!("left out {behaviour:?}: {reason}"));
    }
    let source = source::Source::new(connector);
    report.check(
        Behaviour::Names,
        !fixture.tables.is_empty() || fixture.writable.is_some(),
        || "the fixture names no table".into(),
    );
    if fixture.wants(Behaviour::Names) {
        names::check(connector, fixture, &mut report).await;
    }
    for name in &fixture.tables {
        let found = connector.metadata().table(&fixture.schema, name).await;
        let table = match found {
            Ok(Some(table)) => table,
            Ok(None) => {
                report.check(Behaviour::Names, false, || format!("{name}: no such table"));
                continue;
            }
            Err(error) => {
                report.check(Behaviour::Names, false, || format!("{name}: {error}"));
                continue;
            }
        };
        check_table(&source, &table, fixture, &mut report).await;
    }
    if let (Some((schema, columns)), true) = (&fixture.writable, fixture.wants(Behaviour::Writing))
    {
        writing::check(&source, schema, columns, &mut report).await;
    }
    report
}

async fn check_table(
    source: &source::Source<'_>,
    table: &TableMetadata,
    fixture: &Fixture,
    report: &mut Report,
) {
    let schema = table.arrow_schema();
    let everything = source
        .read(&table.handle, &schema, source::Options::all(&schema))
        .await;
    let outcome = everything.and_then(|batches| rows::concat(&schema, &batches));
    let Some(rows) = report.expect(
        Behaviour::Projections,
        &format!("{}: full read", table.name),
        outcome,
    ) else {
        return;
    };
    let subject = Subject {
        source,
        table,
        schema,
        rows,
        fixture,
    };
    reading::check(&subject, report).await;
    statistics::check(&subject, report).await;
    pushing::check(&subject, report).await;
    operations::check(&subject, report).await;
}

/// A table under test, with the rows of a full read.
struct Subject<'a> {
    source: &'a source::Source<'a>,
    table: &'a TableMetadata,
    schema: SchemaRef,
    rows: RecordBatch,
    fixture: &'a Fixture,
}
