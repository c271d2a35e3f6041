//! Definitions: CREATE TABLE's keys and defaults, ALTER, DROP, TRUNCATE, CREATE VIEW.
//!
//! What is not understood is refused: a constraint that would be left out silently is a wrong table.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::FieldRef;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, CascadeOption, ColumnDef, ColumnOption,
    ColumnOptionDef, CreateTable, CreateView, DataType as SqlType, DropBehavior, Expr, GeneratedAs,
    Ident, IndexColumn, LimitClause, NullsDistinctOption, ObjectName, ObjectType,
    PrimaryKeyConstraint, RenameTableNameKind, Statement, TableConstraint, Truncate,
    TruncateIdentityOption, UniqueConstraint,
};
use sluice_spi::{ColumnDefault, Error, NewColumn, Result, SqlState, TableChange, TruncateOptions};

use super::constants::column_default;
use super::{Purpose, folded};
use crate::bind::names::{object_name, table_reference};
use crate::bind::{StatementKind, provider};
use crate::errors::engine_error;
use crate::session::{PlanSession, Planner};

/// Keys and defaults leave the statement, whose columns the engine's planner then types.
pub(super) fn table(mut create: CreateTable) -> Result<(CreateTable, Purpose)> {
    check_plain(&create)?;
    let (mut primary_key, mut unique) = (Vec::new(), Vec::new());
    for constraint in std::mem::take(&mut create.constraints) {
        let (columns, is_primary) = match &constraint {
            TableConstraint::PrimaryKey(key) if is_plain_primary(key) => (&key.columns, true),
            TableConstraint::Unique(key) if is_plain_unique(key) => (&key.columns, false),
            other => return Err(no_constraint(&other.to_string())),
        };
        let columns = columns.iter().map(key_column).collect::<Result<Vec<_>>>()?;
        add_key(&mut primary_key, &mut unique, columns, is_primary)?;
    }
    let mut defaults = Vec::with_capacity(create.columns.len());
    for column in &mut create.columns {
        let parts = ColumnParts::take(column)?;
        for is_primary in parts.keys {
            let key = vec![folded(&column.name)];
            add_key(&mut primary_key, &mut unique, key, is_primary)?;
        }
        defaults.push(parts.default);
    }
    for column in &mut create.columns {
        let is_null = |o: &ColumnOptionDef| matches!(o.option, ColumnOption::NotNull);
        if primary_key.contains(&folded(&column.name)) && !column.options.iter().any(is_null) {
            column.options.push(not_null());
        }
    }
    let purpose = Purpose::Define {
        primary_key,
        unique,
        defaults,
    };
    Ok((create, purpose))
}

/// `CREATE TABLE … AS`: the query says the columns.
pub(super) fn table_as(create: &CreateTable) -> Result<Purpose> {
    check_plain(create)?;
    let limit = create
        .query
        .as_ref()
        .and_then(|query| query.limit_clause.as_ref());
    // The gateway's parser writes WITH NO DATA so.
    let without = matches!(limit, Some(LimitClause::OffsetCommaLimit { .. }));
    Ok(Purpose::DefineAs {
        with_data: !without,
    })
}

fn add_key(
    primary_key: &mut Vec<String>,
    unique: &mut Vec<Vec<String>>,
    columns: Vec<String>,
    is_primary: bool,
) -> Result<()> {
    if !is_primary {
        unique.push(columns);
    } else if primary_key.is_empty() {
        *primary_key = columns;
    } else {
        return Err(Error::new(
            SqlState::from_source("42P16"),
            "multiple primary keys for a table are not allowed",
        ));
    }
    Ok(())
}

fn not_null() -> ColumnOptionDef {
    ColumnOptionDef {
        name: None,
        option: ColumnOption::NotNull,
    }
}

fn no_constraint(text: &str) -> Error {
    Error::unsupported(format!("the constraint {text} is not supported")).with_hint(
        "NOT NULL, PRIMARY KEY, UNIQUE, DEFAULT and identity columns are. CALL CATALOG.system.execute \
         runs any statement at the source, where the catalog allows it.",
    )
}

