//! What the server's own planner says of a statement, by EXPLAIN without running it.

use serde_json::Value;
use sluice_spi::TableHandle;

use crate::facts::Facts;
use crate::render::{Constants, select};

/// A plan, as far as anybody here asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourcePlan {
    /// Rows of the result.
    pub(crate) rows: f64,
    /// Bytes of a row.
    pub(crate) width: f64,
    /// Schema and name of each relation that it reads.
    pub(crate) relations: Vec<(String, String)>,
    /// It reads each of them from its first to its last page.
    pub(crate) reads_all_pages: bool,
}

/// The question; `None` where the relation cannot be written, or has no column.
pub(crate) fn question(handle: &TableHandle, facts: &Facts) -> Option<String> {
    let all: Vec<usize> = (0..facts.columns.len()).collect();
    // Without columns it would be a count, which EXPLAIN takes for one row.
    let scan = select(&handle.relation, facts, &all, None, Constants::Inline)
        .filter(|_| !all.is_empty())?;
    Some(format!("EXPLAIN (FORMAT JSON, VERBOSE) {}", scan.text))
}

/// The answer.
pub(crate) fn answer(json: &str) -> Option<SourcePlan> {
    let json: Value = serde_json::from_str(json).ok()?;
    let top = json.get(0)?.get("Plan")?;
    let mut plan = SourcePlan {
        rows: top.get("Plan Rows")?.as_f64()?,
        width: top.get("Plan Width")?.as_f64()?,
        relations: Vec::new(),
        reads_all_pages: true,
    };
    plan.visit(top);
    Some(plan)
}

impl SourcePlan {
    fn visit(&mut self, node: &Value) {
        let text = |name: &str| node.get(name).and_then(Value::as_str);
        if let Some(relation) = text("Relation Name") {
            self.reads_all_pages &= text("Node Type") == Some("Seq Scan");
            let schema = text("Schema").unwrap_or_default();
            self.relations
                .push((schema.to_owned(), relation.to_owned()));
        }
        for child in node
            .get("Plans")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.visit(child);
        }
    }

    /// Bytes of the result.
    pub(crate) fn bytes(&self) -> u64 {
        // Past 2^53 nobody cares for the last digits; a negative estimate does not occur.
        (self.rows * self.width) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_what_it_reads() {
        let plan = answer(
            r#"[{"Plan": {"Node Type": "Append", "Plan Rows": 30, "Plan Width": 8, "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "a", "Schema": "s"},
                {"Node Type": "Bitmap Heap Scan", "Relation Name": "b", "Schema": "s",
                 "Plans": [{"Node Type": "Bitmap Index Scan", "Index Name": "i"}]}]}}]"#,
        )
        .unwrap();
        assert_eq!((plan.bytes(), plan.reads_all_pages), (240, false));
        assert_eq!(plan.relations.len(), 2);
        assert_eq!(plan.relations[1], ("s".to_owned(), "b".to_owned()));
        assert_eq!(answer("[]"), None);
    }
}
