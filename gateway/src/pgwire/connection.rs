//! One connection after login: the loop that reads messages and answers them.
//!
//! Simple and extended protocol end in the same two steps: `start` runs a statement, `send_rows` sends
//! what it gives. Everything that waits, waits under a watch: on the client (gone: the query ends), on
//! cancellation, on termination.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sluice_spi::{Error, Result, SqlState};
use tokio_util::sync::CancellationToken;

use super::encode::Style;
use super::frame::{self, Frame, Message, is_extended};
use super::message::{self, Severity};
use super::wire::{Gone, NoFrame, Wire};
use crate::engine::Engine;
use crate::session::{RowSource, Session, State, Transaction, Zone};

/// How long a client may take to read the reason why its connection ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a message could not be answered.
pub(super) enum Failure {
    /// The statement failed; the connection goes on.
    Statement(Error),
    /// The connection ends, and the client is told why.
    Fatal(Error),
    /// Nobody is there to be told.
    Gone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Statement(error)
    }
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Failure::Gone
    }
}

/// A logged-in connection.
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) session: Session,
    pub(super) engine: Arc<dyn Engine>,
    /// The gateway wants to stop: nothing new begins here.
    pub(super) shutdown: CancellationToken,
    pub(super) max_message_bytes: usize,
    /// After an error in an extended message: everything up to Sync is ignored.
    skipping: bool,
    /// Reused between messages.
    customs: Option<Customs>,
}

/// What the connection itself does under the session's settings.
struct Customs {
    /// The settings that the rest was read from, by identity.
    settings: Arc<std::collections::BTreeMap<String, String>>,
    style: Style,
    /// How long a client may be idle outside of transactions, if there is a limit.
    idle_limit: Option<Duration>,
    /// And inside.
    idle_in_transaction_limit: Option<Duration>,
}

impl Connection {
    pub(super) fn new(
        wire: Wire,
        session: Session,
        engine: Arc<dyn Engine>,
        shutdown: CancellationToken,
        max_message_bytes: usize,
    ) -> Self {
        Connection {
            wire,
            session,
            engine,
            shutdown,
            max_message_bytes,
            skipping: false,
            customs: None,
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let end = self.serve().await;
        if let Failure::Fatal(error) = end {
            message::error(&mut self.wire.out, &error, Severity::Fatal);
        }
        self.wire.close(LAST_WORDS).await;
    }

    async fn serve(&mut self) -> Failure {
        if let Err(end) = self.ready().await {
            return end;
        }
        loop {
            let frame = match self.next_frame().await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            let answered = self.answer(frame).await;
            match answered {
                Ok(true) => {}
                Ok(false) => return Failure::Gone,
                Err(end) => return end,
            }
        }
    }

    /// The next frame, unless the wait ends first: shutdown, termination, an idle timeout.
    async fn next_frame(&mut self) -> Result<Frame, Failure> {
        // The client waits for an answer that is still buffered only if it sent nothing more: pipelines
        // are answered in one go.
        if !self.wire.has_input() && self.skipping {
            self.flush().await?;
        }
        let terminate = self.session.entry().termination().clone();
        let (limit, timed_out) = self.idle_limit();
        let timed_out = || {
            Error::new(
                SqlState::from_source(timed_out.0),
                format!("terminating connection due to {}", timed_out.1),
            )
        };
        let Connection {
            wire,
            shutdown,
            max_message_bytes,
            ..
        } = self;
        let timeout = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = terminate.cancelled() => Err(Failure::Fatal(message::shut_down())),
            () = shutdown.cancelled() => Err(Failure::Fatal(message::shut_down())),
            frame = wire.frame(*max_message_bytes) => match frame {
                Ok(frame) => Ok(frame),
                Err(NoFrame::Gone) => Err(Failure::Gone),
                Err(NoFrame::Garbage(error)) => Err(Failure::Fatal(error)),
            },
            () = timeout => Err(Failure::Fatal(timed_out())),
        }
    }

    /// How long the client may be idle, if there is a limit; the SQLSTATE and the name of what is over then.
    fn idle_limit(&mut self) -> (Option<Duration>, (&'static str, &'static str)) {
        let in_transaction = matches!(
            self.session.transaction(),
            Transaction::Open | Transaction::Failed
        );
        let customs = self.customs();
        if in_transaction {
            let limit = customs.idle_in_transaction_limit;
            (limit, ("25P03", "idle-in-transaction timeout"))
        } else {
            (customs.idle_limit, ("57P05", "idle-session timeout"))
        }
    }

    /// Answers one frame; false when the client said goodbye.
    async fn answer(&mut self, frame: Frame) -> Result<bool, Failure> {
        let extended = is_extended(frame.tag);
        if self.skipping && !matches!(frame.tag, b'S' | b'X') {
            return Ok(true);
        }
        let handled = match frame::decode(frame) {
            Ok(message) => self.handle(message).await,
            Err(error) => Err(Failure::Statement(error)),
        };
        self.session.entry().end_statement();
        match handled {
            Ok(go_on) => Ok(go_on),
            Err(Failure::Statement(error)) => {
                self.report(&error);
                self.session.fail();
                if extended {
                    self.skipping = true;
                } else {
                    self.ready().await?;
                }
                Ok(true)
            }
            Err(end) => Err(end),
        }
    }