/// Refuses what a table is more than its columns, constraints and query: PARTITION BY, INHERITS, LIKE,
/// TEMPORARY, storage parameters.
fn check_plain(create: &CreateTable) -> Result<()> {
    let plain = CreateTableBuilder::new(create.name.clone())
        .or_replace(create.or_replace)
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .query(create.query.clone())
        .build();
    if plain == *create {
        return Ok(());
    }
    Err(Error::unsupported(
        "only CREATE TABLE with columns, keys and defaults, or AS a query, is supported",
    )
    .with_hint(
        "CALL CATALOG.system.execute runs any statement at the source, where the catalog allows it.",
    ))
}

/// Their names are left to the source.
fn is_plain_primary(key: &PrimaryKeyConstraint) -> bool {
    key.index_type.is_none() && key.index_options.is_empty() && key.characteristics.is_none()
}

fn is_plain_unique(key: &UniqueConstraint) -> bool {
    key.index_type.is_none()
        && key.index_options.is_empty()
        && key.characteristics.is_none()
        && matches!(key.nulls_distinct, NullsDistinctOption::None)
}

fn key_column(column: &IndexColumn) -> Result<String> {
    match &column.column.expr {
        Expr::Identifier(ident) => Ok(folded(ident)),
        other => Err(no_constraint(&other.to_string())),
    }
}

/// What a column's definition has beside its name, its type and NOT NULL.
struct ColumnParts {
    default: Option<ColumnDefault>,
    /// True for a primary key, false for another unique key.
    keys: Vec<bool>,
}

impl ColumnParts {
    /// Takes them out of `column`.
    fn take(column: &mut ColumnDef) -> Result<ColumnParts> {
        let mut parts = ColumnParts {
            default: None,
            keys: Vec::new(),
        };
        let mut kept = Vec::new();
        for option in std::mem::take(&mut column.options) {
            match &option.option {
                ColumnOption::NotNull => kept.push(option),
                ColumnOption::Null => {}
                ColumnOption::Default(expr) => parts.default = column_default(expr)?,
                ColumnOption::PrimaryKey(key) if is_plain_primary(key) => parts.keys.push(true),
                ColumnOption::Unique(key) if is_plain_unique(key) => parts.keys.push(false),
                ColumnOption::Generated {
                    generated_as: generated_as @ (GeneratedAs::Always | GeneratedAs::ByDefault),
                    sequence_options,
                    generation_expr: None,
                    ..
                } if sequence_options.as_ref().is_none_or(Vec::is_empty) => {
                    parts.default = Some(ColumnDefault::Identity {
                        always: matches!(generated_as, GeneratedAs::Always),
                    });
                    kept.push(not_null());
                }
                other => return Err(no_constraint(&other.to_string())),
            }
        }
        if let Some(integer) = serial(&column.data_type) {
            column.data_type = integer;
            parts.default = Some(ColumnDefault::Identity { always: false });
            kept.push(not_null());
        }
        kept.dedup();
        column.options = kept;
        Ok(parts)
    }
}

/// The integer type below PostgreSQL's short ways to say a sequence.
fn serial(data_type: &SqlType) -> Option<SqlType> {
    let SqlType::Custom(name, modifiers) = data_type else {
        return None;
    };
    if !modifiers.is_empty() {
        return None;
    }
    Some(match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => SqlType::SmallInt(None),
        "serial" | "serial4" => SqlType::Int(None),
        "bigserial" | "serial8" => SqlType::BigInt(None),
        _ => return None,
    })
}

/// The query of a view.
pub(super) async fn view(
    planner: &Planner,
    session: &PlanSession,
    view: CreateView,
) -> Result<(Statement, Purpose)> {
    if view.materialized || view.temporary || view.if_not_exists || view.or_alter || view.secure {
        return Err(Error::unsupported(
            "only CREATE VIEW and CREATE OR REPLACE VIEW are supported",
        ));
    }
    let purpose = Purpose::View {
        target: planner
            .new_target(session, &table_reference(&view.name)?)
            .await?,
        names: view.columns.iter().map(|c| folded(&c.name)).collect(),
        or_replace: view.or_replace,
    };
    Ok((Statement::Query(view.query), purpose))
}

