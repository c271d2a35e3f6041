//! Statement text to statements: split at semicolons, session statements recognised, the rest parsed as
//! PostgreSQL's dialect.
//!
//! The whole text is parsed before any of it runs, as in PostgreSQL. Errors carry the position in
//! characters. Nesting and chain length are bounded before the parser sees a statement, so that no text
//! can exhaust the stack of a thread that parses, plans or drops it.

use datafusion::sql::sqlparser::ast::{Expr, LimitClause, Statement, Value};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use sluice_spi::{Error, Result, SqlState};

use super::collate;
use super::utility::{self, Utility};

/// One statement of a text.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Its own text, without the semicolon.
    pub text: String,
    /// Characters of the whole text before it, to place errors.
    pub offset: u32,
    /// What it is.
    pub body: Body,
}

/// What a statement is.
#[derive(Debug, Clone)]
pub enum Body {
    /// About the session: runs in the front.
    Utility(Box<Utility>),
    /// Anything else: runs in the engine.
    Sql(Box<Statement>),
}

/// Parentheses, brackets and CASEs inside of each other. The parser's own limit counts several levels for
/// each of them.
const MAX_NESTING: usize = 128;
/// Operators, joins or set operations in a row on one level: they become a tree as deep as the chain.
const MAX_CHAIN: usize = 2000;
/// The parser's recursion limit: room for `MAX_NESTING` levels.
const PARSER_RECURSION_LIMIT: usize = 1500;

/// Parses a text into its statements; empty ones are left out.
pub fn parse(text: &str) -> Result<Vec<Parsed>> {
    let lines = Lines::new(text);
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| {
            let message = match error.message.to_lowercase() {
                m if m.contains("unterminated") && m.contains("string") => {
                    format!(
                        "unterminated quoted string at or near \"{}\"",
                        lines.rest(error.location)
                    )
                }
                m if m.contains("unterminated") || m.contains("close") => {
                    format!(
                        "unterminated quoted identifier or comment at or near \"{}\"",
                        lines.rest(error.location)
                    )
                }
                m => m,
            };
            Error::new(SqlState::SYNTAX_ERROR, message)
                .with_position(lines.character(error.location))
        })?;
    let mut statements = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        match &token.token {
            Token::SemiColon | Token::EOF => {
                if let Some(statement) =
                    parse_one(&lines, std::mem::take(&mut current), Some(token.span.start))?
                {
                    statements.push(statement);
                }
            }
            _ => current.push(token),
        }
    }
    statements.extend(parse_one(&lines, current, None)?);
    Ok(statements)
}

/// Parses the tokens of one statement that ends at `end` (the text's end without). White space is among
/// them: a line break between two strings makes them one.
pub(super) fn parse_one(
    lines: &Lines<'_>,
    all: Vec<TokenWithSpan>,
    end: Option<Location>,
) -> Result<Option<Parsed>> {
    let tokens: Vec<TokenWithSpan> = all
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .cloned()
        .collect();
    let Some(first) = tokens.first() else {
        return Ok(None);
    };
    check_complexity(&tokens)?;
    let start = first.span.start;
    let end_byte = end
        .filter(|end| end.line > 0)
        .map_or(lines.text.len(), |end| lines.byte(end));
    let text = lines.text[lines.byte(start)..end_byte.max(lines.byte(start))]
        .trim_end()
        .to_owned();
    let offset = lines.character(start) - 1;
    if let Some(utility) = utility::parse(lines, &all, &tokens, end)? {
        return Ok(Some(Parsed {
            text,
            offset,
            body: Body::Utility(Box::new(utility)),
        }));
    }
    let statement = parse_sql(lines, all, end)?;
    Ok(Some(Parsed {
        text,
        offset,
        body: Body::Sql(Box::new(statement)),
    }))
}

fn parse_sql(
    lines: &Lines<'_>,
    mut tokens: Vec<TokenWithSpan>,
    end: Option<Location>,
) -> Result<Statement> {
    collate::move_before_casts(&mut tokens);
    let dialect = PostgreSqlDialect {};
    // The place of each token; for white space, of the token after it.
    let mut spans: Vec<Option<(Location, Location)>> = Vec::with_capacity(tokens.len());
    let mut next = None;
    for token in tokens.iter().rev() {
        if !matches!(token.token, Token::Whitespace(_)) {
            next = Some((token.span.start, token.span.end));
        }
        spans.push(next);
    }
    spans.reverse();
    let span_at = |index: usize| spans.get(index).copied().flatten();
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(PARSER_RECURSION_LIMIT)
        .with_tokens_with_locations(tokens);
    let parsed = parser
        .parse_statement()
        .and_then(|statement| with_data(&mut parser, statement));
    // Where the parser stopped: at the first token that it could not use.
    let stopped = parser.index();
    match parsed {
        Ok(statement) if matches!(parser.peek_token().token, Token::EOF) => Ok(statement),
        Ok(_) => Err(syntax_error(lines, span_at(stopped).as_ref(), end, None)),
        Err(ParserError::RecursionLimitExceeded) => Err(too_complex()),
        Err(ParserError::TokenizerError(message)) => {
            Err(Error::new(SqlState::SYNTAX_ERROR, message))
        }
        Err(ParserError::ParserError(message)) => {
            let place = location_of(&message);
            let span = match place {
                Some(place) => spans
                    .iter()
                    .flatten()
                    .find(|(start, _)| *start == place)
                    .copied(),
                None => span_at(stopped.saturating_sub(1)),
            };
            // "found: EOF" has no place: the statement ended too early.
            let span = if message.contains("found: EOF") {
                None
            } else {
                span
            };
            Err(syntax_error(lines, span.as_ref(), end, Some(&message)))
        }
    }
}

