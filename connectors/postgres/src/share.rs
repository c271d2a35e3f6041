//! A split's share of a table: page ranges of the relations that hold its rows.
//!
//! Ranges are over `ctid`, whose scans the server does page by page (TID range scans, server 14). The last
//! range of each relation is open at its end, so that pages which come after the cut are read too; whether
//! a row is seen is the snapshot's business.

use serde::{Deserialize, Serialize};
use sluice_spi::{Error, RelColumn, Result, Split};

use crate::literal::quote_identifier;

/// Pages of one relation, without its children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageRange {
    pub(crate) schema: String,
    pub(crate) relation: String,
    pub(crate) from: u32,
    /// The first page that is not read; `None` for the relation's end, wherever that is by then.
    pub(crate) to: Option<u32>,
}

/// What one split reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) ranges: Vec<PageRange>,
    /// Of the layout that was cut ([`crate::layout::Layout::fingerprint`]).
    pub(crate) layout: u64,
    /// Relations were left out because the server's planner did.
    pub(crate) pruned: bool,
}

impl Share {
    /// The share in a split; `None` where it is the whole table.
    pub(crate) fn of(split: &Split) -> Result<Option<Share>> {
        if split.payload.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&split.payload)
            .map(Some)
            .map_err(|e| Error::internal(format!("a split could not be read: {e}")))
    }

    pub(crate) fn to_payload(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|e| Error::internal(format!("a split could not be written: {e}")))
    }

    /// What stands in FROM in the place of the table `name` with those columns.
    pub(crate) fn item(&self, name: &str, columns: &[RelColumn]) -> Option<String> {
        let mut branches = Vec::with_capacity(self.ranges.len());
        // Children have the parent's columns by name, not by position.
        let columns = match columns {
            [] => String::new(),
            columns => columns
                .iter()
                .map(|column| quote_identifier(&column.name))
                .collect::<Option<Vec<_>>>()?
                .join(", "),
        };
        for range in &self.ranges {
            let mut branch = format!(
                "SELECT {columns} FROM ONLY {}.{}",
                quote_identifier(&range.schema)?,
                quote_identifier(&range.relation)?
            );
            let mut word = " WHERE";
            if range.from > 0 {
                branch.push_str(&format!("{word} ctid >= '({},0)'::tid", range.from));
                word = " AND";
            }
            if let Some(to) = range.to {
                branch.push_str(&format!("{word} ctid < '({to},0)'::tid"));
            }
            branches.push(branch);
        }
        Some(format!(
            "({}) AS {}",
            branches.join(" UNION ALL "),
            quote_identifier(name)?
        ))
    }

    /// For EXPLAIN VERBOSE and the tasks table.
    pub(crate) fn label(&self) -> String {
        let mut label = String::new();
        for (index, range) in self.ranges.iter().enumerate() {
            /// Names after which a list is long enough for a label.
            const NAMES: usize = 3;
            if index == NAMES {
                label.push_str(&format!(" and {} more", self.ranges.len() - NAMES));
                break;
            }
            if index > 0 {
                label.push_str(", ");
            }
            label.push_str(&format!("{}.{}", range.schema, range.relation));
            match (range.from, range.to) {
                (0, None) => {}
                (from, None) => label.push_str(&format!(" pages {from}..")),
                (from, Some(to)) => label.push_str(&format!(" pages {from}..{to}")),
            }
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(relation: &str, from: u32, to: Option<u32>) -> PageRange {
        PageRange {
            schema: "s".into(),
            relation: relation.into(),
            from,
            to,
        }
    }

    fn share(ranges: Vec<PageRange>) -> Share {
        Share {
            ranges,
            layout: 1,
            pruned: false,
        }
    }

    #[test]
    fn a_share_stands_in_the_place_of_its_table() {
        let columns = [RelColumn {
            name: "a\"b".into(),
            native_type: "integer".into(),
            collation: None,
            deterministic: true,
            nullable: true,
        }];
        let first = share(vec![range("t", 0, Some(10))]);
        assert_eq!(
            first.item("t", &columns).unwrap(),
            "(SELECT \"a\"\"b\" FROM ONLY \"s\".\"t\" WHERE ctid < '(10,0)'::tid) AS \"t\""
        );
        let last = share(vec![range("t", 10, None), range("u", 0, None)]);
        assert_eq!(
            last.item("t", &columns).unwrap(),
            "(SELECT \"a\"\"b\" FROM ONLY \"s\".\"t\" WHERE ctid >= '(10,0)'::tid \
             UNION ALL SELECT \"a\"\"b\" FROM ONLY \"s\".\"u\") AS \"t\""
        );
        assert_eq!(last.label(), "s.t pages 10.., s.u");
    }
}