/// A definition without a query; `None` for every other statement.
pub(super) async fn whole(
    planner: &Planner,
    state: &SessionState,
    session: &PlanSession,
    statement: &Statement,
) -> Result<Option<StatementKind>> {
    Ok(Some(match statement {
        Statement::Drop {
            object_type: object @ (ObjectType::Table | ObjectType::View),
            if_exists,
            names,
            cascade,
            ..
        } => {
            let name = table_reference(only(names)?)?;
            let target = planner.existing_target(session, &name).await?;
            let (if_exists, cascade) = (*if_exists, *cascade);
            if matches!(object, ObjectType::View) {
                StatementKind::DropView {
                    target,
                    if_exists,
                    cascade,
                }
            } else {
                StatementKind::DropTable {
                    target,
                    if_exists,
                    cascade,
                }
            }
        }
        Statement::Drop {
            object_type: ObjectType::Schema,
            if_exists,
            names,
            cascade,
            ..
        } => {
            let name = object_name(only(names)?)?.join(".");
            let (catalog, schema) = planner.schema_target(session, &name)?;
            StatementKind::DropSchema {
                catalog,
                schema,
                if_exists: *if_exists,
                cascade: *cascade,
            }
        }
        Statement::Truncate(truncate) => truncated(planner, session, truncate).await?,
        Statement::AlterTable(alter) => altered(planner, state, session, alter).await?,
        _ => return Ok(None),
    }))
}

fn only(names: &[ObjectName]) -> Result<&ObjectName> {
    match names {
        [name] => Ok(name),
        _ => Err(
            Error::unsupported("DROP of several objects at once is not supported")
                .with_hint("Drop them one by one."),
        ),
    }
}

async fn truncated(
    planner: &Planner,
    session: &PlanSession,
    truncate: &Truncate,
) -> Result<StatementKind> {
    if truncate.partitions.is_some() || truncate.if_exists || truncate.on_cluster.is_some() {
        return Err(Error::unsupported(
            "this form of TRUNCATE is not PostgreSQL's",
        ));
    }
    let mut tables = Vec::with_capacity(truncate.table_names.len());
    for table in &truncate.table_names {
        if table.only {
            return Err(Error::unsupported("TRUNCATE ONLY is not supported"));
        }
        let name = table_reference(&table.name)?;
        tables.push(planner.existing_target(session, &name).await?);
    }
    Ok(StatementKind::Truncate {
        tables,
        options: TruncateOptions {
            restart_identity: matches!(truncate.identity, Some(TruncateIdentityOption::Restart)),
            cascade: matches!(truncate.cascade, Some(CascadeOption::Cascade)),
        },
    })
}

async fn altered(
    planner: &Planner,
    state: &SessionState,
    session: &PlanSession,
    alter: &AlterTable,
) -> Result<StatementKind> {
    if alter.only {
        return Err(Error::unsupported("ALTER TABLE ONLY is not supported"));
    }
    let name = table_reference(&alter.name)?;
    let target = planner.existing_target(session, &name).await?;
    let changes = alter
        .operations
        .iter()
        .map(|operation| change(planner, state, session, operation))
        .collect::<Result<Vec<_>>>()?;
    Ok(StatementKind::AlterTable {
        target,
        changes,
        if_exists: alter.if_exists,
    })
}

