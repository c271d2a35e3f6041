//! Statements about the session, recognised from their tokens: transactions, settings, prepared
//! statements and cursors. PostgreSQL's grammar for them is small and the engine has no use for them.

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use sluice_spi::{Error, Result, SqlState};

use super::settings::Scope;
use super::statement::{Lines, Parsed, parse_one, syntax_error};

/// What `SET … TO` was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetValue {
    /// `DEFAULT`.
    Default,
    /// The words, strings and numbers, joined as PostgreSQL does (`a, b`).
    Value(String),
}

/// How many rows `FETCH` and `MOVE` go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Rows(u64),
    /// As many as there are.
    All,
    /// Backward or absolute: a forward-only cursor refuses.
    Backward,
}

/// Transaction modes after `BEGIN` or `SET TRANSACTION`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes {
    /// `ISOLATION LEVEL …`.
    pub isolation: Option<String>,
    /// `READ ONLY` or `READ WRITE`.
    pub read_only: Option<bool>,
    /// `[NOT] DEFERRABLE`.
    pub deferrable: Option<bool>,
}

/// A statement about the session. The fields are the statement's own parts, by their names in PostgreSQL's
/// manual.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Utility {
    /// `BEGIN`, `START TRANSACTION`; the tag tells them apart.
    Begin { tag: &'static str, modes: Modes },
    /// `COMMIT`, `END`.
    Commit { chain: bool },
    /// `ROLLBACK`, `ABORT`.
    Rollback { chain: bool },
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `RELEASE [SAVEPOINT] name`.
    Release(String),
    /// `ROLLBACK TO [SAVEPOINT] name`.
    RollbackTo(String),
    /// `SET TRANSACTION` (this one) or `SET SESSION CHARACTERISTICS AS TRANSACTION` (later ones).
    SetTransaction { session: bool, modes: Modes },
    /// `SET [SESSION | LOCAL] name TO value`.
    Set {
        scope: Scope,
        name: String,
        value: SetValue,
    },
    /// `RESET name`.
    Reset(String),
    /// `RESET ALL`.
    ResetAll,
    /// `SHOW name`.
    Show(String),
    /// `SHOW ALL`.
    ShowAll,
    /// `SET [SESSION | LOCAL] ROLE`, `SET SESSION AUTHORIZATION`; none is `NONE` or `DEFAULT`.
    SetRole { role: Option<String>, session: bool },
    /// `DISCARD ALL | PLANS | SEQUENCES | TEMP`.
    Discard(&'static str),
    /// `PREPARE name [(types)] AS statement`.
    Prepare {
        name: String,
        types: Vec<String>,
        statement: Box<Parsed>,
    },
    /// `EXECUTE name [(arguments)]`; the arguments as one text of expressions.
    Execute {
        name: String,
        arguments: Option<String>,
    },
    /// `DEALLOCATE [PREPARE] name | ALL`.
    Deallocate(Option<String>),
    /// `DECLARE name CURSOR … FOR query`.
    Declare {
        name: String,
        hold: bool,
        binary: bool,
        query: Box<Parsed>,
    },
    /// `FETCH` and `MOVE`.
    Fetch {
        name: String,
        count: Count,
        discard: bool,
    },
    /// `CLOSE name | ALL`.
    Close(Option<String>),
    /// `LISTEN` and `UNLISTEN`: accepted, since nothing ever notifies.
    Listen { tag: &'static str },
    /// `NOTIFY`.
    Notify,
}

impl Utility {
    /// Whether a failed transaction lets it run.
    pub fn ends_transaction(&self) -> bool {
        matches!(
            self,
            Utility::Commit { .. } | Utility::Rollback { .. } | Utility::RollbackTo(_)
        )
    }
}

/// Recognises a session statement; `None` for anything else.
/// `all` has the white space that `tokens` lacks.
pub(super) fn parse(
    lines: &Lines<'_>,
    all: &[TokenWithSpan],
    tokens: &[TokenWithSpan],
    end: Option<Location>,
) -> Result<Option<Utility>> {
    let mut words = Words {
        lines,
        all,
        tokens,
        at: 0,
        end,
    };
    let Some(verb) = words.keyword() else {
        return Ok(None);
    };
    words.at += 1;
    let utility = match verb.as_str() {
        "begin" => {
            let _ = words.accept("work") || words.accept("transaction");
            Utility::Begin {
                tag: "BEGIN",
                modes: words.modes()?,
            }
        }
        "start" => {
            words.expect("transaction")?;
            Utility::Begin {
                tag: "START TRANSACTION",
                modes: words.modes()?,
            }
        }
        "commit" | "end" => {
            if verb == "commit" && words.peek_is("prepared") {
                return Err(Error::unsupported(
                    "prepared transactions are not supported",
                ));
            }
            Utility::Commit {
                chain: words.chain()?,
            }
        }
        "rollback" | "abort" => {
            let _ = words.accept("work") || words.accept("transaction");
            if words.accept("to") {
                let _ = words.accept("savepoint");
                Utility::RollbackTo(words.name()?)
            } else {
                Utility::Rollback {
                    chain: words.chain()?,
                }
            }
        }
        "savepoint" => Utility::Savepoint(words.name()?),
        "release" => {
            let _ = words.accept("savepoint");
            Utility::Release(words.name()?)
        }
        "set" => match words.set()? {
            Some(utility) => utility,
            None => return Ok(None),
        },
        "reset" => words.reset()?,
        // About a table, not about the session.
        "show" if words.peek_is("stats") && words.is_followed_by("for") => {
            words.at += 2;
            words.qualified_name()?;
            return Ok(None);
        }
        "show" => words.show()?,
        "discard" => Utility::Discard(match words.keyword().as_deref() {
            Some("all") => words.took("ALL"),
            Some("plans") => words.took("PLANS"),
            Some("sequences") => words.took("SEQUENCES"),
            Some("temp" | "temporary") => words.took("TEMP"),
            _ => return Err(words.error()),
        }),
        "prepare" => {
            if words.peek_is("transaction") {
                return Err(Error::unsupported(
                    "prepared transactions are not supported",
                ));
            }
            words.prepare()?
        }
        "execute" => words.execute()?,
        "deallocate" => {
            let _ = words.accept("prepare");
            Utility::Deallocate(if words.accept("all") {
                None
            } else {
                Some(words.name()?)
            })
        }
        "declare" => words.declare()?,
        "fetch" => words.fetch(false)?,
        "move" => words.fetch(true)?,
        "close" => Utility::Close(if words.accept("all") {
            None
        } else {
            Some(words.name()?)
        }),
        "listen" => {
            words.name()?;
            Utility::Listen { tag: "LISTEN" }
        }
        "unlisten" => {
            if !words.accept_token(&Token::Mul) {
                words.name()?;
            }
            Utility::Listen { tag: "UNLISTEN" }
        }
        "notify" => {
            words.at = words.tokens.len();
            Utility::Notify
        }
        _ => return Ok(None),
    };
    if words.at < words.tokens.len() {
        return Err(words.error());
    }
    Ok(Some(utility))
}

/// A cursor over the tokens of one statement.
struct Words<'a> {
    lines: &'a Lines<'a>,
    all: &'a [TokenWithSpan],
    tokens: &'a [TokenWithSpan],
    at: usize,
    end: Option<Location>,
}

impl Words<'_> {
    /// The next token, where it is an unquoted word, in lower case.
    fn keyword(&self) -> Option<String> {
        match &self.tokens.get(self.at)?.token {
            Token::Word(word) if word.quote_style.is_none() => {
                Some(word.value.to_ascii_lowercase())
            }
            _ => None,
        }
    }

    fn peek_is(&self, word: &str) -> bool {
        self.keyword().is_some_and(|next| next == word)
    }

    /// True where `word` comes after the next one.
    fn is_followed_by(&self, word: &str) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|next| {
            matches!(&next.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
        })
    }

    /// The statement's rest is a name of up to three parts.
    fn qualified_name(&mut self) -> Result<()> {
        self.name()?;
        for _ in 0..2 {
            if self.accept_token(&Token::Period) {
                self.name()?;
            }
        }
        if self.at == self.tokens.len() {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.peek_is(word);
        self.at += usize::from(found);
        found
    }

    fn accept_token(&mut self, token: &Token) -> bool {
        let found = self
            .tokens
            .get(self.at)
            .is_some_and(|next| next.token == *token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.accept(word) {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    fn took(&mut self, word: &'static str) -> &'static str {
        self.at += 1;
        word
    }

    fn error(&self) -> Error {
        let span = self
            .tokens
            .get(self.at)
            .map(|token| (token.span.start, token.span.end));
        syntax_error(self.lines, span.as_ref(), self.end, None)
    }

    /// An identifier, folded as PostgreSQL folds it.
    fn name(&mut self) -> Result<String> {
        match self.tokens.get(self.at).map(|token| &token.token) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(if word.quote_style.is_none() {
                    word.value.to_lowercase()
                } else {
                    word.value.clone()
                })
            }
            _ => Err(self.error()),
        }
    }

    /// A setting's name, dots included.
    fn setting_name(&mut self) -> Result<String> {
        let mut name = self.name()?;
        while self.accept_token(&Token::Period) {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    /// The text of the tokens from here to the statement's end.
    fn rest(&mut self) -> String {
        let from = self
            .tokens
            .get(self.at)
            .map_or(self.lines.text.len(), |t| self.lines.byte(t.span.start));
        let to = self
            .end
            .filter(|end| end.line > 0)
            .map_or(self.lines.text.len(), |end| self.lines.byte(end));
        self.at = self.tokens.len();
        self.lines.text[from..to.max(from)].trim_end().to_owned()
    }

    fn chain(&mut self) -> Result<bool> {
        let _ = self.accept("work") || self.accept("transaction");
        if self.accept("and") {
            let no = self.accept("no");
            self.expect("chain")?;
            return Ok(!no);
        }
        Ok(false)
    }

    fn modes(&mut self) -> Result<Modes> {
        let mut modes = Modes::default();
        while self.at < self.tokens.len() {
            if self.accept("isolation") {
                self.expect("level")?;
                modes.isolation = Some(self.isolation_level()?);
            } else if self.accept("read") {
                let read_only = self.accept("only");
                if !read_only {
                    self.expect("write")?;
                }
                modes.read_only = Some(read_only);
            } else if self.accept("not") {
                self.expect("deferrable")?;
                modes.deferrable = Some(false);
            } else if self.accept("deferrable") {
                modes.deferrable = Some(true);
            } else {
                return Err(self.error());
            }
            self.accept_token(&Token::Comma);
        }
        Ok(modes)
    }

    fn isolation_level(&mut self) -> Result<String> {
        let first = self.name()?;
        Ok(match first.as_str() {
            "serializable" => first,
            "repeatable" | "read" => format!("{first} {}", self.name()?),
            _ => {
                self.at -= 1;
                return Err(self.error());
            }
        })
    }

    fn set(&mut self) -> Result<Option<Utility>> {
        if self.peek_is("constraints") {
            self.at = self.tokens.len();
            return Err(Error::unsupported("SET CONSTRAINTS is not supported"));
        }
        let scope = if self.accept("local") {
            Scope::Local
        } else {
            Scope::Session
        };
        let session = scope == Scope::Session && self.peek_is("session") && {
            // A setting can't be called `session`: the word is always the scope.
            self.at += 1;
            true
        };
        if session && self.accept("characteristics") {
            self.expect("as")?;
            self.expect("transaction")?;
            return Ok(Some(Utility::SetTransaction {
                session: true,
                modes: self.modes()?,
            }));
        }
        if self.accept("transaction") {
            if self.peek_is("snapshot") {
                return Err(Error::unsupported(
                    "SET TRANSACTION SNAPSHOT is not supported",
                ));
            }
            return Ok(Some(Utility::SetTransaction {
                session: false,
                modes: self.modes()?,
            }));
        }
        if self.accept("authorization") || self.peek_is("role") {
            let authorization = !self.accept("role");
            let default = if authorization { "default" } else { "none" };
            let role = if self.accept(default) {
                None
            } else {
                match self.tokens.get(self.at).map(|t| t.token.clone()) {
                    Some(Token::SingleQuotedString(role)) => {
                        self.at += 1;
                        Some(role)
                    }
                    Some(Token::Eq) => {
                        self.at += 1;
                        Some(self.value()?)
                    }
                    _ => Some(self.name()?),
                }
            };
            return Ok(Some(Utility::SetRole {
                role: role.filter(|r| r != "none"),
                session: authorization,
            }));
        }
        if self.accept("time") {
            self.expect("zone")?;
            let name = "TimeZone".to_owned();
            if self.accept("local") || self.accept("default") {
                return Ok(Some(Utility::Set {
                    scope,
                    name,
                    value: SetValue::Default,
                }));
            }
            let _ = self.accept("interval");
            let value = self.value()?;
            if self.accept("hour") {
                self.expect("to")?;
                self.expect("minute")?;
                return Ok(Some(Utility::Set {
                    scope,
                    name,
                    value: SetValue::Value(hours_of(&value)),
                }));
            }
            return Ok(Some(Utility::Set {
                scope,
                name,
                value: SetValue::Value(value),
            }));
        }
        if self.accept("names") {
            let value = if self.at < self.tokens.len() && !self.accept("default") {
                SetValue::Value(self.value()?)
            } else {
                SetValue::Default
            };
            return Ok(Some(Utility::Set {
                scope,
                name: "client_encoding".to_owned(),
                value,
            }));
        }
        let name = if self.accept("schema") {
            "search_path".to_owned()
        } else {
            self.setting_name()?
        };
        // `SET SCHEMA 'name'` has no TO.
        let is_string = matches!(
            self.tokens.get(self.at).map(|t| &t.token),
            Some(Token::SingleQuotedString(_))
        );
        let bare = name == "search_path" && is_string;
        if !bare && !self.accept("to") && !self.accept_token(&Token::Eq) {
            return Err(self.error());
        }
        if self.accept("default") {
            return Ok(Some(Utility::Set {
                scope,
                name,
                value: SetValue::Default,
            }));
        }
        let mut values = vec![self.list_value(&name)?];
        while self.accept_token(&Token::Comma) {
            values.push(self.list_value(&name)?);
        }
        Ok(Some(Utility::Set {
            scope,
            name,
            value: SetValue::Value(values.join(", ")),
        }))
    }

    /// One element of a value; in a list of names, a string or quoted word is one name whatever is in it.
    fn list_value(&mut self, setting: &str) -> Result<String> {
        let quoted = matches!(
            self.tokens.get(self.at).map(|t| &t.token),
            Some(Token::Word(word)) if word.quote_style.is_some()
        ) || matches!(
            self.tokens.get(self.at).map(|t| &t.token),
            Some(Token::SingleQuotedString(_))
        );
        let value = self.value()?;
        let plain = value
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if setting == "search_path" && quoted && (value.is_empty() || !plain) {
            return Ok(format!("\"{}\"", value.replace('"', "\"\"")));
        }
        Ok(value)
    }

    fn value(&mut self) -> Result<String> {
        let negative = self.accept_token(&Token::Minus);
        if !negative {
            self.accept_token(&Token::Plus);
        }
        let value = match self.tokens.get(self.at).map(|token| &token.token) {
            Some(Token::Number(number, _)) => number.clone(),
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text))
                if !negative =>
            {
                text.clone()
            }
            Some(Token::Word(_)) if !negative => return self.name(),
            _ => return Err(self.error()),
        };
        self.at += 1;
        Ok(if negative { format!("-{value}") } else { value })
    }

    fn reset(&mut self) -> Result<Utility> {
        if self.accept("all") {
            return Ok(Utility::ResetAll);
        }
        if self.accept("role") {
            return Ok(Utility::SetRole {
                role: None,
                session: false,
            });
        }
        Ok(Utility::Reset(self.shown_name()?))
    }

    fn show(&mut self) -> Result<Utility> {
        if self.accept("all") {
            return Ok(Utility::ShowAll);
        }
        Ok(Utility::Show(self.shown_name()?))
    }

    /// A setting's name, or one of SQL's own phrases for some.
    fn shown_name(&mut self) -> Result<String> {
        let two = (self.keyword(), self.tokens.get(self.at + 1).is_some());
        match two {
            (Some(word), true) if word == "time" => {
                self.at += 1;
                self.expect("zone")?;
                Ok("TimeZone".to_owned())
            }
            (Some(word), true) if word == "transaction" => {
                self.at += 1;
                self.expect("isolation")?;
                self.expect("level")?;
                Ok("transaction_isolation".to_owned())
            }
            (Some(word), true) if word == "session" => {
                self.at += 1;
                self.expect("authorization")?;
                Ok("session_authorization".to_owned())
            }
            _ => self.setting_name(),
        }
    }

    fn inner(&mut self) -> Result<Box<Parsed>> {
        let first = self
            .tokens
            .get(self.at)
            .ok_or_else(|| self.error())?
            .span
            .start;
        let rest = self
            .all
            .iter()
            .skip_while(|token| token.span.start != first)
            .cloned()
            .collect();
        let parsed = parse_one(self.lines, rest, self.end)?;
        let parsed = parsed.ok_or_else(|| self.error())?;
        if matches!(parsed.body, super::statement::Body::Utility(_)) {
            return Err(self.error());
        }
        self.at = self.tokens.len();
        Ok(Box::new(parsed))
    }

    fn prepare(&mut self) -> Result<Utility> {
        let name = self.name()?;
        let mut types = Vec::new();
        if self.accept_token(&Token::LParen) {
            let mut depth = 0;
            let mut spelled = String::new();
            loop {
                let token = self.tokens.get(self.at).map(|t| &t.token);
                match token {
                    Some(Token::RParen) if depth == 0 => break,
                    Some(Token::Comma) if depth == 0 => types.push(std::mem::take(&mut spelled)),
                    Some(token) => {
                        depth += match token {
                            Token::LParen => 1,
                            Token::RParen => -1,
                            _ => 0,
                        };
                        if matches!(token, Token::Word(_))
                            && !spelled.is_empty()
                            && !spelled.ends_with('.')
                        {
                            spelled.push(' ');
                        }
                        spelled.push_str(&token.to_string());
                    }
                    None => return Err(self.error()),
                }
                self.at += 1;
            }
            self.at += 1;
            types.push(spelled);
        }
        self.expect("as")?;
        Ok(Utility::Prepare {
            name,
            types,
            statement: self.inner()?,
        })
    }

    fn execute(&mut self) -> Result<Utility> {
        let name = self.name()?;
        if self.at == self.tokens.len() {
            return Ok(Utility::Execute {
                name,
                arguments: None,
            });
        }
        let last = self.tokens.last().map(|token| &token.token);
        if !self.accept_token(&Token::LParen) || last != Some(&Token::RParen) {
            return Err(self.error());
        }
        let rest = self.rest();
        let inner = rest.strip_suffix(')').unwrap_or(&rest).trim().to_owned();
        Ok(Utility::Execute {
            name,
            arguments: (!inner.is_empty()).then_some(inner),
        })
    }

    fn declare(&mut self) -> Result<Utility> {
        let name = self.name()?;
        let mut binary = false;
        loop {
            if self.accept("binary") {
                binary = true;
            } else if !(self.accept("insensitive")
                || self.accept("asensitive")
                || self.accept("no")
                || self.accept("scroll"))
            {
                break;
            }
        }
        self.expect("cursor")?;
        let mut hold = false;
        if self.accept("with") {
            self.expect("hold")?;
            hold = true;
        } else if self.accept("without") {
            self.expect("hold")?;
        }
        self.expect("for")?;
        Ok(Utility::Declare {
            name,
            hold,
            binary,
            query: self.inner()?,
        })
    }

    fn number(&mut self) -> Result<Count> {
        let negative = self.accept_token(&Token::Minus);
        match self.tokens.get(self.at).map(|t| &t.token) {
            Some(Token::Number(number, _)) => {
                let rows = number.parse::<u64>().map_err(|_| self.error())?;
                self.at += 1;
                Ok(if negative {
                    Count::Backward
                } else {
                    Count::Rows(rows)
                })
            }
            _ => Err(self.error()),
        }
    }

    fn fetch(&mut self, discard: bool) -> Result<Utility> {
        let is_number = |words: &Self| {
            matches!(
                words.tokens.get(words.at).map(|t| &t.token),
                Some(Token::Number(..) | Token::Minus)
            )
        };
        let count = match self.keyword().as_deref() {
            Some("next") => {
                self.at += 1;
                Count::Rows(1)
            }
            Some("all") => {
                self.at += 1;
                Count::All
            }
            Some("prior" | "first" | "last") => {
                self.at += 1;
                Count::Backward
            }
            Some("absolute") => {
                self.at += 1;
                self.number()?;
                Count::Backward
            }
            Some("relative") => {
                self.at += 1;
                match self.number()? {
                    Count::Rows(1) => Count::Rows(1),
                    _ => Count::Backward,
                }
            }
            Some(direction @ ("forward" | "backward")) => {
                let backward = direction == "backward";
                self.at += 1;
                let count = if self.accept("all") {
                    Count::All
                } else if is_number(self) {
                    self.number()?
                } else {
                    Count::Rows(1)
                };
                if backward { Count::Backward } else { count }
            }
            _ if is_number(self) => self.number()?,
            _ => Count::Rows(1),
        };
        let _ = self.accept("from") || self.accept("in");
        Ok(Utility::Fetch {
            name: self.name()?,
            count,
            discard,
        })
    }
}

/// `+05:30` in hours.
fn hours_of(interval: &str) -> String {
    let (sign, rest) = match interval.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, interval.trim_start_matches('+')),
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    match (hours.trim().parse::<f64>(), minutes.trim().parse::<f64>()) {
        (Ok(hours), Ok(minutes)) => (sign * (hours + minutes / 60.0)).to_string(),
        _ => interval.to_owned(),
    }
}

/// The names of a `search_path`: unquoted ones folded, `"$user"` replaced.
pub fn split_names(value: &str, user: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut characters = value.chars().peekable();
    while let Some(&first) = characters.peek() {
        if first == ',' || first.is_whitespace() {
            characters.next();
            continue;
        }
        let mut name = String::new();
        if first == '"' {
            characters.next();
            while let Some(character) = characters.next() {
                if character != '"' {
                    name.push(character);
                } else if characters.peek() == Some(&'"') {
                    characters.next();
                    name.push('"');
                } else {
                    break;
                }
            }
        } else {
            while let Some(character) = characters.next_if(|c| *c != ',') {
                name.extend(character.to_lowercase());
            }
            name.truncate(name.trim_end().len());
        }
        names.push(if name == "$user" {
            user.to_owned()
        } else {
            name
        });
    }
    names
}

/// The error for going back in a cursor.
pub fn forward_only() -> Error {
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "cursor can only scan forward",
    )
    .with_hint("Close the cursor and declare it again to read from its beginning.")
}

