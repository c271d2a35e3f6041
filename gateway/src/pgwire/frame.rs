//! What clients send: frames to messages.
//!
//! The decoder reads each field within its frame's bounds and answers any lie with an error. (pgwire's own
//! decoders trust the counts and lengths inside of a frame and panic on garbage.)

use bytes::{Buf, Bytes};
use sluice_spi::{Error, Result, SqlState};

/// A frame: its type and body.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The message's type byte.
    pub(super) tag: u8,
    /// What follows the length.
    pub(super) body: Bytes,
}

/// A message from a client.
#[derive(Debug)]
#[allow(missing_docs)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        query: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        parameters: Vec<Option<Bytes>>,
        results: Vec<i16>,
    },
    Describe {
        portal: bool,
        name: String,
    },
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close {
        portal: bool,
        name: String,
    },
    Flush,
    Sync,
    Terminate,
    FunctionCall,
    /// CopyData, CopyDone, CopyFail outside of COPY: ignored, as PostgreSQL does.
    Copy,
    /// Password or SASL answer.
    Password(Bytes),
}

/// A protocol violation (08P01).
pub(super) fn violation(message: impl Into<String>) -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// Reads fields off a frame's body.
struct Fields {
    body: Bytes,
}

impl Fields {
    fn short() -> Error {
        violation("insufficient data left in message")
    }

    fn u8(&mut self) -> Result<u8> {
        self.body.try_get_u8().map_err(|_| Self::short())
    }

    fn i16(&mut self) -> Result<i16> {
        self.body.try_get_i16().map_err(|_| Self::short())
    }

    fn i32(&mut self) -> Result<i32> {
        self.body.try_get_i32().map_err(|_| Self::short())
    }

    fn text(&mut self) -> Result<String> {
        let end = self
            .body
            .iter()
            .position(|b| *b == 0)
            .ok_or_else(|| violation("invalid string in message"))?;
        let bytes = self.body.split_to(end);
        self.body.advance(1);
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let byte = bytes[error.valid_up_to()];
                Err(Error::new(
                    SqlState::CHARACTER_NOT_IN_REPERTOIRE,
                    format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
                ))
            }
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Bytes> {
        if self.body.len() < length {
            return Err(Self::short());
        }
        Ok(self.body.split_to(length))
    }

    fn codes(&mut self) -> Result<Vec<i16>> {
        let count = self.i16()? as u16;
        if self.body.len() < usize::from(count) * 2 {
            return Err(Self::short());
        }
        (0..count).map(|_| self.i16()).collect()
    }

    fn end(&self) -> Result<()> {
        if self.body.is_empty() {
            Ok(())
        } else {
            Err(violation("invalid message format"))
        }
    }

    fn is_portal(&mut self, what: &str) -> Result<bool> {
        match self.u8()? {
            b'P' => Ok(true),
            b'S' => Ok(false),
            other => Err(violation(format!("invalid {what} message subtype {other}"))),
        }
    }
}

/// Whether PostgreSQL knows a type byte: anything else means that the stream is out of step.
pub(super) fn is_known(tag: u8) -> bool {
    matches!(
        tag,
        b'Q' | b'P'
            | b'B'
            | b'D'
            | b'E'
            | b'C'
            | b'H'
            | b'S'
            | b'X'
            | b'F'
            | b'd'
            | b'c'
            | b'f'
            | b'p'
    )
}

/// Whether an error in this message is answered and the rest discarded until Sync.
pub(super) fn is_extended(tag: u8) -> bool {
    matches!(tag, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
}

/// Decodes a frame.
pub(super) fn decode(frame: Frame) -> Result<Message> {
    let mut fields = Fields { body: frame.body };
    let message = match frame.tag {
        b'Q' => Message::Query(fields.text()?),
        b'P' => {
            let (name, query) = (fields.text()?, fields.text()?);
            let count = fields.i16()? as u16;
            if fields.body.len() < usize::from(count) * 4 {
                return Err(Fields::short());
            }
            let types = (0..count)
                .map(|_| fields.i32().map(|oid| oid as u32))
                .collect::<Result<_>>()?;
            Message::Parse { name, query, types }
        }
        b'B' => {
            let (portal, statement) = (fields.text()?, fields.text()?);
            let formats = fields.codes()?;
            let count = fields.i16()? as u16;
            if fields.body.len() < usize::from(count) * 4 {
                return Err(Fields::short());
            }
            let mut parameters = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                parameters.push(match fields.i32()? {
                    -1 => None,
                    length => {
                        let length = usize::try_from(length).map_err(|_| Fields::short())?;
                        Some(fields.bytes(length)?)
                    }
                });
            }
            let results = fields.codes()?;
            Message::Bind {
                portal,
                statement,
                formats,
                parameters,
                results,
            }
        }
        b'D' => Message::Describe {
            portal: fields.is_portal("DESCRIBE")?,
            name: fields.text()?,
        },
        b'E' => Message::Execute {
            portal: fields.text()?,
            max_rows: fields.i32()?,
        },
        b'C' => Message::Close {
            portal: fields.is_portal("CLOSE")?,
            name: fields.text()?,
        },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'F' => return Ok(Message::FunctionCall),
        b'p' => return Ok(Message::Password(fields.body)),
        b'd' | b'c' | b'f' => return Ok(Message::Copy),
        other => return Err(violation(format!("invalid frontend message type {other}"))),
    };
    fields.end()?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Frame { tag, body: body.into() });
        }
    }

    #[test]
    fn lies_about_counts_are_refused() {
        let bind = |body: &'static [u8]| {
            decode(Frame {
                tag: b'B',
                body: Bytes::from_static(body),
            })
        };
        assert!(bind(b"\0\0\0\0\xff\xff").is_err());
        assert!(bind(b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0").is_err());
        assert!(bind(b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\0").is_ok());
        assert!(bind(b"\0\0\0\0\0\0\0\0extra").is_err());
    }
}
