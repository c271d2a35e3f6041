//! A buffered connection: frames in, bytes out, and a watch on the client while something else runs.
//!
//! One task owns both directions. While a statement runs, `watch` keeps reading ahead into a bounded
//! buffer, so that pipelined messages aren't lost and a client that vanishes is noticed at once.

use std::future::Future;
use std::io;

use bytes::{Buf, BytesMut};
use sluice_spi::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{Frame, is_known, violation};

/// Bytes read ahead of what runs. A client that pipelines more waits in its own socket.
const READ_AHEAD_BYTES: usize = 256 * 1024;
/// Output is sent when there is this much of it, or when the protocol wants it out.
pub(crate) const FLUSH_BYTES: usize = 128 * 1024;
/// A buffer that grew beyond this is given back after the frame that needed it.
const KEEP_BYTES: usize = 1024 * 1024;

/// The client is gone: nobody is left to tell.
#[derive(Debug)]
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Gone
    }
}

/// Why no frame came.
#[derive(Debug)]
pub(super) enum NoFrame {
    /// The client closed the connection, or it broke.
    Gone,
    /// What it sent is no frame: the stream cannot be followed any more.
    Garbage(Error),
}

/// Reads of one connection.
type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Writes of one connection.
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection.
pub(super) struct Wire {
    reader: Reader,
    writer: Writer,
    input: BytesMut,
    /// What is to be sent.
    pub(super) out: Vec<u8>,
}

impl Wire {
    /// Over the two halves of a stream.
    pub(super) fn new(reader: Reader, writer: Writer) -> Self {
        Wire {
            reader,
            writer,
            input: BytesMut::with_capacity(8 * 1024),
            out: Vec::with_capacity(8 * 1024),
        }
    }

    /// Whether a whole or partial message waits already.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    async fn fill(&mut self) -> Result<(), Gone> {
        self.input.reserve(4096);
        match self.reader.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(Gone),
            Ok(_) => Ok(()),
        }
    }

    /// A startup packet's body: a length, then what it counts. Cancel-safe.
    pub(super) async fn startup_packet(&mut self, max: usize) -> Result<BytesMut, NoFrame> {
        loop {
            if let Some(mut head) = self.input.get(..4) {
                let length = head.get_u32() as usize;
                if !(8..=max).contains(&length) {
                    return Err(NoFrame::Garbage(violation(
                        "invalid length of startup packet",
                    )));
                }
                if self.input.len() >= length {
                    let mut packet = self.input.split_to(length);
                    packet.advance(4);
                    return Ok(packet);
                }
            }
            self.fill().await.map_err(|_| NoFrame::Gone)?;
        }
    }

    /// The next frame, of at most `max` bytes. Cancel-safe.
    pub(super) async fn frame(&mut self, max: usize) -> Result<Frame, NoFrame> {
        loop {
            if let Some(mut head) = self.input.get(..5) {
                let tag = head.get_u8();
                let length = head.get_u32() as usize;
                if !is_known(tag) {
                    return Err(NoFrame::Garbage(violation(format!(
                        "invalid frontend message type {tag}"
                    ))));
                }
                if length < 4 || length > max {
                    return Err(NoFrame::Garbage(
                        violation("invalid message length").with_detail(format!(
                            "The message claims {length} bytes; at most {max} are accepted."
                        )),
                    ));
                }
                if self.input.len() > length {
                    let mut frame = self.input.split_to(length + 1);
                    frame.advance(5);
                    if self.input.is_empty() && self.input.capacity() > KEEP_BYTES {
                        self.input = BytesMut::with_capacity(8 * 1024);
                    }
                    return Ok(Frame {
                        tag,
                        body: frame.freeze(),
                    });
                }
            }
            self.fill().await.map_err(|_| NoFrame::Gone)?;
        }
    }

    /// Runs a future to its end while the client is there.
    pub(super) async fn watch<F: Future>(&mut self, future: F) -> Result<F::Output, Gone> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            gone = read_ahead(&mut self.reader, &mut self.input) => Err(gone),
        }
    }

    /// Sends what is buffered, reading ahead while the client is slow to take it.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let Wire {
            reader,
            writer,
            input,
            out,
        } = self;
        tokio::select! {
            biased;
            sent = send(writer, out) => sent?,
            gone = read_ahead(reader, input) => return Err(gone),
        }
        out.clear();
        if out.capacity() > KEEP_BYTES {
            *out = Vec::with_capacity(8 * 1024);
        }
        Ok(())
    }

    /// Sends what is buffered and then `chunk`, without copying it.
    pub(super) async fn send_chunk(&mut self, chunk: &[u8]) -> Result<(), Gone> {
        self.flush().await?;
        let Wire {
            reader,
            writer,
            input,
            ..
        } = self;
        tokio::select! {
            biased;
            sent = send(writer, chunk) => Ok(sent?),
            gone = read_ahead(reader, input) => Err(gone),
        }
    }

    /// Sends the last words, without waiting for a client that doesn't read.
    pub(super) async fn close(mut self, patience: std::time::Duration) {
        let _ = tokio::time::timeout(patience, async {
            let _ = self.flush().await;
            let _ = self.writer.shutdown().await;
        })
        .await;
    }

    /// Puts bytes back that were read before there was a buffer.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }
}

async fn send(writer: &mut Writer, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Reads until the client is gone; with a full buffer it waits for ever, since whoever is watched ends it.
async fn read_ahead(reader: &mut Reader, input: &mut BytesMut) -> Gone {
    while input.len() < READ_AHEAD_BYTES {
        input.reserve(4096);
        match reader.read_buf(input).await {
            Ok(0) | Err(_) => return Gone,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}