fn change(
    planner: &Planner,
    state: &SessionState,
    session: &PlanSession,
    operation: &AlterTableOperation,
) -> Result<TableChange> {
    let refused = || Error::unsupported(format!("ALTER TABLE {operation} is not supported"));
    Ok(match operation {
        AlterTableOperation::AddColumn {
            if_not_exists,
            column_def,
            column_position: None,
            ..
        } => {
            let mut column = column_def.clone();
            let parts = ColumnParts::take(&mut column)?;
            if !parts.keys.is_empty() {
                return Err(refused());
            }
            TableChange::AddColumn {
                column: NewColumn {
                    field: typed(planner, state, session, column)?,
                    default: parts.default,
                },
                if_not_exists: *if_not_exists,
            }
        }
        AlterTableOperation::DropColumn {
            column_names,
            if_exists,
            drop_behavior,
            ..
        } => match column_names.as_slice() {
            [column] => TableChange::DropColumn {
                column: folded(column),
                if_exists: *if_exists,
                cascade: matches!(drop_behavior, Some(DropBehavior::Cascade)),
            },
            _ => return Err(refused()),
        },
        AlterTableOperation::RenameColumn {
            old_column_name,
            new_column_name,
        } => TableChange::RenameColumn {
            from: folded(old_column_name),
            to: folded(new_column_name),
        },
        AlterTableOperation::RenameTable {
            table_name: RenameTableNameKind::To(name),
        } => match object_name(name)?.as_slice() {
            [to] => TableChange::RenameTable { to: to.clone() },
            _ => return Err(refused()),
        },
        AlterTableOperation::AlterColumn { column_name, op } => {
            let column = folded(column_name);
            match op {
                AlterColumnOperation::SetNotNull => TableChange::SetNullable {
                    column,
                    nullable: false,
                },
                AlterColumnOperation::DropNotNull => TableChange::SetNullable {
                    column,
                    nullable: true,
                },
                AlterColumnOperation::SetDefault { value } => TableChange::SetDefault {
                    column,
                    default: column_default(value)?,
                },
                AlterColumnOperation::DropDefault => TableChange::SetDefault {
                    column,
                    default: None,
                },
                AlterColumnOperation::SetDataType {
                    data_type,
                    using: None,
                    ..
                } => {
                    let definition = ColumnDef {
                        name: Ident::with_quote('"', column),
                        data_type: data_type.clone(),
                        options: Vec::new(),
                    };
                    TableChange::SetType {
                        column: typed(planner, state, session, definition)?,
                    }
                }
                _ => return Err(refused()),
            }
        }
        _ => return Err(refused()),
    })
}

/// The field of a column's definition.
fn typed(
    planner: &Planner,
    state: &SessionState,
    session: &PlanSession,
    column: ColumnDef,
) -> Result<FieldRef> {
    let tables = crate::bind::names::ResolvedTables::none();
    let provider = provider::BoundNames {
        planner,
        state,
        session,
        tables: &tables,
        depends_on_the_moment: AtomicBool::new(false),
    };
    let options = ParserOptions::from(&state.config_options().sql_parser);
    let schema = SqlToRel::new_with_options(&provider, options)
        .build_schema(vec![column])
        .map_err(engine_error)?;
    Ok(Arc::new(schema.field(0).clone()))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn nothing_of_a_table_is_left_out() {
        let check = |sql: &str| {
            let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop();
            let Some(Statement::CreateTable(create)) = parsed else {
                panic!("{sql}")
            };
            table(create).map(|_| ()).map_err(|error| error.code)
        };
        for sql in [
            "CREATE TABLE IF NOT EXISTS t (a int NOT NULL DEFAULT 5, b text UNIQUE, PRIMARY KEY (a))",
            "CREATE TABLE t (a bigserial CONSTRAINT k PRIMARY KEY, UNIQUE (a))",
            "CREATE TABLE t ()",
            "CREATE TABLE t AS SELECT 1",
        ] {
            assert_eq!(check(sql), Ok(()), "{sql}");
        }
        for sql in [
            "CREATE TABLE t (a int CHECK (a > 0))",
            "CREATE TABLE t (a int REFERENCES u)",
            "CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES u (a))",
            "CREATE TABLE t (a int, UNIQUE NULLS NOT DISTINCT (a))",
            "CREATE TABLE t (a int PRIMARY KEY DEFERRABLE)",
            "CREATE TABLE t (a int GENERATED ALWAYS AS (1) STORED)",
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY (START WITH 5))",
            "CREATE TABLE t (a int DEFAULT nextval('s'))",
            "CREATE TABLE t (a text COLLATE \"C\")",
            "CREATE TABLE t (a int) PARTITION BY RANGE (a)",
            "CREATE TABLE t (a int) INHERITS (u)",
            "CREATE TABLE t (LIKE u)",
            "CREATE TABLE t (a int) WITH (fillfactor = 70)",
            "CREATE TEMPORARY TABLE t (a int)",
        ] {
            let code = check(sql).unwrap_err();
            assert_eq!(code.code(), "0A000", "{sql}");
        }
        let two = check("CREATE TABLE t (a int PRIMARY KEY, b int PRIMARY KEY)").unwrap_err();
        assert_eq!(two.code(), "42P16");
    }
}
