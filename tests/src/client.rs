//! A small PostgreSQL client on raw frames: it sends what it is told, in any order, and shows what comes back.
//!
//! The same client asks the real PostgreSQL and Sluice, so that a comparison has one reader. It knows no
//! authentication but trust. It never retries and never hides a message.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::frames::{cstring, frame, startup};

/// Longer than any single wait of a suite: a server that is silent for this long hangs.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// One frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type byte.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// One result column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type's OID.
    pub type_oid: u32,
}

/// A result in text format.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// The columns.
    pub columns: Vec<Column>,
    /// The values; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag, for example `SELECT 5`.
    pub tag: String,
}

impl Rows {
    /// The value in the first row and column. Panics when there is none.
    #[track_caller]
    pub fn single(&self) -> &str {
        self.rows
            .first()
            .and_then(|row| row.first())
            .and_then(|value| value.as_deref())
            .expect("the result has a value in its first row")
    }

    /// The position of a column by name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Row `row`'s value in the named column; `None` for NULL and for a column that is not there.
    pub fn value(&self, row: usize, name: &str) -> Option<&str> {
        self.rows[row][self.position(name)?].as_deref()
    }

    /// The first column of all rows as lines: an EXPLAIN, a list of names.
    pub fn lines(&self) -> String {
        let first: Vec<&str> = self
            .rows
            .iter()
            .map(|row| row.first().and_then(|value| value.as_deref()).unwrap_or(""))
            .collect();
        first.join("\n")
    }
}

/// What an ErrorResponse says, or why the connection broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The fields by their type letter (`S`, `C`, `M`, `D`, `H`, `P` …).
    pub fields: BTreeMap<char, String>,
}

impl ServerError {
    /// The code under which this client reports a connection that ended without an ErrorResponse.
    pub const BROKEN: &'static str = "(broken connection)";

    fn broken(error: &io::Error) -> Self {
        Self {
            fields: BTreeMap::from([('C', Self::BROKEN.to_owned()), ('M', error.to_string())]),
        }
    }

    fn parse(body: &[u8]) -> Self {
        let fields = body
            .split(|byte| *byte == 0)
            .filter(|field| !field.is_empty())
            .map(|field| {
                (
                    char::from(field[0]),
                    String::from_utf8_lossy(&field[1..]).into_owned(),
                )
            })
            .collect();
        Self { fields }
    }

    /// The SQLSTATE.
    pub fn code(&self) -> &str {
        self.field('C')
    }

    /// The message.
    pub fn message(&self) -> &str {
        self.field('M')
    }

