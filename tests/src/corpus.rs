//! The SQL corpus: files of statements whose right answers the real PostgreSQL gives.
//!
//! ```text
//! # A comment. Blank lines end a block.
//! query                     rows in the order given
//! SELECT a FROM t ORDER BY a
//!
//! query anyorder types      rows in any order; column names and types must be the same, too
//! SELECT a FROM t
//!
//! statement                 both must accept it; nothing is compared
//! SET datestyle = 'ISO'
//!
//! error 22012               both must refuse it with this SQLSTATE
//! SELECT 1 / 0
//!
//! differs query             a known difference, listed in docs/differences.md: it must still be one
//! SELECT 1
//! ```

use std::fs;
use std::path::Path;

use crate::client::Connection;
use crate::compare::{self, Order};

/// What a block says of its statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// The same rows as PostgreSQL's.
    Rows {
        /// Whether their order counts.
        order: Order,
        /// Whether column names and types count.
        types: bool,
    },
    /// Both accept it.
    Accepted,
    /// Both refuse it with this SQLSTATE.
    Error(String),
}

/// One statement of a file.
#[derive(Debug, Clone)]
pub struct Block {
    /// The line of its first word.
    pub line: usize,
    /// What must come of it.
    pub expectation: Expectation,
    /// Sluice is known not to do it. The day it does, the mark must go.
    pub differs: bool,
    /// The statement.
    pub sql: String,
}

/// Reads a file. Panics at a line that it does not understand.
pub fn read(file: &Path) -> Vec<Block> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (differs, header) = match line.strip_prefix("differs ") {
            Some(header) => (true, header),
            None => (false, line),
        };
        let expectation = expectation(header)
            .unwrap_or_else(|| panic!("{}:{}: unknown block {line:?}", file.display(), index + 1));
        let mut sql = String::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
            sql.push_str(line);
            sql.push('\n');
        }
        assert!(
            !sql.is_empty(),
            "{}:{}: no statement",
            file.display(),
            index + 1
        );
        blocks.push(Block {
            line: index + 1,
            expectation,
            differs,
            sql,
        });
    }
    assert!(
        !blocks.is_empty(),
        "{}: an empty corpus file",
        file.display()
    );
    blocks
}

fn expectation(line: &str) -> Option<Expectation> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "query" => {
            let (mut order, mut types) = (Order::Given, false);
            for word in words {
                match word {
                    "anyorder" => order = Order::Any,
                    "types" => types = true,
                    _ => return None,
                }
            }
            Some(Expectation::Rows { order, types })
        }
        "statement" => Some(Expectation::Accepted),
        "error" => Some(Expectation::Error(words.next()?.to_owned())),
        _ => None,
    }
}

/// Runs the blocks on both sessions. Gives one line of text for each difference. Where `subject` is
/// PostgreSQL, too, the marks of known differences say nothing.
pub fn run(
    blocks: &[Block],
    oracle: &mut Connection,
    subject: &mut Connection,
    subject_is_oracle: bool,
) -> Vec<String> {
    blocks
        .iter()
        .filter_map(|block| {
            let problem = match (
                check(block, oracle, subject),
                block.differs && !subject_is_oracle,
            ) {
                (Ok(()), true) => {
                    "no longer differs: take the mark away, here and in docs/differences.md"
                        .to_owned()
                }
                (Ok(()), false) | (Err(_), true) => return None,
                (Err(problem), false) => problem,
            };
            Some(format!(
                "line {}: {problem}\n{}",
                block.line,
                indent(&block.sql)
            ))
        })
        .collect()
}

fn check(block: &Block, oracle: &mut Connection, subject: &mut Connection) -> Result<(), String> {
    let want = oracle.query(&block.sql);
    let have = subject.query(&block.sql);
    match &block.expectation {
        Expectation::Error(code) => {
            let told = want
                .err()
                .map_or("no error".to_owned(), |error| error.code().to_owned());
            if told != *code {
                return Err(format!("the corpus says {code}, PostgreSQL says {told}"));
            }
            match have {
                Ok(_) => Err(format!("{code} expected, rows given")),
                Err(error) if error.code() == code => Ok(()),
                Err(error) => Err(format!("{code} expected, given: {error}")),
            }
        }
        expectation => {
            let want = want.map_err(|error| format!("PostgreSQL refuses it: {error}"))?;
            let have = have.map_err(|error| format!("refused: {error}"))?;
            if let Expectation::Rows { order, types } = expectation {
                compare::rows(&want, &have, *order)?;
                if *types {
                    compare::columns(&want, &have)?;
                }
            }
            Ok(())
        }
    }
}

fn indent(sql: &str) -> String {
    sql.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_understood_or_refused() {
        assert_eq!(
            expectation("query anyorder types"),
            Some(Expectation::Rows {
                order: Order::Any,
                types: true
            })
        );
        assert_eq!(
            expectation("error 42P01"),
            Some(Expectation::Error("42P01".to_owned()))
        );
        assert_eq!(expectation("query sorted"), None);
        assert_eq!(expectation("select 1"), None);
    }
}
