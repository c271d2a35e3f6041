//! `value::type COLLATE "C"`, which the parser does not take: it looks for COLLATE behind a value, and not behind
//! a cast. The clause is moved in front of the value's casts, where it says the same, since the engine has one
//! order of texts.

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Moves each COLLATE that follows a cast in front of it.
pub(super) fn move_before_casts(tokens: &mut [TokenWithSpan]) {
    if !tokens.iter().any(is_collate) {
        return;
    }
    let mut at = 0;
    while at < tokens.len() {
        if is_collate(&tokens[at])
            && let Some(cast) = first_cast(tokens, at)
        {
            let clause = clause(tokens, at);
            // To the right end of the value: what lies between is moved behind the clause.
            tokens[cast..clause.end].rotate_right(clause.len());
            at = clause.end;
        } else {
            at += 1;
        }
    }
}

fn is_collate(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word) if word.keyword == Keyword::COLLATE)
}

/// COLLATE and the name behind it, which may have a schema.
fn clause(tokens: &[TokenWithSpan], at: usize) -> Range<usize> {
    let mut end = at + 1;
    let mut wants_name = true;
    for (index, token) in tokens.iter().enumerate().skip(at + 1) {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(_) if wants_name => wants_name = false,
            Token::Period if !wants_name => wants_name = true,
            _ => break,
        }
        end = index + 1;
    }
    at..end
}

/// Where the casts of the value before `at` begin.
fn first_cast(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut first = cast_before(tokens, at)?;
    while let Some(earlier) = cast_before(tokens, first) {
        first = earlier;
    }
    Some(first)
}

/// Words of a type's name that are not its first (`double precision`, `timestamp with time zone`).
const LATER_WORDS: [&str; 6] = ["precision", "varying", "with", "without", "time", "zone"];

/// The `::` of the cast that ends before `at`: a type's words, its modifiers and brackets lie between.
fn cast_before(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut words = 0;
    // The word to the right, where nothing but white space lies between.
    let mut right: Option<&str> = None;
    for index in (0..at).rev() {
        match &tokens[index].token {
            Token::Whitespace(_) => {}
            Token::Word(word) if depth == 0 => {
                let of_type = |right: &str| {
                    LATER_WORDS
                        .iter()
                        .any(|later| later.eq_ignore_ascii_case(right))
                };
                if right.is_some_and(|right| !of_type(right)) {
                    return None;
                }
                right = Some(&word.value);
                words += 1;
            }
            Token::RParen | Token::RBracket => {
                depth += 1;
                right = None;
            }
            Token::LParen | Token::LBracket => depth = depth.checked_sub(1)?,
            Token::Number(..) | Token::Comma if depth > 0 => {}
            Token::Period if depth == 0 => right = None,
            Token::DoubleColon if depth == 0 && words > 0 => return Some(index),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    #[test]
    fn a_collation_goes_before_the_casts_of_its_value() {
        let check = |sql: &str, expected: &str| {
            let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
                .tokenize_with_location()
                .unwrap();
            move_before_casts(&mut tokens);
            let text: String = tokens.iter().map(|t| t.token.to_string()).collect();
            assert_eq!(text, expected);
        };
        check(
            "ORDER BY j::text COLLATE \"C\" DESC",
            "ORDER BY jCOLLATE \"C\"::text  DESC",
        );
        check(
            "(a || b)::int::varchar(3) COLLATE pg_catalog.\"C\"",
            "(a || b)COLLATE pg_catalog.\"C\"::int::varchar(3) ",
        );
        check(
            "SELECT a::int FROM x ORDER BY j::double precision COLLATE \"C\"",
            "SELECT a::int FROM x ORDER BY jCOLLATE \"C\"::double precision ",
        );
        check("a COLLATE \"C\" < b", "a COLLATE \"C\" < b");
        check("f(a, b) COLLATE \"C\"", "f(a, b) COLLATE \"C\"");
    }
}