/// The end of `CREATE TABLE … AS … WITH [NO] DATA`, which the parser does not know. Without data the query
/// has no rows, by a spelling of LIMIT that PostgreSQL's grammar does not have: the planner knows it by that.
fn with_data(
    parser: &mut Parser<'_>,
    mut statement: Statement,
) -> std::result::Result<Statement, ParserError> {
    if let Statement::CreateTable(create) = &mut statement
        && let Some(query) = &mut create.query
        && parser.parse_keyword(Keyword::WITH)
    {
        let without = parser.parse_keyword(Keyword::NO);
        parser.expect_keyword(Keyword::DATA)?;
        if without {
            query.fetch = None;
            let none = Expr::value(Value::Number("0".to_owned(), false));
            query.limit_clause = Some(LimitClause::OffsetCommaLimit {
                offset: none.clone(),
                limit: none,
            });
        }
    }
    Ok(statement)
}

/// `syntax error at or near "x"`, with what the parser expected as the detail.
pub(super) fn syntax_error(
    lines: &Lines<'_>,
    span: Option<&(Location, Location)>,
    end: Option<Location>,
    parser_message: Option<&str>,
) -> Error {
    let error = match span {
        Some((start, stop)) => {
            let (from, to) = (lines.byte(*start), lines.byte(*stop));
            let near = lines.text.get(from..to.max(from)).unwrap_or_default();
            Error::new(
                SqlState::SYNTAX_ERROR,
                format!("syntax error at or near \"{near}\""),
            )
            .with_position(lines.character(*start))
        }
        None => {
            let position = match end.filter(|end| end.line > 0) {
                Some(end) => lines.character(end),
                None => lines.text.trim_end().chars().count() as u32 + 1,
            };
            Error::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
                .with_position(position)
        }
    };
    let expected = parser_message.and_then(|message| message.strip_prefix("Expected: "));
    match expected.and_then(|message| message.split(", found").next()) {
        Some(expected) => error.with_detail(format!("Expected {expected}.")),
        None => match parser_message {
            Some(message) => error.with_detail(
                message
                    .split(" at Line:")
                    .next()
                    .unwrap_or(message)
                    .to_owned(),
            ),
            None => error,
        },
    }
}

/// The parser writes places into its messages: `… at Line: 1, Column: 8`.
fn location_of(message: &str) -> Option<Location> {
    let tail = &message[message.rfind("at Line: ")? + "at Line: ".len()..];
    let (line, column) = tail.split_once(", Column: ")?;
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse::<u64>()
            .ok()
    };
    Some(Location {
        line: digits(line)?,
        column: digits(column)?,
    })
}

fn too_complex() -> Error {
    Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .with_hint(format!("The statement nests deeper than {MAX_NESTING} levels or chains more than {MAX_CHAIN} operators."))
}

fn check_complexity(tokens: &[TokenWithSpan]) -> Result<()> {
    // Per level: the operators since the last comma, and the set operations, which commas don't end.
    let mut levels: Vec<(usize, usize)> = vec![(0, 0)];
    let mut prefixes = 0usize;
    for token in tokens {
        let prefix = match &token.token {
            Token::Minus | Token::Plus | Token::Tilde | Token::AtSign => true,
            Token::Word(word) => {
                matches!(word.keyword, Keyword::NOT | Keyword::CASE) && word.quote_style.is_none()
            }
            _ => false,
        };
        prefixes = if prefix { prefixes + 1 } else { 0 };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => levels.push((0, 0)),
            Token::RParen | Token::RBracket | Token::RBrace if levels.len() > 1 => {
                levels.pop();
            }
            Token::Comma => {
                if let Some(level) = levels.last_mut() {
                    level.0 = 0;
                }
            }
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::CASE => levels.push((0, 0)),
                Keyword::END if levels.len() > 1 => {
                    levels.pop();
                }
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    if let Some(level) = levels.last_mut() {
                        level.1 += 1;
                    }
                }
                Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::IN => {
                    if let Some(level) = levels.last_mut() {
                        level.0 += 1;
                    }
                }
                _ => {}
            },
            Token::SingleQuotedString(_)
            | Token::Number(..)
            | Token::Placeholder(_)
            | Token::Period => {}
            _ => {
                if let Some(level) = levels.last_mut() {
                    level.0 += 1;
                }
            }
        }
        let chain = levels
            .last()
            .is_some_and(|level| level.0 > MAX_CHAIN || level.1 > MAX_CHAIN);
        if levels.len() > MAX_NESTING || chain || prefixes > MAX_NESTING {
            return Err(too_complex());
        }
    }
    Ok(())
}

