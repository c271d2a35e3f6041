//! What a table handle carries for this connector beyond its relation: how each column is read, which
//! keys are unique. Facts only, no connection and no secret.

use serde::{Deserialize, Serialize};
use sluice_spi::{CompareOp, Error, Relation, Result, ScalarExpr, TableHandle};

use crate::config::ZeroDates;
use crate::types::ColumnType;

/// The payload of a [`TableHandle`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// One per column of the relation, in order.
    pub(crate) columns: Vec<ColumnType>,
    /// Names of the columns of each unique key.
    pub(crate) unique: Vec<Vec<String>>,
    /// What dates that no calendar has become.
    pub(crate) zero_dates: ZeroDates,
    /// An integer column that alone is the primary key.
    pub(crate) split_by: Option<String>,
    /// For a relation with operations in it, how the columns of each of its leaves are read, left to
    /// right; empty where `columns` are those of the one leaf.
    #[serde(default)]
    pub(crate) leaves: Vec<Vec<ColumnType>>,
}

impl Facts {
    pub(crate) fn to_payload(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::internal(format!("a table handle could not be written: {e}")))
    }

    pub(crate) fn of(handle: &TableHandle) -> Result<Facts> {
        let facts: Facts = serde_json::from_slice(&handle.payload)
            .map_err(|e| Error::internal(format!("a table handle could not be read: {e}")))?;
        if facts.columns.len() != handle.relation.columns().len() {
            return Err(Error::internal(
                "a table handle describes other columns than its relation",
            ));
        }
        Ok(facts)
    }

    /// How the columns of each of the relation's leaves are read, left to right.
    pub(crate) fn leaf_types(&self) -> Vec<&[ColumnType]> {
        if self.leaves.is_empty() {
            return vec![self.columns.as_slice()];
        }
        self.leaves.iter().map(Vec::as_slice).collect()
    }

    /// The same leaves under another relation, whose columns are read like that.
    pub(crate) fn derived(&self, columns: Vec<ColumnType>) -> Facts {
        Facts {
            columns,
            unique: Vec::new(),
            zero_dates: self.zero_dates,
            split_by: None,
            leaves: self
                .leaf_types()
                .into_iter()
                .map(<[ColumnType]>::to_vec)
                .collect(),
        }
    }

    /// True where the conjuncts fix every column of a unique key to a constant, so that few rows come
    /// back: one, or under a collation that takes different texts for equal, still one.
    pub(crate) fn is_key_lookup(&self, relation: &Relation) -> bool {
        let mut fixed = Vec::new();
        for predicate in relation.predicates() {
            if let ScalarExpr::Compare {
                op: CompareOp::Eq,
                left,
                right,
            } = predicate
            {
                match (left.as_ref(), right.as_ref()) {
                    (ScalarExpr::Column(name), ScalarExpr::Literal(_))
                    | (ScalarExpr::Literal(_), ScalarExpr::Column(name)) => fixed.push(name),
                    _ => {}
                }
            }
        }
        self.unique
            .iter()
            .any(|key| !key.is_empty() && key.iter().all(|column| fixed.contains(&column)))
    }
}