    async fn handle(&mut self, message: Message) -> Result<bool, Failure> {
        match message {
            Message::Query(text) => self.simple_query(text).await?,
            Message::Parse { name, query, types } => self.parse(name, query, &types).await?,
            Message::Bind {
                portal,
                statement,
                formats,
                parameters,
                results,
            } => {
                self.bind(portal, &statement, &formats, &parameters, &results)?;
            }
            Message::Describe { portal: true, name } => self.describe_portal(&name)?,
            Message::Describe {
                portal: false,
                name,
            } => self.describe_statement(&name)?,
            Message::Execute { portal, max_rows } => self.execute_portal(&portal, max_rows).await?,
            Message::Close { portal, name } => {
                if portal {
                    self.session.drop_portal(&name);
                } else {
                    self.session.drop_statement(&name);
                }
                message::bare(&mut self.wire.out, b'3');
            }
            Message::Flush => self.flush().await?,
            Message::Sync => {
                self.skipping = false;
                self.session.end_implicit(true);
                self.session.close_transaction_portals();
                self.ready().await?;
            }
            Message::Terminate => return Ok(false),
            Message::FunctionCall => {
                return Err(
                    Error::unsupported("function calls by protocol are not supported")
                        .with_hint("Use SELECT.")
                        .into(),
                );
            }
            Message::Copy => {}
            Message::Password(_) => {
                return Err(Failure::Fatal(frame::violation(
                    "unexpected password message",
                )));
            }
        }
        Ok(true)
    }

    /// Writes an error to the client, and to the log where it is our own fault.
    pub(super) fn report(&mut self, error: &Error) {
        if error.code == SqlState::INTERNAL_ERROR {
            let pid = self.session.entry().pid;
            tracing::error!(pid, code = error.code.code(), "{error}");
        }
        message::error(&mut self.wire.out, error, Severity::Error);
    }

    /// Notices that the last statement left.
    pub(super) fn notices(&mut self) {
        for notice in self.session.take_notices() {
            message::notice(&mut self.wire.out, &notice);
        }
    }

    /// ReadyForQuery, with the settings that changed before it.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        for (name, value) in self
            .session
            .entry()
            .with_settings(crate::session::Settings::take_unreported)
        {
            message::parameter_status(&mut self.wire.out, name, &value);
        }
        let transaction = self.session.transaction();
        message::ready(&mut self.wire.out, transaction);
        self.session.entry().rest(match transaction {
            Transaction::Idle | Transaction::Implicit => State::Idle,
            Transaction::Open => State::IdleInTransaction,
            Transaction::Failed => State::IdleInFailedTransaction,
        });
        self.flush().await
    }

    /// Sends what is buffered, unless the session is terminated first.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let terminate = self.session.entry().termination().clone();
        tokio::select! {
            biased;
            sent = self.wire.flush() => Ok(sent?),
            () = terminate.cancelled() => Err(Failure::Gone),
        }
    }

    /// Sends a chunk of rows, unless the session is terminated first.
    pub(super) async fn send_chunk(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let terminate = self.session.entry().termination().clone();
        tokio::select! {
            biased;
            sent = self.wire.send_chunk(chunk) => Ok(sent?),
            () = terminate.cancelled() => Err(Failure::Gone),
        }
    }

    /// A token for one statement: ended by a cancel, by termination, and by the drop of the connection.
    pub(super) fn statement_token(&self) -> CancellationToken {
        self.session.entry().termination().child_token()
    }

    /// Waits for the engine while the client is there and nobody cancels.
    pub(super) async fn watched<T>(
        &mut self,
        cancel: &CancellationToken,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T, Failure> {
        let result = if cancel.is_cancelled() {
            None
        } else {
            let raced = self
                .wire
                .watch(async {
                    tokio::select! {
                        biased;
                        result = future => Some(result),
                        () = cancel.cancelled() => None,
                    }
                })
                .await;
            match raced {
                Ok(result) => result,
                Err(Gone) => {
                    cancel.cancel();
                    return Err(Failure::Gone);
                }
            }
        };
        match result {
            Some(Ok(value)) => Ok(value),
            // The engine may see the cancellation first: its words for it don't matter then.
            Some(Err(error))
                if !cancel.is_cancelled() || error.code != SqlState::QUERY_CANCELED =>
            {
                Err(error.into())
            }
            _ if self.session.entry().termination().is_cancelled() => {
                Err(Failure::Fatal(message::shut_down()))
            }
            _ => Err(message::canceled().into()),
        }
    }

    /// At most `limit` rows of a source, under the watch.
    pub(super) async fn pull(
        &mut self,
        cancel: &CancellationToken,
        source: &mut RowSource,
        limit: usize,
    ) -> Result<Option<arrow::record_batch::RecordBatch>, Failure> {
        self.watched(cancel, async { source.next(limit).await.transpose() })
            .await
    }

    /// How values print under the session's settings.
    pub(super) fn style(&mut self) -> Style {
        self.customs().style.clone()
    }

    fn customs(&mut self) -> &Customs {
        let settings = self
            .session
            .entry()
            .with_settings(crate::session::Settings::view);
        let known = self.customs.take();
        let known = known.filter(|customs| Arc::ptr_eq(&customs.settings, &settings));
        self.customs
            .insert(known.unwrap_or_else(|| Customs::of(settings)))
    }
}

impl Customs {
    fn of(settings: Arc<std::collections::BTreeMap<String, String>>) -> Customs {
        let setting = |name: &str| settings.get(name).map_or("", String::as_str);
        let limit = |name: &str| {
            let millis = setting(name).parse::<u64>().ok();
            millis.filter(|ms| *ms > 0).map(Duration::from_millis)
        };
        Customs {
            style: Style {
                zone: Zone::parse(setting("timezone")).unwrap_or_else(|_| Zone::utc()),
                extra_float_digits: setting("extra_float_digits").parse().unwrap_or(1),
                bytea_escape: setting("bytea_output") == "escape",
            },
            idle_limit: limit("idle_session_timeout"),
            idle_in_transaction_limit: limit("idle_in_transaction_session_timeout"),
            settings,
        }
    }
}