#[cfg(test)]
mod tests {
    use super::super::statement::{self, Body};
    use super::*;

    fn one(text: &str) -> Utility {
        let mut parsed = statement::parse(text).expect(text);
        match parsed.remove(0).body {
            Body::Utility(utility) => *utility,
            Body::Sql(_) => panic!("{text} is no utility"),
        }
    }

    fn set(text: &str) -> (String, String) {
        match one(text) {
            Utility::Set {
                name,
                value: SetValue::Value(value),
                ..
            } => (name, value),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_are_read_as_postgresql_reads_them() {
        assert_eq!(
            set("SET search_path TO a, \"B c\", 'public'").1,
            "a, \"B c\", public"
        );
        assert_eq!(
            set("set sluice.workers = -1"),
            ("sluice.workers".into(), "-1".into())
        );
        assert_eq!(
            set("set time zone 'Europe/Berlin'"),
            ("TimeZone".into(), "Europe/Berlin".into())
        );
        assert_eq!(
            set("set time zone interval '+05:30' hour to minute").1,
            "5.5"
        );
        assert_eq!(set("set session datestyle to iso, dmy").1, "iso, dmy");
        assert!(
            matches!(one("show transaction isolation level"), Utility::Show(n) if n == "transaction_isolation")
        );
        assert!(matches!(
            one("SET LOCAL x.y = on"),
            Utility::Set {
                scope: Scope::Local,
                ..
            }
        ));
        assert!(matches!(
            one("set session authorization default"),
            Utility::SetRole {
                role: None,
                session: true
            }
        ));
        assert!(statement::parse("set x").is_err());
    }

    #[test]
    fn cursors_and_prepared_statements() {
        assert!(matches!(
            one("declare \"SQL_CUR1\" cursor with hold for select 1"),
            Utility::Declare { name, hold: true, .. } if name == "SQL_CUR1"
        ));
        assert!(matches!(
            one("fetch 2048 in \"C\""),
            Utility::Fetch {
                count: Count::Rows(2048),
                ..
            }
        ));
        assert!(matches!(
            one("move forward all from c"),
            Utility::Fetch {
                count: Count::All,
                discard: true,
                ..
            }
        ));
        assert!(matches!(
            one("fetch backward 1 from c"),
            Utility::Fetch {
                count: Count::Backward,
                ..
            }
        ));
        match one("prepare p (int, numeric(10, 2), timestamp with time zone) as select $1") {
            Utility::Prepare {
                types, statement, ..
            } => {
                assert_eq!(types, ["int", "numeric(10,2)", "timestamp with time zone"]);
                assert_eq!(statement.text, "select $1");
            }
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(one("execute p(1, 'x)')"), Utility::Execute { arguments: Some(a), .. } if a == "1, 'x)'")
        );
    }

    #[test]
    fn a_search_path_is_a_list_of_names() {
        assert_eq!(
            split_names("\"$user\", Public,\"A \"\"b\"\"\"", "ann"),
            ["ann", "public", "A \"b\""]
        );
        assert!(split_names("", "ann").is_empty());
    }
}
