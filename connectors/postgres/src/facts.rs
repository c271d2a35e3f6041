//! What a table handle carries for this connector beyond its relation: how each column is read, which
//! keys are unique. Facts only, no connection and no secret.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_spi::{CompareOp, Error, Relation, Result, ScalarExpr, TableHandle};

use crate::types::ColumnType;

/// Tables whose facts a thread has at hand: each query asks for those of its own a few times, and a lookup by
/// key would spend as long on reading them as on all else that is done here.
const AT_HAND: usize = 16;

/// Longer payloads are read each time: they belong to queries to which that is nothing.
const MAX_AT_HAND_BYTES: usize = 64 << 10;

thread_local! {
    /// Payloads and what they say, the latest first.
    static KNOWN: RefCell<VecDeque<(Vec<u8>, Arc<Facts>)>> = const { RefCell::new(VecDeque::new()) };
}

/// The payload of a [`TableHandle`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// One per column of the relation, in order.
    pub(crate) columns: Vec<ColumnType>,
    /// Names of the columns of each unique key.
    pub(crate) unique: Vec<Vec<String>>,
    /// The database's encoding is UTF-8, so that its byte order is the engine's.
    pub(crate) utf8: bool,
    /// For a relation with operations in it, how the columns of each of its leaves are read, left to
    /// right; empty where `columns` are those of the one leaf.
    pub(crate) leaves: Vec<Vec<ColumnType>>,
}

impl Facts {
    pub(crate) fn to_payload(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::internal(format!("a table handle could not be written: {e}")))
    }

    pub(crate) fn of(handle: &TableHandle) -> Result<Arc<Facts>> {
        let facts = Facts::read(&handle.payload)?;
        if facts.columns.len() != handle.relation.columns().len() {
            return Err(Error::internal(
                "a table handle describes other columns than its relation",
            ));
        }
        Ok(facts)
    }

    fn read(payload: &[u8]) -> Result<Arc<Facts>> {
        KNOWN.with_borrow_mut(|known| {
            if let Some(index) = known.iter().position(|(of, _)| *of == payload) {
                let facts = known[index].1.clone();
                known.swap(0, index);
                return Ok(facts);
            }
            let facts: Facts = serde_json::from_slice(payload)
                .map_err(|e| Error::internal(format!("a table handle could not be read: {e}")))?;
            let facts = Arc::new(facts);
            if payload.len() <= MAX_AT_HAND_BYTES {
                known.truncate(AT_HAND - 1);
                known.push_front((payload.to_vec(), facts.clone()));
            }
            Ok(facts)
        })
    }

    /// How the columns of each of the relation's leaves are read, left to right.
    pub(crate) fn leaf_types(&self) -> Vec<&[ColumnType]> {
        if self.leaves.is_empty() {
            return vec![&self.columns];
        }
        self.leaves.iter().map(Vec::as_slice).collect()
    }

    /// True where the conjuncts fix every column of a unique key to a constant, so that one row comes
    /// back at most.
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