/// A text and where its lines begin: the tokenizer places tokens by line and column.
pub(super) struct Lines<'a> {
    pub(super) text: &'a str,
    /// The first byte of each line, and the characters before it.
    starts: Vec<(usize, u32)>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut starts = vec![(0, 0)];
        let mut characters = 0;
        for (byte, character) in text.char_indices() {
            characters += 1;
            if character == '\n' {
                starts.push((byte + 1, characters));
            }
        }
        Lines { text, starts }
    }

    fn line(&self, at: Location) -> (usize, u32) {
        let index = (at.line.max(1) as usize - 1).min(self.starts.len() - 1);
        self.starts[index]
    }

    /// The byte of a place; the end of the text where the place is beyond it.
    pub(super) fn byte(&self, at: Location) -> usize {
        let (start, _) = self.line(at);
        let columns = at.column.max(1) as usize - 1;
        self.text[start..]
            .char_indices()
            .nth(columns)
            .map_or(self.text.len(), |(byte, _)| start + byte)
    }

    /// The character of a place, from 1.
    pub(super) fn character(&self, at: Location) -> u32 {
        self.line(at).1 + at.column.max(1) as u32
    }

    /// A little of the text from a place on, for messages.
    fn rest(&self, at: Location) -> String {
        self.text[self.byte(at)..].chars().take(40).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_with_their_places() {
        let parsed = parse("select 1;\n -- nothing\n; select 'a;b' as \"é;\" ;begin").unwrap();
        let texts: Vec<&str> = parsed.iter().map(|p| p.text.as_str()).collect();
        assert_eq!(texts, ["select 1", "select 'a;b' as \"é;\"", "begin"]);
        assert_eq!(parsed[1].offset, 24);
        assert!(parse(" ;; -- x").unwrap().is_empty());
    }

    #[test]
    fn syntax_errors_are_placed_in_characters() {
        let error = parse("select 1;\nselect 'é' frm x y").unwrap_err();
        assert_eq!(error.code, SqlState::SYNTAX_ERROR);
        assert_eq!(error.message, "syntax error at or near \"x\"");
        assert_eq!(error.position, Some(26));
        let error = parse("select * from").unwrap_err();
        assert_eq!(error.message, "syntax error at end of input");
        assert_eq!(error.position, Some(14));
        assert!(
            parse("select 'abc")
                .unwrap_err()
                .message
                .starts_with("unterminated quoted string")
        );
    }

    #[test]
    fn tables_are_made_with_and_without_data() {
        let made = |text: &str| match &parse(text).unwrap()[0].body {
            Body::Sql(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        };
        let plain = made("create table a as select b from c");
        assert_eq!(made("create table a as select b from c with data"), plain);
        assert_eq!(
            made("create table a as select b from c with no data"),
            format!("{plain} LIMIT 0, 0")
        );
        assert!(parse("create table a as select b from c with no").is_err());
        assert!(parse("select b from c with no data").is_err());
    }

    #[test]
    fn deep_statements_are_refused_and_never_overflow() {
        for text in [
            format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
            format!("select {}1", "- ".repeat(50_000)),
            format!("select {}true", "not ".repeat(50_000)),
            format!("select 1{}", " + 1".repeat(50_000)),
            format!("select 1{}", " union all select 1".repeat(50_000)),
            format!(
                "select {}1{}",
                "case when true then ".repeat(5_000),
                " end".repeat(5_000)
            ),
            format!("select 1{}", "::int".repeat(50_000)),
            format!("select {}", "array[".repeat(20_000)),
        ] {
            let error = parse(&text).map(|_| ()).unwrap_err();
            assert_eq!(
                error.code,
                SqlState::STATEMENT_TOO_COMPLEX,
                "{}",
                &text[..40]
            );
        }
        let fine = format!(
            "select {}1{} where {}true",
            "(".repeat(100),
            ")".repeat(100),
            "a = 1 or ".repeat(900)
        );
        std::thread::spawn(move || parse(&fine).map(|_| ()))
            .join()
            .unwrap()
            .unwrap();
        let values = format!("insert into t values {}(1)", "(1, -2, 'x'),".repeat(20_000));
        parse(&values).unwrap();
    }
}