    /// A field; empty when it is absent.
    pub fn field(&self, letter: char) -> &str {
        self.fields.get(&letter).map_or("", String::as_str)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.message())?;
        for (letter, name) in [('D', "detail"), ('H', "hint")] {
            if !self.field(letter).is_empty() {
                write!(f, " ({name}: {})", self.field(letter))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

/// An open session.
#[derive(Debug)]
pub struct Connection {
    stream: io::BufReader<TcpStream>,
    address: SocketAddr,
    /// What the server reported in ParameterStatus, kept up to date.
    pub parameters: BTreeMap<String, String>,
    /// The body of BackendKeyData: process id and secret.
    pub backend_key: Vec<u8>,
    /// The status byte of the last ReadyForQuery: `I`, `T` or `E`.
    pub status: u8,
    /// Notices since the connection was opened.
    pub notices: Vec<ServerError>,
}

impl Connection {
    /// Opens a session as `user` in `database`.
    pub fn open(address: SocketAddr, user: &str, database: &str) -> Result<Self, ServerError> {
        Self::open_with(address, &[("user", user), ("database", database)])
    }

    /// Opens a session with these startup parameters.
    pub fn open_with(
        address: SocketAddr,
        parameters: &[(&str, &str)],
    ) -> Result<Self, ServerError> {
        let mut connection = Self::raw(address).map_err(|error| ServerError::broken(&error))?;
        connection
            .send_raw(&startup(196_608, parameters))
            .map_err(|error| ServerError::broken(&error))?;
        connection.finish_startup()?;
        Ok(connection)
    }

    /// Opens the TCP connection and sends nothing.
    pub fn raw(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        Ok(Self {
            stream: io::BufReader::with_capacity(64 * 1024, stream),
            address,
            parameters: BTreeMap::new(),
            backend_key: Vec::new(),
            status: b'?',
            notices: Vec::new(),
        })
    }

    /// Reads up to the first ReadyForQuery.
    pub fn finish_startup(&mut self) -> Result<(), ServerError> {
        loop {
            let message = self.receive()?;
            match message.tag {
                b'R' if message.body == [0, 0, 0, 0] => {}
                b'R' => {
                    return Err(ServerError::broken(&io::Error::other(
                        "the server asks for a password",
                    )));
                }
                b'E' => return Err(ServerError::parse(&message.body)),
                b'K' => self.backend_key = message.body,
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    /// Runs one statement by the simple protocol.
    pub fn query(&mut self, sql: &str) -> Result<Rows, ServerError> {
        let mut outcomes = self.batch(sql)?;
        match outcomes.pop() {
            Some(last) => last,
            None => Ok(Rows::default()),
        }
    }

    /// Runs a batch by the simple protocol: one outcome for each statement that the server answered.
    pub fn batch(&mut self, sql: &str) -> Result<Vec<Result<Rows, ServerError>>, ServerError> {
        self.send(b'Q', &cstring(sql))
            .map_err(|error| ServerError::broken(&error))?;
        let mut outcomes = Vec::new();
        let mut current = Rows::default();
        loop {
            let message = self.receive()?;
            match message.tag {
                b'T' => current.columns = row_description(&message.body),
                b'D' => current.rows.push(data_row(&message.body)),
                b'C' => {
                    current.tag = text(&message.body);
                    outcomes.push(Ok(std::mem::take(&mut current)));
                }
                b'I' => outcomes.push(Ok(Rows::default())),
                b'E' => {
                    current = Rows::default();
                    outcomes.push(Err(ServerError::parse(&message.body)));
                    if message.body.windows(6).any(|window| window == b"FATAL\0") {
                        return Ok(outcomes);
                    }
                }
                b'Z' => return Ok(outcomes),
                _ => {}
            }
        }
    }

    /// Runs one statement and counts rows and bytes without keeping them: for results that are too large to keep.
    pub fn count(&mut self, sql: &str) -> Result<(u64, u64), ServerError> {
        self.send(b'Q', &cstring(sql))
            .map_err(|error| ServerError::broken(&error))?;
        let (mut rows, mut bytes) = (0, 0);
        let mut failure = None;
        loop {
            let message = self.receive()?;
            match message.tag {
                b'D' => {
                    rows += 1;
                    bytes += message.body.len() as u64 + 5;
                }
                b'E' => failure = Some(ServerError::parse(&message.body)),
                b'Z' => return failure.map_or(Ok((rows, bytes)), Err),
                _ => {}
            }
        }
    }

    /// Sends one frame.
    pub fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        self.send_raw(&frame(tag, body))
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one frame; notes parameters, notices and the transaction status on the way.
    pub fn receive(&mut self) -> Result<Message, ServerError> {
        let message = self
            .read_frame()
            .map_err(|error| ServerError::broken(&error))?;
        match message.tag {
            b'S' => {
                let mut parts = message.body.split(|byte| *byte == 0);
                if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                    self.parameters.insert(text(name), text(value));
                }
            }
            b'N' => self.notices.push(ServerError::parse(&message.body)),
            b'Z' => self.status = message.body.first().copied().unwrap_or(b'?'),
            _ => {}
        }
        Ok(message)
    }

    /// Reads frames up to and with ReadyForQuery; ParameterStatus and notices are left out.
    pub fn receive_all(&mut self) -> Result<Vec<Message>, ServerError> {
        let mut messages = Vec::new();
        loop {
            let message = self.receive()?;
            let last = message.tag == b'Z';
            if !matches!(message.tag, b'S' | b'N') {
                messages.push(message);
            }
            if last {
                return Ok(messages);
            }
        }
    }

    /// Reads one byte without a frame around it: the answer to SSLRequest.
    pub fn receive_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Whether the server closed the connection, whatever it sent before.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let _ = self.stream.get_ref().set_read_timeout(Some(limit));
        let mut rest = Vec::new();
        let closed = match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        };
        let _ = self.stream.get_ref().set_read_timeout(Some(READ_LIMIT));
        closed
    }

    /// Sets how long a read may wait.
    pub fn set_read_limit(&mut self, limit: Duration) {
        let _ = self.stream.get_ref().set_read_timeout(Some(limit));
    }

    /// What is needed to cancel this session's statement from elsewhere.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            address: self.address,
            key: self.backend_key.clone(),
        }
    }

    fn read_frame(&mut self) -> io::Result<Message> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length < 4 {
            return Err(io::Error::other(format!("a frame of length {length}")));
        }
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Message { tag: head[0], body })
    }
}

/// Sends CancelRequest for one session.
#[derive(Debug, Clone)]
pub struct Canceller {
    address: SocketAddr,
    key: Vec<u8>,
}

impl Canceller {
    /// Sends it, and waits until the server closes the connection as the protocol says.
    pub fn cancel(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let mut request = ((self.key.len() + 8) as u32).to_be_bytes().to_vec();
        request.extend(80_877_102_u32.to_be_bytes());
        request.extend(&self.key);
        stream.write_all(&request)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| ())
    }
}

/// The type bytes of messages as text, for a script's expectation: `1 2 D C Z`.
pub fn tags(messages: &[Message]) -> String {
    let tags: Vec<String> = messages
        .iter()
        .map(|message| match message.tag {
            b'E' => format!("E:{}", ServerError::parse(&message.body).code()),
            b'Z' => format!(
                "Z:{}",
                char::from(message.body.first().copied().unwrap_or(b'?'))
            ),
            b'C' => format!("C:{}", text(&message.body).replace(' ', "_")),
            tag => char::from(tag).to_string(),
        })
        .collect();
    tags.join(" ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn row_description(body: &[u8]) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = text(&rest[..end]);
        let fixed = &rest[end + 1..];
        let type_oid = u32::from_be_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]);
        columns.push(Column { name, type_oid });
        rest = &fixed[18..];
    }
    columns
}

fn data_row(body: &[u8]) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = &body[2..];
    while rest.len() >= 4 {
        let length = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        rest = &rest[4..];
        if length < 0 {
            values.push(None);
        } else {
            let (value, after) = rest.split_at(length as usize);
            values.push(Some(String::from_utf8_lossy(value).into_owned()));
            rest = after;
        }
    }
    values
}
